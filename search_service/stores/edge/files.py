"""The files of Qdrant Edge's data directory: written whole, made durable, copied, and locked.

    <root>/lock                            held while a process has the store open
    <root>/aliases.json                    alias -> collection
    <root>/collections/<name>/
        collection.json                    the CollectionSpec
        calibration.json                   what searches are calibrated by, once it has points
        current                            the name of the shard in use
        outdated                           there while its index is to be built by other settings
        shard.<n>/                         the engine's files
    <root>/collections/.<name>.new         being created, or
    <root>/collections/.<name>.deleted     deleted: both are removed when the store opens

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from clipsearch.serving.errors import ResourceExhausted, Unavailable
from clipsearch.serving.service import StartError
from search_service.stores.checks import valid_name
from search_service.stores.collection import CollectionSpec

ALIASES = "aliases.json"
COLLECTIONS = "collections"
FIRST_SHARD = "shard.1"
SPEC = "collection.json"
CALIBRATION = "calibration.json"
CURRENT = "current"
OUTDATED = "outdated"
SHARD_CONFIG = "edge_config.json"  # the engine's own

# The engine writes these once, when it builds a segment, and only ever deletes them: a copy of the
# shard shares them. They are by far the largest files of an indexed collection.
_WRITTEN_ONCE = {"matrix.dat", "links_compressed.bin"}
_CHUNK = 1 << 20


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """What the directory's disk refuses, told without paths."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full() from error
        raise Unavailable("store", "the store's disk cannot be read or written") from error


def disk_full() -> ResourceExhausted:
    """What callers are told of a disk without room."""
    return ResourceExhausted("the store's disk is full", "STORE_DISK_FULL", retry_after_s=30)


def open_root(root: Path, *, patience_s: float = 2.0) -> IO[str]:
    """Makes the directory if need be, locks it, and clears what a crash left. Returns the lock.

    The engine processes of a killed service hold the lock a moment longer than the service did;
    `patience_s` is how long to wait for them. Raises StartError if another process has it, and OSError.
    """
    collections = root / COLLECTIONS
    collections.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as on_failure:
        lock = on_failure.enter_context((root / "lock").open("w", encoding="utf-8"))
        give_up = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise StartError(f"the data directory {root} is open in another process") from None
                time.sleep(0.05)
        for leftover in [*collections.glob(".*.new"), *collections.glob(".*.deleted")]:
            remove(leftover)
        on_failure.pop_all()
    return lock


def collection_folders(root: Path) -> list[Path]:
    """The folders of all collections, sound or damaged, by name; what is no collection is left alone."""
    return sorted(entry for entry in (root / COLLECTIONS).iterdir() if _is_collection(entry))


def _is_collection(entry: Path) -> bool:
    """Whether there are files of a collection, or a file has the place of one."""
    if not valid_name(entry.name):
        return False
    try:
        names = {path.name for path in entry.iterdir()}
    except OSError:  # a file, or a folder that may not be read
        return True
    return not names.isdisjoint({SPEC, CURRENT}) or any(name.startswith("shard.") for name in names)


def remove(path: Path) -> None:
    """Removes a file or a folder; what cannot be removed stays, and is in nobody's way."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def read_calibration(folder: Path) -> dict[str, Any] | None:
    """The calibration of the collection in `folder`; None if there is none that can be read."""
    try:
        kept: dict[str, Any] = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return kept


def current_shard(folder: Path) -> str:
    """The name of the shard in use."""
    return (folder / CURRENT).read_text(encoding="utf-8").strip()


def set_current_shard(folder: Path, name: str) -> None:
    """Names the shard in use; from now on it is the collection. Its files must be durable."""
    write_whole(folder / CURRENT, name)


def free_bytes(path: Path) -> int:
    """What the disk of `path` has left."""
    return shutil.disk_usage(path).free


def disk_bytes(folder: Path) -> int:
    """Blocks in use below `folder`; the engine's files are sparse, so their lengths say too much."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # the engine may drop a file while we look
                total += os.stat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH116,PTH118
    return total


def copy_shard(source: Path, target: Path) -> None:
    """Copies a shard that nobody writes to: holes stay holes, and what is written once is shared."""
    shutil.rmtree(target, ignore_errors=True)  # of an attempt that could not clear up
    for parent, _, names in os.walk(source):
        there = target / Path(parent).relative_to(source)
        there.mkdir(parents=True)
        for name in names:
            if name in _WRITTEN_ONCE:
                os.link(Path(parent) / name, there / name)
            else:
                _copy_sparse(Path(parent) / name, there / name)


def sync_tree(folder: Path) -> None:
    """Makes every file below `folder`, and its name, durable."""
    for path in (folder, *folder.rglob("*")):
        sync(path)


def sync(path: Path) -> None:
    """Makes a file durable, or the names in a folder: what was replaced there does not come back."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_log(shard: Path) -> None:
    """Makes the shard's write-ahead log durable, and with it every write that it acknowledged.

    The engine leaves its log to the operating system. Flushing a file from here also flushes what
    another process wrote to it through a memory map.
    """
    while True:
        try:
            for path in (shard / "wal").iterdir():
                sync(path)
        except FileNotFoundError:  # the engine has renamed a part of the log meanwhile, or all is gone
            if shard.is_dir():
                continue
        return


def publish(building: Path, folder: Path, spec: CollectionSpec) -> None:
    """Gives a collection whose first shard is made its settings and, durably, its name.

    If that fails it has not got it.
    """
    write_json(building / SPEC, dataclasses.asdict(spec))
    set_current_shard(building, FIRST_SHARD)
    sync_tree(building)
    building.rename(folder)
    try:
        sync(folder.parent)
    except BaseException:
        folder.rename(building)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replaces a file, as `write_whole` does."""
    write_whole(path, json.dumps(value, indent=2))


def write_whole(path: Path, text: str) -> None:
    """Replaces a file: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def _copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        end = 0
        while end < size:
            try:
                start = os.lseek(reader.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole is left
                    return
                raise
            end = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(start)
            while start < end:
                start += writer.write(reader.read(min(_CHUNK, end - start)))
