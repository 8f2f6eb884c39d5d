"""A profile: what a search costs each process, measured by `make load` on one machine with one model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

FORMAT = "clipsearch-profile/1"
_KINDS = {str: "a string", int: "a whole number of 0 or more", float: "a number of 0 or more"}


class PlanError(Exception):
    """A profile cannot be used, or a load not be planned for; one sentence for whoever asked."""


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU milliseconds of one text search (`image_*`: of one image encoded).

    `*_loop` is work on a process's event loop, which has one thread; `*_rest` is spread over others. A
    run of the session costs `session_fixed_ms` and, for each text in its batch, `session_item_ms`.
    """

    client_ms: float
    search_loop_ms: float
    search_rest_ms: float
    encoder_loop_ms: float
    session_fixed_ms: float
    session_item_ms: float
    store_ms: float
    image_loop_ms: float
    image_rest_ms: float

    @property
    def encoder_ms(self) -> float:
        """Of the encoder, in a batch of one: what batching spares is left out."""
        return self.encoder_loop_ms + self.session_fixed_ms + self.session_item_ms

    @property
    def search_ms(self) -> float:
        """Of the search service."""
        return self.search_loop_ms + self.search_rest_ms


@dataclass(frozen=True, slots=True)
class Profile:
    """Costs, and what they were measured on.

    `free_cores` are those that other processes left free meanwhile. A rate is borne if 95% of the calls
    are answered within `deadline_s` and the 99th percentile stays within `p99_bound_ms`; `knee_qps` is
    the highest that was, with the client on the same machine. `*_shape` are quantiles of a time over
    its mean, evenly spaced from 0 to 1. Memory in MB (10**6 bytes).
    """

    model: str
    dimension: int
    precision: str
    measured: str
    cpu: str
    cores: int
    free_cores: float
    points: int
    knee_qps: float
    p99_bound_ms: float
    deadline_s: float
    costs: Costs
    session_shape: tuple[float, ...]
    store_shape: tuple[float, ...]
    encoder_mb: float
    search_mb: float

    def __str__(self) -> str:
        return (
            f"model {self.model}, {self.precision}, {self.cores} cores of {self.cpu}, "
            f"{self.points:,} points, {self.measured[:10]}"
        )

    def document(self) -> dict[str, Any]:
        """As JSON values; `parse` reads them."""
        return {"format": FORMAT, **asdict(self)}


def parse(document: Any, where: str) -> Profile:
    """Raises PlanError, which names `where` and what is wrong with it."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise PlanError(f"{where} is no profile; `make load` writes one to build/load/profile.json")
    values = _values(Profile, document, f"{where}: ")
    for name in ("dimension", "cores", "points", "free_cores", "deadline_s", "p99_bound_ms"):
        if values[name] <= 0:
            raise PlanError(f"{where}: {name} must be positive, is {values[name]}")
    return Profile(**values)


def load(path: Path) -> Profile:
    """Reads a file. Raises PlanError or OSError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise PlanError(f"{path} is no JSON") from None
    return parse(document, str(path))


def shipped() -> dict[str, Profile]:
    """The profiles that come with the package, by model."""
    folder = resources.files("clipsearch.plan") / "profiles"
    found = [
        parse(json.loads(entry.read_text(encoding="utf-8")), entry.name)
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    ]
    return {profile.model: profile for profile in found}


def choose(model: str | None, path: Path | None) -> Profile:
    """The profile of a file, which must be the model's if one is named, or the shipped one of the model.

    Raises PlanError or OSError.
    """
    if path is not None:
        profile = load(path)
        if model is not None and profile.model != model:
            raise PlanError(f"{path} is a profile of model {profile.model!r}, not of {model!r}")
        return profile
    known = shipped()
    wanted = model or "starter"
    if wanted not in known:
        raise PlanError(
            f"there is no profile of model {wanted!r}, only of {', '.join(sorted(known)) or 'none'}; "
            "measure one with `make load MODEL=...` and name it with --profile build/load/profile.json"
        )
    return known[wanted]


def _values(cls: type[Any], document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a class, each by its type. Raises PlanError."""
    values = {}
    for name, kind in get_type_hints(cls).items():
        if name not in document:
            raise PlanError(f"{where}{name} is missing")
        values[name] = _value(kind, document[name], f"{where}{name}")
    return values


def _value(kind: Any, value: Any, where: str) -> Any:
    if kind is Costs:
        if not isinstance(value, Mapping):
            raise PlanError(f"{where} must be an object of numbers, is {value!r}")
        return Costs(**_values(Costs, value, f"{where}."))
    if kind in _KINDS:
        if not _is_of(kind, value):
            raise PlanError(f"{where} must be {_KINDS[kind]}, is {value!r}")
        return kind(value)
    numbers = value if isinstance(value, list | tuple) else []
    if len(numbers) < 2 or not all(_is_of(float, number) for number in numbers):
        raise PlanError(f"{where} must be a list of at least two numbers of 0 or more")
    return tuple(map(float, numbers))


def _is_of(kind: Any, value: Any) -> bool:
    if kind is str or isinstance(value, str | bool):
        return kind is type(value)
    return isinstance(value, (kind, int)) and bool(0 <= value < math.inf)
