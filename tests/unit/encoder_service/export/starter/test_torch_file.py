"""Reading torch files without torch, and refusing whatever else a pickle may carry."""

from __future__ import annotations

import io
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


@pytest.mark.parametrize("bad", [Malicious(), state_dict(a=Malicious())])
def test_code_is_refused_and_never_run(bad, monkeypatch):
    import os

    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    with pytest.raises(ExportError, match="no tensor"):
        read_tensors(saved(bad))
    assert ran == []
