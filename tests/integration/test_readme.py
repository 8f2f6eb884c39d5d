"""What the README shows does work: the Python snippet, and the calls that grpcurl would make."""

from __future__ import annotations

import contextlib
import io
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
def snippets(search, tmp_path_factory) -> list[str]:
    """Runs the README's Python, one snippet after another, and returns what each printed."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "catalogue.csv").write_text("sku,title,price\ncup,a tea cup,4\nboat,a boat,900\n")
    printed = []
    with contextlib.chdir(folder):
        for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(code.replace("127.0.0.1:50052", search.address), {})
            printed.append(output.getvalue())
    return printed


def test_the_python_snippet_finds_the_mug_under_20(snippets):
    assert re.fullmatch(r"0\.\d+ mug \{'price': 7\.5\}\n", snippets[0])


def test_the_bulk_loading_snippet_loads_the_list(snippets):
    assert "2 of 2" in snippets[1]
    assert snippets[1].endswith("2 indexed, 0 there already, 0 failed\n")


def test_the_grpcurl_calls_work_by_reflection_alone(snippets, encoder, search):
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
