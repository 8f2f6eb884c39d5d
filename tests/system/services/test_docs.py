"""Whatever README.md and docs/ show works: snippets and commands are run in order, as a reader would.

A reader may begin with any page: each gets an empty search service and a home of its own. What cannot be run
here is listed with the reason, and checked as far as that goes: the commands, their options, the targets,
files and settings exist; so with all of deploy/README.md. Plain commands of `clipsearch` run in this process,
the others in a shell.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image
from typer.testing import CliRunner

from clipsearch import Client
from clipsearch.cli import app
from clipsearch.downloads.wheels import default_cache
from tests import documents
from tests.documents import PAGES, read
from tests.processes import GatewayProcess, ServiceProcess

BOOK = Path(__file__).with_name("alice.txt")  # from Alice's Adventures in Wonderland, 1865

EVERYWHERE = [*PAGES, "deploy/README.md"]
NOT_RUN = {
    r"make .*": "installs, serves without end, or measures for minutes",
    r"pip install 'clipsearch\[gateway\]'": "is installed",
    r"ghz .*|grpcurl \S+ \S+ describe .*": "needs tools in Go: test_reflection.py asks what they ask",
    r"([A-Z_]+=\S+ )*clipsearch (gateway|serve|web)\b.*": "serves without end; what runs here is started so",
    r"clipsearch reindex .*|clipsearch collections (alias shop|delete) shop-1": "needs a second model: "
    "test_reindex.py moves a collection to one",
    r"clipsearch eval .*": "needs queries or models of one's own: test_eval.py measures photographs",
    r"python -m tests\.load.*": "loads the services for minutes: test_load.py does it for a moment",
    r"clipsearch model export openai/.*": "needs the hub: test_sources.py exports local ones",
    r"(MODEL=\S+ )?docker .*": "needs a container engine",
    r"(deploy/kubernetes/secrets\.sh \| |KEY=\$\()?kubectl .*|helm .*": "needs a cluster",
    r"for node in 0 1 2; do\n.*kubectl .*": "needs a cluster with Qdrant in it",
    r"(MODEL=\S+ )?REGISTRY=\S+ deploy/docker/release\.sh.*": "pushes; test_docker.py runs the script",
    r"cp -a .*": "copies a stopped service's data: tests/qdrant/test_operation.py does",
}
"""Commands, as regular expressions, that are not run, and why."""

PRINTS = {
    'clipsearch search "a cat"': r"^ +1 .* /\S+/cat\.png",
    "clipsearch search --image cat.jpg --limit 5 --json": r'"hits": \[\s+\{\s+"id": "\w+",\s+"score": 0\.99',
    "clipsearch search \"a cat\" --filter 'modified>=2024-01-01'": r"cat\.png",
    "clipsearch classify cat.jpg --labels cat,dog,car": r"\n +cat +\d\d\.\d%",
    "clipsearch index ~/Pictures": r"3 indexed, 0 there already, 0 failed",
    "clipsearch index goods.csv -c goods --id sku --text title": r"2 indexed, 0 there already, 0 failed",
    "clipsearch update teapot boat --set price=12.5 --set 'tags=[\"new\"]' -c goods": r"2 updated",
    "clipsearch update --filter 'price>10' --set dear=true --unset tags -c goods": r"2 updated",
    "clipsearch index vectors.npy --ids ids.txt": r"2 indexed, 0 there already, 0 failed",
    "clipsearch backup shop shop-may": r"2 points of shop in shop-may",
    "clipsearch restore shop-may --to shop-may": r"2 points in shop-may, 0 of them there already",
    "clipsearch collections": r"images +\d+",
    "clipsearch collections show archive": r"scalar(.|\n)*rescored +100 points",
    "something to drink from": r"^0\.\d+ mug \{'price': 7\.5\}\n$",
    '"offers"': r"^1\n$",
    "ItemList(": r"2 of 2, \d+/s, 0 failed\n2 indexed, 0 there already, 0 failed, 0 gone\n$",
    'create_collection("products"': r"^0\.9\d+ motorcycle\n0\.\d+ cup\n$",
    '"tag": answer': r"^(motorcycle_(left|right)\.png\n){2}$",
    "OpenAI(base_url": r"^True\n$",
    "curl http://127.0.0.1:8000/healthz": r"^$",
    "curl http://127.0.0.1:8000/v1/collections/shop/points:count -d '{}'": r'^{"count":"2"}$',
    "book.txt": r"^0\.\d+ Soon her eye fell on a little glass box.* very small cake",
}
"""What must be printed, as regular expressions, by the command or by a snippet that holds these words."""

LEAVES = {
    'clipsearch map images --query "a pet"': ("images-map/map.html", r"<html"),
    "clipsearch token create --name search --scope encode >> encoder-tokens": ("encoder-tokens", r"\A.+\n\Z"),
}
"""The file that must be there after a command, and what must be in it."""


class Reader:
    """Somebody who tries one after another what a page shows, in a home of their own."""

    def __init__(self, home: Path, search: str, encoder: str, gateway: str) -> None:
        self.home = home
        self.addresses = {
            "127.0.0.1:50052": search,
            "127.0.0.1:50051": encoder,
            "127.0.0.1:8000": gateway,
        }
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CLIPSEARCH_CACHE": str(default_cache()),
            "CLIPSEARCH_SERVER": search,
            "CLIPSEARCH_ENCODER": encoder,
        }

    def run(self, block: documents.Block) -> list[tuple[str, str]]:
        """What was tried of a block, and what it printed."""
        if block.language == "python":
            return [(block.text, self.python(block.text))]
        if block.language == "sh":
            return [
                (command, self.shell(command)) for command in documents.commands(block.text) if runs(command)
            ]
        if block.text.startswith("$ "):
            command = block.text.partition("\n")[0].removeprefix("$ ")
            printed = self.shell(command)
            assert in_order(block.text.splitlines()[1:], printed), f"{command} prints\n{printed}"
            return [(command, printed)]
        return []

    def python(self, code: str) -> str:
        output = io.StringIO()
        with contextlib.chdir(self.home), contextlib.redirect_stdout(output):
            exec(self._here(code), {})
        return output.getvalue()

    def _here(self, shown: str) -> str:
        """With the addresses of what runs here."""
        for usual, real in self.addresses.items():
            shown = shown.replace(usual, real)
        return shown

    def shell(self, command: str) -> str:
        if command.startswith("grpcurl"):
            return self.grpcurl(*shlex.split(command)[1:])
        if command.startswith("clipsearch ") and not {"|", ">", ">>"} & set(shlex.split(command)):
            return self.clipsearch(*shlex.split(command)[1:])
        done = subprocess.run(
            ["bash", "-c", self._here(command)],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        printed = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{command}: {printed}"
        return printed

    def clipsearch(self, *words: str) -> str:
        """The command, without the second that an interpreter takes to load it."""
        with contextlib.chdir(self.home), pytest.MonkeyPatch.context() as patch:
            for name in ("HOME", "CLIPSEARCH_CACHE", "CLIPSEARCH_SERVER", "CLIPSEARCH_ENCODER"):
                patch.setenv(name, self.environment[name])
            arguments = [str(Path(word).expanduser()) if word[0] == "~" else word for word in words]
            done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"clipsearch {words}: {done.output}"
        return done.output

    def grpcurl(self, plaintext: str, d: str, body: str, address: str, path: str) -> str:
        """The call that grpcurl would make: by reflection alone."""
        assert (plaintext, d) == ("-plaintext", "-d")
        service, method = path.split("/")
        with grpc.insecure_channel(self.addresses[address]) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            described = pool.FindServiceByName(service).FindMethodByName(method)
            request = json_format.Parse(body, GetMessageClass(described.input_type)())
            answer = channel.unary_unary(
                f"/{path}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(described.output_type).FromString,
            )(request, timeout=20)
        assert len(answer.embeddings if method == "EncodeText" else answer.hits) >= 1
        return json_format.MessageToJson(answer)


def runs(command: str) -> bool:
    return not any(re.fullmatch(pattern, command, re.DOTALL) for pattern in NOT_RUN)


def runs_in_part(block: documents.Block) -> bool:
    if block.language == "sh":
        return any(runs(command) for command in documents.commands(block.text))
    return block.language == "python" or block.text.startswith("$ ")


def in_order(lines: list[str], printed: str) -> bool:
    """Whether the lines are printed in this order; blanks at their ends do not count."""
    left = iter(line.rstrip() for line in printed.splitlines())
    return all(line.rstrip() in left for line in lines if line.strip())


@pytest.fixture
def home(photos: list[Path], tmp_path: Path) -> Path:
    """What the pages take to be there: pictures, lists, vectors, a book."""
    by_name = {path.name: path for path in photos}
    pictures = tmp_path / "Pictures"
    pictures.mkdir()
    for name, source in {"cat.png": "chelsea.png", "cup.png": "coffee.png", "moon.png": "moon.png"}.items():
        shutil.copy(by_name[source], pictures / name)
    Image.open(by_name["chelsea.png"]).convert("RGB").save(tmp_path / "cat.jpg")
    (tmp_path / "goods.csv").write_text("sku,title\nteapot,a teapot\nboat,a boat\n")
    np.save(tmp_path / "vectors.npy", np.eye(2, 512, dtype=np.float32))
    (tmp_path / "ids.txt").write_text("first\nsecond\n")
    (tmp_path / "catalogue.csv").write_text("sku,title,price\ncup,a tea cup,4\nboat,a boat,900\n")
    shutil.copy(BOOK, tmp_path / "book.txt")
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
    (tmp_path / "photos").mkdir()
    for name in COPIED:
        with Image.open(by_name[name]) as picture:
            half = picture.convert("RGB").resize((picture.width // 2, picture.height // 2))
        half.save(tmp_path / "photos" / f"{Path(name).stem}-copy.jpg", quality=60)
    return tmp_path


COPIED = ("chelsea.png", "china.jpg", "coffee.png", "flower.jpg", "rocket.jpg")


@pytest.fixture
def empty_search(search: ServiceProcess) -> Iterator[ServiceProcess]:
    """A search service without a collection."""
    yield search
    with Client(search.address) as client:
        for collection in client.list_collections():
            client.delete_collection(collection.name)


@pytest.fixture(scope="module")
def gateway(
    search: ServiceProcess, encoder: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    flags = ("--server", search.address, "--encoder", encoder.address)
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), *flags) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in EVERYWHERE if any(map(runs_in_part, documents.blocks(read(page))))]
)
def test_everything_that_is_shown_runs_and_prints_what_it_should(page, empty_search, encoder, gateway, home):
    reader = Reader(home, empty_search.address, encoder.address, gateway.address)
    for block in documents.blocks(read(page)):
        for what, printed in reader.run(block):
            as_expected(what, printed)
            if what in LEAVES:
                name, content = LEAVES[what]
                assert re.search(content, (home / name).read_text()), what


def as_expected(what: str, printed: str) -> None:
    for words, expected in PRINTS.items():
        if is_meant(words, what):
            flags = re.MULTILINE if words.startswith("clipsearch") else 0
            assert re.search(expected, printed, flags), f"{words}:\n{printed}"
    if "image.id < other.id" in what:
        near_duplicates_are_the_copies_and_no_others(printed)


def is_meant(words: str, what: str) -> bool:
    return what == words or ("\n" in what and words in what)


def near_duplicates_are_the_copies_and_no_others(printed: str) -> None:
    pairs = {
        frozenset(Path(path).name for path in line.split(" ", 1)[1].split(" "))
        for line in printed.splitlines()
    }
    copies = {frozenset((name, f"{Path(name).stem}-copy.jpg")) for name in COPIED}
    assert pairs == copies | {frozenset(("motorcycle_left.png", "motorcycle_right.png"))}


def shown_by(block: documents.Block) -> list[str]:
    return documents.commands(block.text) if block.language == "sh" else [block.text]


def test_each_expectation_still_has_its_command():
    shown = [
        what for page in EVERYWHERE for block in documents.blocks(read(page)) for what in shown_by(block)
    ]
    for words in (*PRINTS, *LEAVES, "image.id < other.id"):
        assert any(is_meant(words, what) for what in shown), words


@pytest.mark.parametrize("page", EVERYWHERE)
def test_what_is_not_run_would_be_understood(page):
    for command in documents.all_commands(read(page)):
        if not runs(command):
            documents.check(command)


def test_each_exception_still_has_its_command():
    shown = [command for page in EVERYWHERE for command in documents.all_commands(read(page))]
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, command, re.DOTALL) for command in shown), pattern


@pytest.mark.parametrize("page", EVERYWHERE)
def test_nothing_is_shown_of_a_kind_that_is_not_checked(page):
    shown = documents.blocks(read(page))
    assert {block.language for block in shown} <= {"sh", "python", "json", "jsonl", "yaml", "js", ""}
    for block in shown:
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "jsonl":
            assert all(json.loads(line) for line in block.text.splitlines())


def test_commands_inside_of_the_text_would_be_understood():
    programs = ("clipsearch", "make", "python", "pip", "kubectl")
    named = {command for page in EVERYWHERE for command in documents.inline(read(page), *programs)}
    assert len(named) > 20
    for command in named:
        documents.check(command)
