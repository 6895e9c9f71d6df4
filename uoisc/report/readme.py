"""The generated parts of README.md and docs/results.md: the outcome in a sentence, claims, figures, methods."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from uoisc.base.errors import ResultsError
from uoisc.base.folders import written_aside
from uoisc.base.results import UNSEEN
from uoisc.claims.names import label
from uoisc.report.exhibits import FIGURES, TABLES
from uoisc.report.tables import NONE

# the files of sources that are not called as theirs
FILES = {"examples": "examples.npz", "points": "standard_codecs.csv", "claims": "claims.json"}
UNSIZED = "no number"  # what stands for the paper's number where a claim has none
TOLD = ("adaptive", "dial", "uoisc", "no_alignment", "query_aware")  # in the first sentence
WIDTH = 120  # of a line of README.md
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


def headline_block(runs: pd.DataFrame) -> str:
    """AMR of the main methods on unseen objects at UO-ISC's tightest rate, the mean over fresh runs and judges, in a
    sentence. `runs`: a profile's rows of runs.csv."""
    rows = runs[runs["split"] == UNSEEN]
    if rows.empty:
        return "No fresh run is measured yet (`make seeds`)."
    bits = rows.loc[rows["variant"] == "uoisc", "bits"].min()
    rows = rows[rows["bits"] == bits]
    amr = rows.groupby("variant")["amr"].mean()
    said = ", ".join(f"{label(name)} {amr[name]:.2f}" for name in TOLD if name in amr.index)
    what = f"Answers about unseen objects that survive at {bits:g} bits (AMR, mean of {rows['seed'].nunique()} runs)"
    return textwrap.fill(f"**{what}:** {said}; a blank image {rows['amr_floor'].mean():.2f}.", WIDTH)


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
    """Rewrites the generated parts of the project's README.md and docs/results.md from an exhibit's `sources`."""
    root = Path(root)
    write_block(root / "README.md", "headline", headline_block(sources["runs"]))
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
