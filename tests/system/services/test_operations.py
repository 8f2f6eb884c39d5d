"""Both services as an operator secures and watches them: TLS, tokens, request ids."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
import trustme

from clipsearch import Client, ClientTls
from clipsearch.search.v1 import search_pb2, search_pb2_grpc
from clipsearch.serving.security.tokens import Grant, create_token, line, sha256
from tests.processes import clipsearch

pytestmark = pytest.mark.slow


def granted(name: str, token: str, *scopes: str) -> str:
    """A line of a tokens file."""
    return line(Grant(name=name, sha256=sha256(token), scopes=scopes)) + "\n"


class Secured:
    """A CA, the files of a server certificate for 127.0.0.1, and tokens files, as an operator makes them."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "crt.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.certificate)
        issued.private_key_pem.write_to_path(self.key)
        self.tls = ClientTls(ca=self.ca)
        self.search_to_encoder, self.caller = create_token(), create_token()
        self.encoder_tokens, self.search_tokens = folder / "encoder-tokens", folder / "search-tokens"
        search = granted("search", self.search_to_encoder, "encode")
        self.encoder_tokens.write_text(search + granted("caller", self.caller, "encode"))
        self.search_tokens.write_text(granted("caller", self.caller, "search", "write", "admin"))

    def server(self, prefix: str, tokens: Path) -> dict[str, str]:
        return {
            f"{prefix}_TLS_CERTIFICATE": str(self.certificate),
            f"{prefix}_TLS_KEY": str(self.key),
            f"{prefix}_TOKENS_FILE": str(tokens),
            f"{prefix}_LOG_LEVEL": "debug",
        }


@pytest.fixture(scope="module")
def secured(tmp_path_factory) -> Secured:
    return Secured(tmp_path_factory.mktemp("secured"))


@pytest.fixture(scope="module")
def encoder(service, starter_bundle, secured):
    """An encoder that speaks TLS only and knows its callers."""
    settings = secured.server("ENCODER", secured.encoder_tokens)
    return service("encoder", ENCODER_MODEL=str(starter_bundle), **settings).start()


@pytest.fixture(scope="module")
def search(service, encoder, secured, tmp_path_factory):
    """A search service in front of it, with a token of its own."""
    return service(
        "search",
        SEARCH_DATA_DIR=str(tmp_path_factory.mktemp("data")),
        SEARCH_ENCODER=encoder.address,
        SEARCH_ENCODER_TLS="true",
        SEARCH_ENCODER_TLS_CA=str(secured.ca),
        SEARCH_ENCODER_TOKEN=secured.search_to_encoder,
        **secured.server("SEARCH", secured.search_tokens),
    ).start()


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

    refused = clipsearch("collections", **trust)
    assert refused.returncode == 1
    assert "CLIPSEARCH_TOKEN" in refused.stderr


def test_tls_to_the_encoder_that_cannot_be_is_one_clear_line(service, tmp_path):
    settings = {"SEARCH_ENCODER_TLS": "true", "SEARCH_ENCODER_TLS_CA": "nowhere.pem"}
    process = service("search", SEARCH_DATA_DIR=str(tmp_path / "data"), **settings)
    assert process.launch().wait(timeout=60) == 1
    assert "cannot connect to the encoder: cannot read nowhere.pem: No such file" in process.text()
    assert "Traceback" not in process.text()
