"""Which source `clipsearch index` makes of its arguments, and which arguments do not go together."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from clipsearch.cli.shared.index_source import check_writable, open_source
from clipsearch.cli.shared.problems import Problem


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "list.csv").write_text("name,text,n\na,b,1\n")
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    return {"folder": tmp_path, "list": tmp_path / "list.csv", "npy": tmp_path / "v.npy"}


def test_the_options_reach_the_list(sources):
    options = {"id": "name", "text": "text", "payload": ["n"], "type": ["n=string"]}
    (item,) = open_source(sources["list"], **options).items()
    assert (item.id, item.text, item.payload) == ("a", "b", {"n": "1", "text": "b"})


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("folder", {"text": "title"}, "--text does not go with a folder of images"),
        ("folder", {"payload": ["x"]}, "--payload does not go with a folder of images"),
        ("list", {"side": "image"}, "--side does not go with a list"),
        ("list", {"type": ["n=number"]}, "write COLUMN=TYPE; TYPE is string, integer, float, bool"),
        ("npy", {"text": "title"}, "--text does not go with vectors"),
    ],
)
def test_options_that_do_not_fit_the_source_are_told(sources, name, options, complaint):
    with pytest.raises(Problem) as caught:
        open_source(sources[name], **options)
    assert complaint in str(caught.value)


def test_failures_go_into_a_file_that_is_there_and_a_checkpoint_takes_its_place(monkeypatch, tmp_path):
    file = tmp_path / "file"  # as /dev/stderr, beside which nobody can write
    file.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path == file)
    check_writable(file, None)
    with pytest.raises(Problem, match="may not be written to"):
        check_writable(None, file)
    monkeypatch.setattr(os, "access", lambda path, mode: path == tmp_path)
    check_writable(None, file)
    with pytest.raises(Problem, match=f"^{file}: may not be written to"):
        check_writable(file, None)
