"""Writes the API as an OpenAPI document: the paths of the protos' HTTP rules, their comments, their JSON.

Usage: python protos/openapi.py DESCRIPTORS VERSION > openapi.json
(DESCRIPTORS: a FileDescriptorSet of protoc with --include_imports and --include_source_info.)
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

Json = dict[str, Any]

ABOUT = """Search images and texts by meaning. What gRPC callers have, as JSON over HTTP: names are those
of the protos, bytes are base64, 64-bit integers are strings, and a field that is not known is passed over.

A header `grpc-timeout` (`5S`, `200m`) is the call's deadline, `x-request-id` its name in the logs."""

# Of each call with a body, by its name: what to try first.
EXAMPLES: Json = json.loads(Path(__file__).with_name("examples.json").read_text(encoding="utf-8"))

_OURS = "clipsearch."
_F = FieldDescriptorProto
_SCALARS: dict[int, Json] = {
    _F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _F.TYPE_FLOAT: {"type": "number", "format": "float"},
    _F.TYPE_INT32: {"type": "integer", "format": "int32"},
    _F.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    _F.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
    _F.TYPE_UINT64: {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
# Messages whose JSON is not that of their fields.
_SPECIAL: dict[str, Json] = {
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.rpc.Status": {"$ref": "#/components/schemas/Status"},
}
_STATUS: Json = {
    "description": "What became of an item: a gRPC code (0 = done), a message, details with a reason.",
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "message": {"type": "string"},
        "details": {"type": "array", "items": {"type": "object"}},
    },
}
_ERROR: Json = {
    "description": "Why the call failed.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "code", "message", "param", "request_id", "details"],
            "properties": {
                "type": {"type": "string", "description": "The gRPC status, or gateway_error."},
                "code": {
                    "type": "string",
                    "description": "The reason, the same from version to version.",
                },
                "message": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field that is wrong."},
                "request_id": {"type": ["string", "null"]},
                "details": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}


class Api:
    """The files of the API, with their comments by full name."""

    def __init__(self, files: Sequence[FileDescriptorProto]) -> None:
        self.files = [file for file in files if file.package.startswith(_OURS)]
        self.types: dict[str, Any] = {}  # messages and enums
        self.comments: dict[str, str] = {}
        for file in self.files:
            for type_ in (*file.message_type, *file.enum_type):
                name = f"{file.package}.{type_.name}"
                self.types[name] = type_
                for nested in getattr(type_, "nested_type", ()):
                    self.types[f"{name}.{nested.name}"] = nested
            for location in file.source_code_info.location:
                if name := _name_at(file, location.path):
                    self.comments[name] = _text(location.leading_comments)

    def document(self, version: str) -> Json:
        """The whole document."""
        services = [(file.package, service) for file in self.files for service in file.service]
        paths: dict[str, Json] = {}
        for package, service in services:
            for method in service.method:
                for number, (verb, path, body) in enumerate(_rules(method)):
                    operation = self._operation(f"{package}.{service.name}", method, path, body)
                    operation["operationId"] += "" if number == 0 else f"_{verb}"
                    paths.setdefault(path, {})[verb] = operation
        return {
            "openapi": "3.1.0",
            "info": {"title": "clipsearch", "version": version, "description": _text(ABOUT)},
            "servers": [{"url": "/"}],
            "security": [{}, {"token": []}],
            "tags": [
                {"name": service.name, "description": self.comments[f"{package}.{service.name}"]}
                for package, service in services
            ],
            "paths": paths,
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                "schemas": {**self._schemas(), "Status": _STATUS, "Error": _ERROR},
            },
        }

    def _operation(self, service: str, method: MethodDescriptorProto, path: str, body: bool) -> Json:
        comment = self.comments[f"{service}.{method.name}"]
        request = method.input_type.removeprefix(".")
        in_path = re.findall(r"\{(\w+)\}", path)
        schema = self._object(request)
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": schema["properties"].pop(name)}
            for name in in_path
        ]
        operation: Json = {
            "operationId": method.name,
            "tags": [service.rpartition(".")[2]],
            "summary": re.split(r"(?<=\.)\s", comment, maxsplit=1)[0],
            "description": comment,
            "parameters": parameters,
        }
        if body:
            content = {"schema": schema, "example": EXAMPLES[method.name]}
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        else:
            operation["parameters"] += list(self._query(request, in_path))
        answer = f"#/components/schemas/{_short(method.output_type)}"
        operation["responses"] = {
            "200": {"description": "Done.", "content": {"application/json": {"schema": {"$ref": answer}}}},
            "default": {
                "description": "Failed.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        }
        return operation

    def _query(self, message: str, in_path: Sequence[str], prefix: str = "") -> Iterator[Json]:
        """The fields that a query can hold: no messages in lists, and none that have a JSON of their own."""
        for field in self.types[message].field:
            if field.name in in_path:
                continue
            name = field.type_name.removeprefix(".")
            if field.type == _F.TYPE_MESSAGE:
                inner = self.types.get(name)
                if field.label != _F.LABEL_REPEATED and inner and not _nests(inner):
                    yield from self._query(name, (), f"{prefix}{field.name}.")
            else:
                yield {"name": f"{prefix}{field.name}", "in": "query", "schema": self._field(message, field)}

    def _schemas(self) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for name, type_ in self.types.items():
            if isinstance(type_, DescriptorProto) and type_.options.map_entry:
                continue
            assert _short(name) not in found, f"two types are called {_short(name)}"
            found[_short(name)] = (
                self._object(name) if isinstance(type_, DescriptorProto) else self._enum(name, type_)
            )
        return found

    def _object(self, name: str) -> Json:
        return {
            "description": self.comments[name],
            "type": "object",
            "properties": {field.name: self._field(name, field) for field in self.types[name].field},
        }

    def _enum(self, name: str, enum: EnumDescriptorProto) -> Json:
        values = [f"- {value.name}: {self.comments[f'{name}.{value.name}']}" for value in enum.value]
        return {
            "description": "\n".join([self.comments[name], *values]),
            "type": "string",
            "enum": [value.name for value in enum.value],
        }

    def _field(self, message: str, field: FieldDescriptorProto) -> Json:
        schema = self._type(field)
        if field.label == _F.LABEL_REPEATED:
            entry = self.types.get(field.type_name.removeprefix("."))
            if isinstance(entry, DescriptorProto) and entry.options.map_entry:
                schema = {"type": "object", "additionalProperties": self._type(entry.field[1])}
            else:
                schema = {"type": "array", "items": schema}
        return {"description": self.comments[f"{message}.{field.name}"], **schema}

    def _type(self, field: FieldDescriptorProto) -> Json:
        if field.type in _SCALARS:
            return dict(_SCALARS[field.type])
        name = field.type_name.removeprefix(".")
        return dict(_SPECIAL.get(name, {"$ref": f"#/components/schemas/{_short(name)}"}))


# What has a name and a comment, by the fields of descriptors that hold it.
_NAMED = {"message_type", "nested_type", "field", "enum_type", "value", "service", "method"}


def _name_at(file: FileDescriptorProto, path: Sequence[int]) -> str:
    """The full name of what stands at a path: a field's number, a place in it, and on; "" = nothing named."""
    found: Any = file
    name = file.package
    if len(path) % 2:
        return ""
    for number, place in zip(path[::2], path[1::2], strict=True):
        field = found.DESCRIPTOR.fields_by_number[number].name
        if field not in _NAMED:
            return ""
        found = getattr(found, field)[place]
        name += f".{found.name}"
    return name


def _nests(message: DescriptorProto | EnumDescriptorProto) -> bool:
    return isinstance(message, EnumDescriptorProto) or any(
        one.type == _F.TYPE_MESSAGE for one in message.field
    )


def _rules(method: MethodDescriptorProto) -> Iterator[tuple[str, str, bool]]:
    rule = method.options.Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        yield verb, getattr(one, verb), bool(one.body)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _text(comment: str) -> str:
    """Its lines joined; blank lines and lists stay."""
    paragraphs = re.split(r"\n\s*\n", comment.strip())
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)


def main(descriptors: str, version: str) -> None:
    """Prints the document."""
    api = Api(FileDescriptorSet.FromString(Path(descriptors).read_bytes()).file)
    json.dump(api.document(version), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
