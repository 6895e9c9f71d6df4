"""Published models: packs what a full run has trained, measures it once more, and holds this machine against that.

    data/PROFILE/{foundation, codecs, tables} --publish--> data/PROFILE/published, results/published.csv
                                                               |
                                     uoisc check: the same measured here, row by row against the table

Packing rounds weights, so the packed models are measured themselves: beside what they were before (`trained`).
Another machine then differs by floating point alone. Source: ours.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch

from uoisc.base.config import Params, check_ready, load_params, paths
from uoisc.base.documents import parse_json
from uoisc.base.errors import CheckpointError, ResultsError
from uoisc.base.folders import readable, readable_folder, written_aside, written_folder
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import read_table, write_csv
from uoisc.base.settings import DIAL, JUDGES, Pretrained
from uoisc.data.objects import load_catalogue
from uoisc.data.question_types import Words, query_words
from uoisc.frozen import published
from uoisc.judge import evaluation
from uoisc.study import Point, Study, assemble, open_study, points

# what is published where the profile trains it: variants, and at which rates; of a dial its one model
MODELS = {"dial": [DIAL], "uoisc": ["tight", "middle", "wide"]}
MODELS |= dict.fromkeys(["adaptive", "no_alignment", "query_aware"], ["middle"])
PIECES = "token_embedding.weight"  # of CLIP, a row for each word piece
CLOSE = 0.01  # in AMR: what floating point may move; ours, of 1,000 questions ten
KEYS = ["variant", "bits", "split", "judge"]


def publish(profile: str) -> Path:
    """Packs a profile's trained models into data/PROFILE/published and measures them; returns that folder.

    Raises CheckpointError where one is missing, ResultsError where the evaluation has not run.
    """
    check_ready(profile)
    where = paths(profile)
    study = open_study(profile, judges=())
    summary = read_table(where.results, "summary.csv")
    chosen = dict.fromkeys((point.variant, point.rate) for point in published_points(study))
    with written_folder(where.published) as aside:
        if not isinstance(study.params.foundation, Pretrained):
            for name in ("clip", *JUDGES):
                folder = readable_folder(where.foundation / name, "run the foundation stage", CheckpointError)
                rows = {PIECES: read_pieces(study)} if name == "clip" else None
                published.pack_model(folder, aside / "foundation" / name, rows)
        for model in chosen:
            for file in (where.codec(2, *model), where.table(*model)):
                remedy = f"run the stages before it again: make repro PROFILE={profile}"
                target = aside / readable(file, remedy, CheckpointError).relative_to(where.codecs.parent)
                published.pack_file(file, target)
    table = measure(profile)
    trained = summary[summary["metric"] == "amr"].set_index(KEYS)["value"].rename("trained")
    table = table.join(trained, on=KEYS).round({"amr": 6})
    write_csv(table, where.results / "published.csv")
    write_card(study.params, where.published, profile, table)
    return where.published


@dataclass(frozen=True)
class Check:
    """Rows: `KEYS`, `published`, `here`, `difference`, `close` (at most `CLOSE`)."""

    rows: pd.DataFrame

    @property
    def agrees(self) -> bool:
        """Whether all rows are close."""
        return bool(self.rows["close"].all())

    def to_json(self) -> str:
        """Everything, one JSON object."""
        rows = json.loads(self.rows.to_json(orient="records"))
        return json.dumps({"agrees": self.agrees, "summary": self.summary(), "rows": rows}, indent=1)

    def as_text(self) -> str:
        """The rows and the summary."""
        return f"{self.rows.to_string(index=False, float_format='%.3f')}\n{self.summary()}"

    def summary(self) -> str:
        """One line."""
        size = self.rows["difference"].abs()
        far = int((~self.rows["close"]).sum())
        found = f"{len(size)} rows differ by {size.mean():.4f} in AMR on average, {size.max():.4f} at most"
        return f"{'agrees' if self.agrees else 'DIFFERS'}: {found}; {far} by more than {CLOSE:g}"


def check(profile: str) -> Check:
    """Measures the published models on this machine and holds each row against results/published.csv.

    Raises CheckpointError where the profile publishes no models, ResultsError where there is no such table.
    """
    expected = read_table(paths(profile).results, "published.csv").set_index(KEYS)["amr"].rename("published")
    here = measure(profile).set_index(KEYS)["amr"].rename("here")
    rows = pd.concat([expected, here], axis=1)
    if rows.isna().any(axis=None):
        raise ResultsError("results/published.csv is not of the published models: restore both with git")
    rows["difference"] = rows["here"] - rows["published"]
    rows["close"] = rows["difference"].abs() <= CLOSE + 1e-9
    return Check(rows.reset_index())


def measure(profile: str) -> pd.DataFrame:
    """The answer match rate of every published model, by split and judge: profile, `KEYS`, amr, n."""
    study = open_published(profile)
    jobs = [(profile, split) for split in study.source.splits]
    references = pd.concat(run_side_by_side(_references, jobs, study.params.workers))
    jobs = [(profile, point, split, references) for point in published_points(study) for _, split in jobs]
    found = run_side_by_side(_measure_one, jobs, study.params.workers, "published models measured")
    return pd.concat(found, ignore_index=True)


def published_points(study: Study) -> list[Point]:
    """Every rate point of the published models."""
    return study.distinct([point for point in points(study.params, MODELS) if point.rate in MODELS[point.variant]])


@lru_cache(maxsize=1)
def open_published(profile: str) -> Study:
    """A profile's published models, whatever is trained here, with its questions. Raises CheckpointError."""
    if not published.is_packed(profile):
        raise CheckpointError(f"profile {profile} publishes no models: `uoisc publish` writes them after a full run")
    return assemble(profile, load_params(profile), JUDGES, home=published.unpacked(profile))


CARD = """# Published models of the profile {profile}

CLIP, two judges and codecs as `make repro` of this repository trained them{on}, packed to 8 bits a weight
(`uoisc/frozen/published.py`), so that questions can be asked before anything is trained. `uoisc check` measures them
on your machine against the table below (`results/published.csv`).

- Trained on: generated scenes of drawings by OpenMoji and glyphs of Noto Emoji, and generated questions about them
  (`data/README.md`); codecs never on objects of the category "{held_out}", stand-ins on all. How, with every value:
  `params.yaml`. Seed {seed}.
- Made for: showing and checking this study. They know scenes of drawings and the questions of its catalogue; on
  photographs, and in words that they have never read, their answers mean nothing. No use beside research.
- Licence of the weights: MIT, as the code's. Drawings that they draw: OpenMoji, CC BY-SA 4.0 (https://openmoji.org);
  Noto Emoji, SIL Open Font License 1.1.

Answer match rate over all types of question, of {n} questions each, packed and before (`trained`):

{table}
"""


def write_card(params: Params, folder: Path, profile: str, table: pd.DataFrame) -> None:
    """Writes what is to be known of the models as the folder's README.md."""
    machine = paths(profile).results / "machine.json"
    on = f" on {parse_json(machine.read_text())['device']}" if machine.is_file() else ""
    columns = [*KEYS, "amr", "trained"]
    cells = [columns, ["---"] * len(columns)]
    cells += [[*map(str, row[:4]), f"{row[4]:.3f}", f"{row[5]:.3f}"] for row in table[columns].to_numpy().tolist()]
    shown = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    about = {"held_out": params.data.held_out, "seed": params.seed, "n": table["n"].max(), "on": on}
    with written_aside(folder / "README.md") as aside:
        aside.write_text(CARD.format(profile=profile, table=shown, **about), encoding="utf-8")


def read_pieces(study: Study) -> torch.Tensor:
    """The word pieces that a question of the catalogue may hold, and CLIP's own signs; sorted."""
    words = sorted(query_words(Words.of(load_catalogue(study.params.data.objects))))
    return torch.unique(study.clip.tokenize([*words, f"{words[0]}?"]))


def _references(profile: str, split: str) -> pd.DataFrame:
    study = open_published(profile)
    return evaluation.ask_references(study, evaluation.evaluation_questions(study, split))


@torch.no_grad()
def _measure_one(profile: str, point: Point, split: str, references: pd.DataFrame) -> pd.DataFrame:
    """One model at one rate on one split: a row per judge."""
    study = open_published(profile)
    asked = evaluation.evaluation_questions(study, split)
    codec = study.codec(*point)
    answers = []
    for rows in evaluation.batches(study, asked):
        _, _, x_hat = evaluation.send(study, codec, asked, rows, None)
        answers.append(evaluation.ask(study, x_hat, asked.texts[rows]))
    keys = {"profile": profile, "variant": point.variant, "bits": codec.bits}
    heard = evaluation.judged(references, asked, evaluation.joined(answers), keys)
    by = ["profile", *KEYS]
    return heard.astype({"match": float}).groupby(by, as_index=False)["match"].agg(amr="mean", n="size")
