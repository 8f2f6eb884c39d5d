"""The gateway in a browser: its page tries calls, and the snippet of docs/clients.md searches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from clipsearch import Client, Point
from tests import documents
from tests.browser.conftest import Stage
from tests.browser.pages import OpenPage
from tests.browser.scan import findings
from tests.processes import GatewayProcess


@pytest.fixture(scope="module")
def gateway(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Before services with a collection `shop`."""
    addresses = ("--server", stage.search.address, "--encoder", stage.encoder.address)
    with Client(stage.search.address) as client:
        client.create_collection("shop")
        client.upsert("shop", [Point("mug", text="a red coffee mug"), Point("bike", text="a motorcycle")])
        with GatewayProcess(tmp_path_factory.mktemp("gateway"), *addresses) as process:
            yield process
        client.delete_collection("shop")


@pytest.fixture
def page(open_page: OpenPage, gateway: GatewayProcess) -> Page:
    return open_page(f"{gateway.url}/")


def opened(page: Page, call: str) -> Page:
    page.locator(f"#{call} summary").click()
    return page.locator(f"#{call}")


def test_a_search_is_tried(page):
    search = opened(page, "Search")
    expect(search.get_by_label("collection")).to_have_value("shop")
    search.get_by_role("button", name="Send").click()
    expect(search.get_by_role("status")).to_contain_text("200 in ")
    expect(search.locator("pre")).to_contain_text('"id": "mug"')


def test_a_picture_is_sent(page, stage):
    encode = opened(page, "EncodeImage")
    encode.get_by_label("An image for").set_input_files(stage.photos / "coffee.png")
    expect(encode.get_by_label("Body")).not_to_have_value('{\n "images": [\n  "<base64>"\n ]\n}')
    encode.get_by_role("button", name="Send").click()
    expect(encode.locator("pre")).to_contain_text('"format": "PNG"')


def test_an_error_is_shown(page):
    page.watch.expected.append("status of 404")
    described = opened(page, "GetCollection")
    described.get_by_label("name").fill("<b>nothing")
    described.get_by_role("button", name="Send").click()
    expect(described.get_by_role("status")).to_contain_text("404 in ")
    expect(described.locator("pre")).to_contain_text("'<b>nothing' does not exist")


def test_a_query_without_a_body_is_tried(page):
    listed = opened(page, "ListPoints_get")
    listed.get_by_label("page_size").fill("1")
    listed.get_by_role("button", name="Send").click()
    expect(listed.locator("pre")).to_contain_text('"next_page_token": "')


def test_nothing_stands_in_anybodys_way(page):
    opened(page, "Search")
    page.locator("#Search form").wait_for()
    assert findings(page) == []


def test_the_snippet_of_the_docs_searches(page):
    (snippet,) = (
        block for block in documents.blocks(documents.read("docs/clients.md")) if block.language == "js"
    )
    with page.expect_console_message() as said:
        page.evaluate(f"(async () => {{ {snippet.text} }})()")
    assert said.value.text.startswith("mug ")
