"""Commands of `uoisc` that the pipeline runs, and who changes the study; those for an image stand in `cli.py`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from uoisc.base import entry
from uoisc.base.errors import ConfigError
from uoisc.base.terminal import say, show

pipeline = typer.Typer()


def active() -> str:
    """The profile of a command that is given none."""
    from uoisc.base.config import active_profile

    return active_profile()


Profile = Annotated[
    str, typer.Option(help="Profile of params.yaml.", default_factory=active, show_default="the active one")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors alone.", callback=entry.hush)]
Changes = Annotated[list[str] | None, typer.Option("--set", help="E.g. evaluation.queries=200; may be repeated.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there, the input apart.")]
Name = Annotated[str, typer.Argument(help="Notebook, e.g. 03_phase1.")]


@pipeline.command()
def run(
    name: Name,
    profile: Profile,
    variant: Annotated[str | None, typer.Option(help="Variant of the codec, e.g. no_alignment.")] = None,
    quiet: Quiet = False,
) -> None:
    """Execute one notebook; the executed copy lands in build/executed/."""
    from uoisc.pipeline.notebooks import run_notebook

    entry.in_top_folder("notebooks")
    say(f"executed: {run_notebook(name, profile, variant)}")


@pipeline.command()
def nbsrc() -> None:
    """Write to build/nbsrc/ what each stage's code is, down to the last module: the pipeline watches these files."""
    from uoisc.pipeline.closures import write_closures

    entry.in_top_folder("notebooks")
    write_closures()


@pipeline.command()
def record() -> None:
    """Take the code as it stands into dvc.lock: for a change that leaves the bytes of every output alone."""
    from uoisc.pipeline.closures import record as record_code

    entry.in_top_folder("dvc.lock")
    say(f"{record_code()} stages recorded in dvc.lock")


@pipeline.command()
def train(
    variants: Annotated[str, typer.Argument(help="A variant of the codec, or several joined by +.")],
    profile: Profile,
    phase: Annotated[list[int] | None, typer.Option(help="1 or 2 alone; both where it is not given.")] = None,
    quiet: Quiet = False,
) -> None:
    """Train variants at all their rates; run again, it resumes. `accelerate launch` gives each model all processes."""
    from uoisc.stages.train_models import train_variant

    for path in train_variant(profile, variants, tuple(phase or (1, 2))):
        say(f"trained: {path.relative_to(path.parents[5])}")


@pipeline.command()
def ahead(quiet: Quiet = False) -> None:
    """Train side by side, on all cores, what `dvc repro` would train stage by stage; its stages find it complete."""
    from uoisc.pipeline.ahead import train_ahead

    entry.in_top_folder("dvc.yaml")
    say(f"trained ahead of the pipeline: {train_ahead()} models")


@pipeline.command()
def plan(
    stages: Annotated[list[str] | None, typer.Argument(help="Of dvc.yaml; all where none is named.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Write what the last run took to results/minutes.json.")] = False,
) -> None:
    """Say what `dvc repro` is about to run, and about how many minutes that takes on this machine."""
    from uoisc.pipeline import plan as planned

    entry.in_top_folder("dvc.yaml")
    if keep:
        say(f"wrote {planned.keep(active()).relative_to(Path.cwd())}")
    else:
        show("\n".join(planned.plan(active(), stages or ())))


@pipeline.command()
def evaluate(
    profile: Profile,
    variants: Annotated[
        str | None, typer.Option(help="Of these alone, joined by +: printed and kept under build/, not in the results.")
    ] = None,
    change: Changes = None,
    quiet: Quiet = False,
) -> None:
    """Ask both judges about every trained model and write the results; `accelerate launch` shares out the queries."""
    from uoisc.stages.evaluation_jobs import evaluate, score

    if variants is None and change:
        raise ConfigError("--set: the results are those of params.yaml, change it there or name --variants")
    if variants is None:
        say(f"{len(evaluate(profile))} rows of summary.csv")
        return
    table, folder = score(profile, variants, tuple(change or ()))
    show(table.to_string(index=False, float_format="%.3f"))
    say(f"written to {folder}; the published results stay as they were", sys.stderr)


@pipeline.command()
def seeds(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results, each of a fresh training seed.")],
    profile: Profile,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Measure every contrast in fresh runs of a profile's study: writes its rows of results/seeds.csv and runs.csv."""
    from uoisc.claims.contrasts import write_seeds

    say(write_seeds(profile, folders, force).pivot(index="id", columns="seed", values="value").round(3).to_string())


@pipeline.command()
def publish(profile: Profile, quiet: Quiet = False) -> None:
    """Pack the trained models that git keeps, and measure them: after a full run."""
    from uoisc.pipeline.notebooks import clocked
    from uoisc.stages.publish import publish

    with clocked("publish", profile):
        say(f"published: {publish(profile).relative_to(Path.cwd())}")


@pipeline.command()
def activate(
    profile: Annotated[str, typer.Argument(help="Profile of params.yaml.")],
    publish: Annotated[bool, typer.Option("--publish", help="Let it write results/, paper/ and the README.")] = False,
    seed: Annotated[int | None, typer.Option(help="Give the profile this seed.")] = None,
    quiet: Quiet = False,
) -> None:
    """Make `dvc repro` run another profile, into build/PROFILE/ unless it is the published one: edits params.yaml."""
    from uoisc.base.config import activate as make_active

    say(make_active(profile, publish, seed))


@pipeline.command()
def paper(quiet: Quiet = False) -> None:
    """Typeset paper/paper.typ for the active profile: paper/paper.pdf for the published one."""
    from uoisc.base.config import ROOT, check_ready, paths
    from uoisc.report.paper import build

    entry.in_top_folder("paper")
    check_ready(active())
    where = paths(active())
    results = where.results.relative_to(ROOT)
    target = where.paper.relative_to(ROOT)
    say(f"wrote {build(results, target / 'paper.pdf', target / 'tables', target / 'figures')}")


@pipeline.command()
def page(profile: Profile, quiet: Quiet = False) -> None:
    """Make the project page from the published models, the figures and the claims: docs/index.html."""
    from uoisc.base.config import ROOT
    from uoisc.explore.page import write_page
    from uoisc.pipeline.notebooks import clocked

    entry.in_top_folder("docs")
    with clocked("page", profile):
        say(f"wrote {write_page(profile).relative_to(ROOT)}")


@pipeline.command()
def validate(
    variant: Annotated[str, typer.Argument(help="Any variant of uoisc/variants.py, also one that no profile trains.")],
    rate: Annotated[str, typer.Argument(help="A rate of params.yaml, or dial.")],
    profile: Profile,
    change: Changes = None,
    log: Annotated[Path | None, typer.Option(help="Keep the rows here too, e.g. results/trials.csv.")] = None,
    quiet: Quiet = False,
) -> None:
    """Try settings without the test split: train one variant with data.validation held out, and ask both judges."""
    from uoisc.stages.validation import validate

    show(validate(profile, variant, rate, tuple(change or ()), log).to_string(index=False, float_format="%.3f"))
