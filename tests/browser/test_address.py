"""The address holds the query: links, the back button, and what a reload keeps."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.corpus import PHOTOS


def test_back_and_forward_walk_through_the_searches(visit, stage):
    page = visit(f"/?collection={PHOTOS}")
    box, found, first = (
        page.get_by_label("Words to search by"),
        page.locator(".found"),
        page.locator("[data-id]").first,
    )
    box.fill("a cat")
    page.keyboard.press("Enter")
    expect(first).to_have_attribute("data-id", "chelsea.png")
    page.locator("input[type=file]").nth(1).set_input_files(stage.photos / "moon.png")  # beside the words
    expect(found).to_have_text("a cat + image moon.png")
    first.get_by_role("button", name="More like this").click()
    expect(found).to_contain_text("more like")
    page.go_back()
    expect(found).to_have_text("a cat + image moon.png")  # the picture lives as long as the page
    page.go_back()
    expect(found).to_have_text("a cat")
    expect(box).to_have_value("a cat")
    page.go_back()
    expect(found).to_have_text("What are you looking for?")
    page.go_forward()
    expect(first).to_have_attribute("data-id", "chelsea.png")


def test_a_link_brings_the_whole_query(visit):
    page = visit(
        f"/?collection={PHOTOS}&q=a+vehicle&like=rocket.jpg&w=-0.7&target=image&filter=kind%3D%22png%22&filter=size%3C%3D400000"
    )
    expect(page.locator(".found")).to_have_text("a vehicle − more like rocket.jpg")
    expect(page.locator(".term output")).to_have_text("−0.7")
    expect(page.get_by_label("Images", exact=True)).to_be_checked()
    expect(page.get_by_role("checkbox", name="png")).to_be_checked()
    expect(page.get_by_label("size to")).to_have_value("400000")
    expect(page.locator(".filters summary").first).to_have_text("Filters (2)")
    assert page.locator("[data-id]").count() > 3


def test_an_address_of_nonsense_opens_all_the_same(visit):
    page = visit("/?view=nothing&side=z&target=smell&w=9&filter=x&filter=a%3D%7B&shown=-4&map=x&right=")
    expect(page.locator(".found")).to_have_text("What are you looking for?")


def test_a_collection_that_is_gone_is_told(visit):
    page = visit("/?collection=gone&q=a+cat")
    page.watch.expected.append("status of 404")
    expect(page.get_by_role("alert")).to_contain_text("gone")


def test_a_picture_that_a_reload_lost_is_asked_for_again(visit, stage):
    page = visit(f"/?collection={PHOTOS}")
    page.locator("input[type=file]").first.set_input_files(stage.photos / "moon.png")
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "moon.png")
    page.reload()
    expect(page.get_by_text("The image of this search is gone")).to_be_visible()
