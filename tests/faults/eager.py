"""The search service with an index that is built early and often, so that kills meet it half-built.

    python -m tests.faults.eager

Takes the settings of `python -m search_service`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search_service.__main__ import main
from search_service.stores.edge import QdrantEdge
from search_service.stores.edge_live import Upkeep

_open = QdrantEdge.open


async def _open_eagerly(root: Path, *_: Any, **__: Any) -> QdrantEdge:
    return await _open(root, Upkeep(index_threshold=1500, quiet_s=0.1))


if __name__ == "__main__":
    QdrantEdge.open = _open_eagerly  # type: ignore[method-assign]
    main()
