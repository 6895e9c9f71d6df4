"""The generated tables of README.md and docs/results.md: outcomes of claims, figures, methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from uoisc.base.errors import ResultsError
from uoisc.base.folders import written_aside
from uoisc.report.exhibits import FIGURES, TABLES
from uoisc.report.tables import NONE

# the files of sources that are not called as theirs
FILES = {"examples": "examples.npz", "points": "standard_codecs.csv", "claims": "claims.json"}
UNSIZED = "no number"  # what stands for the paper's number where a claim has none
NOT_YET = "none yet"  # what stands for fresh runs


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def claims_block(claims: pd.DataFrame) -> str:
    """The verdict on each primary contrast, from the table `tables.claims`."""
    runs = claims["runs"].max()
    over = f"mean of {runs or 'fresh'} {'run' if runs == 1 else 'runs'} [95 %]"
    shown = claims.replace({"paper": {NONE: UNSIZED}, "over runs": {NONE: NOT_YET}})
    rows = [
        [row.statement.removesuffix("."), row.paper, row.one_run, row.over_runs, row.verdict]
        for row in shown.rename(columns=lambda name: name.replace(" ", "_")).itertuples()
    ]
    return _table(["claim", "paper", "published run", over, "verdict"], rows)


def figures_block() -> str:
    """Every figure, what it shows, and what it is drawn from, for a page in docs/."""
    rows = []
    for name, figure in FIGURES.items():
        files = [f"`results/{FILES.get(source, f'{source}.csv')}`" for source in figure.sources]
        rows.append([f"[{name}](../paper/figures/{name}.png)", figure.shows, ", ".join(files) or "code alone"])
    return _table(["figure", "what it shows", "drawn from"], rows)


def methods_block(methods: pd.DataFrame) -> str:
    """The glossary of `tables.methods`."""
    rows = [[f"`{name}`", *about] for name, *about in methods.to_numpy()]
    return _table(["in `results/`", "in tables", "what it is"], rows)


def write_pages(root: Path, sources: Mapping[str, Any]) -> None:
    """Rewrites the generated tables of the project's README.md and docs/results.md from an exhibit's `sources`."""
    root = Path(root)
    write_block(root / "README.md", "results", claims_block(TABLES["claims"].made(sources)))
    write_block(root / "docs" / "results.md", "figures", figures_block())
    write_block(root / "docs" / "results.md", "methods", methods_block(TABLES["methods"].made(sources)))


def write_block(page: Path, name: str, block: str) -> None:
    """Puts a block between a page's markers of that name, atomically. Raises: ResultsError when a marker lacks."""
    begin = f"<!-- {name}:begin -->"
    end = f"<!-- {name}:end -->"
    text = Path(page).read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ResultsError(f"{page} must hold the lines {begin} and {end} once each, in this order")
    with written_aside(Path(page)) as aside:
        aside.write_text(f"{text.split(begin)[0]}{begin}\n{block}\n{end}{text.split(end)[1]}", encoding="utf-8")
