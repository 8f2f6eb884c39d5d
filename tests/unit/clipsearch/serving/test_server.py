"""The server stays up whatever is called, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.serving.lifecycle import _notice_end
from clipsearch.serving.server import make_server
from tests.ports import OWN_PORT
from tests.unit.clipsearch.serving.http2 import status
from tests.unit.clipsearch.serving.served import GET_MODEL
from tests.waiting import HANGS_S, until

MOST = 250
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]


class Encoder(encoder_pb2_grpc.EncoderServiceServicer):
    def __init__(self) -> None:
        self.hanging = 0
        self.go_on = asyncio.Event()

    async def GetModel(self, request, context):
        return encoder_pb2.GetModelResponse(name="model")

    async def EncodeText(self, request, context):
        self.hanging += 1
        await self.go_on.wait()
        return encoder_pb2.EncodeTextResponse()


@pytest.fixture
async def encoder() -> Encoder:
    return Encoder()


@pytest.fixture
async def address(encoder) -> AsyncIterator[str]:
    server = make_server([], OWN_PORT, MOST)
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(encoder, server)
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


async def test_past_its_own_limit_grpc_refuses_and_goes_on_once_there_is_room(address, encoder):
    async with grpc.aio.insecure_channel(address) as channel:
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        text = encoder_pb2.EncodeTextRequest()
        hanging = [asyncio.ensure_future(stub.EncodeText(text)) for _ in range(MOST)]
        await until(lambda: encoder.hanging == MOST)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetModel(encoder_pb2.GetModelRequest())
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        encoder.go_on.set()
        await asyncio.gather(*hanging)
        answered = False
        while not answered:  # a call counts until gRPC has cleaned up after it
            with contextlib.suppress(grpc.aio.AioRpcError):
                answered = (await stub.GetModel(encoder_pb2.GetModelRequest())).name == "model"


async def test_a_server_that_ends_by_itself_ends_the_process():
    server = make_server([], OWN_PORT, 1000)
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    problems: list[str] = []
    noticing = asyncio.create_task(_notice_end(server, problems.append))
    await asyncio.sleep(0.05)
    assert problems == []
    await server.stop(None)
    await asyncio.wait_for(noticing, HANGS_S)
    assert problems == ["the gRPC server has ended by itself"]
