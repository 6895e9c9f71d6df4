"""What the paper shows: the one list of figures, the one list of tables, and what draws and writes them all.

A figure is three steps: a function of tables (`figures.py` and its kin, under `@styled`), a row of `FIGURES` here, and
`#drawing("name", [caption]) <label>` at its place in paper/paper.typ. A table likewise: a function in `tables.py`, a
row of `TABLES`, `read-table("name")` in the paper. All else follows: notebook 07, the tests, docs/results.md, what the
README tells, and the pipeline's outputs, which are the folders paper/figures and paper/tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from uoisc.base.config import load_params
from uoisc.base.errors import ResultsError
from uoisc.base.picture_data import read_examples
from uoisc.base.results import LeftOut, read_table, write_csv
from uoisc.claims.contrasts import Contrast, load_contrasts, measured
from uoisc.claims.verdicts import decide
from uoisc.judge.bootstrap import reliable_types
from uoisc.report import tables
from uoisc.report.complexity import amr_by_complexity, lead_table
from uoisc.report.curves import codebook_use, intent_weight, training_curves
from uoisc.report.diagram import system_diagram
from uoisc.report.dial_curves import conversation, floor_dial, rate_dial, rate_dial_bytes
from uoisc.report.figures import amr_by_method, amr_by_type, save
from uoisc.report.generalisation import by_style, generalisation, judges_by_type
from uoisc.report.link_figures import amr_against_snr
from uoisc.report.pictures import said, three_questions, visual_comparison
from uoisc.report.provenance import settings
from uoisc.report.query_figures import right_less_wrong, text_bounds, text_table
from uoisc.report.rate_answer import bd_rates, rate_answer, read_points
from uoisc.report.seed_figures import amr_against_rate, contrasts_over_runs


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table: the function that makes it, and of which `Sources`.

    shows: in plain words, for lists.
    """

    make: Callable
    sources: tuple[str, ...] = ()
    shows: str = ""

    def made(self, sources: Mapping[str, Any]) -> Any:
        """The figure, or the table. Raises: LeftOut where the profile trains nothing that it is about."""
        return self.make(*(sources[name] for name in self.sources))

    def made_or(self, instead: Callable[[str], Any], sources: Mapping[str, Any]) -> Any:
        """As `made`, or `instead` of it what says why there is none."""
        try:
            return self.made(sources)
        except LeftOut as why:
            return instead(f"Left out: {why}.")


FIGURES = {
    "system_diagram": Exhibit(system_diagram, (), "the system"),
    "three_questions": Exhibit(three_questions, ("examples",), "one scene, three questions: what is sent and answered"),
    "visual_comparison": Exhibit(visual_comparison, ("examples",), "six panels over a noisy link, and the answers"),
    "amr_by_method": Exhibit(amr_by_method, ("summary",), "answer match rate by method, at the tightest rate"),
    "amr_against_rate": Exhibit(
        amr_against_rate, ("summary", "entropy", "runs", "text_bounds"), "answer match rate against bytes, beside text"
    ),
    "rate_answer": Exhibit(rate_answer, ("points",), "answer match rate against bytes, beside standard codecs"),
    "rate_dial": Exhibit(rate_dial, ("summary",), "one model at any budget, and its controls"),
    "rate_dial_bytes": Exhibit(rate_dial_bytes, ("summary", "entropy"), "the same, by the bytes of files"),
    "floor_dial": Exhibit(floor_dial, ("summary",), "answers against the rest of the picture"),
    "right_less_wrong": Exhibit(right_less_wrong, ("query_effect",), "what another query changes, sent and answered"),
    "text_bounds": Exhibit(text_bounds, ("text_bounds", "entropy"), "several questions about one scene, by text"),
    "amr_by_type": Exhibit(amr_by_type, ("summary",), "answer match rate by question type, at the tightest rate"),
    "generalisation": Exhibit(generalisation, ("summary",), "answer match rate by style, seen and unseen objects"),
    "amr_by_complexity": Exhibit(amr_by_complexity, ("summary",), "answer match rate by what the answer needs"),
    "training_curves": Exhibit(training_curves, ("training",), "the loss terms of both training phases"),
    "intent_weight": Exhibit(intent_weight, ("intent_weight",), "what the intent loss is worth by its weight"),
    "codebook_use": Exhibit(codebook_use, ("codebooks",), "how much of each codebook is in use"),
    "amr_against_snr": Exhibit(amr_against_snr, ("channel",), "answer match rate over noisy links"),
    "contrasts": Exhibit(contrasts_over_runs, ("claims", "seeds"), "every contrast, its runs and what was asked"),
}
TABLES = {
    "main": Exhibit(tables.main_comparison, ("summary", "entropy")),
    "ablations": Exhibit(tables.ablations, ("differences", "entropy")),
    "fair_chance": Exhibit(tables.fair_chance, ("differences", "entropy")),
    "dial": Exhibit(tables.dial, ("summary", "entropy")),
    "by_style": Exhibit(by_style, ("summary",)),
    "foundation": Exhibit(tables.foundation, ("foundation",)),
    "judges_by_type": Exhibit(judges_by_type, ("foundation",)),
    "data_card": Exhibit(tables.data_card, ("data_card",)),
    "entropy": Exhibit(tables.entropy, ("entropy",)),
    "conversation": Exhibit(conversation, ("conversation",)),
    "equal_bytes": Exhibit(tables.equal_bytes, ("points",)),
    "bd_rate": Exhibit(tables.bd_rate, ("bd_rates",)),
    "channel": Exhibit(tables.channel, ("channel",)),
    "settings": Exhibit(settings, ("params", "profile")),
    "complexity": Exhibit(lead_table, ("summary",)),
    "numbers": Exhibit(tables.numbers, ("summary", "entropy")),
    "pairs": Exhibit(tables.pairs, ("differences",)),
    "claims": Exhibit(tables.claims, ("claims",)),
    "goals": Exhibit(tables.goals, ("claims",)),
    "text_bounds": Exhibit(text_table, ("text_bounds", "entropy")),
    "methods": Exhibit(tables.methods, ("summary",)),
}


class Sources(dict):
    """What exhibits are made of, by name, each read when it is first asked for: NAME.csv, or as `readers` say.

    Args:
        results: a profile's folder of results. profile: its name. params, claims: params.yaml and claims.yaml.
        seeds: the folder of seeds.csv and runs.csv, of which a profile's own rows count, and of intent_weight.csv,
            which stands whichever profile this one is.

    Raises: ResultsError when a results file lacks, ConfigError when params.yaml or claims.yaml is wrong.
    """

    def __init__(self, results: Path, profile: str, params: Path, claims: Path, seeds: Path) -> None:
        super().__init__(profile=profile, params=params)
        self.results = Path(results)
        self.readers = {
            "examples": lambda: read_examples(results),
            "points": lambda: read_points(results),
            "bd_rates": lambda: bd_rates(self["points"]),
            "answers": lambda: read_table(results, "answers.parquet"),
            "seeds": lambda: self._own(read_table(seeds, "seeds.csv")),
            "runs": lambda: self._own(read_table(seeds, "runs.csv")),
            "claims": lambda: self._decided(load_contrasts(claims)),
            "intent_weight": lambda: _tried(seeds / "intent_weight.csv"),
            "conversation": self._conversation,
        }

    def _own(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["profile"] == self["profile"]]

    def _decided(self, contrasts: list[Contrast]) -> pd.DataFrame:
        types = reliable_types(self["foundation"], self["answers"]["type"])
        seeds = self["seeds"]
        again = "run `uoisc seeds --force results/runs/*` again"
        if other := set(seeds["types"]) - {"+".join(types)}:
            raise ResultsError(f"seeds.csv: counts {other.pop()}, the judges know {'+'.join(types)}; {again}")
        asked = {contrast.id: str(contrast) for contrast in contrasts}
        for name, compared in zip(seeds["id"], seeds["compared"], strict=True):
            if asked.get(name, compared) != compared:
                raise ResultsError(
                    f"seeds.csv: {name} is of `{compared}`, claims.yaml asks for `{asked[name]}`; {again}"
                )
        rates = load_params(self["profile"]).variants.get("uoisc", ())
        own = measured(contrasts, self["answers"], self["entropy"], types, rates)
        return decide(contrasts, seeds, own)

    def _conversation(self) -> pd.DataFrame:
        if "dial" not in set(self["summary"]["variant"]):
            raise LeftOut("`dial` is not trained")
        return read_table(self.results, "conversation.csv")

    def __missing__(self, name: str) -> Any:
        self[name] = self.readers[name]() if name in self.readers else read_table(self.results, f"{name}.csv")
        return self[name]


def _tried(path: Path) -> pd.DataFrame:
    """A table of trials beside the results. Raises: LeftOut where nobody has tried."""
    if not path.exists():
        raise LeftOut(f"{path.name} is not there, docs/results.md says what makes it")
    return read_table(path.parent, path.name)


def write_figures(sources: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws every figure into `folder`, as PDF and PNG; returns the paths."""
    return [path for name, one in FIGURES.items() for path in save(one.made_or(said, sources), name, folder)]


def write_tables(sources: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes every table as `folder/NAME.csv`; returns the paths."""
    paths = {name: Path(folder) / f"{name}.csv" for name in TABLES}
    for name, path in paths.items():
        write_csv(TABLES[name].made_or(lambda why: pd.DataFrame({"": [why]}), sources), path)
    return list(paths.values())
