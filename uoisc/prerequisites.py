"""Makes what a notebook needs where it is opened alone at the smoke profile: `need("06_evaluation", "smoke")`.

In the pipeline DVC has run the stages before, and nothing happens here.
"""

from __future__ import annotations

from importlib import import_module

from uoisc.config import load_params, paths
from uoisc.errors import DataError
from uoisc.folders import is_there

MODELS = ("01_data", "02_foundation")
TRAINING = (*MODELS, "03_phase1", "04_phase2", "05_ablations")
BEFORE = {  # whose outputs a notebook reads; what stands further upstream is not asked for
    "01_data": (),
    "02_foundation": MODELS[:1],
    "03_phase1": MODELS,
    "04_phase2": (*MODELS, "03_phase1"),
    "05_ablations": MODELS,
    "06_evaluation": TRAINING,
    "07_figures_and_tables": ("06_evaluation", "08_rate", "09_channel", "10_standard_codecs"),
    "08_rate": TRAINING,
    "09_channel": TRAINING,
    "10_standard_codecs": MODELS,
}


def need(notebook: str, profile: str) -> None:
    """Runs, at the smoke profile, the stages before `notebook` whose outputs are missing, each after those before it.

    Raises:
        DataError: outputs are missing at another profile, whose stages take long: it names the command.
    """
    for step in BEFORE[notebook]:
        for missing, (module, function, arguments) in _work(step, profile):
            if is_there(missing):
                continue
            if profile != "smoke":
                raise DataError(f"{notebook} at profile {profile} needs the stages before it: run `make repro` first")
            need(step, profile)
            print(f"{step}: making {missing.name} for {profile}")
            # By name, so that no notebook's stage depends on the modules of the stages before it.
            getattr(import_module(f"uoisc.{module}"), function)(profile, *arguments)


def _work(step: str, profile: str) -> list:
    """(an output, (module, function, further arguments)) for each piece of a notebook's work."""
    where, rates = paths(profile), load_params(profile).variants
    train, rate = ("train_models", "train_variant"), rates["uoisc"][-1]
    others = [name for name in rates if name != "uoisc"]
    return {
        "01_data": [(where.source, ("preparation", "prepare_data", ()))],
        "02_foundation": [(where.foundation, ("foundation_jobs", "train_foundation", ()))],
        "03_phase1": [(where.codec(1, "uoisc", rate), (*train, ("uoisc", (1,))))],
        "04_phase2": [(where.codec(2, "uoisc", rate), (*train, ("uoisc", (2,))))],
        "05_ablations": [(where.codec(2, name, rates[name][-1]), (*train, (name,))) for name in others],
        "08_rate": [(where.results / "entropy.csv", ("entropy_jobs", "make_tables", ()))],
        "09_channel": [(where.results / "channel.csv", ("link_jobs", "measure_links", ()))],
        "10_standard_codecs": [(where.results / "standard_codecs.csv", ("codec_curves", "make_curves", ()))],
        "06_evaluation": [(where.results / "examples.json", ("evaluation_jobs", "evaluate", ()))],
    }[step]
