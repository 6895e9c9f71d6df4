"""Runs notebooks and saves the outputs that nbval holds them against.

    python tests/run_notebooks.py notebooks          in place: they show the published run and train nothing; minutes
    python tests/run_notebooks.py tests/notebooks    copies that make their outputs at the smoke profile; ten minutes

Of a copy only those outputs are kept that are the same on every machine: cells with the tag `from-results` print what
git holds, which is the same everywhere for the published run, and not for one that was just made.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS, COPIES = ROOT / "notebooks", ROOT / "tests" / "notebooks"
FREE, FROM_RESULTS = "nbval-ignore-output", "from-results"


def at_smoke(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook as the smoke profile's stage runs it, nothing run yet."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            cell.source = re.sub(r"(?m)^profile = .*$", 'profile = "smoke"', cell.source)
            cell.source = re.sub(r"(?m)^remake = False.*$", "remake = True", cell.source)
        if FROM_RESULTS in tags:
            cell.metadata["tags"] = [FREE if tag == FROM_RESULTS else tag for tag in tags]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def shown() -> dict[str, nbformat.NotebookNode]:
    """The notebooks by name."""
    return {path.stem: nbformat.read(path, as_version=4) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


def copies() -> dict[str, nbformat.NotebookNode]:
    """The copies of those that make something, by name."""
    return {name: at_smoke(one) for name, one in shown().items() if any("remake =" in c.source for c in one.cells)}


def main(folder: str, *wanted: str) -> None:
    """Runs those of a folder, all or some, and writes them there."""
    from nbclient import NotebookClient

    target = Path(folder).resolve()
    found = {NOTEBOOKS: shown, COPIES: copies}[target]()
    for name, notebook in found.items():
        if name not in (wanted or (name,)):
            continue
        print(name, flush=True)
        NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": target}}).execute()
        for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
            cell.metadata.pop("execution", None)
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]  # says whose models serve
            if target == COPIES and FREE in cell.metadata.get("tags", []):
                cell.outputs = []
        notebook.metadata.pop("widgets", None)
        notebook.metadata["language_info"] = nbformat.from_dict({"name": "python"})
        target.mkdir(exist_ok=True)
        nbformat.write(notebook, target / f"{name}.ipynb")


if __name__ == "__main__":
    main(*sys.argv[1:])
