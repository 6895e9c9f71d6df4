"""The README's table: which command makes a figure, and what came out of the claims that it bears on."""

from __future__ import annotations

from pathlib import Path

import yaml

from uoisc.errors import ConfigError, ResultsError
from uoisc.folders import written_aside
from uoisc.tables import NONE, interval, paper_figure

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def readme_block(claim_rows: list[dict], claims_path: Path) -> str:
    """The README's table: figure, command, minutes, the paper's number, ours, verdict; a line a claim.

    Args:
        claim_rows: claims.json.
        claims_path: claims.yaml, whose list `figures` says which command makes a figure, in how many minutes, and
            what it shows.
    """
    by_id = {row["id"]: row for row in claim_rows}
    lines = [
        "| figure | command | minutes | claim | paper | ours (95 % interval) | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in yaml.safe_load(Path(claims_path).read_text(encoding="utf-8")).get("figures", []):
        start = [f"[{entry['shows']}]({entry['file']})", f"`{entry['command']}`", str(entry["minutes"])]
        unknown = [name for name in entry["claims"] if name not in by_id]
        if unknown:
            raise ConfigError(f"{claims_path}: figure {entry['file']}: no claim {', '.join(unknown)}")
        for name in entry["claims"] or [None]:
            lines.append("| " + " | ".join(start + _claim_cells(by_id.get(name))) + " |")
            start = ["", "", ""]
    return "\n".join(lines)


def _claim_cells(row: dict | None) -> list[str]:
    if row is None:
        return [NONE] * 4
    percent = " / " in row["metric"]
    shown = ([float("nan")] * 3) if row["ours"] is None else [row["ours"], row["low"], row["high"]]
    return [row["id"], paper_figure(row["paper"], percent), interval(*shown, percent=percent, signed=True),
            f"**{row['verdict']}**"]  # fmt: skip


def write_readme(readme: Path, block: str) -> None:
    """Puts a block between the README's markers, atomically. Raises: ResultsError when a marker lacks."""
    text = Path(readme).read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ResultsError(f"{readme} must hold the lines {BEGIN} and {END} once each, in this order")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    with written_aside(Path(readme)) as aside:
        aside.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}", encoding="utf-8")
