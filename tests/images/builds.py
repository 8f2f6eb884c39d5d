"""Builds the images of the Dockerfile with buildah, on stand-ins for its bases that are made here.

No registry is asked: for python:3.11-slim-bookworm stands a Debian by debootstrap with its own Python, and
busybox-static is all of busybox. Everything lies below one folder.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
WHEEL_STAGE = re.compile(r"^FROM native AS wheel$.*?(?=^FROM )", re.MULTILINE | re.DOTALL)
BASES = {"PYTHON_IMAGE": "localhost/python", "BUSYBOX_IMAGE": "localhost/busybox"}
PACKAGES = "ca-certificates,python-is-python3,python3-pip,python3-venv"


@dataclass(frozen=True)
class Image:
    """A built image: its configuration as an engine reads it, and its files."""

    config: dict[str, Any]
    root: Path

    def megabytes(self) -> tuple[int, int]:
        """Of all files, and of those that are not the base's; 10**6 bytes."""
        own = next(path for path in (self.root / "opt/clipsearch", self.root / "bundle") if path.exists())
        return _megabytes(self.root), _megabytes(own)


class BuildError(Exception):
    """What buildah said."""


class Builder:
    """buildah with a store of its own in `folder`. Everything raises BuildError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._driver = "overlay"
        try:
            self._run("images")
        except BuildError:  # on an overlay, as in most containers; every stage then copies its base
            self._driver = "vfs"

    def bases(self) -> None:
        """Makes the stand-ins for the bases, where they are not there yet."""
        for name, fill in (("localhost/python", self._debian), ("localhost/busybox", self._busybox)):
            if self._has(name):
                continue
            tree = self._folder / "tree"
            shutil.rmtree(tree, ignore_errors=True)
            fill(tree)
            container = self._run("from", "scratch")
            self._run("add", "--quiet", container, str(tree), "/")
            self._run("commit", "--quiet", "--rm", container, name)
            shutil.rmtree(tree)

    def wheel(self) -> None:
        """Builds the stage `wheel`, which all targets need, once."""
        self._bud("wheel", DOCKERFILE.read_text())

    def build(self, target: str) -> Image:
        """Builds a target of the Dockerfile, on the bases and `wheel` alone, and lays its files out."""
        # Not by the cache of layers: mounted from a cached stage, /wheels is empty in buildah 1.28.
        made = "FROM localhost/clipsearch/wheel AS wheel\n\n\n"
        text, stages = WHEEL_STAGE.subn(made, DOCKERFILE.read_text())
        assert stages == 1
        name = self._bud(target, text)
        container = self._run("from", "--pull-never", name)
        inspected = json.loads(self._run("inspect", "--type=image", name))
        return Image(inspected["Docker"]["config"], Path(self._run("mount", container)))

    def remove(self) -> None:
        """Removes all but the bases."""
        self._run("rm", "--all")
        built = self._run("images", "--quiet", "--filter", "reference=localhost/clipsearch/*").split()
        if built:
            self._run("rmi", "--force", *built)

    def _bud(self, target: str, dockerfile: str) -> str:
        """The name of the image."""
        name = f"localhost/clipsearch/{target}"
        file = self._folder / "Dockerfile"
        file.write_text(dockerfile)
        words = ["--quiet", "--layers=false", "--isolation=chroot", "--pull-never", "--format=docker"]
        for argument, base in BASES.items():
            words += ["--build-arg", f"{argument}={base}"]
        words += [*self._pip(), "--target", target, "--file", str(file), "--tag", name]
        self._run("bud", *words, str(ROOT))
        return name

    def _has(self, name: str) -> bool:
        return bool(self._run("images", "--quiet", "--filter", f"reference={name}"))

    def _debian(self, tree: Path) -> None:
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", tree],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # Debian's pip leaves the system's packages to apt; the image's installs where it stands.
        (tree / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
        shutil.rmtree(tree / "var/lib/apt/lists")
        shutil.rmtree(tree / "var/cache/apt/archives")

    def _busybox(self, tree: Path) -> None:
        program = shutil.which("busybox")
        assert program is not None
        (tree / "bin").mkdir(parents=True)
        (tree / "tmp").mkdir(mode=0o1777)
        shutil.copy(program, tree / "bin/busybox")
        subprocess.run(["chroot", tree, "/bin/busybox", "--install", "-s", "/bin"], check=True)

    def _pip(self) -> list[str]:
        """Pip in the builds asks the index that pip here does, by its configuration and files named in it."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
        )
        values: dict[str, str] = {}
        for line in listed.stdout.splitlines():
            name, _, value = line.partition("=")
            section, _, key = name.rpartition(".")
            if section in ("global", "install", ":env:"):
                values[key.replace("_", "-")] = ast.literal_eval(value)
        told = self._folder / "pip.conf"
        told.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))
        words = ["--volume", f"{told}:/etc/pip.conf:ro"]
        for value in values.values():
            if value.startswith("/") and Path(value).exists():
                words += ["--volume", f"{value}:{value}:ro"]
        return words

    def _run(self, command: str, *words: str) -> str:
        store = [f"--root={self._folder}/store", f"--runroot={self._folder}/run"]
        store.append(f"--storage-driver={self._driver}")
        log = self._folder / "buildah.log"
        with log.open("a") as errors:
            errors.write(f"== {command} {' '.join(words)}\n")
            errors.flush()
            done = subprocess.run(
                ["buildah", *store, command, *words],
                check=False,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if done.returncode:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise BuildError(
                f"buildah {command} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{tail}"
            )
        return done.stdout.strip()


def _megabytes(folder: Path) -> int:
    used = subprocess.run(
        ["du", "-s", "--block-size=1MB", folder], check=True, capture_output=True, text=True
    )
    return int(used.stdout.split()[0])
