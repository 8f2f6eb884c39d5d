"""The page's own files: what they load is there, and none of them parses text as markup or code."""

from __future__ import annotations

import re

import pytest

from clipsearch.web.app import STATIC

MODULES = sorted(STATIC.glob("*.js"))
INDEX = (STATIC / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_makes_no_markup_of_text_and_imports_what_is_there(module):
    code = module.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function", code
    )
    for name in re.findall(r'from "(.+?)"', code):
        assert (STATIC / name).resolve().is_relative_to(STATIC), name
        assert (STATIC / name).is_file(), name


def test_every_module_is_reached_from_the_page():
    reached, new = set(), set(re.findall(r'src="/static/(.+?\.js)"', INDEX))
    while new:
        reached |= new
        code = "".join((STATIC / name).read_text(encoding="utf-8") for name in new)
        new = {name.removeprefix("./") for name in re.findall(r'from "(.+?)"', code)} - reached
    assert reached == {module.name for module in MODULES}


def test_the_page_has_no_inline_script_or_style_and_loads_only_its_own():
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", INDEX)
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', INDEX)
    assert loaded
    for address in loaded:
        assert address == "/" or (STATIC / address.removeprefix("/static/")).is_file(), address
