"""requirements/ names all that the images and the bare client install, by hashes, at locked versions."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.system.deploy.manifests import DEPLOY, IMAGES, ROOT

FOLDER = ROOT / "requirements"
EXTRAS = {
    "client": (),
    "encoder-cpu": ("otel", "cpu"),
    "encoder-gpu": ("otel", "gpu"),
    "export": ("cpu", "export"),
    "gateway": ("gateway",),
    "load": ("load",),
    "search": ("otel", "search"),
    "starter": ("cpu", "starter"),
}
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(text: str) -> list[Requirement]:
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [Requirement(line.partition(" --hash=")[0]) for line in lines if line and not line.startswith("#")]


def here(requirements: list[Requirement]) -> dict[str, str]:
    """Name -> pinned version of what is installed on this machine."""
    found = [entry for entry in requirements if entry.marker is None or entry.marker.evaluate()]
    return {canonicalize_name(entry.name): str(entry.specifier).removeprefix("==") for entry in found}


def of(name: str) -> list[Requirement]:
    return pins((FOLDER / f"{name}.txt").read_text())


def asked(extras: tuple[str, ...]) -> list[Requirement]:
    """What the project asks for with these extras, and with those that they name in their turn."""
    wanted = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in extras:
        for line in PROJECT["optional-dependencies"][extra]:
            entry = Requirement(line)
            wanted += asked(tuple(entry.extras)) if entry.name == PROJECT["name"] else [entry]
    return wanted


def installed(wanted: list[Requirement]) -> set[str]:
    """The names of all that these bring here, by what is installed."""
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    while wanted:
        entry = wanted.pop()
        for extra in ("", *entry.extras):
            name = canonicalize_name(entry.name)
            if (name, extra) in seen or (entry.marker and not entry.marker.evaluate()):
                continue
            seen.add((name, extra))
            names.add(name)
            wanted += [
                Requirement(line.partition(";")[0])
                for line in requires(name) or ()
                if (marker := Requirement(line).marker) is None or marker.evaluate({"extra": extra})
            ]
    return names


def test_every_image_installs_its_own_and_nothing_else():
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    installs = re.findall(r"^RUN .*--require-hashes --requirement ([\w-]+)\.txt", dockerfile, re.MULTILINE)
    assert sorted(installs) == sorted([*(IMAGES - {"model"}), "build", "starter"])
    assert {*installs, "client", "export"} == set(NAMES) == {*EXTRAS, "build"}
    for line in (FOLDER / "compile.sh").read_text().splitlines():
        if words := re.match(r"compile ([\w-]+) +pyproject", line):
            assert tuple(re.findall(r"--extra (\w+)", line)) == EXTRAS[words[1]]


@pytest.mark.parametrize("name", NAMES)
def test_versions_are_those_of_the_lock_and_have_hashes(name):
    locked = here(pins((ROOT / "requirements.lock").read_text()))
    found = here(of(name))
    if name == "encoder-gpu":
        found.pop("onnxruntime-gpu")  # never beside onnxruntime, which the lock has; pinned in pyproject.toml
    assert found.items() <= locked.items()
    text = (FOLDER / f"{name}.txt").read_text()
    assert ("--hash" in text) == (name != "export")
    if name != "export":
        for pin in re.sub(r"\\\n\s*", " ", text).splitlines():
            assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", pin), pin


@pytest.mark.parametrize("name", sorted(EXTRAS))
def test_they_fit_what_the_project_asks_for(name):
    wanted = [entry for entry in asked(EXTRAS[name]) if entry.marker is None or entry.marker.evaluate()]
    found = here(of(name))
    for entry in wanted:
        version = found[canonicalize_name(entry.name)]
        assert entry.specifier.contains(version, prereleases=True), f"{entry}: {version}"
    if name == "export":
        assert found.keys() == {canonicalize_name(entry.name) for entry in wanted}
    elif name != "encoder-gpu":  # its libraries are not installed here
        assert found.keys() == installed(wanted)
