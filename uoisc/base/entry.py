"""How the command starts and ends: whose package runs, and what an error leaves on the terminal."""

import os
import sys
from importlib import metadata
from pathlib import Path

import uoisc
from uoisc.base.errors import ConfigError, UoiscError
from uoisc.base.terminal import QUIET, printable, show, warn_in_a_line

BAD_INPUT = 2  # exit codes
INTERRUPTED = 130  # the shell's own for Ctrl-C


def run(app) -> None:
    """Runs the command, a typer app: an error or wrong usage is one line and exit code 2, Ctrl-C one line and 130."""
    import typer

    run_this_tree()
    warn_in_a_line()
    try:
        try:
            code = app(prog_name="uoisc", standalone_mode=False)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except UoiscError as error:
        fail(error)
    except typer.TyperException as error:  # wrong usage; no message where help was printed in its place
        shown = error.format_message().rstrip(".")
        context = getattr(error, "ctx", None)
        fail(f"{shown}; see `{context.command_path if context else 'uoisc'} --help`" if shown else None)
    except BrokenPipeError:  # whoever read this has gone
        give_up_stdout()
        sys.exit(1)
    except OSError as error:  # files have errors of their own: this is standard output that takes no more, or the like
        give_up_stdout()
        fail(error)
    if code == INTERRUPTED:
        again = "the same command again (encode, decode: with --no-clobber)"
        print(f"stopped: run {again} to go on; what was finished is kept", file=sys.stderr)
    sys.exit(code)


def version(asked: bool) -> bool:
    """Prints the package's version and ends, where it is asked."""
    if asked:
        import typer

        show(f"uoisc {metadata.version('uoisc')}")
        raise typer.Exit
    return asked


def run_this_tree() -> None:
    """In a copy of the project its own package runs, whatever tree is installed, in this process and its kernels.

    DVC runs experiments in such copies: the installed package would read the installed tree's parameters there and
    overwrite its data and results.
    """
    here = Path.cwd()
    own = Path.cwd() / "uoisc" / "cli.py"
    if not (own.is_file() and (here / "dvc.yaml").is_file()):
        return
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(here))]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), *others])
    if not own.samefile(Path(uoisc.__file__).with_name("cli.py")):
        os.execv(sys.executable, [sys.executable, "-m", "uoisc.cli", *sys.argv[1:]])


def hush(quiet: bool) -> bool:
    """Keeps this process, and those that it starts, quiet."""
    if quiet:
        os.environ[QUIET] = "1"
    return quiet


def in_top_folder(needed: str) -> None:
    """Raises ConfigError where the working directory lacks what a command reads or writes there."""
    if not Path(needed).exists():
        raise ConfigError(f"no {needed} here: run this in the project's top folder")


def fail(error: Exception | str | None) -> None:
    """Says what is wrong, where anything is left to say, in one line, and exits."""
    if error is not None:
        lines = (line.strip() for line in str(error).splitlines())  # the spaces within a name stay
        print(f"error: {printable(' '.join(lines))}", file=sys.stderr)
    sys.exit(BAD_INPUT)


def give_up_stdout() -> None:
    """Lets what standard output has not taken go nowhere: Python would try once more at its end, and complain."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
