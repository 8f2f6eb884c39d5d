"""The folder that a bundle is written into: all of it or nothing, and never over something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

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
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", ignore_cleanup_errors=True) as scratch:
        folder, old = Path(scratch, "new"), Path(scratch, "old")
        folder.mkdir()
        yield folder
        if out.exists():
            out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
