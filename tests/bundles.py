"""Model bundles that tests share: built once for each state of the code that makes them, in build/tests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from encoder_service.bundle import MANIFEST

ROOT = Path(__file__).parent.parent
_FOLDER = ROOT / "build" / "tests"
_KEPT_S = 24 * 3600  # one that nobody has asked for that long is removed when another is built


def shared_bundle(name: str, build: Callable[[Path], object]) -> Path:
    """The bundle that `build` makes in the folder it is given, from this checkout or from this call."""
    folder = _FOLDER / f"{name}-{_export_hash()}"
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers run side by side
        if not (folder / MANIFEST).is_file():
            for old in _FOLDER.glob(f"{name}-*"):
                if old.stat().st_mtime < time.time() - _KEPT_S:
                    shutil.rmtree(old)
            build(folder)
        os.utime(folder)
    return folder


def _export_hash() -> str:
    """Of what decides what a bundle holds: the exporter, the format of bundles, versions of libraries."""
    files = [
        *(path for path in (ROOT / "encoder_service" / "export").rglob("*") if path.suffix != ".pyc"),
        ROOT / "encoder_service" / "bundle.py",
        ROOT / "clipsearch" / "downloads" / "wheels.py",
        ROOT / "requirements.lock",
    ]
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
