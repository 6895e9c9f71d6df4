"""Makes what a notebook needs where it is opened alone at the smoke profile: `need("06_evaluation", "smoke")`.

What comes before a notebook stands in dvc.yaml. In the pipeline DVC has run those stages, and nothing happens here.
"""

import re
import subprocess
import sys
from itertools import chain, groupby
from pathlib import Path

from uoisc.base.config import load_params, paths
from uoisc.base.documents import parse_yaml, read_text
from uoisc.base.errors import DataError
from uoisc.base.folders import ROOT, is_there
from uoisc.base.settings import DIAL

VARIANT = len(["run", "NOTEBOOK", "--profile", "PROFILE", "--variant"])  # where a command names it, if it does


def need(notebook: str, profile: str) -> None:
    """Runs, at the smoke profile, the stages before `notebook` whose outputs are missing, each after those before it;
    a stage of several variants once, for all that it is missing of. Raises DataError where outputs are missing at
    another profile, whose stages take long, or a stage has failed."""
    missing = [run for run in before(notebook, profile) if not all(is_there(ROOT / out) for out in run[1])]
    for stage, runs in groupby(missing, key=lambda run: run[0][:VARIANT]):
        if profile != "smoke":
            raise DataError(f"{notebook} at profile {profile} needs the stages before it: run `make repro` first")
        commands, outs = zip(*runs, strict=True)
        command = [*stage, *filter(None, ["+".join(name for one in commands for name in one[VARIANT:])])]
        print(f"making {', '.join(chain(*outs))} for {notebook}")
        # A process of its own: so no notebook's stage depends on the modules of the stages before it.
        if subprocess.run([sys.executable, "-m", "uoisc.cli", *command], cwd=ROOT).returncode:
            raise DataError(f"{notebook} needs `uoisc {' '.join(command)}`, which has failed: its error stands above")


def before(notebook: str, profile: str) -> list[tuple[list[str], list[str]]]:
    """(arguments of `uoisc`, outputs that the notebook's own stages depend on) of every stage with such, in order."""
    stages = parse_yaml(read_text(ROOT / "dvc.yaml"), "dvc.yaml")["stages"].values()
    notebooks = [stage for stage in stages if "uoisc run" in stage.get("cmd", "")]
    own = [run for stage in notebooks if notebook in stage["cmd"].split() for run in _runs(stage, profile)]
    made = [run for stage in notebooks for run in _runs(stage, profile)]
    wanted = {Path(dep) for _, deps, _ in own for dep in deps}
    needed = [(command, [o for o in outs if {Path(o), *Path(o).parents} & wanted]) for command, _, outs in made]
    return [(command, outs) for command, outs in needed if outs]


def _runs(stage: dict, profile: str) -> list[tuple[list[str], list[str], list[str]]]:
    """(arguments, dependencies, outputs) of a stage at a profile, for each variant that it runs for."""
    rates = load_params(profile).variants
    where = paths(profile)
    dials = [name for name, names in rates.items() if DIAL in names]
    others = [name for name in rates if name != "uoisc" and name not in dials]
    found = []
    each = others if "variant" in stage.get("matrix", {}) else [""]
    for variant in each if dials or "${dials}" not in stage["cmd"] else []:
        values = {"item.variant": variant, "dials": "+".join(dials)}
        values |= {key: str(getattr(where, key)) for key in ("results", "paper", "docs")}

        def filled(text: str | dict, values: dict = values) -> str:
            text = text if isinstance(text, str) else next(iter(text))  # an output with its options
            return re.sub(r"\$\{(.+?)\}", lambda name: values.get(name[1], profile), text)

        deps, outs = ([filled(text) for text in stage[key]] for key in ("deps", "outs"))
        found.append((filled(stage["cmd"]).split()[1:], deps, outs))
    return found
