"""Notebooks as pipeline stages, run by papermill.

    notebooks/NAME.ipynb --run_notebook--> build/executed/PROFILE/  the run's record, not an output of DVC's

All paths are relative to the project's top folder, where DVC and `make` run.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

from uoisc.base import errors
from uoisc.base.errors import UoiscError

NOTEBOOKS = Path("notebooks")
EXECUTED = Path("build/executed")


class NotebookError(UoiscError):
    """A notebook is missing, was handed a parameter that it does not declare, or stopped at a cell."""


def names() -> list[str]:
    """The notebooks of the working directory's project, in order."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def find(name: str) -> Path:
    """Path of a notebook by its name, e.g. `03_phase1`.

    Raises:
        NotebookError: no such notebook; the message names those that exist.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    if not path.is_file():
        known = ", ".join(names()) or "none, run this in the top folder"
        raise NotebookError(f"no notebook {path} (here: {known})")
    return path


def code_cells(name: str) -> list:
    """A notebook's code cells that hold any code, in order.

    Raises:
        NotebookError: no such notebook, or a file that is none.
    """
    import nbformat

    path = find(name)
    try:
        cells = nbformat.read(path, as_version=4).cells
    except nbformat.reader.NotJSONError:
        raise NotebookError(f"{path} is not a notebook: restore it, e.g. `git checkout {path}`") from None
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def declared_parameters(name: str) -> set[str]:
    """Names that a notebook's cell with the tag `parameters` assigns."""
    tagged = [cell.source for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    assignments = [line for line in ast.parse("\n".join(tagged)).body if isinstance(line, ast.Assign)]
    return {target.id for line in assignments for target in line.targets if isinstance(target, ast.Name)}


def run_notebook(name: str, profile: str, variant: str | None = None, seed: int | None = None) -> Path:
    """Execute one notebook from the first cell to the last, its prints passed on as they come.

    Args:
        name: the file's name without its ending.
        profile: handed to the notebook's `parameters` cell, like `variant` and `seed` where they are given.

    Returns:
        Path of the executed copy, `build/executed/PROFILE/NAME[-VARIANT].ipynb`; there when every cell ran.

    Raises:
        NotebookError: missing notebook, undeclared parameter or failed cell. A `UoiscError` raised in a cell
            comes through with its own message alone; anything else names the cell and the partial copy.
    """
    given = {"profile": profile, "variant": variant, "seed": seed}
    parameters = {key: value for key, value in given.items() if value is not None}
    # papermill only warns of a parameter that nothing reads
    if unread := sorted(set(parameters) - (declared := declared_parameters(name))):
        raise NotebookError(
            f"{name} does not take {', '.join(unread)}: its `parameters` cell declares "
            f"{', '.join(sorted(declared)) or 'nothing'}"
        )
    import papermill  # a second of import time that a refusal does without

    executed = EXECUTED / profile / (f"{name}-{variant}.ipynb" if variant else f"{name}.ipynb")
    partial = executed.with_suffix(".partial.ipynb")
    executed.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TQDM_MININTERVAL", "20")  # the kernel's bars arrive here as lines: few of them
    try:
        papermill.execute_notebook(
            find(name),
            partial.resolve(),
            parameters,
            language="python",
            kernel_name="python3",  # this environment's, whatever kernel the file names
            cwd=NOTEBOOKS.resolve(),
            progress_bar=False,
            log_output=True,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            extra_arguments=["--log-level=50"],  # the kernel's own chatter, not the notebook's
        )
    except papermill.PapermillExecutionError as error:
        raise NotebookError(_what_failed(name, error, partial)) from None
    os.replace(partial, executed)
    return executed


def _what_failed(name: str, error: Exception, partial: Path) -> str:
    """One line from a papermill execution error."""
    kind = getattr(errors, error.ename, None)
    if isinstance(kind, type) and issubclass(kind, UoiscError):
        return str(error.evalue)
    reason = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
    return f"{name} stopped at In [{error.exec_count}]: {reason} (traceback in {partial})"
