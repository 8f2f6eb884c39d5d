"""The server stays up whatever is called, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.serving.lifecycle import _notice_end
from clipsearch.serving.server import make_server
from tests.ports import OWN_PORT
from tests.unit.clipsearch.serving.http2 import status
from tests.unit.clipsearch.serving.served import GET_MODEL
from tests.waiting import HANGS_S

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]


class Encoder(encoder_pb2_grpc.EncoderServiceServicer):
    async def GetModel(self, request, context):
        return encoder_pb2.GetModelResponse(name="model")


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = make_server([], [("grpc.so_reuseport", 0)])
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Encoder(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await asyncio.wait_for(server.stop(None), HANGS_S)


@pytest.mark.parametrize(
    "path",
    [b"/\xff\xfe/x", GET_MODEL.encode() + b"\xff", b"/\xed\xa0\x80", b"noslash", b"/a/b", b"/" + b"a" * 5000],
)
async def test_a_path_that_nobody_serves_ends_the_call_and_not_the_server(address, path):
    assert await status(address, path) == UNIMPLEMENTED
    assert await status(address, GET_MODEL.encode()) == 0


async def test_hundreds_of_them_at_once_too(address):
    statuses = await asyncio.gather(*(status(address, b"/\xff") for _ in range(200)))
    assert set(statuses) == {UNIMPLEMENTED}
    async with grpc.aio.insecure_channel(address) as channel:
        model = await encoder_pb2_grpc.EncoderServiceStub(channel).GetModel(encoder_pb2.GetModelRequest())
    assert model.name == "model"


async def test_a_server_that_ends_by_itself_ends_the_process():
    server = make_server([], OWN_PORT)
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    problems: list[str] = []
    noticing = asyncio.create_task(_notice_end(server, problems.append))
    await asyncio.sleep(0.05)
    assert problems == []
    await server.stop(None)
    await asyncio.wait_for(noticing, HANGS_S)
    assert problems == ["the gRPC server has ended by itself"]
