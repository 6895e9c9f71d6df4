"""One cure for one broken pair: PyPI's torchvision beside a CPU-only torch.

open_clip imports torchvision, whose first import describes the operator `torchvision::nms` to torch. The
compiled library that defines the operator is linked against CUDA and does not load without it, so the import
dies with "operator torchvision::nms does not exist". Declaring the two missing operators lets the rest of
torchvision import (transforms, which is all that open_clip needs). `torchvision.ops` stays unusable; this
project calls none of it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declared: torch.library.Library | None = None  # torch forgets the operators when this object dies


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring its missing operators only when the plain import fails for want of them.

    Returns:
        The module `torchvision`. Later `import torchvision` statements find the same one.

    Raises:
        RuntimeError: torchvision's own, when it fails for any other reason.
    """
    global _declared
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _declared is not None:
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half-imported: Python would hand them out as they are
    _declared = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        _declared.define(operator + SCHEMA)
    return importlib.import_module("torchvision")
