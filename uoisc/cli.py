"""The `uoisc` command. Heavy packages are imported in the commands: `uoisc --help` takes half a second."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from uoisc.base import entry
from uoisc.base.errors import ConfigError
from uoisc.base.terminal import say, show

app = typer.Typer(
    help="User-oriented image semantic coding: the companion's pipeline, a stage at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common(version: Annotated[bool, typer.Option("--version", is_eager=True, callback=entry.version)] = False) -> None:
    pass


def active() -> str:
    """The profile of a command that is given none."""
    from uoisc.base.config import active_profile

    return active_profile()


Name = Annotated[str, typer.Argument(help="Notebook, e.g. 03_phase1.")]
Profile = Annotated[
    str, typer.Option(help="Profile of params.yaml.", default_factory=active, show_default="the active one")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors alone.", callback=entry.hush)]
Query = Annotated[str, typer.Option(help="What the user wants to know, e.g. 'where is the lion'.")]
Variant = Annotated[str, typer.Option(help="Variant of the codec.")]
Bits = Annotated[float | None, typer.Option(help="At most so many bits, before entropy coding.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="E.g. evaluation.queries=200; may be repeated.")]
After = Annotated[list[str] | None, typer.Option(help="An earlier .uoi file of the picture; all, in their order.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there, the input apart.")]
NoClobber = Annotated[bool, typer.Option("--no-clobber", help="Leave files that are there as they are.")]


@app.command()
def run(
    name: Name,
    profile: Profile,
    variant: Annotated[str | None, typer.Option(help="Variant of the codec, e.g. no_alignment.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the profile's seed.")] = None,
    quiet: Quiet = False,
) -> None:
    """Execute one notebook; the executed copy lands in build/executed/."""
    from uoisc.stages.notebooks import run_notebook

    entry.in_top_folder("notebooks")
    say(f"executed: {run_notebook(name, profile, variant, seed)}")


@app.command()
def nbsrc() -> None:
    """Write to build/nbsrc/ what each stage's code is, down to the last module: the pipeline watches these files."""
    from uoisc.stages.closures import write_closures

    entry.in_top_folder("notebooks")
    write_closures()


@app.command()
def record() -> None:
    """Take the code as it stands into dvc.lock: for a change that leaves the bytes of every output alone."""
    from uoisc.stages.closures import record as record_code

    entry.in_top_folder("dvc.lock")
    say(f"{record_code()} stages recorded in dvc.lock")


@app.command()
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


@app.command()
def ahead(quiet: Quiet = False) -> None:
    """Train side by side, on all cores, what `dvc repro` would train stage by stage; its stages find it complete."""
    from uoisc.stages.ahead import train_ahead

    entry.in_top_folder("dvc.yaml")
    say(f"trained ahead of the pipeline: {train_ahead()} models")


@app.command()
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


@app.command()
def seeds(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results, each of a fresh training seed.")],
    profile: Profile,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Measure every contrast in fresh runs of a profile's study: writes seeds.csv and runs.csv among its results."""
    from uoisc.report.contrasts import write_seeds

    say(write_seeds(profile, folders, force).pivot(index="id", columns="seed", values="value").round(3).to_string())


@app.command()
def compare(
    results: Annotated[Path, typer.Argument(help="Folder of results of another run, e.g. results.")],
    as_json: Annotated[bool, typer.Option("--json", help="Every row and verdict, for programs.")] = False,
) -> None:
    """Hold a run's results against the committed ones, row by row; exit code 1 where they differ beyond seeds."""
    from uoisc.stages.compare import as_text, committed, compare

    with committed() as published:
        found = compare(published, results)
    show(found.to_json() if as_json else as_text(found))
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def activate(
    profile: Annotated[str, typer.Argument(help="Profile of params.yaml.")],
    publish: Annotated[bool, typer.Option("--publish", help="Let it write results/, paper/ and the README.")] = False,
    seed: Annotated[int | None, typer.Option(help="Give the profile this seed.")] = None,
    quiet: Quiet = False,
) -> None:
    """Make `dvc repro` run another profile, into build/PROFILE/ unless it is the published one: edits params.yaml."""
    from uoisc.base.config import activate as make_active

    say(make_active(profile, publish, seed))


@app.command()
def paper(quiet: Quiet = False) -> None:
    """Typeset paper/paper.typ for the active profile: paper/paper.pdf for the published one."""
    from uoisc.base.config import ROOT, check_ready, paths
    from uoisc.report.paper import build

    entry.in_top_folder("paper")
    check_ready(active())
    where = paths(active())
    results, target = where.results.relative_to(ROOT), where.paper.relative_to(ROOT)
    say(f"wrote {build(results, target / 'paper.pdf', target / 'tables', target / 'figures')}")


@app.command()
def ask(
    image: Annotated[str, typer.Argument(help="An image file, resized to the codec's square; - is standard input.")],
    query: Query,
    profile: Profile,
    variant: Variant = "dial",
    bits: Bits = None,
    output: Annotated[str | None, typer.Option("-o", help="Where to write the reconstruction.")] = None,
    force: Force = False,
) -> None:
    """Send an image through a trained codec for a query: the judge's answers on source and reconstruction."""
    from uoisc.stages.transfer import ask as ask_judge

    ask_judge(image, query, profile, variant, bits, output, force)


@app.command()
def encode(
    images: Annotated[list[str], typer.Argument(help="Image files; - reads one from standard input.")],
    query: Query,
    output: Annotated[str, typer.Option("-o", help="A .uoi file, - for standard output, or a folder.")],
    profile: Profile,
    bits: Bits = None,
    variant: Variant = "dial",
    compact: Annotated[bool, typer.Option(help="4 bytes of header, for a receiver that knows the model.")] = False,
    after: After = None,
    force: Force = False,
    no_clobber: NoClobber = False,
    quiet: Quiet = False,
) -> None:
    """Write what the transmitter sends of each image for a query, as .uoi files; after others what those lack."""
    from uoisc.stages import transfer

    sent = transfer.Files(images, output, force, no_clobber, after or ())
    transfer.encode(sent, query, profile, variant, bits, compact)


@app.command()
def decode(
    files: Annotated[list[str], typer.Argument(help=".uoi files; - reads standard input.")],
    output: Annotated[str, typer.Option("-o", help="An image file, - for a PNG on standard output, or a folder.")],
    profile: Profile,
    variant: Annotated[str | None, typer.Option(help="Where the file does not say (compact form).")] = None,
    bits: Annotated[float | None, typer.Option(help="As it was encoded, in the compact form.")] = None,
    query: Annotated[str | None, typer.Option(help="As it was encoded, for variants whose receiver reads it.")] = None,
    after: After = None,
    force: Force = False,
    no_clobber: NoClobber = False,
    quiet: Quiet = False,
) -> None:
    """Draw the image that each .uoi file describes, at the size of the image that it was made of."""
    from uoisc.stages import transfer

    transfer.decode(transfer.Files(files, output, force, no_clobber, after or ()), profile, variant, bits, query)


@app.command()
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


@app.command()
def doctor(
    profile: Profile,
    pin: Annotated[bool, typer.Option("--pin", help="Print revisions and digests that params.yaml lacks.")] = False,
) -> None:
    """Say what a profile needs and what of it is here, with the commands that mend the rest; exit code 2 if any."""
    from uoisc.base.config import load_params
    from uoisc.stages.doctor import examine, verdict
    from uoisc.stages.pinning import pins

    params = load_params(profile)
    if pin:
        show(pins(profile, params).rstrip("\n"))
    for finding in (findings := examine(profile, params)):
        show(finding)
    summary, well = verdict(profile, findings)
    show(summary)
    if not well:
        raise typer.Exit(entry.BAD_INPUT)


@app.command()
def info(
    file: Annotated[str | None, typer.Argument(help="A .uoi file to describe; - reads standard input.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of params.yaml; not read where a file is given.")] = None,
) -> None:
    """Print what a .uoi file says of itself; without one, what a run depends on, and each stage's minutes."""
    if file is None:
        from uoisc.stages.machine import environment, minutes
        from uoisc.stages.notebooks import EXECUTED

        profile = profile or active()
        show("\n".join(environment(profile) + minutes(EXECUTED / profile)))
        return
    from uoisc.link.header import describe

    if profile is not None:
        raise ConfigError("--profile: a file is described without one, leave it out")
    show("\n".join(describe(file)))


def main() -> None:
    """Entry point."""
    entry.run(app)


if __name__ == "__main__":
    main()
