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

CPUINFO = Path("/proc/cpuinfo")  # Linux
PACKAGES = ("torch", "open_clip_torch", "transformers", "numpy", "dvc", "typst")


def described() -> dict[str, str]:
    """The machine as results record it: its device, the precision that models train and draw in, torch's version."""
    where = device()
    kind = "bfloat16" if devices.native_bfloat16(where.type) else "float32"
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else processor()
    return {"device": f"{where.type} ({name})", "precision": kind, "torch": torch.__version__}


def processor() -> str:
    """The CPU's name, where the system tells it, and the widest instructions that torch may use."""
    told = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return f"{[*names, platform.processor() or platform.machine()][0]}, {torch.backends.cpu.get_cpu_capability()}"


def recorded() -> dict[str, str | dict[str, str]]:
    """`described`, Python and versions of packages: what results depend on beside their parameters."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return described() | {"python": python, "packages": {package: version(package) for package in PACKAGES}}


def environment(profile: str) -> dict:
    """The profile and its seed, `recorded`, cores and processes side by side."""
    params = load_params(profile)
    here = {"cores": devices.cores(), "processes": devices.side_by_side(params.workers)}
    return {"profile": profile, "seed": params.seed} | recorded() | here


def as_lines(about: dict) -> list[str]:
    """`environment`, to be read."""
    return [
        "profile {profile}, seed {seed}".format(**about),
        "{python}, {cores} cores".format(**about),
        "{device}, {precision}, {processes} processes side by side".format(**about),
        ", ".join(f"{package} {number}" for package, number in about["packages"].items()),
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
