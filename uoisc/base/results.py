"""Tidy results on disk, from which figures, tables, claims and paper derive: strict reading, atomic writing."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uoisc.base.documents import parse_json
from uoisc.base.errors import ResultsError, reason
from uoisc.base.folders import readable, written_aside

BLANK = "blank"  # as a reference: the same questions asked of a blank image, at 0 bits
BOTH = "both"  # in the column `judge`: the judges' mean, query by query
SEEN = "seen"
UNSEEN = "unseen"
GAP = "unseen-seen"
NOT_MEASURED, NO_VERDICT = "not measured", "no verdict"  # of a contrast without runs, or with too few of them
DOMAINS = CODECS, PRETRAINED, NOVEL = ("codecs", "pretrained", "novel")  # of styles of images, by who has seen them


EVALUATED = "answers.parquet quality.csv summary.csv differences.csv training.csv codebooks.csv foundation.csv "
EVALUATED += "data_card.csv text_bounds.csv query_effect.csv examples.npz examples.json"
STAGES = dict.fromkeys(EVALUATED.split(), "evaluation") | dict.fromkeys(["claims.json", "bd_rate.csv"], "figures")
STAGES |= {"entropy.csv": "rate", "conversation.csv": "rate", "channel.csv": "channel"}
STAGES |= {"standard_codecs.csv": "standard_codecs", "published.csv": "publish"}
NO_STAGES = dict.fromkeys(["seeds.csv", "runs.csv"], "`make seeds`")  # what writes them; without rows until it has
COLUMNS = {  # of each table, by name
    "answers.parquet": "profile variant seed bits split judge query_id query type object truth tiles ambiguous "
    "answer_source answer_hat match match_blank match_wrong_query source_right correct",
    "quality.csv": "profile variant seed bits split metric value low high n",
    "summary.csv": "profile variant seed judge split bits metric value low high n",
    "differences.csv": "profile variant reference seed judge split bits reference_bits difference difference_low "
    "difference_high relative relative_low relative_high n",
    "training.csv": "profile variant bits seed phase step lr loss",
    "codebooks.csv": "profile variant bits seed tap segment perplexity dead codes",
    "foundation.csv": "profile model metric value low high n",
    "data_card.csv": "split type answer count",
    "text_bounds.csv": "profile seed method questions split judge bits metric value low high n",
    "query_effect.csv": "profile variant seed bits split judge value low high n flips moves",
    "entropy.csv": "profile variant seed bits n tables entropy_bits chosen payload_bits",
    "conversation.csv": "profile variant seed bits form split judge metric value low high n",
    "standard_codecs.csv": "profile seed codec setting form split judge bytes bytes_less_flat metric value low high n",
    "bd_rate.csv": "profile seed codec form anchor anchor_form split judge metric low high bd_rate undefined",
    "channel.csv": "profile seed variant bits link fading es_n0_db eb_n0_db split judge metric value low high n",
    "published.csv": "profile variant bits split judge amr trained n",
    "seeds.csv": "profile id seed value value_all_types value_llava value_llava_independent right_less_wrong bits "
    "reference_bits payload_bits reference_payload_bits n types compared",
    "runs.csv": "profile seed variant bits payload_bits split judge amr amr_floor right_less_wrong n",
    "intent_weight.csv": "variant rate changes bits split judge amr low high floor n",
}
COLUMNS = {name: columns.split() for name, columns in COLUMNS.items()}


def split_of(objects: str, domain: str) -> str:
    """The split of `SEEN` or `UNSEEN` objects in a domain: "unseen", "unseen@novel"."""
    return objects if domain == CODECS else f"{objects}@{domain}"


def parts_of(split: str) -> tuple[str, str]:
    """The objects and the domain of a split."""
    objects, _, domain = split.partition("@")
    return objects, domain or CODECS


class LeftOut(ResultsError):
    """A figure or a table has nothing to show, as the profile does not train what it is about."""


def missing(path: Path, what: str) -> ResultsError:
    """The one-line error about what a results file lacks, which names the stage that writes it."""
    return ResultsError(f"{path} {what}; {_again(path)}")


def found(path: Path) -> Path:
    """`path`, a results file that is there. Raises: ResultsError where it is not, or may not be read."""
    return readable(path, _again(path), ResultsError)


def _again(path: Path) -> str:
    if path.name in STAGES:
        return f"run `make repro` again (it is written by: {STAGES[path.name]})"
    command = NO_STAGES.get(path.name)
    return "restore it with git" + (f", or run {command} (hours)" if command else "")


def check_results(table: pd.DataFrame, profile: str, seed: int, variants: Iterable[str]) -> None:
    """Raises: ResultsError where a summary is of another profile, seed or choice of variants than params.yaml has."""
    path = Path("summary.csv")
    if set(table["profile"]) != {profile}:
        raise missing(path, f"is of profile {', '.join(sorted(set(table['profile'])))}, not {profile}")
    if str(seed) not in set(table["seed"]):
        raise missing(path, f"is of another seed than {seed}, which params.yaml gives {profile}")
    if absent := [name for name in variants if name not in set(table["variant"])]:
        raise missing(path, f"lacks the variant {absent[0]}, which {profile} trains")


def read_table(folder: Path, name: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """One results table, with those `columns` or its own of `COLUMNS`; seeds as text, bits as float.

    Raises ResultsError where it, a column or all rows lack.
    """
    path = found(Path(folder) / name)
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, keep_default_na=True)
    except (ValueError, OSError) as error:  # pandas and pyarrow raise their own kinds of both
        raise missing(path, f"cannot be read ({reason(error)})") from error
    if lacking := [column for column in columns or COLUMNS[name] if column not in table.columns]:
        raise missing(path, f"lacks the column {', '.join(lacking)}")
    if table.empty and name not in NO_STAGES:
        raise missing(path, "has no rows")
    kinds = dict.fromkeys(("seed", "phase", "tap", "segment"), str)
    kinds |= dict.fromkeys(("bits", "reference_bits", "value", "low", "high", "amr", "payload_bits"), float)
    try:
        return table.astype({column: kind for column, kind in kinds.items() if column in table.columns})
    except (ValueError, TypeError) as error:
        raise missing(path, f"cannot be read ({reason(error)})") from error


def read_json(folder: Path, name: str) -> Any:
    """A JSON results file. Raises: ResultsError when it is missing or no JSON."""
    path = found(Path(folder) / name)
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise missing(path, f"is no JSON ({reason(error)})") from error


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table atomically; six significant digits, so that equal results are equal bytes."""
    with written_aside(path) as aside:
        table.to_csv(aside, index=False, float_format="%.6g", lineterminator="\n")


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Writes a table of answers atomically."""
    with written_aside(path) as aside:
        table.to_parquet(aside, index=False, compression="zstd")


def write_json(content: Any, path: Path) -> None:
    """Writes JSON atomically; floats to six significant digits, NaN as null."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(_rounded(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _rounded(content: Any) -> Any:
    text = json.dumps(content, default=np.generic.item)
    return json.loads(text, parse_float=lambda number: float(f"{float(number):.6g}"), parse_constant=lambda _: None)
