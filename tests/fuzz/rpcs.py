"""Every RPC that the two services have, found by walking the generated API: a new one cannot be forgotten."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

import clipsearch.encoder.v1
import clipsearch.search.v1

ENCODER, SEARCH = "encoder", "search"
_PACKAGES = {ENCODER: clipsearch.encoder.v1, SEARCH: clipsearch.search.v1}


def services(process: str) -> list[ServiceDescriptor]:
    """What the process serves: all services of its package."""
    return [
        service
        for module in _modules(_PACKAGES[process])
        for service in module.DESCRIPTOR.services_by_name.values()
    ]


def methods(process: str) -> list[MethodDescriptor]:
    return [method for service in services(process) for method in service.methods]


def process_of(method: MethodDescriptor) -> str:
    return next(name for name in _PACKAGES if method in methods(name))


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def by_path(name: str) -> MethodDescriptor:
    return next(method for process in _PACKAGES for method in methods(process) if path(method) == name)


def request_class(method: MethodDescriptor) -> type[Message]:
    return message_factory.GetMessageClass(method.input_type)


def response_class(method: MethodDescriptor) -> type[Message]:
    return message_factory.GetMessageClass(method.output_type)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__):
        if found.name.endswith("_pb2"):
            yield importlib.import_module(f"{package.__name__}.{found.name}")
