"""What is wrong with a collection's files in Qdrant Edge's data directory, told before an engine opens them.

A damaged collection is listed as such, refuses its own calls and can be deleted; nothing of it is
changed, so that it can be mended by hand. Everything here blocks.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from search_service.stores.checks import valid_name
from search_service.stores.edge.files import CURRENT, SHARD_CONFIG, SPEC
from search_service.stores.protocol import CollectionSpec, QuantizationParams

_SHARD = re.compile(r"shard\.[0-9]+")
_SPEC = TypeAdapter(CollectionSpec)


class Damaged(Exception):
    """Files that cannot be used; the message says which and why, by their place in the data directory."""


def sound(folder: Path) -> tuple[CollectionSpec, str]:
    """The settings of the collection in `folder` and its shard in use. Raises Damaged."""
    place = f"{folder.parent.name}/{folder.name}"
    if not folder.is_dir():
        raise Damaged(f"{place} is a file, not a folder")
    spec = _settings(folder, f"{place}/{SPEC}")
    shard = _read(folder / CURRENT, f"{place}/{CURRENT}").strip()
    if not _SHARD.fullmatch(shard):
        raise Damaged(f"{place}/{CURRENT} names no shard but {shard[:40]!r}")
    if not (folder / shard).is_dir():
        raise Damaged(f"{place}/{shard}, the shard in use, is missing or no folder")
    _json(folder / shard / SHARD_CONFIG, f"{place}/{shard}/{SHARD_CONFIG}")
    return spec, shard


def aliases(path: Path) -> dict[str, str]:
    """alias -> collection. Raises Damaged."""
    if not path.exists():
        return {}
    found = _json(path, path.name)
    for alias, name in found.items():
        if not (isinstance(name, str) and valid_name(alias) and valid_name(name)):
            raise Damaged(f"{path.name} maps {alias[:40]!r} to {str(name)[:40]!r}, which are no names")
    return found


def _settings(folder: Path, place: str) -> CollectionSpec:
    kept = _json(folder / SPEC, place)
    params = kept.get("quantization_params", {})
    for given, known in ((kept, CollectionSpec), (params, QuantizationParams)):
        if not isinstance(given, dict):
            raise Damaged(f"{place}: quantization_params is no object")
        unknown = sorted(given.keys() - {field.name for field in dataclasses.fields(known)})
        if unknown:
            raise Damaged(f"{place} has a setting that this version does not know: {unknown[0][:60]!r}")
    try:
        spec = _SPEC.validate_json(json.dumps(kept), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Damaged(f"{place}: {where}: {first['msg'].lower()}") from None
    if spec.name != folder.name:
        raise Damaged(f"{place} is that of collection {spec.name[:140]!r}")
    if spec.dimension < 1:
        raise Damaged(f"{place}: dimension: {spec.dimension}")
    return spec


def _json(path: Path, place: str) -> dict[str, Any]:
    text = _read(path, place)
    if not text.strip():
        raise Damaged(f"{place} is empty")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged(f"{place} is no JSON") from None
    if not isinstance(found, dict):
        raise Damaged(f"{place} holds no JSON object")
    return found


def _read(path: Path, place: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Damaged(f"{place} is missing") from None
    except OSError as error:
        raise Damaged(f"{place} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Damaged(f"{place} is no text") from None
