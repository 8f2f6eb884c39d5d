"""Services that ask for a token: the form, a wrong token, a right one, one for some collections only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from clipsearch import Client, Point
from clipsearch.serving.security.tokens import create_token
from tests.processes import WebProcess
from tests.unit.clipsearch.serving.served import TokenMaker


@pytest.fixture(scope="module")
def closed(browser, service, starter_bundle, tmp_path_factory) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a page before closed services, and tokens by name."""
    folder = tmp_path_factory.mktemp("closed")
    file = TokenMaker(folder / "tokens")
    tokens = {
        "all": file.add("all", "encode", "search", "write", "admin"),
        "some": file.add("some", "encode", "search", collections=["shop"]),
    }
    guarded = {"ENCODER_MODEL": str(starter_bundle), "ENCODER_TOKENS_FILE": str(file.path)}
    encoder = service("encoder", **guarded).start()
    search = service(
        "search",
        SEARCH_ENCODER=encoder.address,
        SEARCH_ENCODER_TOKEN=tokens["all"],
        SEARCH_DATA_DIR=str(folder / "data"),
        SEARCH_TOKENS_FILE=str(file.path),
    ).start()
    with Client(search.address, token=tokens["all"]) as client:
        client.create_collection("shop")
        client.upsert("shop", [Point("mug", text="a red coffee mug", payload={"text": "a red coffee mug"})])
    with WebProcess(folder, "--server", search.address, "--encoder", encoder.address) as page:
        yield f"http://{page.address}", tokens


def test_a_wrong_token_is_refused_and_a_right_one_opens_the_page(open_page, closed):
    url, tokens = closed
    page = open_page(f"{url}/?q=a+mug")
    page.watch.expected.append("status of 401")
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_have_count(0)
    field.fill(create_token())
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This token is not known.")
    expect(field).to_be_focused()
    field.fill(tokens["all"])
    page.keyboard.press("Enter")
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "mug")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert tokens["all"] not in page.content()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.get_by_role("tabpanel")).to_have_count(0)


def test_a_token_for_some_collections_names_its_own(open_page, closed):
    url, tokens = closed
    page = open_page(url)
    page.get_by_label("Token").fill(tokens["some"])
    page.keyboard.press("Enter")
    page.get_by_label("Collection", exact=True).and_(page.get_by_role("textbox")).fill("shop")
    page.keyboard.press("Enter")
    page.get_by_label("Words to search by").fill("a mug")
    page.keyboard.press("Enter")
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "mug")
