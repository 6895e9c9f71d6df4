"""The `uoisc` command. Heavy packages are imported in the commands: `uoisc --help` takes half a second."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from uoisc.errors import UoiscError

BAD_INPUT, INTERRUPTED = 2, 130  # exit codes; 130 is the shell's own for Ctrl-C

app = typer.Typer(
    help="User-oriented image semantic coding: the companion's pipeline, a stage at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="Notebook, e.g. 03_phase1.")]
Profile = Annotated[str, typer.Option(help="Profile of params.yaml.")]


@app.command()
def run(
    name: Name,
    profile: Profile = "smoke",
    variant: Annotated[str | None, typer.Option(help="Variant of the codec, e.g. no_alignment.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the profile's seed.")] = None,
) -> None:
    """Execute one notebook; the executed copy lands in build/executed/."""
    from uoisc.notebooks import run_notebook

    typer.echo(f"executed: {run_notebook(name, profile, variant, seed)}")


@app.command()
def nbsrc() -> None:
    """Export every notebook's code cells to build/nbsrc/, which the pipeline watches instead of the notebooks."""
    from uoisc.notebooks import export_code, names

    for name in names():
        export_code(name)


@app.command()
def train(
    variants: Annotated[str, typer.Argument(help="A variant of the codec, or several joined by +.")],
    profile: Profile = "small",
    phase: Annotated[list[int] | None, typer.Option(help="1 or 2 alone; both where it is not given.")] = None,
) -> None:
    """Train variants at all their rates; run again, it resumes. `accelerate launch` gives each model all processes."""
    from uoisc.models import train_variant

    for path in train_variant(profile, variants, tuple(phase or (1, 2))):
        typer.echo(f"trained: {path.relative_to(path.parents[5])}")


@app.command()
def evaluate(profile: Profile = "small") -> None:
    """Ask both judges about every trained model and write the results; `accelerate launch` shares out the queries."""
    from uoisc.evaluation_jobs import evaluate

    summary = evaluate(profile)
    typer.echo(f"{len(summary)} rows of summary.csv")


@app.command()
def seeds(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results, each of another training seed.")],
    profile: Profile = "small",
) -> None:
    """Hold a profile's results and those of further training seeds against the goals: writes results/seeds.csv."""
    from uoisc.config import ROOT, check_ready, paths
    from uoisc.seeds import verdicts, write_seeds

    resamples, results = check_ready(profile).evaluation.resamples, paths(profile).results
    table = write_seeds([results, *folders], ROOT / "paper" / "claims.yaml", resamples, results / "seeds.csv")
    typer.echo(verdicts(table).to_string(index=False))


@app.command()
def activate(
    profile: Annotated[str, typer.Argument(help="Profile of params.yaml.")],
    publish: Annotated[
        bool, typer.Option("--publish", help="Let it write results/, paper/ and the README from now on.")
    ] = False,
) -> None:
    """Make `dvc repro` run another profile, into build/PROFILE/ unless it is the published one: edits params.yaml."""
    from uoisc.config import activate as make_active

    typer.echo(make_active(profile, publish))


@app.command()
def paper() -> None:
    """Typeset paper/paper.typ for the active profile: paper/paper.pdf for the published one."""
    from uoisc.config import ROOT, active_profile, check_ready, paths
    from uoisc.paper import build

    check_ready(active_profile())
    where = paths(active_profile())
    results, target = (folder.relative_to(ROOT) for folder in (where.results, where.paper))
    typer.echo(f"wrote {build(results, target / 'paper.pdf', target / 'tables', target / 'figures')}")


@app.command()
def ask(
    image: Annotated[str, typer.Argument(help="An image file, resized to the codec's square; - is standard input.")],
    query: Annotated[str, typer.Option(help="What the user wants to know, e.g. 'where is the lion'.")],
    variant: Annotated[str, typer.Option(help="Variant of the codec.")] = "dial",
    bits: Annotated[float | None, typer.Option(help="At most so many bits, before entropy coding.")] = None,
    profile: Profile = "small",
    output: Annotated[Path | None, typer.Option("-o", help="Where to write the reconstruction.")] = None,
) -> None:
    """Send an image through a trained codec for a query: the judge's answers on source and reconstruction."""
    from uoisc.images import check_suffix, image_bytes, read_image, write_file
    from uoisc.models import JUDGES, open_study
    from uoisc.transfer import model_within, source

    if output is not None:
        check_suffix(output.suffix)
    study = open_study(profile, JUDGES[:1])
    picture = read_image(source(image), study.params.data.image_size)
    x, judge = picture.x, study.judges[JUDGES[0]]
    codec = model_within(study, variant, bits).codec
    x_hat = codec.decode(codec.encode(x, [query]), [query])
    answers = [judge.answer(pictured, [query])[0] for pictured in (x, x_hat)]
    typer.echo(f"bits: {codec.bits:g}")
    typer.echo(f"answer on the source: {answers[0]}")
    typer.echo(f"answer on the reconstruction: {answers[1]}")
    if output is not None:
        write_file(image_bytes(x_hat, output.suffix, picture.size), output)


@app.command()
def encode(
    images: Annotated[list[str], typer.Argument(help="Image files; - reads one from standard input.")],
    query: Annotated[str, typer.Option(help="What the user wants to know, e.g. 'where is the lion'.")],
    output: Annotated[str, typer.Option("-o", help="A .uoi file, - for standard output, or a folder.")],
    bits: Annotated[float | None, typer.Option(help="At most so many bits, before entropy coding.")] = None,
    variant: Annotated[str, typer.Option(help="Variant of the codec.")] = "dial",
    profile: Profile = "small",
    compact: Annotated[bool, typer.Option(help="4 bytes of header, for a receiver that knows the model.")] = False,
) -> None:
    """Write what the transmitter sends of each image for a query, as .uoi files."""
    from uoisc.transfer import encode as encode_files

    encode_files(images, query, output, profile, variant, bits, compact)


@app.command()
def decode(
    file: Annotated[str, typer.Argument(help="A .uoi file; - reads standard input.")],
    output: Annotated[str, typer.Option("-o", help="The image file to write; - writes a PNG to standard output.")],
    profile: Profile = "small",
    variant: Annotated[str | None, typer.Option(help="Where the file does not say (compact form).")] = None,
    bits: Annotated[float | None, typer.Option(help="As it was encoded, in the compact form.")] = None,
    query: Annotated[str | None, typer.Option(help="As it was encoded, for variants whose receiver reads it.")] = None,
) -> None:
    """Draw the image that a .uoi file describes, at the size of the image that it was made of."""
    from uoisc.transfer import decode as decode_file

    decode_file(file, output, profile, variant, bits, query)


@app.command()
def validate(
    variant: Annotated[str, typer.Argument(help="Variant of the codec.")],
    rate: Annotated[str, typer.Argument(help="A rate of params.yaml.")],
    change: Annotated[
        list[str] | None, typer.Option("--set", help="A changed setting, e.g. training.emphasis=4; may be repeated.")
    ] = None,
    profile: Profile = "small",
) -> None:
    """Try settings without the test split: train one variant with data.validation held out, and ask both judges."""
    from uoisc.validation import validate

    typer.echo(validate(profile, variant, rate, tuple(change or ())).to_string(index=False, float_format="%.3f"))


@app.command()
def bench() -> None:
    """Print how fast scenes, training steps, the quantiser and both ends of the codec are, and others beside them."""
    from uoisc import benchmark

    benchmark.main()


@app.command()
def doctor(
    profile: Profile = "small",
    pin: Annotated[
        bool, typer.Option("--pin", help="Print the revisions and digests that params.yaml calls unpinned.")
    ] = False,
) -> None:
    """Say what a profile needs and what of it is here, with the commands that mend the rest; exit code 2 if any."""
    from uoisc.config import load_params
    from uoisc.doctor import examine, verdict

    if pin:
        from uoisc.pinning import pins

        typer.echo(pins(profile, load_params(profile)), nl=False)
    findings = examine(profile, load_params(profile))
    for finding in findings:
        typer.echo(str(finding))
    summary, well = verdict(profile, findings)
    typer.echo(summary)
    if not well:
        raise typer.Exit(BAD_INPUT)


@app.command()
def info(
    file: Annotated[str | None, typer.Argument(help="A .uoi file to describe; - reads standard input.")] = None,
    profile: Profile = "small",
) -> None:
    """Print what a .uoi file says of itself; without one, what a run depends on: versions, cores, seed."""
    if file is not None:
        from uoisc.transfer import describe

        typer.echo("\n".join(describe(file)))
        return
    import platform
    from importlib.metadata import version

    from uoisc.config import load_params

    params = load_params(profile)
    packages = ("torch", "open_clip_torch", "transformers", "numpy", "dvc", "typst")
    typer.echo(f"profile {profile}, seed {params.seed}")
    typer.echo(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    typer.echo(", ".join(f"{package} {version(package)}" for package in packages))


def run_this_tree() -> None:
    """In a copy of the project its own package runs, whatever tree is installed, in this process and its kernels.

    DVC runs experiments in such copies: the installed package would read the installed tree's parameters there and
    overwrite its data and results.
    """
    here = Path.cwd()
    own = here / "uoisc" / "cli.py"
    if not (own.is_file() and (here / "dvc.yaml").is_file()):
        return
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(here))]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), *others])
    if not own.samefile(__file__):
        os.execv(sys.executable, [sys.executable, "-m", "uoisc.cli", *sys.argv[1:]])


def main() -> None:
    """Entry point: a `UoiscError` or wrong usage is one line and exit code 2, Ctrl-C one line and 130."""
    run_this_tree()
    try:
        try:
            code = app(prog_name="uoisc", standalone_mode=False)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except UoiscError as error:
        fail(error)
    except typer.TyperException as error:  # wrong usage; no message where help was printed in its place
        shown, context = error.format_message(), getattr(error, "ctx", None)
        fail(f"{shown.rstrip('.')}; see `{context.command_path if context else 'uoisc'} --help`" if shown else None)
    except BrokenPipeError:  # whoever read this has gone
        give_up_stdout()
        sys.exit(1)
    except OSError as error:  # files have errors of their own: this is standard output that takes no more, or the like
        give_up_stdout()
        fail(error)
    if code == INTERRUPTED:
        print("stopped: run the same command again to go on; what was finished is kept", file=sys.stderr)
    sys.exit(code)


def fail(error: Exception | str | None) -> None:
    """Says what is wrong, where anything is left to say, in one line, and exits."""
    if error is not None:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def give_up_stdout() -> None:
    """Lets what standard output has not taken go nowhere: Python would try once more at its end, and complain."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
