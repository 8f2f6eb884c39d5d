"""How Envoy's configuration names the kinds of its parts."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TYPES = "type.googleapis.com/envoy.extensions."


def typed(name: str, kind: str, **fields: Any) -> Json:
    """An extension by name, configured by a message of its kind."""
    return {"name": name, "typed_config": {"@type": f"{TYPES}{kind}", **fields}}
