"""A canary token, text and picture go through both services, rightly and wrongly; no log line holds them."""

from __future__ import annotations

import base64
import io

import grpc
import pytest
from PIL import Image, PngImagePlugin

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, search_pb2, search_pb2_grpc
from clipsearch.serving.security.tokens import Grant, create_token, line, sha256

pytestmark = pytest.mark.slow

TEXT = "c4n4ry in a coal mine"
WRONG_TOKEN = "cs_c4n4ry_wrong"
MARK = b"c4n4ry-picture"
PAYLOAD = "c4n4ry-payload"


def marked_picture() -> bytes:
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", MARK.decode())
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(buffer, "PNG", pnginfo=note)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def token() -> str:
    return create_token()


@pytest.fixture(scope="module")
def services(service, starter_bundle, token, tmp_path_factory):
    """Both services at their most talkative, the encoder in text and the search service in JSON."""
    folder = tmp_path_factory.mktemp("canary")
    tokens = folder / "tokens"
    scopes = ["encode", "search", "write", "admin"]
    tokens.write_text(line(Grant(name="caller", sha256=sha256(token), scopes=scopes)) + "\n")
    encoder = service(
        "encoder",
        ENCODER_MODEL=str(starter_bundle),
        ENCODER_TOKENS_FILE=str(tokens),
        ENCODER_LOG_LEVEL="debug",
        ENCODER_LOG_FORMAT="text",
    ).start()
    search = service(
        "search",
        SEARCH_ENCODER=encoder.address,
        SEARCH_ENCODER_TOKEN=token,
        SEARCH_DATA_DIR=str(folder / "data"),
        SEARCH_TOKENS_FILE=str(tokens),
        SEARCH_LOG_LEVEL="debug",
        SEARCH_LOG_FORMAT="json",
    ).start()
    return encoder, search


def requests(picture: bytes) -> dict[str, list]:
    """Calls by stub and method, right and wrong ones."""
    term, point = search_pb2.QueryTerm, search_pb2.Point
    kept = point(id="a", text=TEXT, image=picture)
    kept.payload.update({"note": PAYLOAD})
    huge = point(id="b", text=TEXT)
    huge.payload.update({"note": PAYLOAD * 10_000})
    damaged = [picture[:-30], MARK, b"\xff\xd8\xff" + MARK]
    searches = [
        [term(text=TEXT)],
        [term(text=TEXT, weight=-1)],
        [term(text=TEXT), term(text=TEXT, weight=-1)],
        [term(image=picture)],
        [term(image=damaged[0]), term(text=TEXT)],
    ]
    return {
        "encoder EncodeText": [
            encoder_pb2.EncodeTextRequest(texts=texts)
            for texts in ([TEXT], [TEXT, ""], [TEXT] * 300, [TEXT * 5000], [TEXT * 20])
        ],
        "encoder EncodeImage": [
            encoder_pb2.EncodeImageRequest(images=images) for images in ([picture], damaged, [picture] * 70)
        ],
        "encoder Classify": [
            encoder_pb2.ClassifyRequest(images=[picture], labels=[TEXT]),
            encoder_pb2.ClassifyRequest(images=damaged, labels=[TEXT, "dog"]),
            encoder_pb2.ClassifyRequest(images=[picture], labels=[TEXT, TEXT]),
            encoder_pb2.ClassifyRequest(images=[picture], labels=["dog"], prompt_template=TEXT),
        ],
        "collections CreateCollection": [collection_pb2.CreateCollectionRequest(name="c")],
        "points Upsert": [
            search_pb2.UpsertRequest(collection="c", points=points)
            for points in ([kept], [huge], [point(id="d", image=damaged[0], text=TEXT)], [kept] * 300)
        ],
        "points Search": [search_pb2.SearchRequest(collection="c", query=query) for query in searches]
        + [search_pb2.SearchRequest(collection="nowhere", query=searches[0])],
    }


def test_no_log_line_and_no_error_holds_a_token_a_text_or_a_picture(services, token):
    encoder, search = services
    outcomes: list[str] = []
    errors: list[str] = []
    with (
        grpc.insecure_channel(encoder.address) as to_encoder,
        grpc.insecure_channel(search.address) as to_search,
    ):
        stubs = {
            "encoder": encoder_pb2_grpc.EncoderServiceStub(to_encoder),
            "points": search_pb2_grpc.SearchServiceStub(to_search),
            "collections": collection_pb2_grpc.CollectionServiceStub(to_search),
        }
        for shown in (token, WRONG_TOKEN, f"{token}x"):
            for name, sent in requests(marked_picture()).items():
                stub, method = name.split()
                for request in sent:
                    try:
                        answer = getattr(stubs[stub], method)(
                            request, metadata=[("authorization", f"Bearer {shown}")], timeout=30
                        )
                        outcomes.append("OK")
                        errors += [str(item.error) for item in getattr(answer, "embeddings", ())]
                    except grpc.RpcError as error:
                        outcomes.append(error.code().name)
                        errors.append(f"{error.details()} {error.trailing_metadata()}")
    assert {"OK", "INVALID_ARGUMENT", "UNAUTHENTICATED", "NOT_FOUND"} <= set(outcomes)
    assert not {"UNKNOWN", "INTERNAL"} & set(outcomes)
    logs = {process.kind: process.text() for process in services}
    secrets = ["c4n4ry", token, sha256(token), base64.b64encode(MARK).decode(), repr(marked_picture()[:40])]
    for kind, text in logs.items():
        assert "UNAUTHENTICATED" in text, f"the {kind}'s log tells nothing"
        assert [secret for secret in secrets if secret in text] == [], kind
    told = "\n".join(errors)
    assert [secret for secret in secrets if secret in told] == []
