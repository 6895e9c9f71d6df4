"""What each stage's code is: one small file per notebook, which DVC watches in the place of forty modules.

    notebooks/NAME.ipynb --code cells--.
                                        +--> build/nbsrc/NAME.deps     "sha256  file", a line each
    its imports, and theirs in turn ---'

A stage runs again where its file differs: where the notebook's code or a module that it reaches has changed, not where
outputs were saved. Cells with the tag `show` look at what the others made, write nothing, and are left out: so a figure
may be shown beside what it was measured from, and its colours measure nothing again. All paths are relative to the
project's top folder, where DVC and `make` run.
"""

import ast
import hashlib
from pathlib import Path

from uoisc.base.folders import written_aside
from uoisc.pipeline.notebooks import code_cells, names

CLOSURES = Path("build/nbsrc")
PACKAGE = "uoisc"
COMMANDS = {  # stages that run a command, and the code behind it
    "publish": "from uoisc.stages.publish import publish",
    "page": "from uoisc.explore.page import write_page",
    "paper": "from uoisc.report.paper import build",
}


def write_closures() -> list[Path]:
    """Writes every stage's file. Raises NotebookError for a file that is no notebook."""
    codes = {name: making(name) for name in names()} | COMMANDS
    targets = [CLOSURES / f"{name}.deps" for name in codes]
    for target, (name, code) in zip(targets, codes.items(), strict=True):
        lines = [f"{_digest(code)}  {name}"]
        lines += [f"{_digest(path.read_text(encoding='utf-8'))}  {path.as_posix()}" for path in closure(code)]
        with written_aside(target) as aside:
            aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return targets


def making(name: str) -> str:
    """The code of a notebook that makes its stage's outputs."""
    cells = [cell for cell in code_cells(name) if "show" not in cell.metadata.get("tags", [])]
    return "\n\n".join(cell.source.strip() for cell in cells)


def closure(code: str) -> list[Path]:
    """Modules of the package that a piece of code imports, anywhere in it, and what those import in turn; sorted."""
    found: set[Path] = set()
    waiting = imports(code)
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= imports(path.read_text(encoding="utf-8")) - found
    return sorted(found)


def imports(code: str) -> set[Path]:
    """Modules of the package that a piece of code itself imports; a room's `__init__.py` holds no code."""
    plain = "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))  # no Python
    found: set[str] = set()
    for node in ast.walk(ast.parse(plain)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = {Path(*name.split(".")).with_suffix(".py") for name in found if name.split(".")[0] == PACKAGE}
    return {path for path in paths if path.is_file()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record() -> int:
    """Takes code, parameters and what git keeps of outputs into dvc.lock as they stand; all others as it names them.

    For a change that leaves every output's bytes alone; seen at the smoke profile. `dvc commit` would want all outputs
    here. Returns how many stages were recorded.
    """
    from dvc.repo import Repo

    write_closures()
    repo = Repo(".")
    with repo.lock:
        stages = [stage for stage in repo.index.stages if all(out.hash_info for out in stage.outs)]
        in_git = {str(out) for stage in stages for out in stage.outs if not out.use_cache}
        for stage in stages:
            for dependency in stage.deps:
                if dependency.exists and (str(dependency) in in_git or not str(dependency).startswith("data/")):
                    dependency.save()
            for out in stage.outs:
                if out.exists and not out.use_cache:
                    out.save()
            stage.dump(update_pipeline=False)
    return len(stages)
