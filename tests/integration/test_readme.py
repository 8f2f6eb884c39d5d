"""What the README shows does work: the Python snippet, and the calls that grpcurl would make."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

README = (Path(__file__).parent.parent.parent / "README.md").read_text()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def snippet(search) -> str:
    """Runs the README's Python and returns what it printed."""
    import contextlib
    import io

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.replace("127.0.0.1:50052", search.address), {})
    return printed.getvalue()


def test_the_python_snippet_finds_the_mug_under_20(snippet):
    assert re.fullmatch(r"0\.\d+ mug \{'price': 7\.5\}\n", snippet)


def test_the_grpcurl_calls_work_by_reflection_alone(snippet, encoder, search):
    calls = re.findall(r"grpcurl -plaintext -d '(.*?)'\s+(?:\\\n\s+)?127\.0\.0\.1:(\d+) (\S+)/(\w+)", README)
    assert len(calls) == 2
    for body, port, service, method in calls:
        address = {"50051": encoder.address, "50052": search.address}[port]
        with grpc.insecure_channel(address) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            described = pool.FindServiceByName(service).FindMethodByName(method)
            request = json_format.Parse(body, GetMessageClass(described.input_type)())
            answer = channel.unary_unary(
                f"/{service}/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(described.output_type).FromString,
            )(request, timeout=20)
        assert len(answer.embeddings if method == "EncodeText" else answer.hits) >= 1
