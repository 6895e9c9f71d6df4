"""One cure for one broken pair: PyPI's torchvision beside a CPU-only torch.

Its compiled library, linked against CUDA, does not load there, so its import, which open_clip asks for, dies with
"operator torchvision::nms does not exist". With the two missing operators declared, all but `torchvision.ops` works.
"""

import importlib
import sys
from types import ModuleType

import torch

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declared: torch.library.Library | None = None  # torch forgets the operators when this object dies


def import_torchvision() -> ModuleType:
    """torchvision, its missing operators declared only where the plain import fails for want of them.

    Raises torchvision's own RuntimeError where it fails for any other reason.
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
