"""The aliases of a data directory: kept in one file, which is replaced as a whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from clipsearch.serving.errors import FailedPrecondition
from search_service.stores.edge import files
from search_service.stores.edge.damage import Damaged, read_aliases
from search_service.stores.edge.process import whole

_log = structlog.get_logger(__name__)


class Aliases:
    """Which collection each alias stands for. `read` comes first."""

    def __init__(self, root: Path) -> None:
        self._path = root / files.ALIASES
        self._targets: dict[str, str] = {}
        self._damage = ""

    def read(self) -> None:
        """Reads the file; what is wrong with it is told later. Blocks."""
        try:
            self._targets = read_aliases(self._path.parent)
        except Damaged as found:
            self._damage = str(found)
            _log.error("the aliases are damaged", damage=self._damage)

    def __contains__(self, alias: str) -> bool:
        return alias in self._targets

    def target(self, name: str) -> str:
        """The collection that an alias stands for; any other name itself."""
        return self._targets.get(name, name)

    def of(self, collection: str) -> tuple[str, ...]:
        """The aliases of a collection, sorted."""
        return tuple(sorted(alias for alias, target in self._targets.items() if target == collection))

    def check(self, name: str) -> None:
        """Raises FailedPrecondition for an alias of nothing, and if the file is damaged for any name."""
        if name in self._targets:
            target = self._targets[name]
            raise FailedPrecondition(
                f"alias {name!r} points at collection {target!r}, which does not exist",
                "ALIAS_BROKEN",
                {"alias": name, "collection": target},
            )
        if self._damage:
            raise FailedPrecondition(
                f"collection {name!r} does not exist; if it is an alias: {self._damage}",
                "ALIASES_DAMAGED",
                {"collection": name},
            )

    async def point(self, alias: str, collection: str | None) -> str:
        """Points an alias at a collection, or removes it; returns where it pointed."""
        changed = {name: target for name, target in self._targets.items() if name != alias}
        if collection is not None:
            changed[alias] = collection
        previous = self._targets.get(alias, "")
        await self._save(changed)
        return previous

    async def drop(self, collection: str) -> None:
        """Removes all aliases of a collection."""
        await self._save({alias: target for alias, target in self._targets.items() if target != collection})

    async def _save(self, targets: dict[str, str]) -> None:
        if targets != self._targets:
            with files.disk_errors():
                await whole(self._replace(targets))

    async def _replace(self, targets: dict[str, str]) -> None:
        if self._damage:  # kept, for whoever wants to mend it
            await asyncio.to_thread(self._path.rename, self._path.with_name(f"{self._path.name}.damaged"))
            self._damage = ""
        await asyncio.to_thread(files.write_json, self._path, targets)
        self._targets = targets
