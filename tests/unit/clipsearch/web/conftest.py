"""The web server in front of services that answer what a test tells them, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from starlette.testclient import TestClient

from clipsearch.encoder.v1 import encoder_pb2_grpc
from clipsearch.search.v1 import collection_pb2_grpc, search_pb2_grpc
from clipsearch.web.app import create_app
from clipsearch.web.routes.maps import map_page_in
from clipsearch.web.settings import MapPage, Side, WebSettings
from tests.ports import OWN_PORT
from tests.unit.clipsearch.web.fakes import Told

HERE = "http://127.0.0.1:8080"


@pytest.fixture
def told() -> Iterator[Told]:
    """Services that say what they are told."""
    services = Told()
    server = grpc.server(ThreadPoolExecutor(4), options=OWN_PORT)
    search_pb2_grpc.add_SearchServiceServicer_to_server(services, server)
    collection_pb2_grpc.add_CollectionServiceServicer_to_server(services, server)
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(services, server)
    services.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield services
    server.stop(None).wait()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that is served."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


Open = Callable[..., TestClient]


@pytest.fixture
def open_page(told: Told, root: Path) -> Iterator[Open]:
    """Opens a server with these settings, and a browser at it."""
    with ExitStack() as stack:

        def start(**settings: Any) -> TestClient:
            side = Side(told.address, told.address)
            given = {"sides": {"a": side}, "roots": (root,), **settings}
            scheme = "https" if given.get("secure") else "http"
            app = create_app(WebSettings(**given))
            client = TestClient(
                app, HERE.replace("http", scheme), raise_server_exceptions=False, follow_redirects=False
            )
            return stack.enter_context(client)

        yield start


@pytest.fixture
def page(open_page: Open) -> TestClient:
    """A browser at a server on this machine."""
    return open_page()


@pytest.fixture
def map_page(tmp_path: Path) -> MapPage:
    """A map, such as `clipsearch map` writes."""
    folder = tmp_path / "images-map"
    folder.mkdir()
    (folder / "map.html").write_text("<!doctype html><title>map</title>")
    (folder / "map.json").write_text('{"collection": "images"}')
    page = map_page_in(folder)
    assert page is not None
    return page
