from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from clipsearch.serving.reflection import NAMES
from tests.unit.clipsearch.serving.served import METHODS, SERVICES, running


@pytest.fixture(params=NAMES)
async def ask(request):
    async with running() as server:
        send = server.channel.stream_stream(
            f"/{request.param}/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )

        async def asked(**question: str) -> ServerReflectionResponse:
            call = send(iter([ServerReflectionRequest(**question)]))
            return await call.read()

        yield asked


async def test_every_method_is_found_in_the_file_that_defines_it(ask):
    for method in METHODS:
        answer = await ask(file_containing_symbol=method.full_name)
        files = [
            FileDescriptorProto.FromString(file)
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert method.containing_service.file.name in [file.name for file in files], method.full_name


async def test_services_are_listed_with_both_names_of_reflection(ask):
    listed = (await ask(list_services="")).list_services_response.service
    assert {one.name for one in listed} == {*(service.full_name for service in SERVICES), *NAMES}


async def test_a_symbol_that_nobody_defines_is_not_found(ask):
    assert (
        await ask(file_containing_symbol="clipsearch.encoder.v1.EncoderService.Nothing")
    ).error_response.error_code == 5
