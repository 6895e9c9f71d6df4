"""A copy of the package with a profile of its own, for tests that run commands as a user would, in processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from ruamel.yaml import YAML

from uoisc.base.config import ROOT, Params


def document(params: Params) -> dict:
    """Parameters as params.yaml holds them."""
    values = json.loads(json.dumps(asdict(params)))
    for section in ("data", "foundation"):
        values[section]["kind"] = getattr(params, section).KIND
    return values


def make(folder: Path, params: Params, profile: str = "tiny") -> Path:
    """A folder with the package, what git keeps of data/, and a params.yaml of that one profile, not published."""
    shutil.copytree(ROOT / "uoisc", folder / "uoisc", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    for name in ("objects.csv", "bler.csv"):
        shutil.copy(ROOT / "data" / name, folder / "data")
    write_params(folder / "params.yaml", document(params), profile)
    return folder


def write_params(path: Path, base: dict, profile: str, published: str = "none", own: dict | None = None) -> None:
    """A params.yaml of one active profile, its values as `base` and what it changes."""
    whole = {"active": [profile], "published": published, "base": base, "profiles": {profile: own or {}}}
    yaml = YAML(typ="safe")
    yaml.sort_base_mapping_type_on_output = False
    with path.open("w") as file:
        yaml.dump(whole, file)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """What a command there needs: its package, this environment's programs, one thread a process, no hub."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    return os.environ | ours | variables


def run(folder: Path, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
    """Runs `python COMMAND` there and returns what it said."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(folder, **variables), capture_output=True, text=True,
        timeout=900,
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done


def kill_group(process: subprocess.Popen, number: int) -> None:
    """Sends a signal to a process that leads a group, and to all that it has started; waits for its end."""
    os.killpg(process.pid, number)
    process.wait()
