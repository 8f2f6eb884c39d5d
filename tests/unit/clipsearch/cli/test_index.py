"""`clipsearch index` and `delete` as somebody types them: what is asked, said and done."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clipsearch.cli import app
from clipsearch.cli.shared.output import describe
from tests.unit.clipsearch.ingest.served import FakeSearch, serving

Run = Callable[..., Result]


@pytest.fixture
def fake() -> Iterator[tuple[FakeSearch, str]]:
    """The fake search service, served by a thread, and its address."""
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    started: list[tuple[FakeSearch, str]] = []
    ready = threading.Event()

    async def serve() -> None:
        async with serving() as (search, client):
            started.append((search, client.address))
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    yield started[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    loop.close()


@pytest.fixture
def run(fake) -> Run:
    """Runs the command; `input` is what is typed, at the end of which nobody is there."""

    def run(*words: object, input: str = "") -> Result:
        told = ["--server", fake[1], "--collection", "things"]
        return CliRunner().invoke(app, [*map(str, words), *told], input=input)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(name.encode())
    return folder


def test_prune_asks_and_does_as_it_is_told(run, fake, folder):
    search, _ = fake
    assert run("index", folder).exit_code == 0
    (folder / "a.jpg").unlink()
    left = run("index", folder)
    assert "1 point of this source is no longer there; --prune removes it" in left.stderr
    declined = run("index", folder, "--prune", input="n\n")
    assert f"Remove 1 point that {folder} no longer has?" in declined.stderr
    assert (declined.exit_code, len(search.stored)) == (0, 3)
    nobody = run("index", folder, "--prune")
    assert "nobody said yes; --yes removes without asking" in nobody.stderr
    assert (nobody.exit_code, len(search.stored)) == (1, 3)
    agreed = run("index", folder, "--prune", input="y\n")
    assert "1 point removed: no longer there" in agreed.stderr
    assert (agreed.exit_code, len(search.stored)) == (0, 2)
    (folder / "b.jpg").unlink()
    report = json.loads(run("index", folder, "--prune", "--yes", "--json").stdout)
    assert (report["gone"], report["pruned"], len(search.stored)) == (1, 1, 1)


@pytest.mark.parametrize("how", ["empty", "missing", "unmounted", "other files"])
def test_a_source_without_anything_prunes_only_when_told_twice(run, fake, folder, how):
    search, _ = fake
    run("index", folder)
    for path in folder.iterdir():
        path.unlink()
    if how in ("missing", "unmounted"):
        folder.rmdir()
    if how == "unmounted":
        folder.symlink_to("/nonexistent/drive")
    if how == "other files":
        (folder / "notes.txt").touch()
    assert run("index", folder).exit_code == 1
    once = run("index", folder, "--prune", "--yes")
    assert "3 points came from it" in once.output
    assert "Nothing was removed" in once.output
    assert (once.exit_code, len(search.stored)) == (1, 3)
    twice = run("index", folder, "--prune", "--prune", "--yes")
    assert (twice.exit_code, len(search.stored)) == (0, 0)


def test_lines_that_cannot_be_read_keep_a_list_from_being_pruned(run, fake, tmp_path):
    search, _ = fake
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "text": "a"}\n{"id": "b", "text": "b"}\n')
    run("index", rows)
    rows.write_text('{"id": "a", "text": "a"}\n{"id": "b", "te\n')
    once = run("index", rows, "--prune", "--yes")
    assert "belong to the 1 rows that cannot be read; nothing was removed" in once.stderr
    assert (once.exit_code, len(search.stored)) == (1, 2)
    assert run("index", rows, "--prune", "--prune", "--yes").exit_code == 0
    assert set(search.stored) == {"a"}


def test_a_folder_of_copies_is_not_taken_for_an_empty_one(run, fake, folder, tmp_path):
    search, _ = fake
    shutil.copytree(folder, tmp_path / "copies")
    run("index", folder)
    pruned = run("index", tmp_path / "copies", "--prune", "--yes")
    assert "3 merged with equal ones" in pruned.stderr
    assert (pruned.exit_code, len(search.stored)) == (0, 3)


def test_a_folder_whose_images_are_all_excluded_is_not_only_said_to_be_empty(run, fake, folder):
    search, _ = fake
    run("index", folder)
    pruned = run("index", folder, "--prune", "--yes", "--exclude", "*")
    assert "3 points came from it; 3 excluded: 3 *. Nothing was removed" in pruned.stderr
    assert (pruned.exit_code, len(search.stored)) == (1, 3)


def test_a_list_that_is_gone_for_good_leaves_its_points_to_another(run, fake, tmp_path):
    search, _ = fake
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("id,text\n1,a\n")
    run("index", old)
    run("index", old.rename(new))
    once = run("index", old, "--prune", "--yes")
    assert (once.exit_code, "there is no point to remove" in once.stderr) == (1, True)
    assert set(search.payload("1")["indexed_from"]) == {str(old), str(new)}
    twice = run("index", old, "--prune", "--prune", "--yes")
    assert (twice.exit_code, "1 point left to other lists" in twice.stderr) == (0, True)
    assert search.payload("1")["indexed_from"] == [str(new)]


def test_a_folder_that_became_a_link_is_not_said_to_have_no_points(run, fake, tmp_path):
    search, _ = fake
    (tmp_path / "p" / "x").mkdir(parents=True)
    (tmp_path / "p" / "x" / "a.jpg").write_bytes(b"a")
    run("index", tmp_path / "p")
    (tmp_path / "p" / "x").rename(tmp_path / "elsewhere")
    (tmp_path / "p" / "x").symlink_to(tmp_path / "elsewhere")
    pruned = run("index", tmp_path / "p", "--prune", "--yes")
    assert "there is no point to remove; 1 folder left out, being a link" in pruned.stderr
    assert (pruned.exit_code, len(search.stored)) == (1, 1)


@pytest.mark.parametrize("option", ["--failures", "--checkpoint"])
def test_a_file_that_cannot_be_written_is_told_before_a_collection_is_made(run, tmp_path, option):
    (tmp_path / "a.csv").write_text("id,text\n1,a\n")
    result = run("index", tmp_path / "a.csv", option, tmp_path / "nowhere" / "file")
    assert (result.exit_code, "made collection" in result.stderr) == (1, False)
    assert f"{tmp_path / 'nowhere'} is not there" in result.stderr
    result = run("index", tmp_path / "a.csv", option, tmp_path)
    assert (result.exit_code, f"{tmp_path}: is a folder" in result.stderr) == (1, True)


def test_what_was_left_out_is_said(run, folder):
    for name in ("x.doc", "y.DOC", "z.txt", ".hidden.jpg", "drafts.jpg"):
        (folder / name).touch()
    os.mkfifo(folder / "cam.jpg")
    (folder / "@eaDir").mkdir()
    said = run("index", folder, "--exclude", "draft*").stderr
    assert "3 files of other kinds left out: 2 .doc, 1 .txt" in said
    assert "1 left out, not regular files: 1 named pipe" in said
    assert "2 excluded: 1 @eaDir, 1 draft*" in said
    assert "1 hidden left out" in said
    assert "3 indexed" in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.jpg", "is a single image: index the folder that it is in"),
        ("nothing", "no such file or folder"),
        ("a.xyz", "not a list; known are"),
    ],
)
def test_what_cannot_be_indexed_gets_a_sentence(run, folder, name, sentence):
    (folder / "a.xyz").touch()
    refused = run("index", folder / name)
    assert sentence in refused.output
    assert refused.exit_code == 1


def test_lines_are_not_wrapped_in_a_pipe(run, folder):
    deep = folder.joinpath(*(f"{n} {'long ' * 20}name" for n in range(5)))
    deep.mkdir(parents=True)
    (deep / "gone.jpg").symlink_to(deep / "nowhere")
    said = run("index", folder).stderr
    assert f"  failed {deep}/gone.jpg: No such file or directory\n" in said


def test_a_file_name_that_is_no_text_is_told_and_written_to_the_failures(run, folder, tmp_path):
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).symlink_to("nowhere")
    run("index", folder, "--failures", tmp_path / "failures.jsonl")
    (failure,) = map(json.loads, (tmp_path / "failures.jsonl").read_text().splitlines())
    assert failure["place"] == f"{folder}/caf\N{REPLACEMENT CHARACTER}.jpg"


def test_points_are_deleted_by_id(run, fake, tmp_path):
    search, _ = fake
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": "{name}", "text": "{name}"}}\n' for name in "abc"))
    run("index", rows)
    dry = run("delete", "a", "nowhere", "--dry-run")
    assert "1 point would be deleted" in dry.stderr
    assert "not there: nowhere" in dry.stderr
    assert (dry.exit_code, len(search.stored)) == (1, 3)
    assert run("delete", "a").exit_code == 1  # nobody said yes
    assert len(search.stored) == 3
    done = run("delete", "a", "b", input="y\n")
    assert "Delete 2 points of 'things'?" in done.stderr
    assert (done.exit_code, set(search.stored)) == (0, {"c"})
    assert run("delete").exit_code == 2
    assert run("delete", "c", "--filter", "text=c").exit_code == 2


def test_payloads_are_updated_by_id_and_by_filter(run, fake, tmp_path):
    search, _ = fake
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"id": "{name}", "text": "{name}"}}\n' for name in "ab"))
    run("index", rows)
    done = run("update", "a", "nowhere", "--set", "price=7", "--set", "note=a=b", "--unset", "old")
    assert (done.exit_code, done.stderr) == (1, "1 updated, 1 not there\n")
    [request] = search.updates
    assert (dict(request.set), list(request.delete)) == ({"price": 7, "note": "a=b"}, ["old"])
    for wrong in (
        ("--set", "price=1"),
        ("a",),
        ("a", "--set", "price"),
        ("a", "--unset", "b", "--overwrite"),
    ):
        assert run("update", *wrong).exit_code == 2
    assert len(search.updates) == 1


def test_what_later_runs_go_by_is_not_shown():
    assert describe({"content_hash": "x", "indexed_from": ["/l.csv"], "price": 3}) == "price=3"
    assert len(describe({"html": "x" * 10_000})) < 200


HANGS = """
import sys, time
from clipsearch.ingest import points
def hang(path, argument):
    print("reading", file=sys.stderr, flush=True)
    time.sleep(600)
points.image_bytes = hang
from clipsearch.cli import main
main()
"""


def test_the_second_interrupt_ends_it_whatever_hangs(fake, folder):
    words = ["index", str(folder), "--server", fake[1], "--collection", "things"]
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, *words], stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    assert process.stderr is not None
    try:
        for awaited in ("reading", "Ctrl-C again stops at once"):
            while awaited not in (line := process.stderr.readline()):
                assert line or process.poll() is None
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.wait()


def test_what_stdout_cannot_encode_is_escaped(fake, folder):
    (folder / "\N{SNOWMAN}.jpg").symlink_to(folder / "nowhere")
    words = ["index", str(folder), "--server", fake[1], "--collection", "things"]
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch.cli", *words, *more],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        assert done.returncode == 0
        printed = done.stdout if more else done.stderr
        assert b"\\u2603.jpg" in printed
