"""What a run depends on: the machine, versions, the seed; and how long each stage took when it last ran."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch

from uoisc.base import devices
from uoisc.base.config import load_params
from uoisc.base.distributed import device
from uoisc.base.documents import parse_json
from uoisc.base.results import write_json

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


def note(run: Path, seconds: float, models: int, processes: int) -> None:
    """Keeps beside a run's record how long it took, of how many models, by how many processes, and on what."""
    took = {"seconds": round(seconds, 1), "models": models, "processes": processes}
    write_json(described() | took, run.with_name(f"{run.name}.json"))


def records(runs: Path) -> dict[str, dict]:
    """What was noted in this folder, by the name of the run."""
    return {path.stem: parse_json(path.read_text()) for path in sorted(runs.glob("*.json"))}


def minutes(runs: Path) -> list[str]:
    """A line a stage that has its record in this folder, by name, and one for all; none where none has run."""
    found = records(runs)
    rows = [(name, one["seconds"], f"{one['precision']}, {one['device']}") for name, one in found.items()]
    rows.append(("all", sum(seconds for _, seconds, _ in rows), ""))
    width = max(map(len, ["stage", *found]))
    lines = [f"{name:<{width}}{seconds / 60:9.1f}  {where}".rstrip() for name, seconds, where in rows]
    return [f"{'stage':<{width}}  minutes", *lines] if found else []
