"""Typesets paper/paper.typ: the same tables and figures give the same bytes of PDF."""

from __future__ import annotations

import os
from pathlib import Path

import typst

from uoisc.errors import UoiscError
from uoisc.folders import written_aside
from uoisc.results import found

PAPER = Path(__file__).resolve().parent.parent / "paper"
FIGURES = ("system_diagram", "visual_comparison", "amr_by_method", "amr_against_rate", "rate_dial", "floor_dial",
           "rate_answer", "amr_against_snr", "amr_by_type", "relevance_maps", "training_curves",
           "codebook_use", "goals_over_seeds")  # fmt: skip
TABLES = (
    "main",
    "ablations",
    "fair_chance",
    "dial",
    "foundation",
    "data_card",
    "equal_bytes",
    "bd_rate",
    "channel",
    "settings",
    "numbers",
    "pairs",
    "claims",
    "goals",
)


def build(results_dir: Path, out: Path, tables: Path | None = None, figures: Path | None = None) -> Path:
    """Compiles the paper into `out`, atomically.

    Args:
        results_dir: holds claims.json.
        out: the PDF.
        tables, figures: what `tables.write_tables` and `figures.save` wrote; paper/tables and paper/figures
            unless told.
    Raises: ResultsError when an input lacks, UoiscError with typst's one line when the text does not compile
        (a number that it looks up is not in the tables, for instance).
    """
    folders = {
        "results": Path(results_dir),
        "tables": tables or PAPER / "tables",
        "figures": figures or PAPER / "figures",
    }
    folders = {name: Path(folder).resolve() for name, folder in folders.items()}
    needed = [folders["results"] / "claims.json"]
    needed += [folders["tables"] / f"{name}.csv" for name in TABLES]
    needed += [folders["figures"] / f"{name}.pdf" for name in FIGURES]
    for path in needed:
        found(path)
    # typst reads only below its root, and knows no other paths than those that start there
    root = Path(os.path.commonpath([PAPER, *folders.values()]))
    inputs = {name: "/" + folder.relative_to(root).as_posix() for name, folder in folders.items()}
    try:
        pdf = typst.compile(PAPER / "paper.typ", root=root, sys_inputs=inputs, ignore_system_fonts=True, timestamp=0)
    except typst.TypstError as error:
        raise UoiscError(f"paper/paper.typ does not compile: {' '.join(str(error).split())}") from error
    with written_aside(Path(out)) as aside:
        aside.write_bytes(pdf)
    return Path(out)
