"""The aliases of Qdrant Edge's data directory; a damaged file of them is kept, and said to callers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from clipsearch.serving.errors import FailedPrecondition, NotFound
from search_service.stores.edge.damage import Damaged, aliases
from search_service.stores.edge.files import ALIASES, write_aliases

_log = structlog.get_logger(__name__)


class Aliases:
    """alias -> collection. Reading the file blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._damage = ""
        self.targets: dict[str, str] = {}
        try:
            self.targets = aliases(root / ALIASES)
        except Damaged as damage:
            self._damage = str(damage)
            _log.error("the aliases are damaged", damage=self._damage)

    def of(self, collection: str) -> tuple[str, ...]:
        """Those that point at a collection, sorted."""
        return tuple(sorted(alias for alias, name in self.targets.items() if name == collection))

    def missing(self, name: str) -> NotFound | FailedPrecondition:
        """Why a name that is no collection's, or an alias of one, leads nowhere."""
        if name in self.targets:
            return FailedPrecondition(
                f"alias {name!r} points at collection {self.targets[name]!r}, which does not exist",
                "ALIAS_BROKEN",
                {"alias": name, "collection": self.targets[name]},
            )
        if self._damage:
            return FailedPrecondition(
                f"collection {name!r} does not exist; if it is an alias: {self._damage}",
                "ALIASES_DAMAGED",
                {"collection": name},
            )
        return NotFound("collection", name)

    async def replace(self, targets: dict[str, str]) -> None:
        """Writes all aliases anew. Raises OSError."""
        if self._damage:  # kept, for whoever wants to mend it
            path = self._root / ALIASES
            await asyncio.to_thread(path.rename, path.with_name(f"{ALIASES}.damaged"))
            self._damage = ""
        await asyncio.to_thread(write_aliases, self._root, targets)
        self.targets = targets
