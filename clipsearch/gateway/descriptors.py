"""The API as Envoy's transcoder reads it."""

from __future__ import annotations

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2

from clipsearch.encoder.v1 import encoder_pb2, openai_pb2
from clipsearch.search.v1 import collection_pb2, search_pb2

_FILES = [encoder_pb2.DESCRIPTOR, openai_pb2.DESCRIPTOR, search_pb2.DESCRIPTOR, collection_pb2.DESCRIPTOR]

SERVICES = [service.full_name for file in _FILES for service in file.services_by_name.values()]


def descriptor_set() -> bytes:
    """A FileDescriptorSet of the protos, all that they import, and the details of errors."""
    found: dict[str, FileDescriptor] = {}

    def collect(file: FileDescriptor) -> None:
        for imported in file.dependencies:
            collect(imported)
        found.setdefault(file.name, file)

    for file in (*_FILES, error_details_pb2.DESCRIPTOR):
        collect(file)
    files = FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(files.file.add())
    return files.SerializeToString()
