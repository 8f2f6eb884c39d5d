"""The folder that a bundle is written into: all of it or nothing, and never over something else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from encoder_service.bundle import MANIFEST
from encoder_service.export import ExportError


@contextmanager
def bundle_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that becomes `out` when the block ends well, else vanishes.

    A bundle that stands in `out` stays until the new one is whole. Raises ExportError if `out` holds anything
    that is no bundle.
    """
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} is there already and is no model bundle; nothing was written")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        folder = scratch / "new"
        folder.mkdir()
        yield folder
        replaced = out.exists()
        if replaced:
            out.rename(scratch / "old")
        try:
            folder.rename(out)
        except OSError:
            if replaced:
                (scratch / "old").rename(out)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
