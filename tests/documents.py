"""The code and commands that a document shows, and what is checked of a command without running it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from clipsearch.cli import app
from clipsearch.serving.settings import environment_names
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
"""What a reader is given, by path; deploy/README.md has tests of its own in tests/system/deploy."""

_SERVICES = ("ENCODER_", "SEARCH_", "QDRANT_")
_ENDS_A_COMMAND = {"|", "||", "&&", ";", "&", ">", ">>"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language ("" = none) and text."""

    language: str
    text: str


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text()


def blocks(document: str) -> list[Block]:
    """The fenced blocks, in order."""
    return [
        Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)
    ]


def all_commands(document: str) -> list[str]:
    """The commands of all its `sh` blocks."""
    return [
        command for block in blocks(document) if block.language == "sh" for command in commands(block.text)
    ]


@cache
def commands(script: str) -> tuple[str, ...]:
    """The commands of a shell script, comments and line breaks inside of them removed; a loop is one.

    Who collects the tests asks, and several of them: bash is asked once about each script.
    """
    found: list[str] = []
    begun = ""
    for line in script.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s+)#(\s.*)?$", "", line)
        begun = f"{begun}\n{line}" if begun else line.strip()
        checked = subprocess.run(["bash", "-n", "-c", begun], capture_output=True, check=False)
        if begun and checked.returncode == 0:
            found.append(re.sub(r"  +", " ", begun))
            begun = ""
    assert not begun, f"no shell command: {begun}"
    return tuple(found)


def inline(document: str, *programs: str) -> list[str]:
    """Commands of some programs that stand in backticks in the text."""
    text = _without_blocks(document)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    return [span for span in spans if span.split()[0] in programs]


def reasons() -> dict[str, str]:
    """The reasons of the services in docs/errors.md, each with the statuses that it comes with."""
    table = read("docs/errors.md").partition("<!-- reasons -->")[2].partition("<!-- end -->")[0]
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_, ]+) \| \S.* \|$", table, re.MULTILINE))


def links(document: str) -> list[str]:
    """Where its links and pictures lead, as written."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]+`", "", _without_blocks(document)))


def anchors(document: str) -> set[str]:
    """The names that GitHub gives to its headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", _without_blocks(document), re.MULTILINE):
        name = re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        before = found.count(name)
        found.append(name)
        if before:
            found.append(f"{name}-{before}")
    return set(found)


def broken_links(path: Path) -> list[str]:
    """The relative links of a file that lead to no file, or to no heading of one."""
    return [
        link for link in links(path.read_text()) if "://" not in link and not _leads_somewhere(path, link)
    ]


def _leads_somewhere(path: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = path.parent / file if file else path
    return target.exists() and (not anchor or anchor in anchors(target.read_text()))


def _without_blocks(document: str) -> str:
    return re.sub(r"^```.*?^```$", "", document, flags=re.DOTALL | re.MULTILINE)


def check(command: str) -> None:
    """Asserts that a command would be understood: programs, options, files, targets and variables exist."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    part: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _ENDS_A_COMMAND:
            part.append(word)
        elif part:
            _check_one(part)
            part = []


def _check_one(words: list[str]) -> None:
    while re.match(r"[A-Za-z_]+=", words[0]):
        name = words.pop(0).partition("=")[0]
        assert not name.startswith(_SERVICES) or name in _variables(), f"no such setting: {name}"
        if not words:
            return
    program, *rest = words
    if program == "clipsearch":
        _check_clipsearch(rest)
    elif program == "make":
        _check_make(rest)
    elif program == "python" and rest[:1] == ["-m"] and rest[1].startswith("tests."):
        _check_module(rest[1], rest[2:])
    elif program == "pip":
        _check_extras(rest)
    elif "/" in program:
        assert (ROOT / program).is_file(), f"no such file: {program}"
    for option, value in pairwise(rest):
        if option in ("-f", "-k") and value.startswith("deploy/"):
            assert (ROOT / value).exists(), f"no such path: {value}"


@cache
def _variables() -> frozenset[str]:
    return frozenset(
        {*environment_names(EncoderSettings).values(), *environment_names(SearchSettings).values()}
    )


def _check_clipsearch(words: list[str]) -> None:
    """The group, the command and each option by name; what values may be is the command's own tests' job."""
    command = _clipsearch()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"no command clipsearch {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    for word in words:
        if re.match(r"--?[a-z]", word):
            option = word.partition("=")[0]
            assert option in known, f"clipsearch {command.name} has no option {option}"


@cache
def _clipsearch() -> Any:
    return typer.main.get_command(app)


def _check_extras(words: list[str]) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for name in re.findall(r"clipsearch\[(\w+)\]", " ".join(words)):
        assert name in extras, f"no extra {name!r}"


def _check_make(words: list[str]) -> None:
    # Without what `make test ARGS=...` itself was given.
    plain = {name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS")}
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *words],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"make {' '.join(words)}: {done.stderr}"
    for module, rest in re.findall(r"-m (tests[\w.]+)([^;\n]*)", done.stdout):
        _check_module(module, shlex.split(rest))


def _check_module(module: str, words: list[str]) -> None:
    path = ROOT / module.replace(".", "/")
    files = [file for file in (path.with_suffix(".py"), path / "__main__.py") if file.is_file()]
    assert files, f"no module {module}"
    for word in words:
        option = re.compile(rf"{re.escape(word.partition('=')[0])}(?![\w-])")
        if word.startswith("--") and not option.search(files[0].read_text()):  # help takes a second
            assert option.search(_help(module)), f"python -m {module} has no option {word}"


@cache
def _help(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout
