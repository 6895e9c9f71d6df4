"""A profile may train any of the variants and test either split: all else is left out and said, up to the paper."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import synthetic_results as synthetic
from test_paper import CLAIMS, PARAMS

from uoisc.base import results
from uoisc.base.picture_data import write_examples
from uoisc.base.results import LeftOut
from uoisc.claims import verdicts
from uoisc.report import exhibits, figures, paper, rate_answer

# what is kept of the variants (their controls too), the splits, and of rates the tightest alone
SUBSETS = {
    "uoisc alone": (r"uoisc", ("seen", "unseen"), True),
    "no dial": (r"(?!dial).*", ("seen", "unseen"), False),
    "no adaptive": (r"(?!adaptive).*", ("seen", "unseen"), False),
    "no no_alignment": (r"(?!no_alignment$).*", ("seen", "unseen"), False),
    "seen alone": (r".*", ("seen",), False),
    "unseen alone": (r"uoisc|dial.*", ("unseen",), False),
}


def few(folder: Path, pattern: str, splits: tuple[str, ...], one_rate: bool) -> exhibits.Sources:
    """The synthetic results of such a profile, written into `folder`."""
    kept = {name: share for name, share in synthetic.KEPT.items() if re.fullmatch(pattern, name)}
    table = synthetic.answers(queries=60, kept=kept)
    table = table[table["split"].isin(splits) & (~pd.Series(one_rate, table.index) | (table["bits"] <= 144))]
    synthetic.write(folder, table)
    for name in ("training.csv", "codebooks.csv", "entropy.csv", "channel.csv", "standard_codecs.csv", "data_card.csv",
                 "conversation.csv"):  # fmt: skip
        rows = results.read_table(folder, name)
        if "variant" in rows:
            rows = rows[rows["variant"].isin([*kept, "jpeg2000", "jpeg2000_protected"])]
        if "split" in rows:
            rows = rows[rows["split"].isin([*splits, "none"])]
        results.write_csv(rows, folder / name)
    examples = synthetic.examples()
    sent = {method: own for method, own in examples.scene_texts["sent"].items() if method in kept}
    own = {of: {method: getattr(examples, of)[method] for method in sent} for of in ("drawn", "token_bits")}
    write_examples(replace(examples, scene_texts=examples.scene_texts | {"sent": sent}, **own), folder)
    bounds = results.read_table(folder, "text_bounds.csv")
    bounds = bounds[~bounds["method"].isin({*synthetic.KEPT} - {*kept}) & bounds["split"].isin(splits)]
    results.write_csv(bounds, folder / "text_bounds.csv")
    return exhibits.Sources(folder, "smoke", PARAMS, CLAIMS, folder)


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Bitmaps of few pixels, which nothing here looks at."""
    monkeypatch.setitem(figures.STYLE, "savefig.dpi", 30)


@pytest.mark.parametrize("subset", SUBSETS)
def test_all_that_is_shown_comes_out_of_any_subset(subset, tmp_path):
    found = few(tmp_path, *SUBSETS[subset])
    exhibits.write_figures(found, tmp_path / "figures")
    verdicts.write_claims(found["claims"], tmp_path)
    rate_answer.write_bd_rates(tmp_path)
    exhibits.write_tables(found, tmp_path / "tables")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {*exhibits.TABLES}
    pdf = paper.build(tmp_path, tmp_path / "paper.pdf", tmp_path / "tables", tmp_path / "figures").read_bytes()
    assert pdf.startswith(b"%PDF")


def test_what_is_left_out_is_said(tmp_path):
    found = few(tmp_path, *SUBSETS["uoisc alone"])
    for name in ("rate_dial", "floor_dial", "amr_against_rate", "contrasts"):
        with pytest.raises(LeftOut, match="trained|speaks of"):
            exhibits.FIGURES[name].made(found)
    for name in ("ablations", "dial", "conversation"):
        (row,) = exhibits.TABLES[name].made_or(lambda why: [why], found)
        assert row.startswith("Left out: ")
