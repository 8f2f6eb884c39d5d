"""Searches whose hits are grouped, as they travel."""

from __future__ import annotations

from collections.abc import Sequence

from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.point_proto import VectorFormat, check_path, write_value
from search_service.api.search_proto import read_search, write_answer, write_hit
from search_service.query.groups import Group, GroupQuery
from search_service.query.queries import Answer
from search_service.settings import SearchSettings

_DEFAULT_SIZE = 3


def read_groups(proto: search_pb2.SearchGroupsRequest, limits: SearchSettings) -> GroupQuery:
    """The search. Raises InvalidArgument."""
    query = read_search(proto.search, limits, "search")
    if query.offset:
        raise InvalidArgument("search.offset", f"{query.offset}; groups have none, only a limit")
    if query.mmr is not None:
        raise InvalidArgument("search.mmr", "set together with group_by; groups have an order of their own")
    size = proto.group_size or _DEFAULT_SIZE
    if query.limit * size > limits.max_limit:
        raise InvalidArgument(
            "group_size",
            f"{query.limit} groups of {size} hits are {query.limit * size}, at most {limits.max_limit}",
            "LIMIT_TOO_LARGE",
        )
    return GroupQuery(query, check_path(proto.group_by, "group_by"), size)


def write_groups(
    groups: Sequence[Group], answer: Answer, format: VectorFormat
) -> search_pb2.SearchGroupsResponse:
    """The groups as they travel."""
    return search_pb2.SearchGroupsResponse(
        groups=[
            search_pb2.Group(
                id=write_value(group.value),
                hits=[write_hit(hit, answer.weak(hit), format) for hit in group.hits],
            )
            for group in groups
        ],
        search=write_answer(answer, format),
    )
