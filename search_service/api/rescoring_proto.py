"""What changes the order of a search's hits, as it travels: their diversity."""

from __future__ import annotations

from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.settings import SearchSettings
from search_service.stores.questions import Mmr

_DIVERSITY = 0.5
_CANDIDATES = 100


def read_mmr(proto: search_pb2.SearchRequest, end: int, limits: SearchSettings) -> Mmr | None:
    """The diversity that is asked for; `end`: offset + limit. Raises InvalidArgument."""
    if not proto.HasField("mmr"):
        return None
    diversity = proto.mmr.diversity if proto.mmr.HasField("diversity") else _DIVERSITY
    if not 0 <= diversity <= 1:  # NaN is not either
        raise InvalidArgument("mmr.diversity", f"{diversity:g}; 0 to 1")
    candidates = proto.mmr.candidates_limit or max(_CANDIDATES, end)
    return Mmr(diversity, check_candidates("mmr.candidates_limit", candidates, end, limits))


def check_candidates(field: str, candidates: int, end: int, limits: SearchSettings) -> int:
    """Returns the candidates' number, if it is enough for offset + limit, and allowed."""
    if candidates > limits.max_limit:
        raise InvalidArgument(field, f"{candidates}, at most {limits.max_limit}", "LIMIT_TOO_LARGE")
    if candidates < end:
        raise InvalidArgument(field, f"{candidates}, fewer than offset + limit, which is {end}")
    return candidates
