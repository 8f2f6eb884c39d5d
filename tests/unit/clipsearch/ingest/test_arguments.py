"""What is no source, or no way to read one, is refused in a sentence before anything is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.ingest import ItemList, PictureFolder, VectorFile, ingest


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    return tmp_path / "v.npy"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"payload": "price"}, "payload: must be a list of columns, is 'price' (of type str)"),
        ({"payload": [5]}, "payload[0]: must be a string, is 5"),
        ({"text": ["title"]}, "text: must be a string, is of type list"),
        ({"id": 5}, "id: must be a string, is 5"),
        ({"types": {"n": "int"}}, "types['n']: 'int' is none of string, integer, float, bool"),
        ({"types": {"n": int}}, "types['n']: <class 'int'> is none of string"),
        ({"types": ["n=float"]}, "types: must map columns to types"),
    ],
)
def test_a_list_is_read_by_columns(options: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        ItemList("a.csv", **options)


@pytest.mark.parametrize(
    ("exclude", "said"),
    [
        ("*.gif", "exclude: must be a list of patterns, is '*.gif' (of type str); one is written ['*.gif']"),
        (None, "exclude: must be a list of patterns, is None"),
        ([Path("drafts")], "exclude[0]: must be a string"),
    ],
)
def test_what_a_folder_excludes_is_no_list_of_letters(exclude: Any, said: str):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        PictureFolder("pictures", exclude=exclude)


def test_vectors_are_of_one_side_or_the_other(vectors: Path):
    with pytest.raises(ValueError, match="side: 'images' is none of image, text"):
        VectorFile(vectors, side="images")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="payload: must be a list of columns, is 'price'"):
        VectorFile(vectors, payload="price")


@pytest.mark.parametrize("source", ["a.csv", None, Path("pictures")])
def test_a_path_is_no_source(source: Any):
    with pytest.raises(ValueError, match="source: must be an ItemList, a PictureFolder or a VectorFile"):
        ingest("127.0.0.1:1", "things", source)
