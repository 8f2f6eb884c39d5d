"""One item where a list is meant, and values of a wrong type: refused before any call, by both clients."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from PIL import Image

from clipsearch import AsyncClient, AsyncEncoderClient, Client, EncoderClient, Point, Term
from clipsearch.client import inputs
from clipsearch.client.errors import ArgumentError
from clipsearch.client.inputs import image_bytes
from tests.unit.clipsearch.serving.served import running

NOWHERE = "127.0.0.1:1"  # a call would be told as ClipSearchError
IMAGE = b"\x89PNG"
ORIENTATION = 0x0112  # of EXIF

REFUSED = [
    (
        "encode_texts",
        ("cat",),
        "texts: must be a list of texts, is 'cat' (of type str); one is written ['cat']",
    ),
    ("encode_texts", (b"cat",), "texts: must be a list of texts, is of type bytes"),
    ("encode_texts", (None,), "texts: must be a list of texts, is None"),
    ("encode_texts", ({"a": 1},), "texts: must be a list of texts, is of type dict"),
    ("encode_texts", ({"a", "b"},), "texts: must be a list of texts; a set has no order"),
    ("encode_texts", (["a", 5],), "texts[1]: must be a string, is 5 (of type int)"),
    ("encode_texts", (["\udc80"],), "texts[0]: '\\udc80' is no text"),
    ("encode_images", ("a.jpg",), "images: must be a list of images, is 'a.jpg'"),
    ("encode_images", (Path("a.jpg"),), "images: must be a list of images, is PosixPath('a.jpg')"),
    ("encode_images", (Image.new("RGB", (1, 1)),), "images: must be a list of images, is of type Image"),
    (
        "encode_images",
        ([IMAGE, np.zeros((2, 2, 3))],),
        "images[1]: must be the bytes of an image file, a path",
    ),
    ("encode_images", ([IMAGE, "https://x/a.png"],), "images[1]: https://x/a.png is an address"),
    (
        "encode_images",
        (["data:image/png;base64,iVBOR"],),
        "images[0]: data:image/png;base64,iVBOR is an addr",
    ),
    ("encode_images", ([Image.new("F", (1, 1))],), "images[0]: the Pillow image of mode F: 32-bit pixels"),
    ("encode_images", ([Image.new("RGB", (0, 0))],), "images[0]: the Pillow image of mode RGB: cannot"),
    ("classify", (IMAGE, ["cat"]), "images: must be a list of images, is of type bytes"),
    ("classify", ([IMAGE], "cat"), "labels: must be a list of labels, is 'cat' (of type str)"),
    ("classify", ([IMAGE], ["cat", 5]), "labels[1]: must be a string, is 5"),
    (
        "upsert",
        ("c", Point("a", text="x")),
        "points: must be a list of points, is one Point; write [Point(...)]",
    ),
    ("upsert", ("c", [{"id": "a"}]), "points[0]: must be a Point, is of type dict"),
    ("upsert", ("c", [Point("a", text="x"), Point(5, text="x")]), "points[1].id: ids are strings, this is 5"),
    ("upsert", ("c", [Point("", text="x")]), "points[0].id: empty"),
    ("upsert", ("c", [Point("a", text=5)]), "point 'a': text: must be a string, is 5"),
    ("upsert", ("c", [Point("a", image=5)]), "point 'a': image: must be the bytes of an image file, a path"),
    ("upsert", ("c", [Point("a", image="a\0b")]), "point 'a': image: 'a\\x00b' cannot be a path"),
    ("upsert", ("c", [Point("a", payload=["x"])]), "point 'a': payload: must be a dict, is of type list"),
    ("get_points", ("c", "id"), "ids: must be a list of ids, is 'id' (of type str); one is written ['id']"),
    ("get_points", ("c", [UUID(int=0)]), "ids[0]: ids are strings, this is of type UUID; write '00000000-"),
    ("get_points", ("c", ["a"], {"payload": "price"}), "payload: must be a list of fields"),
    ("delete_points", ("c", "id"), "ids: must be a list of ids, is 'id'"),
    ("delete_points", ("c", [None]), "ids[0]: ids are strings, this is None"),
    ("delete_points", ("c", None, {"filter": 5}), "filter: must be expressions such as"),
    ("count", ("c", {"filter": "price"}), "'price' is no filter"),
    ("count", ("c", {"filter": [{"key": "a"}]}), "filter[0]: must be an expression"),
    ("count", ("c", {"filter": ["a=1", 5]}), "filter[1]: must be an expression such as 'price<20', not int"),
    ("list_page", ("c", {"filter": {"price": 5}}), "filter: 'price' is none of must, should, must_not"),
    ("search", ("c", 5), "query[0].text: must be a string, is 5"),
    ("search", ("c", {"query": Term(text="x")}), "query: must be a list of terms, is one Term"),
    ("search", ("c", {"query": "x"}), "query: must be a list of terms, is 'x'"),
    ("search", ("c", {"query": ["x"]}), "query[0]: must be a Term, is 'x'"),
    ("search", ("c", {"point_id": 5}), "query[0].point_id: ids are strings, this is 5"),
    ("search", ("c", "x", {"limit": "5"}), "limit: must be a whole number, is '5'"),
    ("search", ("c", "x", {"payload": "price"}), "payload: must be a list of fields"),
    ("search", (None, "x"), "collection: must be a string, is None"),
    ("search_batch", ("c", {"text": "x"}), "searches: must be a list of searches"),
    ("search_batch", ("c", ["x"]), "searches[0]: must be a dict"),
    ("create_collection", ("c", {"payload_indexes": "price"}), "payload_indexes: must map fields to types"),
    (
        "create_collection",
        ("c", {"payload_indexes": {"price": "number"}}),
        "payload index 'price': 'number' is none",
    ),
    ("create_collection", (5,), "name: must be a string, is 5"),
]
OPTIONS = {"filter", "query", "point_id", "limit", "payload", "payload_indexes"}


@pytest.mark.parametrize(("method", "given", "said"), REFUSED)
async def test_it_is_refused_in_a_sentence_before_any_call(method, given, said):
    options = given[-1] if isinstance(given[-1], dict) and set(given[-1]) <= OPTIONS else {}
    arguments = given[:-1] if options else given
    encodes = hasattr(EncoderClient, method)
    refusal = pytest.raises((TypeError, ValueError), match=f"^{re.escape(said)}")
    with (EncoderClient if encodes else Client)(NOWHERE) as client, refusal:
        getattr(client, method)(*arguments, **options)
    async with (AsyncEncoderClient if encodes else AsyncClient)(NOWHERE) as client:
        with refusal:
            await getattr(client, method)(*arguments, **options)


def test_a_file_that_no_message_holds_is_not_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_LARGEST_FILE", 1000)
    path = tmp_path / "large.png"
    path.write_bytes(b"x" * 1000)
    assert len(inputs.image_bytes(path, "image")) == 1000
    path.write_bytes(b"x" * 1001)
    with pytest.raises(ArgumentError, match=r"^image: a file of more than 1,000 bytes"):
        inputs.image_bytes(path, "image")


@pytest.mark.parametrize(
    ("modes", "sent_as"),
    [
        (["RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"], "RGB"),
        (["RGBA", "RGBa", "PA"], "RGBA"),
        (["LA", "La"], "LA"),
        (["1"], "1"),
        (["L"], "L"),
        (["P"], "P"),
        (["I;16"], "I;16"),
    ],
)
def test_a_pillow_image_of_any_mode_is_sent_as_it_looks(modes, sent_as):
    for mode in modes:
        image = Image.new(mode, (2, 3))
        with Image.open(io.BytesIO(image_bytes(image, "image"))) as sent:
            assert (sent.format, sent.size, sent.mode) == ("PNG", (2, 3), sent_as)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_a_pillow_image_of_16_bits_keeps_its_greys(mode):
    order = "big" if mode == "I;16B" else sys.byteorder if mode == "I;16N" else "little"
    image = Image.frombytes(mode, (1, 1), (30_000).to_bytes(2, order))
    with Image.open(io.BytesIO(image_bytes(image, "image"))) as sent:
        assert (sent.mode, sent.getpixel((0, 0))) == ("I;16", 30_000)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_pillow_image_as_it_was_opened_is_turned_as_its_file(tmp_path, format):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "a", format, exif=exif)
    with Image.open(tmp_path / "a") as opened:
        turned = Image.open(io.BytesIO(image_bytes(opened, "image")))
        cropped = Image.open(io.BytesIO(image_bytes(opened.crop((0, 0, 2, 2)), "image")))
    assert turned.getexif().get(ORIENTATION) == 6
    assert ORIENTATION not in cropped.getexif()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"address": b"127.0.0.1:1"}, "address: must be a string, is of type bytes"),
        ({"timeout": "5"}, "timeout: must be a number of seconds, is '5'"),
        ({"timeout": True}, "timeout: must be a number of seconds, is True"),
        ({"timeout": 0}, "timeout: must be more than 0 seconds, is 0"),
        ({"timeout": float("nan")}, "timeout: must be more than 0 seconds, is nan"),
    ],
)
async def test_what_is_no_address_or_timeout_is_refused_at_once(options, said):
    for kind in (Client, EncoderClient, AsyncClient, AsyncEncoderClient):
        with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
            kind(**options)


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e12, np.float32(5)])
async def test_a_timeout_of_any_length_waits(timeout):
    async with running() as server, AsyncClient(server.address, timeout=timeout) as client:
        assert await client.count("c") == 0
