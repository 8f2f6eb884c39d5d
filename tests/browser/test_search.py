"""Each way of searching, as people do it."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.corpus import MANY, PHOTOS

WORDS = f"/?collection={PHOTOS}"


def first(page: Page) -> str:
    """The id of the first hit."""
    return page.locator("[data-id]").first.get_attribute("data-id") or ""


def ids(page: Page) -> list[str]:
    """Of the hits, all read in one moment once the page has them."""
    expect(page.locator("[aria-busy]")).to_have_count(0)
    return list(page.locator("[data-id]").evaluate_all("hits => hits.map(hit => hit.dataset.id)"))


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def search(page: Page, words: str) -> None:
    page.get_by_label("Words to search by").fill(words)
    page.keyboard.press("Enter")


def finds_first(page: Page, id: str) -> None:
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", id)


def test_words_find_pictures_with_bar_number_and_weak_mark(visit):
    page = visit(WORDS)
    search(page, "a cat")
    finds_first(page, "chelsea.png")
    cat = page.locator("[data-id]").first
    cosine = float(cat.locator(".number").inner_text())
    assert cosine > 0.3
    assert cat.locator(".fill").evaluate("bar => bar.getBoundingClientRect().width") > 100
    assert cat.locator(".mark").count() == 0
    weak = page.locator(".hit.weak").first
    assert weak.locator(".mark").inner_text() == "weak match"
    expect(page.get_by_role("status")).to_contain_text("hits. First: chelsea.png")
    expect(page).to_have_title(re.compile("a cat"))
    assert cat.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_several_terms_with_a_minus_push_away(visit):
    page = visit(WORDS)
    page.get_by_label("Images", exact=True).check(force=True)
    search(page, "a vehicle")
    page.locator("[data-id]").first.wait_for()
    before = ids(page).index("motorcycle_left.png")
    page.get_by_role("button", name="+ Words").click()
    page.keyboard.type("a motorcycle")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Turn the sign of a motorcycle").click()
    expect(page.locator(".found")).to_have_text("a vehicle − a motorcycle")
    expect(page.locator(".term output")).to_have_text("−1.0")
    assert asked(page)["w"] == ["-1"]
    assert ids(page).index("motorcycle_left.png") > before
    slider = page.get_by_role("slider", name="Weight of a motorcycle")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".term output")).to_have_text("−0.9")
    expect(slider).to_be_focused()


def test_a_picture_that_is_chosen_finds_itself_and_can_be_removed(visit, stage):
    page = visit(WORDS)
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Image…").first.click()
    chosen.value.set_files(stage.photos / "coffee.png")
    finds_first(page, "coffee.png")
    preview = page.locator(".term img")
    assert preview.evaluate("image => image.decode().then(() => image.naturalWidth)") == 600
    page.get_by_role("button", name="Remove image coffee.png").click()
    expect(page.locator(".found")).to_have_text("What are you looking for?")
    expect(page.get_by_label("Words to search by")).to_be_focused()


def test_a_picture_is_dropped_from_the_desktop(visit, stage):
    page = visit(WORDS)
    drag = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(stage.photos / "rocket.jpg")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        drag.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 500, "data": data})
    expect(page.get_by_text("Drop the image", exact=True)).to_be_visible()
    drag.send("Input.dispatchDragEvent", {"type": "drop", "x": 600, "y": 500, "data": data})
    finds_first(page, "rocket.jpg")
    expect(page.get_by_text("Drop the image", exact=True)).to_be_hidden()


def test_a_picture_is_pasted_from_the_clipboard(visit, stage):
    page = visit(WORDS)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (bytes) => {
            const picture = new Blob([new Uint8Array(bytes)], { type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
        }""",
        list((stage.photos / "coins.png").read_bytes()),
    )
    page.keyboard.press("Control+V")
    finds_first(page, "coins.png")


def test_what_is_no_picture_is_refused_before_it_is_sent(visit, tmp_path):
    page = visit(WORDS)
    letter = tmp_path / "letter.txt"
    letter.write_text("no picture")
    page.locator("input[type=file]").first.set_input_files(letter)
    expect(page.get_by_role("alert")).to_contain_text("letter.txt is no image")
    assert not any(url.endswith("/api/search") for url in page.watch.requests)


def test_more_like_this_and_push_away_from_the_details(visit):
    page = visit(f"{WORDS}&q=a+motorcycle&target=image")
    card = page.locator("[data-id]").first
    card.wait_for()
    name = first(page)
    card.get_by_role("button", name="More like this").click()
    expect(page.locator(".found")).to_have_text(f"more like {name}")
    assert set(ids(page)[:1]) <= {"motorcycle_left.png", "motorcycle_right.png"}
    page.locator("[data-id] .open").last.click()
    dialog = page.get_by_role("dialog")
    far = dialog.locator(".id").inner_text()
    dialog.get_by_role("button", name="Push away").click()
    expect(page.locator(".found")).to_contain_text(f"− more like {far}")
    assert asked(page)["like"] == [name, far]
    assert asked(page)["w"] == ["-0.5"]


def test_the_details_show_payload_ranks_and_scores(visit):
    page = visit(f"{WORDS}&q=a+cat")
    page.locator("[data-id] .open").first.click()
    dialog = page.get_by_role("dialog")

    def row(name: str) -> Locator:
        return dialog.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name, exact=True))

    expect(row("rank among images").get_by_role("cell")).to_have_text("1")
    expect(row("kind").get_by_role("cell")).to_have_text("png")
    assert 0.3 < float(row("cosine").locator(".number").inner_text()) < 1
    score = row("score, in spreads above what unrelated queries find")
    assert 0 < float(score.get_by_role("cell").inner_text()) < 20
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".steps")).to_contain_text("2 of 22")
    page.keyboard.press("Escape")
    expect(page.locator("[data-id] .open").nth(1)).to_be_focused()


@pytest.mark.parametrize(
    ("narrow", "kept"),
    [
        (lambda page: page.get_by_role("checkbox", name="jpg").check(), lambda id: id.endswith(".jpg")),
        (
            lambda page: (
                page.get_by_role("checkbox", name="png").check(),
                page.get_by_label("all but these").check(),
            ),
            lambda id: not id.endswith(".png"),
        ),
        (
            lambda page: (page.get_by_label("size from").fill("300000"), page.keyboard.press("Enter")),
            lambda id: True,  # a number of them, which the count tells
        ),
        (
            lambda page: (page.get_by_label("taken to").fill("2001-05-01"), page.keyboard.press("Tab")),
            lambda id: id == "astronaut.png",
        ),
        (
            lambda page: (
                page.get_by_label("note has the words").fill("number 3"),
                page.keyboard.press("Enter"),
            ),
            lambda id: id == "chelsea.png",
        ),
    ],
    ids=["keyword", "not", "number", "date", "words"],
)
def test_filters_keep_what_passes(visit, narrow, kept):
    page = visit(f"{WORDS}&q=a+photograph")
    page.locator(".choices[aria-busy]").first.wait_for(state="detached")
    page.locator("[data-id]").first.wait_for()
    before = len(ids(page))
    narrow(page)
    expect(page.locator(".filters summary").first).to_have_text("Filters (1)")
    expect(page.locator("[data-id]")).not_to_have_count(before)
    found = ids(page)
    assert found
    assert all(kept(id) for id in found)
    page.locator(".chips .chip").click()
    expect(page.locator(".filters summary").first).to_be_focused()
    expect(page.locator("[data-id]")).to_have_count(before)


def add_filter(page, field: str, op: str, value: str) -> None:
    page.get_by_text("Another field").click()
    page.get_by_label("Field", exact=True).fill(field)
    page.get_by_label("Operator", exact=True).select_option(op)
    page.get_by_label("Value", exact=True).fill(value)
    page.get_by_role("button", name="Add", exact=True).click()


def test_what_is_typed_is_read_as_on_the_command_line(visit):
    page = visit(f"{WORDS}&q=words")
    add_filter(page, "kind", "=", '"note" | "webp"')
    expect(page.locator("[data-id]")).to_have_count(4)
    assert {id.split("-")[0] for id in ids(page)} == {"text"}
    page.reload()  # the address holds it
    expect(page.locator("[data-id]")).to_have_count(4)
    page.locator(".chips .chip").click()
    page.watch.expected.append("status of 400")
    add_filter(page, "size", "<", "small")
    expect(page.get_by_text("'small' is neither a number nor a date or time")).to_be_visible()


def test_days_are_those_of_the_browsers_time_zone(visit):
    """At noon in UTC it is two o'clock of the next day on Kiritimati."""
    page = visit(f"{WORDS}&q=a+photograph", zone="Pacific/Kiritimati")
    for name in ("taken from", "taken to"):
        page.get_by_label(name).fill("2001-05-02")
        page.keyboard.press("Tab")
    expect(page.locator("[data-id]")).to_have_count(1)
    assert ids(page) == ["astronaut.png"]


def test_the_target_chooses_pictures_or_texts(visit):
    page = visit(f"{WORDS}&q=coffee")
    page.get_by_label("Texts", exact=True).check(force=True)
    expect(page.locator("[data-id]")).to_have_count(4)
    assert {id.split("-")[0] for id in ids(page)} == {"text"}
    page.get_by_label("Images", exact=True).check(force=True)
    expect(page.locator("[data-id]")).to_have_count(18)
    assert asked(page)["target"] == ["image"]


def test_show_more_appends_and_moves_on_to_the_first_new_hit(visit):
    page = visit(f"/?collection={MANY}&q=note")
    expect(page.locator("[data-id]")).to_have_count(24)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("[data-id]")).to_have_count(48)
    expect(page.locator("[data-id] .open").nth(24)).to_be_focused()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("[data-id]")).to_have_count(60)
    expect(page.get_by_text("That is all.")).to_be_visible()
    assert len(set(ids(page))) == 60
    page.reload()
    expect(page.locator("[data-id]")).to_have_count(60)


def test_a_newer_search_overtakes_an_older_one(visit):
    page = visit(WORDS)

    def slow_cat(route):
        if json.loads(route.request.post_data)["terms"][0]["text"] == "a cat":
            page.wait_for_timeout(400)
        route.continue_()

    page.route("**/api/search", slow_cat)
    search(page, "a cat")
    search(page, "a rocket")
    finds_first(page, "text-2")  # "a short history of rockets"
    page.wait_for_timeout(600)
    finds_first(page, "text-2")  # "a short history of rockets"
    page.watch.expected.append("ERR_ABORTED")


def test_a_text_too_long_for_the_model_is_told(visit):
    page = visit(WORDS)
    search(page, "cat " * 900)
    expect(page.get_by_text("too long for the model")).to_be_visible()


def test_hits_are_grouped_by_a_field(visit):
    page = visit(WORDS)
    search(page, "a cat")
    finds_first(page, "chelsea.png")
    page.get_by_label("Group by").select_option("kind")
    expect(page.locator(".group").first).to_have_text("png")
    assert asked(page)["group"] == ["kind"]
    groups = page.locator(".hits > li").evaluate_all(
        "items => items.map(item => item.classList.contains('group') ? item.textContent : 1)"
    )
    assert {name for name in groups if name != 1} == {"png", "jpg", "note"}
    assert max(len(run) for run in "".join("|" if name != 1 else "x" for name in groups).split("|")) <= 3
    page.get_by_label("Group by").select_option("")
    expect(page.locator(".group")).to_have_count(0)


def test_only_matches_leaves_out_what_chance_finds_too(visit):
    page = visit(f"{WORDS}&q=a+cat")
    finds_first(page, "chelsea.png")
    expect(page.locator(".hit.weak").first).to_be_visible()
    page.get_by_label("Only matches").check()
    expect(page.locator(".hit.weak")).to_have_count(0)
    finds_first(page, "chelsea.png")
    assert asked(page)["only"] == ["matches"]
    page = visit(f"{WORDS}&q=a+cat&only=matches&filter=kind%3D%22jpg%22")
    expect(page.locator(".found")).to_have_text("Nothing found")
    expect(page.get_by_label("Only matches")).to_be_checked()
    page.get_by_role("button", name="Show weak matches too").click()
    expect(page.locator(".hit.weak").first).to_be_visible()
    assert "only" not in asked(page)


def test_exact_words_are_looked_up_where_the_collection_keeps_them(visit):
    page = visit(f"{WORDS}&q=number+7")
    page.locator("[data-id]").first.wait_for()
    page.get_by_label("Exact words too").check()
    first = page.locator("[data-id]").first
    expect(first.locator(".do .dim")).to_have_text("words")
    assert asked(page)["words"] == ["too"]
    first.locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("a sample photograph, number 7")
    expect(dialog.get_by_role("row", name="rank by words")).to_contain_text("1")
    page = visit(f"/?collection={MANY}&q=number+7&words=too")
    finds_first(page, "n7")
    expect(page.get_by_label("Exact words too")).to_be_hidden()
