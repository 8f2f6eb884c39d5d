"""torchvision, which transformers and OpenCLIP import: also beside the CPU build of torch."""

from __future__ import annotations

import sys
from typing import Any

# Kept, because what a library declared goes with it.
_declared: list[Any] = []


def import_torchvision() -> None:
    """Imports torchvision if it is installed.

    The package index has it for the CUDA build of torch only. Beside another its compiled part does not
    load, and it ends with an error about an operator that nobody here uses: declared, the rest of it works.
    """
    try:
        import torchvision
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        libraries: Any = torch.library
        library = libraries.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        import torchvision  # noqa: F401
