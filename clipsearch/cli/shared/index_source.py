"""What `clipsearch index` was told to load, as a source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, get_args

from clipsearch.cli.shared.options import by_name
from clipsearch.cli.shared.problems import Problem

if TYPE_CHECKING:
    from clipsearch.client.types import VectorName
    from clipsearch.ingest import Source


class SourceOptions(TypedDict, total=False):
    """The options of `clipsearch index` that say how to read a source."""

    id: str | None
    path: str | None
    text: str | None
    payload: Sequence[str] | None
    type: Sequence[str] | None
    ids: Path | None
    side: VectorName | None
    exclude: Sequence[str] | None


def open_source(source: Path, *, allow_empty: bool = False, **options: Unpack[SourceOptions]) -> Source:
    """The source at a path; with `allow_empty` it may be missing, or hold nothing.

    Raises Problem for options that do not go with it, and SourceError.
    """
    from clipsearch.ingest import ItemList, PictureFolder, VectorFile
    from clipsearch.ingest.folders import IMAGE_SUFFIXES
    from clipsearch.ingest.source import path_text
    from clipsearch.ingest.tables.table import SUFFIXES

    def only(what: str, *fitting: str) -> None:
        for option, value in {**options, "prune": allow_empty}.items():
            if value and option not in fitting:
                raise Problem(f"--{option} does not go with {what}")

    suffix = source.suffix.lower()
    missing = not source.exists()
    if missing and not allow_empty:
        raise Problem(f"{path_text(source)}: no such file or folder")
    if source.is_dir() or (missing and suffix not in {*SUFFIXES, ".npy"}):
        only("a folder of images", "exclude", "prune")
        return PictureFolder(source, exclude=options.get("exclude") or (), allow_empty=allow_empty)
    if suffix in IMAGE_SUFFIXES:
        folder = path_text(source.parent)
        raise Problem(
            f"{path_text(source)} is a single image: index the folder that it is in "
            f"(clipsearch index {folder}), or search by it (clipsearch search --image {path_text(source)})"
        )
    if suffix == ".npy":
        only("vectors", "ids", "side", "id", "payload")
        return VectorFile(
            source,
            side=options.get("side") or "image",
            ids=options.get("ids"),
            id=options.get("id") or "id",
            payload=options.get("payload") or None,
        )
    only("a list", "id", "path", "text", "payload", "type", "prune")
    return ItemList(
        source,
        id=options.get("id"),
        path=options.get("path"),
        text=options.get("text"),
        payload=options.get("payload") or None,
        types=by_name(map(_type, options.get("type") or ()), "--type"),
        allow_empty=allow_empty,
    )


def check_failures(failures: Path | None, *read: Path | None) -> None:
    """Raises Problem if the file that failures are written to is one that the command reads."""
    for path in read:
        if failures is None or path is None:
            continue
        same = failures.samefile(path) if failures.exists() and path.exists() else failures == path
        if same:
            raise Problem(
                f"--failures {failures} would be written over what is to be read; name another file"
            )


def check_writable(failures: Path | None, checkpoint: Path | None) -> None:
    """Raises Problem for one that cannot be written: before anything is made, not after."""
    from clipsearch.ingest.source import path_text

    for file in (failures, checkpoint):
        if file is None:
            continue
        if file.is_dir():
            raise Problem(f"{path_text(file)}: is a folder")
        if (
            file is failures and file.exists()
        ):  # written to where it is, as /dev/stderr; a checkpoint is replaced
            if not os.access(file, os.W_OK):
                raise Problem(f"{path_text(file)}: may not be written to")
        elif not os.access(file.parent, os.W_OK | os.X_OK):
            why = "may not be written to" if file.parent.is_dir() else "is not there"
            raise Problem(f"{path_text(file)}: the folder {path_text(file.parent)} {why}")


def _type(words: str) -> tuple[str, Any]:
    from clipsearch.ingest.tables.table import ColumnType

    name, _, type_ = words.rpartition("=")
    known = get_args(ColumnType)
    if not name or type_ not in known:
        raise Problem(f"--type {words!r}: write COLUMN=TYPE; TYPE is {', '.join(known)}")
    return name, type_
