"""Notebooks as pipeline stages, run by papermill, from the project's top folder, where DVC and `make` run.

notebooks/NAME.ipynb --run_notebook--> build/executed/PROFILE/  the run's record and its minutes, no outputs of DVC's
"""

import ast
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from uoisc.base import errors
from uoisc.base.config import check_ready, load_params
from uoisc.base.errors import UoiscError, choices, first_line
from uoisc.base.folders import check_writable, readable
from uoisc.base.terminal import BARS, is_quiet, on_terminal

NOTEBOOKS = Path("notebooks")
EXECUTED = Path("build/executed")
REMAKE = "remake"  # the parameter by which a notebook makes its stage's outputs, and does not show the published ones


class NotebookError(UoiscError):
    """A notebook is missing, was handed a parameter that it does not declare, or stopped at a cell."""


def names() -> list[str]:
    """The notebooks of the working directory's project, in order."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def find(name: str) -> Path:
    """Path of a notebook by its name: `03_phase1`, `03_phase1.ipynb` or `notebooks/03_phase1.ipynb`.

    Raises NotebookError, which names those that exist, where there is no such notebook.
    """
    given = Path(name)
    known = names()
    ours = given.parent == Path() or given.parent.resolve() == NOTEBOOKS.resolve()
    stem = given.stem if given.suffix == ".ipynb" and ours else name
    path = NOTEBOOKS / f"{stem}.ipynb"
    if stem not in known:
        here = choices(stem, known) if known else "none are here, run this in the top folder"
        raise NotebookError(f"no notebook {path}: {here}")
    return readable(path, f"restore it, e.g. `git checkout {path}`", NotebookError)


def code_cells(name: str) -> list:
    """A notebook's code cells that hold any code, in order. Raises NotebookError: no such notebook, or no notebook."""
    import nbformat

    path = find(name)
    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception as error:  # no JSON, of a newer format, other JSON: nbformat raises whatever it meets
        restore = f"restore it, e.g. `git checkout {path}`"
        raise NotebookError(f"{path} is not a notebook ({first_line(error)[:80]}): {restore}") from None
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def run_notebook(name: str, profile: str, variant: str | None = None) -> Path:
    """Execute one notebook from the first cell to the last, its prints passed on as they come.

    Args: name: the file's, with or without its folder and ending. profile, and `variant` where it is given, are handed
    to the notebook's `parameters` cell.
    Returns the path of the executed copy, `build/executed/PROFILE/NAME[-VARIANT].ipynb`; there when every cell ran.
    Raises NotebookError: missing notebook, undeclared parameter or failed cell. A `UoiscError` raised in a cell comes
    through with its own message alone; anything else names the cell and the partial copy.
    """
    name = find(name).stem
    check_ready(profile)  # an unknown profile or an impossible value stops here, before any work
    parameters = _parameters(name, profile, variant)
    executed = EXECUTED / profile / (f"{name}-{variant}.ipynb" if variant else f"{name}.ipynb")
    partial = executed.with_suffix(".partial.ipynb")
    check_writable(executed.parent)
    # On a terminal the kernel's bars arrive as lines, a few of them; elsewhere it draws none.
    os.environ.setdefault("TQDM_MININTERVAL", "20")
    os.environ.setdefault(BARS, "1" if on_terminal() else "0")
    with clocked(executed.stem, profile, variant.split("+") if variant else ()):
        _execute(name, partial, parameters)
        os.replace(partial, executed)
    return executed


@contextmanager
def clocked(name: str, profile: str, variants: Sequence[str] = ()) -> Iterator[None]:
    """Notes how long a piece of work takes that comes to its end, of so many models: `uoisc info`, `uoisc plan`.

    Args: variants: which it is about; all where it is none.
    """
    start = monotonic()
    yield
    seconds = monotonic() - start
    from uoisc.base.devices import side_by_side  # seconds of import time
    from uoisc.stages.machine import note

    params = load_params(profile)
    models = sum(len(params.variants.get(one, ())) for one in variants or params.variants)
    note(EXECUTED / profile / name, seconds, models, side_by_side(params.workers))


def _execute(name: str, partial: Path, parameters: dict) -> None:
    """Runs a notebook into the copy `partial`. Raises NotebookError where a cell fails or the kernel ends."""
    import papermill  # a second of import time that a refusal does without

    try:
        papermill.execute_notebook(
            find(name),
            partial.resolve(),
            parameters,
            language="python",
            kernel_name="python3",  # this environment's, whatever kernel the file names
            cwd=NOTEBOOKS.resolve(),
            progress_bar=False,
            log_output=not is_quiet(),
            stdout_file=None if is_quiet() else sys.stdout,
            stderr_file=None if is_quiet() else sys.stderr,
            extra_arguments=["--log-level=50"],  # the kernel's own chatter, not the notebook's
        )
    except papermill.PapermillExecutionError as error:
        kind = getattr(errors, error.ename, None)
        if isinstance(kind, type) and issubclass(kind, UoiscError):
            raise NotebookError(error.evalue) from None
        reason = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
        where = f"{name} stopped at In [{error.exec_count}]"
        raise NotebookError(f"{where}: {reason} (traceback in {partial})") from None
    except Exception as error:  # the kernel's end, and whatever keeps one from starting
        why = f"its kernel did not start or was killed (out of memory?): {first_line(error)}"
        raise NotebookError(f"{name} stopped, as {why}; run the same command again") from None


def _parameters(name: str, profile: str, variant: str | None) -> dict:
    """What a notebook is handed, checked before any work: see `run_notebook`."""
    if variant is not None and not re.fullmatch(r"[\w+]+", variant):
        raise NotebookError(f"--variant {variant!r}: give the name of one, or several joined by +")
    parameters = {"profile": profile} | ({"variant": variant} if variant else {})
    tagged = [cell.source for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    try:
        lines = ast.parse("\n".join(tagged)).body
    except (SyntaxError, ValueError) as error:
        raise NotebookError(f"{name}: its `parameters` cell is no Python ({first_line(error)}): mend it") from None
    targets = [target for line in lines if isinstance(line, ast.Assign) for target in line.targets]
    declared = {target.id for target in targets if isinstance(target, ast.Name)}
    if unread := sorted(set(parameters) - declared):  # papermill only warns of what nothing reads
        takes = ", ".join(sorted(declared)) or "nothing"
        raise NotebookError(f"{name} does not take {', '.join(unread)}: its `parameters` cell declares {takes}")
    return parameters | dict.fromkeys(declared & {REMAKE}, True)
