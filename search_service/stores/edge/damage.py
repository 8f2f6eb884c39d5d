"""What is wrong with files in Qdrant Edge's data directory, told before an engine opens them.

A damaged collection is listed as such, refuses its own calls and can be deleted; nothing of it is
changed, so that it can be mended by hand. Everything here blocks.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from search_service.stores.checks import valid_name
from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.files import ALIASES, CURRENT, SHARD_CONFIG, SPEC

_SHARD = re.compile(r"shard\.[0-9]+")
_SPEC = TypeAdapter(CollectionSpec)
_OBJECT = TypeAdapter(dict[str, Any])
_STRINGS = TypeAdapter(dict[str, str])

T = TypeVar("T")


class Damaged(Exception):
    """Files that cannot be used; the message says which and why, by their place in the data directory."""


def told(folder: Path, found: Damaged | OSError) -> str:
    """What is said of the collection in `folder`."""
    if isinstance(found, OSError):
        return f"{folder.parent.name}/{folder.name} cannot be read: {found.strerror}"
    return str(found)


def sound(folder: Path) -> tuple[CollectionSpec, str]:
    """The settings of the collection in `folder` and its shard in use. Raises Damaged and OSError."""
    place = f"{folder.parent.name}/{folder.name}"
    if not folder.is_dir():
        raise Damaged(f"{place} is a file, not a folder")
    spec = _settings(folder, f"{place}/{SPEC}")
    shard = _read(folder / CURRENT, f"{place}/{CURRENT}").decode(errors="replace").strip()
    if not _SHARD.fullmatch(shard):
        raise Damaged(f"{place}/{CURRENT} names no shard but {shard[:40]!r}")
    if not (folder / shard).is_dir():
        raise Damaged(f"{place}/{shard}, the shard in use, is missing or no folder")
    _parsed(_OBJECT, folder / shard / SHARD_CONFIG, f"{place}/{shard}/{SHARD_CONFIG}")
    for segment in sorted((folder / shard / "segments").glob("[!.]*")):
        if segment.suffix != ".deleted":  # the engine was removing it, and goes on when it opens
            _check_whole(segment, f"{place}/{shard}/segments/{segment.name}")
    return spec, shard


def read_aliases(root: Path) -> dict[str, str]:
    """alias -> collection. Raises Damaged."""
    path = root / ALIASES
    found = _parsed(_STRINGS, path, ALIASES) if path.exists() else {}
    for alias, name in found.items():
        if not (valid_name(alias) and valid_name(name)):
            raise Damaged(f"{ALIASES} maps {alias[:40]!r} to {name[:40]!r}, which are no names")
    return found


def _check_whole(segment: Path, place: str) -> None:
    """Raises Damaged for a segment with points that the engine would drop, or open as empty, in silence.

    Of a segment that is being written only what is there from its beginning can be asked for.
    """
    built, growing = segment / "id_tracker.mappings", segment / "mutable_id_tracker.mappings"
    if built.exists():
        storages = (path.parent.name for path in segment.glob("vector_storage-*/deleted.dat"))
        needed = ["version.info", "id_tracker.versions", *(f"{name}/matrix.dat" for name in storages)]
    elif growing.exists() and growing.stat().st_size:
        needed = ["version.info"]
    else:
        needed = []
    for name in needed:
        if not (segment / name).exists():
            raise Damaged(f"{place}/{name} is missing, and with it points of the segment")


def _settings(folder: Path, place: str) -> CollectionSpec:
    spec = _parsed(_SPEC, folder / SPEC, place)
    kept = _parsed(_OBJECT, folder / SPEC, place)
    known = dataclasses.asdict(spec)
    params = kept.get("quantization_params", {}).keys() - known["quantization_params"].keys()
    for setting in sorted({*(kept.keys() - known.keys()), *params}):
        raise Damaged(f"{place} has a setting that this version does not know: {setting[:60]!r}")
    if spec.name != folder.name:
        raise Damaged(f"{place} is that of collection {spec.name[:140]!r}")
    if spec.dimension < 1:
        raise Damaged(f"{place}: dimension: {spec.dimension}")
    return spec


def _parsed(kind: TypeAdapter[T], path: Path, place: str) -> T:
    try:
        return kind.validate_json(_read(path, place), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Damaged(": ".join(filter(None, (place, where, first["msg"].lower())))) from None


def _read(path: Path, place: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Damaged(f"{place} cannot be read: {error.strerror}") from None
