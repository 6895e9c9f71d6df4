"""What a run depends on: the machine, versions, the seed."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

from uoisc.base import devices
from uoisc.base.config import load_params
from uoisc.base.distributed import device

PACKAGES = ("torch", "open_clip_torch", "transformers", "numpy", "dvc", "typst")


def described() -> dict[str, str]:
    """The machine as results record it: its device, the precision that models train and draw in, torch's version."""
    where = device()
    kind = "bfloat16" if devices.native_bfloat16(where.type) else "float32"
    own = torch.cuda.get_device_name if where.type == "cuda" else lambda _: torch.backends.cpu.get_cpu_capability()
    return {"device": f"{where.type} ({own(where)})", "precision": kind, "torch": torch.__version__}


def environment(profile: str) -> list[str]:
    """A line each: the profile and its seed, Python, device and precision, versions of packages."""
    params, here = load_params(profile), described()
    return [
        f"profile {profile}, seed {params.seed}",
        f"{platform.python_implementation()} {platform.python_version()}, {devices.cores()} cores",
        f"{here['device']}, {here['precision']}, {devices.side_by_side(params.workers)} processes side by side",
        ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    ]
