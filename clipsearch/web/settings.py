"""What the web server is told at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clipsearch.channel.credentials import ClientTls


@dataclass(frozen=True, slots=True)
class Side:
    """The addresses (`host:port`) of a pair of services."""

    search: str
    encoder: str


@dataclass(frozen=True, slots=True)
class MapPage:
    """A page that `clipsearch map` wrote, and the collection that it shows."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`sides` are "a" and, for comparing, "b"; `roots` the folders whose images may be shown.

    `local`: only this machine reaches the server, so it shows the services its own `token`. Otherwise
    each browser brings its own, and `token` is None.
    `hosts`: the names that a browser may call a local server by. `secure`: the server speaks TLS.
    """

    sides: Mapping[str, Side]
    roots: tuple[Path, ...] = ()
    maps: tuple[MapPage, ...] = ()
    local: bool = True
    secure: bool = False
    hosts: frozenset[str] = frozenset({"localhost", "127.0.0.1", "::1"})
    token: str | None = field(default=None, repr=False)
    tls: ClientTls | None = None
