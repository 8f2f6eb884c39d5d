"""The page: whole in itself, and nothing in a collection can get out of its place in it."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from clipsearch.map.build import SpaceMap, build_map
from clipsearch.map.page import caption, first_way, groups_of, write_page
from clipsearch.map.png import write_image
from clipsearch.map.queries import Question, neighbours
from clipsearch.map.sample import IMAGE, TEXT, Item
from clipsearch.map.summary import summary
from tests.unit.clipsearch.map.made import islands

HOSTILE = '</script><script>alert("x")</script> <img src=x onerror=alert(1)> \u2028 $plotly'


def made(sample, **options) -> SpaceMap:
    return build_map(sample, fields=["kind"], **options)


@pytest.fixture(scope="module")
def drawn() -> SpaceMap:
    sample = islands(each=3)
    return made(sample, questions=[Question('"zero"', sample.vectors[1], TEXT)])


@pytest.fixture
def page_of(tmp_path) -> Callable[..., str]:
    """Writes the page of a map; returns its text."""

    def write(drawn: SpaceMap, thumbnails: int = 0) -> str:
        write_page(drawn, tmp_path / "map.html", thumbnails=thumbnails)
        return (tmp_path / "map.html").read_text()

    return write


def data_of(page: str):
    return json.loads(re.search(r"window\.MAP = (.*);</script>", page).group(1))


def test_the_page_needs_no_network_and_carries_the_data(drawn, page_of):
    page = page_of(drawn)
    shell = page[: page.index("<script>")]
    assert not re.search(r'(?:src|href)="', shell)
    data = data_of(page)
    assert [view["name"] for view in data["views"]] == ["raw", "centred"]
    x = np.frombuffer(base64.b64decode(data["views"][0]["x"]), "<f4")
    np.testing.assert_array_equal(x, drawn.views[0].positions[:, 0])
    assert data["views"][0]["questions"][0]["rows"][0] == 1
    assert data["summary"] == json.loads(json.dumps(summary(drawn)))


def test_its_numbers_round_to_what_the_command_line_prints(drawn, page_of):
    numbers = dataclasses.replace(drawn.views[0].numbers, gap=0.01152)  # 0.0115 in binary is nearer to 0.011
    views = (dataclasses.replace(drawn.views[0], numbers=numbers), *drawn.views[1:])
    data = data_of(page_of(dataclasses.replace(drawn, views=views)))
    assert f"{data['summary']['spaces']['raw']['gap']:.3f}" == f"{numbers.gap:.3f}" == "0.012"


def test_its_policy_allows_just_its_own_scripts(drawn, page_of):
    page = page_of(drawn)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 3 == page.count("<script>")


def test_hostile_names_and_payloads_stay_data(page_of):
    sample = islands(each=3)
    hostile = Item(HOSTILE, {"name": HOSTILE, "kind": HOSTILE, HOSTILE: [HOSTILE]})
    page = page_of(made(dataclasses.replace(sample, items=(hostile, *sample.items[1:]))))
    assert page.count("<script>") == page.count("</script>") == 3
    assert 'alert("x")' not in page
    assert data_of(page)["ids"][0].startswith('</script><script>alert("x")')


def test_local_pictures_become_thumbnails_and_what_is_none_shows_without(drawn, page_of, tmp_path):
    Image.new("CMYK", (600, 400), "red").save(tmp_path / "red.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    sample = drawn.sample
    paths = [tmp_path / "red.jpg", tmp_path / "broken.jpg", tmp_path / "missing.jpg"]
    pictures = [i for i, side in enumerate(sample.side) if side == IMAGE]
    items = list(sample.items)
    for i, path in zip(pictures, paths, strict=False):
        items[i] = Item(items[i].id, {"kind": "kind 0", "path": str(path)})
    drawn = dataclasses.replace(drawn, sample=dataclasses.replace(sample, items=tuple(items)))
    shown = data_of(page_of(drawn, thumbnails=10))["images"]
    assert list(shown) == [str(pictures[0])]
    assert shown[str(pictures[0])].startswith("data:image/webp;base64,")
    assert data_of(page_of(drawn))["images"] == {}


def test_points_are_called_by_their_text_title_file_or_id():
    assert caption(Item("7", {"text": "a cat", "name": "n"})) == "a cat"
    assert caption(Item("7", {"path": "/pictures/cat.jpg"})) == "cat.jpg"
    assert caption(Item("7", {"text": 5})) == "7"
    assert len(caption(Item("x" * 500, {}))) == 120


def test_groups_are_modality_clusters_and_fields_and_a_field_comes_first(drawn):
    ways = groups_of(drawn)
    assert list(ways) == ["modality", "cluster", "kind"]
    names, codes = ways["kind"]
    assert [names[code] for code in codes] == drawn.sample.values("kind")
    assert first_way(drawn) == "kind"


def test_the_picture_has_a_panel_a_space(drawn, tmp_path):
    write_image(drawn, tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.width > 2 * picture.height
        assert len(set(picture.convert("RGB").resize((200, 90)).tobytes())) > 10


def test_a_collection_of_one_modality_has_one_space(sample, page_of, tmp_path):
    rows = sample.side == IMAGE
    only = dataclasses.replace(
        sample, vectors=sample.vectors[rows], item=sample.item[rows], side=sample.side[rows]
    )
    drawn = made(only)
    assert [view.name for view in drawn.views] == ["raw"]
    assert drawn.views[0].numbers.gap is None
    write_image(drawn, tmp_path / "map.png")
    page_of(drawn)


def test_neighbours_are_exact_and_without_oneself(sample):
    found = neighbours(sample.vectors)
    cosines = sample.vectors @ sample.vectors.T
    np.fill_diagonal(cosines, -2)
    want = -np.sort(-cosines, axis=1)[:, :10]
    np.testing.assert_allclose(np.take_along_axis(cosines, found, 1), want, atol=1e-6)
