"""What `clipsearch index` was told to load, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from clipsearch.cli.options import by_name
from clipsearch.cli.problems import Problem

if TYPE_CHECKING:
    from clipsearch.client.types import VectorName
    from clipsearch.ingest import Source


def open_source(
    source: Path,
    *,
    id: str | None = None,
    path: str | None = None,
    text: str | None = None,
    payload: Sequence[str] | None = None,
    types: Sequence[str] = (),
    ids: Path | None = None,
    side: VectorName | None = None,
    exclude: Sequence[str] = (),
    allow_empty: bool = False,
) -> Source:
    """The source at a path; with `allow_empty` it may be missing, or hold nothing.

    Raises Problem for options that do not go with it, and SourceError.
    """
    from clipsearch.ingest import ItemList, PictureFolder, VectorFile
    from clipsearch.ingest.folders import IMAGE_SUFFIXES
    from clipsearch.ingest.source import path_text
    from clipsearch.ingest.tables.table import SUFFIXES

    given: dict[str, Any] = {
        "--id": id,
        "--path": path,
        "--text": text,
        "--payload": payload,
        "--type": types,
        "--ids": ids,
        "--side": side,
        "--exclude": exclude,
        "--prune": allow_empty,
    }
    suffix = source.suffix.lower()
    missing = not source.exists()
    if missing and not allow_empty:
        raise Problem(f"{path_text(source)}: no such file or folder")
    if source.is_dir() or (missing and suffix not in {*SUFFIXES, ".npy"}):
        _only(given, {"--exclude", "--prune"}, "a folder of images")
        return PictureFolder(source, exclude=exclude, allow_empty=allow_empty)
    if suffix in IMAGE_SUFFIXES:
        folder = path_text(source.parent)
        raise Problem(
            f"{path_text(source)} is a single image: index the folder that it is in "
            f"(clipsearch index {folder}), or search by it (clipsearch search --image {path_text(source)})"
        )
    if suffix == ".npy":
        _only(given, {"--ids", "--side", "--id", "--payload"}, "vectors")
        return VectorFile(source, side=side or "image", ids=ids, id=id or "id", payload=payload)
    _only(given, {"--id", "--path", "--text", "--payload", "--type", "--prune"}, "a list")
    return ItemList(
        source,
        id=id,
        path=path,
        text=text,
        payload=payload,
        types=by_name((_type(words) for words in types), "--type"),
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


def _only(given: dict[str, Any], fitting: set[str], what: str) -> None:
    for option, value in given.items():
        if value and option not in fitting:
            raise Problem(f"{option} does not go with {what}")


def _type(words: str) -> tuple[str, Any]:
    from clipsearch.ingest.tables.table import ColumnType

    name, _, type_ = words.rpartition("=")
    known = get_args(ColumnType)
    if not name or type_ not in known:
        raise Problem(f"--type {words!r}: write COLUMN=TYPE; TYPE is {', '.join(known)}")
    return name, type_
