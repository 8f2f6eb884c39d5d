"""What came of opening a collection's files: an engine that cannot, says that they are damaged."""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from clipsearch.serving.errors import CollectionDamaged, ServiceError, Unavailable
from search_service.stores.edge.process import EngineFailed, EngineStopped

_log = structlog.get_logger(__name__)
_AGAIN_S = 30.0  # after which another engine may try
_DEATHS = 2  # of engines, one after the other, that were opening the files: then it is the files


class Openings:
    """Of the collection in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._damage = ""
        self._seen_at = 0.0
        self._died = 0

    @property
    def damage(self) -> str:
        """Why the engine could not open the files, if it could not a moment ago; "" = nothing is known."""
        return self._damage if time.monotonic() < self._seen_at + _AGAIN_S else ""

    def succeeded(self) -> None:
        """The files are open."""
        self._damage, self._died = "", 0

    def failed(self, shard: str, error: EngineFailed | ServiceError) -> EngineFailed | ServiceError:
        """The files are not open; returns what to tell the caller."""
        died = isinstance(error, EngineStopped)
        self._died += died
        if not isinstance(error, EngineFailed | Unavailable) or (died and self._died < _DEATHS):
            return error
        why = "the engine died of it" if died else str(error)
        why = why.replace(str(self._folder), "").partition("\n")[0][:300]
        self._damage = f"{self._folder.parent.name}/{self._folder.name}/{shard} cannot be opened: {why}"
        self._seen_at = time.monotonic()
        _log.error("a collection is damaged", collection=self._folder.name, damage=self._damage)
        return CollectionDamaged(self._folder.name, self._damage)
