"""The classify panel: an image, labels, probabilities."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.corpus import PHOTOS
from tests.browser.pages import PHONE


def test_a_given_picture_is_classified_by_labels_of_ones_own(visit, stage):
    page = visit("/?view=classify")
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Give an image first.")
    page.get_by_label("Labels").fill("motorcycle, cat\na cup of coffee, cat")
    page.locator("#view-classify input[type=file]").set_input_files(stage.photos / "chelsea.png")
    rows = page.locator(".probabilities tbody tr")
    expect(rows).to_have_count(3)  # the repeated label counts once
    expect(rows.first.get_by_role("rowheader")).to_have_text("cat")
    shares = [float(cell.inner_text().rstrip("%")) for cell in page.locator(".probabilities .number").all()]
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) < 0.2
    page.get_by_label("Labels").fill("moon, coins")
    page.get_by_label("Prompt").fill("a picture of {}")
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(rows).to_have_count(2)


def test_a_hit_is_classified_where_it_lies(visit):
    page = visit(f"/?collection={PHOTOS}&q=a+cup+of+coffee&target=image")
    page.locator("[data-id] .open").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Classify").click()
    expect(page.locator(".stage")).to_contain_text("coffee.png")
    expect(page.locator(".probabilities tbody tr")).to_have_count(10)
    page.go_back()
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "coffee.png")


def test_no_number_is_broken_on_a_phone(visit, stage):
    page = visit("/?view=classify", size=PHONE)
    page.locator("#view-classify input[type=file]").set_input_files(stage.photos / "chelsea.png")
    cosines = page.locator(".probabilities td:last-child")
    expect(cosines).to_have_count(10)
    assert any(text.startswith("−") for text in cosines.all_inner_texts())
    for cell in page.locator(".probabilities tbody :is(th, td)").all():
        assert cell.bounding_box()["height"] < 40  # one line
