"""Both services as an operator secures and watches them: TLS, tokens, metrics, request ids, readiness."""

from __future__ import annotations

import json
import shutil

import grpc
import pytest

from clipsearch import (
    AsyncClient,
    AsyncEncoderClient,
    Client,
    ClipSearchError,
    EncoderClient,
    Point,
)
from clipsearch.search.v1 import search_pb2, search_pb2_grpc
from tests.metrics import sample
from tests.processes import clipsearch
from tests.system.services.secured import Secured
from tests.waiting import HANGS_S

pytestmark = pytest.mark.slow

SEARCH, COLLECTIONS = "clipsearch.search.v1.SearchService", "clipsearch.search.v1.CollectionService"
SERVING, NOT_SERVING = 1, 2


@pytest.fixture(scope="module")
def secured(tmp_path_factory) -> Secured:
    return Secured(tmp_path_factory.mktemp("secured"))


@pytest.fixture(scope="module")
def encoder(service, starter_bundle, secured):
    """An encoder that speaks TLS only and knows its callers."""
    settings = secured.server("ENCODER", secured.encoder_tokens)
    return service("encoder", ENCODER_MODEL=str(starter_bundle), **settings).start()


@pytest.fixture(scope="module")
def make_search(service, encoder, secured, tmp_path_factory):
    """A search service in front of it, with the token that is given."""

    def make(token: str | None):
        settings = secured.server("SEARCH", secured.search_tokens)
        if token is not None:
            settings["SEARCH_ENCODER_TOKEN"] = token
        return service(
            "search",
            SEARCH_DATA_DIR=str(tmp_path_factory.mktemp("data")),
            SEARCH_ENCODER=encoder.address,
            SEARCH_ENCODER_TLS="true",
            SEARCH_ENCODER_TLS_CA=str(secured.ca),
            **settings,
        ).start()

    return make


@pytest.fixture(scope="module")
def search(make_search, secured):
    return make_search(secured.search_to_encoder)


def test_a_scrape_of_the_encoder_shows_its_model_and_where_time_goes(encoder, secured, photos):
    before = encoder.metrics()
    with EncoderClient(encoder.address, token=secured.caller, tls=secured.tls) as client:
        client.encode_texts(["a lamp", "a chair", "a lamp"])
        client.encode_images(photos[:3])
        fingerprint = client.model().fingerprint
    after = encoder.metrics()

    def grown(metric: str, **labels: str) -> float:
        return sample(after, metric, **labels) - sample(before, metric, **labels)

    assert sample(after, "clipsearch_encoder_model_info", fingerprint=fingerprint, name="starter") == 1
    for tower, encoded in (("text", 2), ("image", 3)):
        assert grown("clipsearch_encoder_batch_items_sum", tower=tower) == encoded
        assert grown("clipsearch_encoder_infer_seconds_sum", tower=tower) > 0
        for step in ("preprocess", "queue"):
            assert grown(f"clipsearch_encoder_{step}_seconds_count", tower=tower) == encoded
        assert f'clipsearch_encoder_queue_items{{tower="{tower}"}} 0.0' in after
    assert grown("grpc_server_handled_total", grpc_method="EncodeText", grpc_code="OK") == 1


def test_the_search_service_reaches_the_encoder_over_tls_with_its_token(search, secured):
    with Client(search.address, token=secured.caller, tls=secured.tls) as client:
        client.create_collection("c")
        client.upsert("c", [Point("a", text="a cat")])
        assert client.search("c", "a cat")[0].id == "a"
    assert sample(search.metrics(), "clipsearch_search_dependency_seconds_count", dependency="encoder") > 0


def test_one_request_id_stands_in_both_logs(search, encoder, secured):
    credentials = grpc.ssl_channel_credentials(secured.ca.read_bytes())
    with Client(search.address, token=secured.caller, tls=secured.tls) as client:
        client.create_collection("ids")
    with grpc.secure_channel(search.address, credentials) as channel:
        search_pb2_grpc.SearchServiceStub(channel).Search(
            search_pb2.SearchRequest(collection="ids", query=[search_pb2.QueryTerm(text="a fresh query")]),
            metadata=[("x-request-id", "order-17"), ("authorization", f"Bearer {secured.caller}")],
            timeout=10,
        )
    methods = {
        entry["method"].rpartition("/")[2]
        for process in (search, encoder)
        for entry in process.logged()
        if entry["event"] == "call" and entry["request_id"] == "order-17"
    }
    assert methods == {"Search", "EncodeText"}


@pytest.mark.parametrize("token", [None, "cs_guess"])
def test_credentials_that_the_encoder_refuses_are_told_as_such(make_search, secured, token):
    refused = make_search(token)
    with Client(refused.address, token=secured.caller, tls=secured.tls) as client:
        with pytest.raises(ClipSearchError, match="the encoder refuses this service's credentials") as caught:
            client.create_collection("c")
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE")
    assert "cs_guess" not in refused.text()
    refused.stop()


async def test_every_client_shows_its_token(search, encoder, secured):
    shown = {"token": secured.caller, "tls": secured.tls}
    with Client(search.address, **shown) as client, EncoderClient(encoder.address, **shown) as coder:
        names = [collection.name for collection in client.list_collections()]
        model = coder.model()
    async with (
        AsyncClient(search.address, **shown) as client,
        AsyncEncoderClient(encoder.address, **shown) as coder,
    ):
        assert [collection.name for collection in await client.list_collections()] == names
        assert await coder.model() == model
    for stranger in (
        Client(search.address, tls=secured.tls),
        EncoderClient(encoder.address, tls=secured.tls),
    ):
        with stranger, pytest.raises(ClipSearchError) as caught:
            stranger.model() if isinstance(stranger, EncoderClient) else stranger.list_collections()
        assert (caught.value.code, caught.value.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")


def test_the_command_line_takes_token_and_trust_from_the_environment(
    search, encoder, secured, photos, tmp_path
):
    trust = {"CLIPSEARCH_TLS_CA": str(secured.ca), "CLIPSEARCH_SERVER": search.address}
    all_of_it = {**trust, "CLIPSEARCH_TOKEN": secured.caller, "CLIPSEARCH_ENCODER": encoder.address}
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / photos[0].name).symlink_to(photos[0])
    assert clipsearch("index", str(folder), "-c", "cli", **all_of_it).returncode == 0
    found = clipsearch("search", "a picture", "-c", "cli", "--json", **all_of_it)
    assert len(json.loads(found.stdout)["hits"]) == 1
    assert clipsearch("classify", str(photos[0]), "--labels", "a,b", **all_of_it).returncode == 0
    assert clipsearch("health", search.address, **all_of_it).stdout == "SERVING\n"

    refused = clipsearch("collections", **trust)
    assert refused.returncode == 1
    assert "CLIPSEARCH_TOKEN" in refused.stderr
    nowhere = clipsearch("collections", **{**all_of_it, "CLIPSEARCH_TLS_CA": str(tmp_path / "nowhere.pem")})
    assert nowhere.returncode == 1
    assert nowhere.stderr == f"error: cannot read {tmp_path / 'nowhere.pem'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"SEARCH_ENCODER_TLS_CA": "ca.pem"}, "need SEARCH_ENCODER_TLS=true"),
        (
            {"SEARCH_ENCODER_TLS": "true", "SEARCH_ENCODER_TLS_CA": "nowhere.pem"},
            "cannot connect to the encoder: cannot read nowhere.pem: No such file",
        ),
    ],
)
def test_tls_to_the_encoder_that_cannot_be_is_one_clear_line(service, tmp_path, settings, problem):
    process = service("search", SEARCH_DATA_DIR=str(tmp_path / "data"), **settings)
    assert process.launch().wait(timeout=60) == 1
    assert problem in process.text()
    assert "Traceback" not in process.text()


def test_a_damaged_bundle_is_one_clear_line(service, starter_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(starter_bundle, bundle)
    with (bundle / "tokenizer.json").open("ab") as file:
        file.write(b" ")
    process = service("encoder", ENCODER_MODEL=str(bundle))
    assert process.launch().wait(timeout=HANGS_S) == 1
    [said] = process.text().splitlines()
    assert "tokenizer.json" in said
