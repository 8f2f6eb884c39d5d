"""Hostile HTTP, made from a seed: bodies, headers, and what two readers would take apart differently."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor

from tests.fuzz import frames, messages, pictures, wire
from tests.fuzz.rpcs import ENCODER, SEARCH, methods, request_class

CHUNK = 500
MOST_BODY_MB = 32
_LARGEST = 8_000_000
SHARES = {
    "json": 0.30,
    "damaged": 0.25,
    "embeddings": 0.15,
    "headers": 0.15,
    "large": 0.01,
    "connection": 0.14,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, or with `raw` what one connection sends."""

    kind: str
    verb: str = ""
    path: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Call:
    """A rule of the API and requests for it, as JSON."""

    verb: str
    path: str
    has_body: bool
    bodies: list[bytes]

    def request(
        self, rng: random.Random, kind: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Request:
        """With plausible names in the path."""
        path = self.path
        while "{" in path:
            before, _, rest = path.partition("{")
            path = before + rng.choice(_NAMES) + rest.partition("}")[2]
        return Request(kind, self.verb, path, body if self.has_body else b"", headers or {})


_NAMES = [
    messages.COLLECTION,
    messages.COLLECTION,
    messages.ALIAS,
    messages.READY,
    "absent",
    "%2e%2e",
    "a%2Fb",
    "%00",
    "ü",
    "a" * 200,
]


def calls(count: int, seed: int) -> list[Call]:
    """Every rule of every RPC; `count` bodies in all."""
    found = []
    every = [method for process in (ENCODER, SEARCH) for method in methods(process)]
    for method in every:
        corpus = [
            _json(method, data)
            for data in messages.generate(method.input_type, max(4, count // len(every)), seed)
        ]
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        for one in (rule, *rule.additional_bindings):
            verb = one.WhichOneof("pattern")
            found.append(Call(verb.upper(), getattr(one, verb), bool(one.body), corpus))
    return found


def _json(method: MethodDescriptor, data: bytes) -> bytes:
    """Without the fields that the path holds, which may not say something else."""
    message = request_class(method).FromString(data)
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    path = getattr(rule, rule.WhichOneof("pattern"))
    for one in message.DESCRIPTOR.fields:
        if f"{{{one.name}}}" in path:
            message.ClearField(one.name)
    try:
        return json_format.MessageToJson(message, indent=None, preserving_proto_field_name=True).encode()
    except (ValueError, json_format.Error):  # NaN in a Struct has no JSON
        return b'{"query": NaN}'


def chunks(total: int, seed: int) -> Iterator[list[Request]]:
    """The requests of a run, the same for the same seed."""
    every = calls(round(total * SHARES["json"]), seed)
    for number in range(-(-total // CHUNK)):
        rng = random.Random(f"{seed}/{number}")
        kinds = rng.choices([*SHARES], [*SHARES.values()], k=min(CHUNK, total - number * CHUNK))
        yield [_MAKERS[kind](rng, rng.choice(every)) for kind in kinds]


def _valid(rng: random.Random, call: Call) -> Request:
    return call.request(rng, "json", rng.choice(call.bodies))


def _damaged(rng: random.Random, call: Call) -> Request:
    """Broken bytes, other types, other calls' bodies, bad base64, deep nesting."""
    body = rng.choice(call.bodies)
    match rng.randrange(5):
        case 0:
            body = wire.mutated(rng, call.bodies)
        case 1:
            body = json.dumps(_swapped(rng, _loaded(body))).encode()
        case 2:
            body = rng.choice(_BODIES)
        case 3:
            depth = rng.choice([10, 100, 1_000, 100_000])
            opened, closed = rng.choice(
                [(b"[", b"]"), (b'{"a":', b"}"), (b'{"filter":', b"}"), (b'{"must":[', b"]}")]
            )
            body = opened * depth + b"1" + closed * rng.choice([0, depth])
        case _:
            body = body.replace(b'"', rng.choice([b'"!', b'"=', b'"\\ud800', b"'"]), rng.randint(1, 4))
    return call.request(rng, "damaged", body)


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {}


def _swapped(rng: random.Random, value: Any) -> Any:
    """The same with a value of another type here and there."""
    if rng.random() < 0.15:
        return rng.choice(_VALUES)
    if isinstance(value, dict):
        return {rng.choice([name, name, name, "nothing"]): _swapped(rng, one) for name, one in value.items()}
    return [_swapped(rng, one) for one in value] if isinstance(value, list) else value


_VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 2**64, 1e400, -0.0, 0.1, "", "a", "0", "\0", "\ud83d", "NaN", "Infinity", [],
    {}, [[]], {"": ""}, {"@type": "type.googleapis.com/google.rpc.Status"}, {"values": [1], "f32": "AAAA"},
    "TARGET_NONE", "=" * 100,
]  # fmt: skip
_BODIES = [
    b"", b"{", b"}", b"[]", b"null", b"1", b'"a"', b"{}{}", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0",
    b"{'a': 1}", b'{"a": 1,}', b'{"texts": [NaN]}', b'{"texts": ["a"], "texts": ["b"]}', b'{"\\u0000": 1}',
    b"\0" * 1000, b"texts=a&texts=b", b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x--',
]  # fmt: skip


def _embeddings(rng: random.Random, _call: Call) -> Request:
    """OpenAI's API, whose input is any JSON."""
    picture = base64.b64encode(pictures.mutated(rng)).decode()
    inputs = [
        "a cat", "", " ", "a" * 70_000, picture, f"data:image/png;base64,{picture}",
        "data:image/png;base64,!", "data:,x", {"text": "a"}, {"image": picture},
        {"image": f"data:image/png;base64,{picture}"}, {"image": "http://127.0.0.1/"},
        {"text": "a", "image": picture}, *_VALUES,
    ]  # fmt: skip
    chosen: Any = [rng.choice(inputs) for _ in range(rng.choice([1, 1, 2, 5, 70, 300]))]
    body = {
        "input": chosen if rng.random() < 0.8 else chosen[0],
        "model": rng.choice(["starter", "", "other", None, 1]),
        "encoding_format": rng.choice(["float", "base64", "", "int8", 1]),
        "dimensions": rng.choice([512, 512, 0, -1, "512", 2**40]),
    }
    kept = {name: value for name, value in body.items() if name == "input" or rng.random() < 0.3}
    return Request("embeddings", "POST", "/v1/embeddings", json.dumps(kept).encode())


def _headers(rng: random.Random, call: Call) -> Request:
    """A good request with headers that mean something to somebody on the way."""
    headers = dict(rng.choice(_HEADERS) for _ in range(rng.randint(1, 3)))
    return call.request(rng, "headers", rng.choice(call.bodies), headers)


_HEADERS = [
    ("content-type", "application/grpc"), ("content-type", "application/grpc-web-text"),
    ("content-type", "text/plain"), ("content-type", "application/grpc+json"),
    ("content-type", "application/json; charset=utf-16"), ("content-encoding", "gzip"),
    ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "nothing"), ("grpc-timeout", "-1S"),
    ("grpc-timeout", "99999999999H"), ("grpc-timeout", "1n"), ("grpc-timeout", "0S"), ("grpc-status", "0"),
    ("grpc-message", "ok"), ("te", "trailers"), ("te", "gzip"), ("x-grpc-web", "1"),
    ("x-envoy-original-path", "/clipsearch.search.v1.SearchService/Search"), ("x-envoy-retry-on", "5xx"),
    ("x-envoy-max-retries", "1000000"), ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-decorator-operation", "x" * 9000), ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "gopher"), ("x-request-id", "a" * 5000), ("x-request-id", '"},{\\'),
    ("x-http-method-override", "DELETE"), ("expect", "100-continue"), ("upgrade", "h2c"),
    ("connection", "x-request-id"), ("host", "127.0.0.1:1"), ("host", "evil.example"), ("origin", "null"),
    ("origin", "http://evil.example"), ("cookie", "a" * 20_000), ("authorization", "Bearer " + "a" * 9000),
    ("authorization", "Basic !"), ("range", "bytes=0-1"), ("accept-encoding", "br;q=9"),
    ("x-under_score", "1"), ("traceparent", "00-zz"), ("transfer-encoding", "chunked"), ("a" * 5000, "1"),
]  # fmt: skip


def _large(rng: random.Random, call: Call) -> Request:
    """Millions of bytes, most of which are no JSON, or would be much more once they are read."""
    size = rng.choice([1_000_000, _LARGEST, _LARGEST, (MOST_BODY_MB + 5) * 1_000_000])
    made = [
        lambda: b"\0" * size,
        lambda: b'{"texts":[' + b"1" * size,
        lambda: b'{"texts":["' + b"a" * size + b'"]}',
        lambda: b'{"images":["' + b"A" * size + b'"]}',
        lambda: b'{"texts":[' + b'"",' * (size // 3) + b'""]}',
        lambda: b'{"points":[' + b"{}," * (size // 3) + b"{}]}",
        lambda: b'{"input":[' + b"{}," * (size // 3) + b"{}]}",
        lambda: b"{" + b" " * size + b"}",
        lambda: b"[" * size,
    ]
    return call.request(rng, "large", rng.choice(made)())


def _connection(rng: random.Random, call: Call) -> Request:
    """Bytes of HTTP/2 that break its rules, or of HTTP/1 that two readers would take apart in two ways."""
    if rng.random() < 0.5:
        return Request("connection", raw=frames.hostile_bytes(rng))
    start = rng.choice(
        [
            f"{call.verb} {call.path} HTTP/1.1",
            "GET / HTTP/1.1",
            "GET /../../x HTTP/1.1",
            "GET http://e.x/ HTTP/1.1",
            "PRI * HTTP/2.0",
            "CONNECT a:1 HTTP/1.1",
            "GET /\0 HTTP/1.1",
            "G\tET / HTTP/1.1",
            "GET / HTTP/9.9",
            "POST /v1/texts:encode HTTP/1.1",
        ]
    )
    lines = [rng.choice(_LINES) for _ in range(rng.randint(1, 5))]
    smuggled = rng.choice(
        [
            "",
            "0\r\n\r\nGET /v1/model HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "ffffffffffffffff\r\nx",
        ]
    )
    return Request(
        "connection", raw="\r\n".join([start, "host: localhost", *lines, "", smuggled]).encode("latin-1")
    )


_LINES = [
    "content-length: 5", "content-length: 6", "content-length: -1", "content-length: 5, 5",
    "content-length: 99999999999999999999", "transfer-encoding: chunked",
    "transfer-encoding: chunked, identity", "transfer-encoding: xchunked", "transfer-encoding : chunked",
    " transfer-encoding: chunked", "transfer-encoding:\x0bchunked", "host: evil.example",
    "content-type: application/json", "x: a\rb", "x: a\nb: c", "x\0: y", ": authority",
    "connection: keep-alive, upgrade", "upgrade: websocket", "trailer: content-length",
    "expect: 100-continue", "x: " + "a" * 70_000,
]  # fmt: skip

_MAKERS: dict[str, Callable[[random.Random, Call], Request]] = {
    "json": _valid, "damaged": _damaged, "embeddings": _embeddings, "headers": _headers, "large": _large,
    "connection": _connection,
}  # fmt: skip
