"""The store as those see it whose calls are being served."""

from __future__ import annotations

from typing import Any, cast

from clipsearch.serving.telemetry.current_call import current_call
from search_service.stores.protocol import VectorStore
from search_service.stores.tenant import TenantStore


def for_callers(store: VectorStore) -> VectorStore:
    """The store, restricted in each call to what its caller's token allows. Of no use outside of calls."""
    return cast(VectorStore, _ForCallers(store))


class _ForCallers:
    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        call = current_call()
        if call is None:
            raise RuntimeError("no call is being served: nobody knows what it may reach")
        store = self._store if call.tenant is None else TenantStore(self._store, call.tenant)
        return getattr(store, name)
