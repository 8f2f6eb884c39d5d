"""The move as a whole: which collections, linked or found linked, and at last the alias."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from clipsearch.client.aio import AsyncClient
from clipsearch.client.errors import ClipSearchError
from clipsearch.client.inputs import CollectionOptions
from clipsearch.client.retrying import Retrying
from clipsearch.client.types import Collection

_MOST_NAME = 128


class NotMovable(Exception):
    """The collection cannot be moved so; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Move:
    """From one collection to another. `alias`: the one that is to point at the new one; "" = none.

    `resumed`: the two were linked already.
    """

    old: Collection
    new: Collection
    alias: str
    resumed: bool


async def begin(client: AsyncClient, named: str, model: str, to: str = "", alias: str = "") -> Move:
    """Makes the new collection like the old one but for its model, and links it; or finds it linked.

    `named` is the old collection or an alias of it, `model` the new model's name or fingerprint.
    Writes go to both when it returns. Raises NotMovable and ClipSearchError.
    """
    old = await client.get_collection(named)
    alias = alias or (named if named != old.name else "")
    new = await client.get_collection(old.successor) if old.successor else None
    if new is not None and _is_resumed(old, new, model, to):
        if new.successor == old.name:
            # Set just before the swap. What is mended in the new one must not go back to the old one.
            await client.set_successor(new.name, None)
    else:
        new = await _make(client, old, model, to or default_name(old, model))
    # Also if it is set: the run before may have been killed while other replicas did not know yet.
    await asyncio.sleep(await client.set_successor(old.name, new.name))
    return Move(old, new, alias, resumed=new.name == old.successor)


async def swap(client: AsyncClient, move: Move, *, keep_old_current: bool) -> None:
    """Points the alias at the new collection, at once for all callers.

    With `keep_old_current` what is written to the new one from now on goes to the old one too.
    """
    if keep_old_current:
        await asyncio.sleep(await client.set_successor(move.new.name, move.old.name))
    # Again where the answer is lost: the alias may have moved, and a second run would find nothing to move.
    await Retrying().make(partial(client.update_alias, move.alias, move.new.name))


def default_name(old: Collection, model: str) -> str:
    """The old collection's name with the new model's at its end, in place of the old model's.

    A model of the same name, a newer version say, gets a 2 behind it.
    """
    words = _as_name(model)
    stem = old.name.removesuffix(f"-{_as_name(old.model)}")
    name = f"{stem[: _MOST_NAME - len(words) - 1]}-{words}"
    return name if name != old.name else f"{name[: _MOST_NAME - 2]}-2"


def _as_name(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", model).strip("-_")[:60] or "new"


def _is_resumed(old: Collection, new: Collection, model: str, to: str) -> bool:
    """True to go on filling the successor, False if it is only kept current for a way back."""
    if model not in (new.model, new.fingerprint):
        if new.successor == old.name:
            return False
        raise NotMovable(
            f"{old.name!r} moves to {new.name!r} (model {new.model}) already; finish that, or end it with "
            f"`clipsearch collections successor {old.name} --remove`"
        )
    if to not in ("", new.name):
        raise NotMovable(f"{old.name!r} moves to {new.name!r} already, not to {to!r}; leave --to out")
    if new.aliases:
        raise NotMovable(
            f"{new.name!r} is in use: {_and(new.aliases)} at it. The move is done; what its callers write "
            f"there {old.name!r} does not have, and must not be compared with"
        )
    return True


async def _make(client: AsyncClient, old: Collection, model: str, name: str) -> Collection:
    if name == old.name:
        raise NotMovable(
            f"the new collection cannot be {name!r}, the old one; give it another name with --to"
        )
    options: CollectionOptions = {**old.options(), "model": model, "dimension": 0, "fingerprint": ""}
    try:
        made = await client.create_collection(name, **options)
    except ClipSearchError as error:
        if error.code != "ALREADY_EXISTS":
            raise
        made = await client.get_collection(name)
        # An empty one may be of a run that was killed before it set the link.
        fits = made.fingerprint != old.fingerprint and model in (made.model, made.fingerprint)
        if made.name != name or made.points or not fits:
            raise NotMovable(f"there is a collection {name!r} already; name another with --to") from None
        return made
    if made.fingerprint == old.fingerprint:
        await client.delete_collection(name)
        raise NotMovable(f"{old.name!r} is of the model {old.model} ({old.fingerprint}) already")
    return made


def _and(aliases: Iterable[str]) -> str:
    names = list(aliases)
    return f"alias {names[0]!r} points" if len(names) == 1 else f"aliases {', '.join(names)} point"
