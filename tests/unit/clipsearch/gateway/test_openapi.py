"""openapi.json says what the gateway does: the protos' paths, and JSON as protobuf defines it."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import jsonschema
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests import documents
from tests.fuzz.rpcs import request_class, response_class
from tests.unit.clipsearch.gateway.rules import RULES
from tests.unit.clipsearch.serving.served import METHODS

API = json.loads((documents.ROOT / "clipsearch/gateway/openapi.json").read_text())


def test_every_rule_of_the_protos_is_an_operation_and_there_are_no_others():
    assert {(verb.upper(), path) for path, verbs in API["paths"].items() for verb in verbs} == {
        (verb, path) for _, verb, path, _ in RULES
    }


def test_every_rule_is_shown_with_curl():
    shown = set()
    for command in documents.all_commands(documents.read("docs/clients.md")):
        words = shlex.split(command.rpartition("| ")[2] if command.startswith("echo") else command)
        if words[0] == "curl":
            verb = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
            url = next(word for word in words if word.startswith("http://127.0.0.1:8000/"))
            shown.add((verb, url.removeprefix("http://127.0.0.1:8000").partition("?")[0]))
    for _, verb, path, _ in RULES:
        pattern = "".join(
            "[^/:]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path)
        )
        assert any(one == verb and re.fullmatch(pattern, url) for one, url in shown), (verb, path)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_answers_are_of_the_schema(method):
    """Of a message with something in every field; a schema that lacks one refuses it."""
    schema = {
        "$ref": f"#/components/schemas/{method.output_type.name}",
        "components": strict(API["components"]),
    }
    for choice in range(4):
        message = response_class(method)()
        fill(message, choice)
        answer = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        jsonschema.validate(answer, schema)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule[3]], ids=lambda rule: rule[0].name)
def test_the_example_of_a_request_is_one(rule):
    method, verb, path, _ = rule
    content = API["paths"][path][verb.lower()]["requestBody"]["content"]["application/json"]
    jsonschema.validate(
        content["example"], {**strict(content["schema"]), "components": strict(API["components"])}
    )
    sendable = json.loads(json.dumps(content["example"]).replace("<base64>", "AAAA"))
    json_format.ParseDict(sendable, request_class(method)())


def strict(schema: Any) -> Any:
    """With objects that have no fields but those that are named."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    more = (
        {"additionalProperties": False}
        if isinstance(schema.get("properties"), dict) and "type" in schema
        else {}
    )
    return {name: strict(one) for name, one in schema.items()} | more


def fill(message: Message, choice: int) -> None:
    """Something in every field; of each oneof the field of this number, where it has so many."""
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof and oneof.fields.index(field) != choice % len(oneof.fields):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[7] = 7
        elif field.message_type is None:
            value = VALUES[field.cpp_type] if field.type != FieldDescriptor.TYPE_BYTES else b"\xff"
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        elif field.message_type.full_name == "google.protobuf.Struct":
            getattr(message, field.name).update({"a": [1, None]})
        elif field.message_type.full_name == "google.protobuf.Value":
            getattr(message, field.name).string_value = "a"
        elif field.message_type.full_name != "google.protobuf.Any":
            inner = getattr(message, field.name)
            fill(inner.add() if field.is_repeated else inner, choice)
            if not field.is_repeated:
                inner.SetInParent()


VALUES: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_STRING: "a",
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_ENUM: 1,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.5,
    FieldDescriptor.CPPTYPE_INT32: 3,
    FieldDescriptor.CPPTYPE_UINT32: 3,
    FieldDescriptor.CPPTYPE_INT64: 3,
    FieldDescriptor.CPPTYPE_UINT64: 3,
}
