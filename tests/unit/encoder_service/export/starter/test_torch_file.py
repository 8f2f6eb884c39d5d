"""Reading torch files without torch, and refusing whatever else a pickle may carry."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest

from encoder_service.export import ExportError
from encoder_service.export.starter.torch_file import read_tensors


def saved(state: object) -> bytes:
    """As torch wrote it before version 1.6, like the pinned weights."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def state_dict(**tensors: Any) -> object:
    from collections import OrderedDict

    return OrderedDict(tensors)


def test_tensors_come_out_as_torch_reads_them():
    import torch

    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = state_dict(a=torch.randn(3, 5), turned=base.T, part=base[1:3, ::2], n=torch.tensor(7))
    read = read_tensors(saved(state))
    assert list(read) == ["a", "turned", "part", "n"]
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())


class Malicious:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/clipsearch-was-here",)


@pytest.mark.parametrize("bad", [Malicious(), [1, 2], state_dict(a=Malicious())])
def test_anything_but_tensors_is_refused(bad, tmp_path, monkeypatch):
    import os

    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    with pytest.raises(ExportError):
        read_tensors(saved(bad))
    assert ran == []


def test_a_plain_pickle_of_code_is_refused():
    with pytest.raises(ExportError, match="no tensor"):
        read_tensors(pickle.dumps(Malicious(), protocol=2))


class Widened:
    """A tensor of 4 numbers whose state, set after it was made, reaches far out of them."""

    def __reduce__(self):
        import torch

        rebuild, arguments = torch.arange(4.0).__reduce_ex__(2)
        assert rebuild is torch._utils._rebuild_tensor_v2
        return rebuild, arguments, [arguments[0], 0, (2**20,), (1,)]


def test_a_tensor_that_reaches_out_of_its_numbers_is_refused():
    content = saved(state_dict(a=Widened()))
    with pytest.raises(ExportError, match="not a readable"):
        read_tensors(content)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_file_that_was_cut_is_refused(share):
    import torch

    whole = saved(state_dict(a=torch.randn(64, 64)))
    with pytest.raises(ExportError):
        read_tensors(whole[: int(len(whole) * share)])
