"""What changes the order of a search's hits, as it travels: their diversity, and boosts."""

from __future__ import annotations

from datetime import UTC, datetime

from clipsearch.filters.paths import keys
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.point_proto import check_count, check_path, read_time
from search_service.query.queries import check_weight
from search_service.settings import SearchSettings
from search_service.stores.questions import Boost, Mmr, Nearer, Newer, Popular

_DIVERSITY = 0.5
_CANDIDATES = 100
# Within, so that what it is to the engine, a float32, is neither 0 nor infinite.
_LEAST_SCALE, _MOST_SCALE = 1e-9, 1e30


def read_mmr(proto: search_pb2.SearchRequest, end: int, limits: SearchSettings) -> Mmr | None:
    """The diversity that is asked for; `end`: offset + limit. Raises InvalidArgument."""
    if not proto.HasField("mmr"):
        return None
    diversity = proto.mmr.diversity if proto.mmr.HasField("diversity") else _DIVERSITY
    if not 0 <= diversity <= 1:  # NaN is not either
        raise InvalidArgument("mmr.diversity", f"{diversity:g}; 0 to 1")
    candidates = proto.mmr.candidates_limit or max(_CANDIDATES, end)
    return Mmr(diversity, check_candidates("mmr.candidates_limit", candidates, end, limits))


def read_boosts(
    proto: search_pb2.SearchRequest, end: int, limits: SearchSettings
) -> tuple[tuple[Boost, ...], int]:
    """The boosts, and how many hits they are for; `end`: offset + limit. Raises InvalidArgument."""
    check_count("boosts", len(proto.boosts), limits.max_terms, least=0)
    if not proto.boosts:
        if proto.boost_candidates:
            raise InvalidArgument("boost_candidates", f"{proto.boost_candidates}, and there are no boosts")
        return (), 0
    candidates = proto.boost_candidates or max(_CANDIDATES, end)
    check_candidates("boost_candidates", candidates, end, limits)
    now = datetime.now(UTC)
    return tuple(_boost(boost, f"boosts[{i}]", now) for i, boost in enumerate(proto.boosts)), candidates


def _boost(proto: search_pb2.Boost, field: str, now: datetime) -> Boost:
    weight = check_weight(proto.weight if proto.HasField("weight") else 1.0, f"{field}.weight")
    by: Newer | Nearer | Popular
    match proto.WhichOneof("by"):
        case "newer":
            newer, field = proto.newer, f"{field}.newer"
            target = read_time(newer.target, f"{field}.target") if newer.HasField("target") else now
            key = _key(newer.key, f"{field}.key")
            by = Newer(key, target, _scale(newer.scale_s, f"{field}.scale_s"))
        case "nearer":
            nearer, field = proto.nearer, f"{field}.nearer"
            for name, degrees, most in (("lat", nearer.lat, 90), ("lon", nearer.lon, 180)):
                if not -most <= degrees <= most:  # NaN is not either
                    raise InvalidArgument(f"{field}.{name}", f"{degrees:g}; -{most} to {most}")
            key = _key(nearer.key, f"{field}.key")
            by = Nearer(key, nearer.lat, nearer.lon, _scale(nearer.scale_m, f"{field}.scale_m"))
        case "popular":
            popular, field = proto.popular, f"{field}.popular"
            by = Popular(_key(popular.key, f"{field}.key"), _scale(popular.scale, f"{field}.scale"))
        case _:
            raise InvalidArgument(field, "empty; exactly one of newer, nearer and popular must be set")
    return Boost(weight, by)


def _key(path: str, field: str) -> str:
    if -1 in keys(check_path(path, field)):
        raise InvalidArgument(field, f"{path!r} leads to several values; a boost looks at one", "KEY_INVALID")
    return path


def _scale(scale: float, field: str) -> float:
    if not _LEAST_SCALE <= scale <= _MOST_SCALE:  # NaN is not either
        raise InvalidArgument(field, f"{scale:g}; {_LEAST_SCALE:g} to {_MOST_SCALE:g}")
    return scale


def check_candidates(field: str, candidates: int, end: int, limits: SearchSettings) -> int:
    """Returns the candidates' number, if it is enough for offset + limit, and allowed."""
    if candidates > limits.max_limit:
        raise InvalidArgument(field, f"{candidates}, at most {limits.max_limit}", "LIMIT_TOO_LARGE")
    if candidates < end:
        raise InvalidArgument(field, f"{candidates}, fewer than offset + limit, which is {end}")
    return candidates
