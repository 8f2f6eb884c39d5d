"""What is asked of the hub, and what is said where it does not give it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from encoder_service.export import ExportError

# Of the API's answer: the status and the code in its header.
ANSWERS = {
    "gated/model": (403, "GatedRepo"),
    "missing/model": (401, "RepoNotFound"),
    "some/model": (404, "RevisionNotFound"),
    "broken/model": (500, ""),
}


class Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = next(name for name in ANSWERS if name in self.path)
        status, code = ANSWERS[name]
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    point_at(f"http://127.0.0.1:{server.server_port}", tmp_path, monkeypatch)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def point_at(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def load(source: str, **options: Any) -> Any:
    from encoder_service.export.sources.load import load as load_source

    return load_source(source, **options)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gated/model", "gated/model is gated: accept its terms on its page, and set HF_TOKEN"),
        ("missing/model", "missing/model is not on the hub, or private"),
        ("some/model", "some/model has no revision 'v9'"),
        ("broken/model", "broken/model.*the hub cannot be reached: Server error '500"),
        ("hf-hub:missing/model", "^missing/model is not on the hub"),
        ("no id at all", "neither a folder here nor an id such as openai/clip-vit-base-patch32"),
    ],
)
def test_what_the_hub_does_not_give_is_said_in_one_sentence(source: str, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        load(source, revision="v9")
    assert "\n" not in str(caught.value)


def test_without_a_network_the_cache_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_at("http://127.0.0.1:1", tmp_path, monkeypatch)
    with pytest.raises(ExportError, match=r"not in the hub's cache here, and the hub cannot be reached"):
        load("some/model")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ViT-B-32:no-such-tag", r"no weights 'no-such-tag' of ViT-B-32; there are .*laion2b_s34b_b79k"),
        ("ViT-Z-99:openai", "no model 'ViT-Z-99'"),
    ],
)
def test_names_that_open_clip_does_not_have(source: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load(source)


@pytest.mark.parametrize("source", ["ViT-B-32:openai", "FOLDER"])
def test_a_revision_is_of_the_hub_only(source: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no revision 'v1'"):
        load(source.replace("FOLDER", str(tmp_path)), revision="v1")


def test_code_of_a_models_own_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"model_type": "jina_clip", "auto_map": {"AutoConfig": "configuration_clip.JinaCLIPConfig"}}
        )
    )
    (tmp_path / "configuration_clip.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(ExportError, match="brings code of its own to run, which the exporter never does"):
        load(str(tmp_path))
