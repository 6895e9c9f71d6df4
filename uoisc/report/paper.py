"""Typesets paper/paper.typ: the same tables and figures give the same bytes of PDF."""

import os
from pathlib import Path

import typst

from uoisc.base.errors import UoiscError
from uoisc.base.folders import ROOT, written_aside
from uoisc.base.results import found

PAPER = ROOT / "paper"
TEXT = PAPER / "paper.typ"


def build(results_dir: Path, out: Path, tables: Path, figures: Path) -> Path:
    """Compiles the paper into `out`, a PDF, atomically.

    Args: results_dir: holds claims.json. tables, figures: what `exhibits.write_tables` and `write_figures` wrote.
    Raises: ResultsError without claims.json, UoiscError with typst's one line when the text does not compile (a file
    lacks, or a number that it looks up is not in the tables).
    """
    given = {"results": results_dir, "tables": tables, "figures": figures, "kept": ROOT / "results"}
    folders = {name: Path(folder).resolve() for name, folder in given.items()}
    found(folders["results"] / "claims.json")  # of what lacks else typst tells, one file at a time
    # typst reads only below its root, and knows no other paths than those that start there
    root = Path(os.path.commonpath([PAPER, *folders.values()]))
    inputs = {name: "/" + folder.relative_to(root).as_posix() for name, folder in folders.items()}
    try:
        # without tags: with them typst 0.15 dies of an error of its own in some layouts of many wide floats, and the
        # layout is the data's
        pdf = typst.compile(TEXT, root=root, sys_inputs=inputs, ignore_system_fonts=True, timestamp=0, pdf_tags=False)
    except typst.TypstError as error:
        raise UoiscError(f"paper/paper.typ does not compile: {' '.join(str(error).split())}") from error
    with written_aside(Path(out)) as aside:
        aside.write_bytes(pdf)
    return Path(out)
