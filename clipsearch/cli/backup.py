"""`clipsearch backup` and `clipsearch restore`: a collection into files, and back into any service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from clipsearch.cli.shared.access import connect_async
from clipsearch.cli.shared.options import DEFAULT_SERVER, Json, NamedCollection, Server, a_path
from clipsearch.cli.shared.output import plain, print_json, progress, stderr
from clipsearch.display.text import counted

if TYPE_CHECKING:
    from clipsearch.backup.manifest import Manifest
    from clipsearch.backup.restore import Restored

Answer = TypeVar("Answer")


def backup(
    collection: NamedCollection,
    path: Annotated[
        Path,
        typer.Argument(
            parser=a_path, metavar="DIR|FILE", help="A new folder, or a file whose name ends in .tar."
        ),
    ],
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Backs a collection up, while it serves: points, payloads, vectors, settings and aliases.

    Every point that was there at the start, and that nobody changed until the end, is in the backup
    once; of what was written meanwhile a part may be. A run that was stopped is resumed by starting
    it again. The images themselves are not stored, so they are not in it. The token needs to read.

    Exit code 0 when the backup is finished, 1 when it cannot be, 130 after Ctrl-C.

    Examples:

      clipsearch backup shop /backup/shop-may

      clipsearch backup shop shop.tar --server old:50052 && clipsearch restore shop.tar --server new:50052
    """
    from clipsearch.backup.save import Save

    async def run(show: Callable[[str, int, int], None]) -> Manifest:
        async with connect_async(server) as client:
            return await Save(client, collection, path, lambda *now: show("backing up", *now)).run()

    said = _resumable(run)
    if json:
        print_json({"path": str(path), "points": said.points, **asdict(said)})
        return
    stderr().print(
        f"{counted(said.points, 'point')} of {plain(said.collection)} in {plain(path)}; the collection had "
        f"{said.points_at_start:,} at the start and {said.points_at_end:,} at the end"
    )


def restore(
    path: Annotated[
        Path, typer.Argument(parser=a_path, metavar="DIR|FILE", help="What `clipsearch backup` wrote.")
    ],
    to: Annotated[
        str,
        typer.Option(metavar="NAME", help="Name of the collection.", show_default="the one that it had"),
    ] = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Makes a collection of a backup, with its model, settings and aliases, and compares the two.

    The service may keep it on a Qdrant server or not, whichever it was before, and needs no encoder.
    A collection that is there is filled only if it is empty, or holds a part of this backup and
    nothing else: so a run that was stopped is resumed by starting it again. An alias that leads to
    another collection by now stays there. The token needs to manage collections, read and write.

    Exit code 0 when the collection holds what the backup does, 1 when it does not, 130 after Ctrl-C.

    Examples:

      clipsearch restore /backup/shop-may

      clipsearch restore shop.tar --to shop-may --server new:50052
    """
    from clipsearch.backup.restore import Restore

    async def run(show: Callable[[str, int, int], None]) -> Restored:
        async with connect_async(server) as client:
            return await Restore(client, path, to, show).run()

    done = _resumable(run)
    name = done.collection.name
    if json:
        told = ("points", "already", "aliases", "taken", "without_cluster")
        restored = {"collection": name, "fingerprint": done.collection.fingerprint}
        print_json(restored | {field: getattr(done, field) for field in told})
        return
    say = stderr().print
    say(f"{counted(done.points, 'point')} in {plain(name)}, {done.already:,} of them there already")
    for alias, elsewhere in done.taken.items():
        move = f"clipsearch collections alias {alias} {name}"
        say(plain(f"alias {alias} leads to {elsewhere}; to move it: {move}"), soft_wrap=True)
    if done.without_cluster:
        say("shards and replicas were left out: they need a Qdrant server")


def _resumable(run: Callable[[Callable[[str, int, int], None]], Coroutine[Any, Any, Answer]]) -> Answer:
    """Runs it with a bar for each of its steps; Ctrl-C ends it."""
    try:
        with progress() as show:
            return asyncio.run(run(show))
    except KeyboardInterrupt:
        stderr().print("stopped; start it again to go on where it was")
        raise typer.Exit(130) from None
