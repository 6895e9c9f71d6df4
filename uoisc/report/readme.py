"""The generated tables of README.md and docs/results.md: outcomes of claims, figures, methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from uoisc.base.errors import ConfigError, ResultsError
from uoisc.base.folders import written_aside
from uoisc.report.exhibits import FIGURES, TABLES
from uoisc.report.tables import NONE

FILES = {"examples": "examples.npz", "points": "standard_codecs.csv"}  # behind a source that is not called as its file
UNSIZED = "no number"  # what stands for the paper's number where a claim has none


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def claims_block(claims: pd.DataFrame) -> str:
    """The outcome of each claim that a figure bears on, by the independent judge, from the table `tables.claims`.
    Raises: ConfigError where a figure names a claim that there is not."""
    figure_of = {claim: name for name, figure in FIGURES.items() for claim in figure.claims}
    unknown = sorted(set(figure_of) - set(claims["id"]))
    if unknown:
        raise ConfigError(f"figure {figure_of[unknown[0]]} bears on {unknown[0]}, which claims.yaml does not have")
    rows = [
        [row.statement.removesuffix("."), UNSIZED if row.paper == NONE else row.paper, row.independent, row.verdict]
        for row in claims[claims["id"].isin(figure_of)].itertuples()
    ]
    return _table(["claim, on unseen objects", "paper", "ours (95 % interval)", "verdict"], rows)


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
