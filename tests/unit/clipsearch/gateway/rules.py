"""The HTTP rules of the protos."""

from __future__ import annotations

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from tests.unit.clipsearch.serving.served import METHODS


def _rules(method: MethodDescriptor) -> list[tuple[str, str, bool]]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    return [
        (one.WhichOneof("pattern").upper(), getattr(one, one.WhichOneof("pattern")), bool(one.body))
        for one in (rule, *rule.additional_bindings)
    ]


RULES = [(method, *rule) for method in METHODS for rule in _rules(method)]
"""Of each RPC and each of its rules: HTTP method, path, and whether there is a body."""
