"""The `uoisc` command. Heavy packages are imported in the commands: `uoisc --help` takes half a second."""

import json
from pathlib import Path
from typing import Annotated

import typer

from uoisc.base import entry
from uoisc.base.errors import ConfigError
from uoisc.base.terminal import show
from uoisc.pipeline.commands import Force, Profile, Quiet, active, pipeline

app = typer.Typer(
    help="User-oriented image semantic coding: the companion's pipeline, a stage at a time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common(version: Annotated[bool, typer.Option("--version", is_eager=True, callback=entry.version)] = False) -> None:
    pass


QueryOption = Annotated[str, typer.Option(help="What the user wants to know, e.g. 'where is the lion'.")]
VariantOption = Annotated[str, typer.Option(help="Variant of the codec.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]
Bits = Annotated[float | None, typer.Option(help="At most so many bits, before entropy coding.")]
After = Annotated[list[str] | None, typer.Option(help="An earlier .uoi file of the picture; all, in their order.")]
NoClobber = Annotated[bool, typer.Option("--no-clobber", help="Leave files that are there as they are.")]


@app.command()
def ask(
    image: Annotated[str, typer.Argument(help="An image file, resized to the codec's square; - is standard input.")],
    query: QueryOption,
    profile: Profile,
    variant: VariantOption = "dial",
    bits: Bits = None,
    output: Annotated[str | None, typer.Option("-o", help="Where to write the reconstruction.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Send an image through a trained codec for a query: the judge's answers on source and reconstruction."""
    from uoisc.stages import asking

    found = asking.ask(image, query, profile, variant, bits, output, force)
    lines = json.dumps(found) if as_json else asking.answers_as_text(found)
    show(lines, asking.beside(output))


@app.command()
def encode(
    images: Annotated[list[str], typer.Argument(help="Image files; - reads one from standard input.")],
    query: QueryOption,
    output: Annotated[str, typer.Option("-o", help="A .uoi file, - for standard output, or a folder.")],
    profile: Profile,
    bits: Bits = None,
    variant: VariantOption = "dial",
    compact: Annotated[bool, typer.Option(help="4 bytes of header, for a receiver that knows the model.")] = False,
    after: After = None,
    force: Force = False,
    no_clobber: NoClobber = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object per image, on standard error.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write what the transmitter sends of each image for a query, as .uoi files; after others what those lack."""
    from uoisc.link import transfer

    sent = transfer.Files(images, output, force, no_clobber, after or ())
    transfer.encode(sent, query, profile, variant, bits, compact, as_json)


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
    from uoisc.link import transfer

    transfer.decode(transfer.Files(files, output, force, no_clobber, after or ()), profile, variant, bits, query)


@app.command()
def info(
    file: Annotated[str | None, typer.Argument(help="A .uoi file to describe; - reads standard input.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of params.yaml; not read where a file is given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a .uoi file says of itself; without one, what a run depends on, and each stage's minutes."""
    if file is None:
        from uoisc.pipeline.notebooks import EXECUTED
        from uoisc.stages.machine import as_lines, environment, minutes, records

        about = environment(profile or active())
        runs = EXECUTED / about["profile"]
        told = about | {"stages": records(runs)}
        lines = as_lines(about) + minutes(runs)
    else:
        from uoisc.link.header import as_lines, describe

        if profile is not None:
            raise ConfigError("--profile: a file is described without one, leave it out")
        told = describe(file)
        lines = as_lines(told)
    show(json.dumps(told) if as_json else "\n".join(lines))


@app.command()
def sample(
    output: Annotated[str, typer.Option("-o", help="An image file, or - for a PNG on standard output.")],
    profile: Profile,
    seed: Annotated[int, typer.Option(min=0, help="Another one, another scene.")] = 0,
    split: Annotated[str, typer.Option(help="seen, or unseen: with objects that no codec was trained on.")] = "seen",
    force: Force = False,
) -> None:
    """Draw a scene that nothing was trained on; print what it may be asked, with the right answers."""
    from uoisc.stages.asking import sample

    sample(output, profile, seed, split, force)


@app.command()
def variants(profile: Profile, as_json: AsJson = False) -> None:
    """List the profile's codecs: bits, answer match rates as published, whether their models are here."""
    from uoisc.stages.asking import listed

    table = listed(profile)
    show(table.to_json(orient="records") if as_json else table.to_string(index=False, float_format="%.3f", na_rep="-"))


@app.command()
def check(profile: Profile, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Measure the published models on this machine: exit code 1 where they differ from the published table."""
    from uoisc.stages.publish import check

    found = check(profile)
    show(found.to_json() if as_json else found.as_text())
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def compare(
    results: Annotated[Path, typer.Argument(help="Folder of results of another run, e.g. results.")],
    as_json: AsJson = False,
) -> None:
    """Hold a run's results against the committed ones, row by row; exit code 1 where they differ beyond seeds."""
    from uoisc.claims.compare import as_text, committed, compare

    with committed() as published:
        found = compare(published, results)
    show(found.to_json() if as_json else as_text(found))
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def doctor(profile: Profile) -> None:
    """Say what a profile needs and what of it is here, with the commands that mend the rest; exit code 2 if any."""
    from uoisc.base.config import load_params
    from uoisc.stages.doctor import examine, verdict

    for finding in (findings := examine(load_params(profile))):
        show(finding)
    summary, well = verdict(profile, findings)
    show(summary)
    if not well:
        raise typer.Exit(entry.BAD_INPUT)


app.add_typer(pipeline)  # after those for an image


def main() -> None:
    """Entry point."""
    entry.run(app)


if __name__ == "__main__":
    main()
