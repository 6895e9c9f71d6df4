"""What a training seed gave: the answers about each model at each rate, cell by cell.

    a run's answers.parquet, entropy.csv --> run_of --> Run: what contrasts are measured in (`contrasts.py`)
                                         '-> points --> results/runs.csv

A run is one training seed with codecs, judges and test scenes of its own. Source: ours.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from uoisc.base.errors import ResultsError
from uoisc.base.results import COLUMNS, SEEN, UNSEEN
from uoisc.base.settings import JUDGES
from uoisc.judge.bootstrap import nearest_bits

RATES = ("tight", "middle", "wide")  # of UO-ISC, as budgets
COMPLEX = 2  # tiles from which a query is complex, one of one tile is simple; no type that counts asks for three
ASKED = ("simple", "complex", "one", "several")  # parts of a split, by what its queries ask for (`parts_asked`)
STYLED = tuple(kind + style for kind, style in product((SEEN, UNSEEN), ("", "@pretrained", "@novel")))
USED = [*COLUMNS["answers.parquet"][:7], "type", "tiles", "ambiguous"]  # of answers.parquet
USED += ["match", "match_blank", "match_wrong_query", "source_right", "answer_source", "answer_hat"]


class NotSentError(KeyError):
    """A run has nothing of a method within a budget, or no query that counts."""


class Cell(NamedTuple):
    """The answers about what a model sent at one rate on one split, by judge and query, NaN where they do not count.

    queries: their ids. own: whether answers match, 0 or 1. blank: the same of a blank image. gain: own less the same
    under another query of the image. needs: whether the judge is right on the source and answers otherwise on a blank
    image, so that the picture is needed. guessed: see the function of that name.
    """

    queries: np.ndarray
    own: Float[np.ndarray, "judges n"]
    blank: Float[np.ndarray, "judges n"]
    gain: Float[np.ndarray, "judges n"]
    needs: Float[np.ndarray, "judges n"]
    guessed: Float[np.ndarray, "judges n"]


@dataclass(frozen=True)
class Run:
    """What one training seed gave: cells by variant, split and nominal bits, by variant and those the mean payload in
    bits, and UO-ISC's bits at each rate that it has."""

    seed: str
    cells: dict[tuple[str, str, float], Cell]
    payloads: dict[tuple[str, float], float]
    rates: dict[str, float]

    def side(self, name: str, budget: str, split: str) -> tuple[float, Cell]:
        """Nominal bits, and the cell, of what a method sends within a budget, or at its rate beside one of UO-ISC's.
        Raises: NotSentError for nothing, and where it has no rate near that one."""
        sent = [bits for variant, where, bits in self.cells if (variant, where) == (name, split)]
        if budget in RATES:
            bits = nearest_bits(self.rates[budget], sent) if budget in self.rates else None
        else:
            bits = max((bits for bits in sent if bits <= float(budget)), default=None)
        if bits is None:
            raise NotSentError(name)
        return bits, self.cells[name, split, bits]

    def at_payload(self, name: str, payload: float, split: str) -> tuple[float, float, Cell]:
        """As `side`, of so many real bits: between the two rates next to them, in proportion; the widest where that has
        fewer. Real bits come second. Raises: NotSentError where the tightest has more, or payloads are not known."""
        payloads = ((real, bits) for (variant, bits), real in self.payloads.items() if variant == name)
        known = sorted((real, bits) for real, bits in payloads if (name, split, bits) in self.cells)
        if not known or not payload >= known[0][0]:
            raise NotSentError(name)
        places = np.arange(len(known))
        real, nominal = zip(*known, strict=True)
        place = np.interp(payload, real, places)
        low, high = (self.cells[name, split, nominal[int(end)]] for end in (np.floor(place), np.ceil(place)))
        between = (one + (place % 1) * (other - one) for one, other in zip(low[1:], high[1:], strict=True))
        return float(np.interp(place, places, nominal)), min(payload, real[-1]), Cell(low.queries, *between)


def parts_asked(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers again, in parts of their split: to simple queries, whose one right answer needs one tile, to complex
    ones (`COMPLEX` tiles or more); and, of the types that have ambiguous queries, where one answer is right or several.
    """
    several = answers["ambiguous"].to_numpy(bool)
    tiles = answers["tiles"].to_numpy()
    shared = answers["type"].isin(answers["type"][several]).to_numpy()
    parts = zip(
        ASKED, (~several & (tiles == 1), ~several & (tiles >= COMPLEX), shared & ~several, several), strict=True
    )
    here = answers["split"].isin(STYLED[::3]).to_numpy()
    return pd.concat([answers[here & of].assign(split=answers["split"] + f":{name}") for name, of in parts])


def guessed(answers: pd.DataFrame) -> pd.Series:
    """How often what a judge said of the source is said of what a model sent about *other* questions of that type and
    split: the share of matches that an answer which no picture has told would have. Answers are compared by the letter.
    """
    alike = ["variant", "split", "bits", "judge", "type"]
    said = answers.groupby([*alike, "answer_hat"]).size().rename("count")
    asked = answers[[*alike, "answer_source"]].rename(columns={"answer_source": "answer_hat"})
    count = asked.join(said, on=[*alike, "answer_hat"])["count"].fillna(0)
    own = answers["answer_hat"] == answers["answer_source"]
    return (count - own) / (answers.groupby(alike)["answer_hat"].transform("count") - 1).clip(lower=1)


def run_of(answers: pd.DataFrame, entropy: pd.DataFrame, rates: Collection[str] = ()) -> Run:
    """One run, of its tables and the names of UO-ISC's rates. Raises: ResultsError where the answers are of several
    seeds."""
    if answers["seed"].nunique() != 1:
        raise ResultsError(f"answers.parquet: of seeds {', '.join(sorted(answers['seed'].unique()))}; a run has one")
    answers = pd.concat([answers, parts_asked(answers)], ignore_index=True)
    columns = (answers[f"match{of}"].astype("Float64").astype(float) for of in ("", "_blank", "_wrong_query"))
    own, blank, wrong = columns
    keys = answers[["variant", "split", "bits", "judge", "query_id"]]
    needs = answers["source_right"].to_numpy(bool) & (blank == 0)
    table = keys.assign(own=own, blank=blank, gain=own - wrong, needs=needs.astype(float), guessed=guessed(answers))
    table = table.sort_values(["judge", "query_id"])
    cells = {}
    for key, rows in table.groupby(["variant", "split", "bits"]):
        by_judge = (rows[name].to_numpy().reshape(len(JUDGES), -1) for name in ("query_id", *Cell._fields[1:]))
        (queries, *_), *matches = by_judge
        cells[key] = Cell(queries, *matches)
    paid = entropy[entropy["chosen"]].set_index(["variant", "bits"])["payload_bits"].astype(float).to_dict()
    known = sorted({bits for variant, _, bits in cells if variant == "uoisc"})
    names = [name for name in RATES if name in rates]
    named = dict(zip(names, known, strict=True)) if len(names) == len(known) else {}
    return Run(str(answers["seed"].iloc[0]), cells, paid, named)


def points(answers: pd.DataFrame, entropy: pd.DataFrame, types: Sequence[str]) -> pd.DataFrame:
    """Rows of runs.csv of one run: every model at each rate, by split and judge."""
    run = run_of(answers[answers["type"].isin(types)], entropy)
    rows = []
    for (variant, split, bits), cell in run.cells.items():
        if (variant, bits) not in run.payloads:  # a control, which sends no message of its own
            continue
        keys = {"seed": run.seed, "variant": variant, "bits": bits, "split": split, "n": len(cell.queries)}
        keys["payload_bits"] = run.payloads[variant, bits]
        means = zip(*(part.mean(1) for part in (cell.own, cell.blank, cell.gain)), strict=True)
        for judge, found in zip(JUDGES, means, strict=True):
            named = zip(("amr", "amr_floor", "right_less_wrong"), found, strict=True)
            rows.append(keys | {"judge": judge, **dict(named)})
    return pd.DataFrame(rows, columns=COLUMNS["runs.csv"]).assign(profile=answers["profile"].iloc[0])
