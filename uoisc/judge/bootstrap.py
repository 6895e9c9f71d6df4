"""From answers to numbers: metrics and paired differences, each with a 95 % bootstrap interval.

    answers.parquet ──► summarise ──► summary.csv      a metric with its interval
          │                                            (variant, seed, judge, split, bits)
          └───────────► differences ► differences.csv  two variants on the same queries

Percentile bootstrap over queries; all rows of one split share their resamples, so that two variants are
compared on the same draws and the splits are independent of each other.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from uoisc.base.errors import ResultsError
from uoisc.base.results import BLANK, COLUMNS, GAP, POOLED, SEEN, UNSEEN

RESAMPLES = 2000
LEVEL = 0.95
RATE_FACTOR = 1.25  # rates nearer than this stand for one rate point; the points lie a factor of 2 apart

METRICS: dict[str, tuple[str, str | None]] = {  # name: (what is averaged, over which queries)
    "amr": ("match", None),
    "amr_floor": ("match_blank", None),
    "accuracy": ("correct", None),
    "accuracy_source": ("source_right", None),
    "amr_source_right": ("match", "source_right"),
    "amr_wrong_query": ("match_wrong_query", None),  # null where the control was not run
    "vqa_accuracy": ("vqa_accuracy", None),  # where several people answered each question
}


@lru_cache(maxsize=8)
def resampling_weights(n: int, seed: int, resamples: int = RESAMPLES) -> Float[np.ndarray, "resamples n"]:
    """How often each of n queries is drawn in each resample, (resamples, n) float32; a row sums to n.

    float32 holds these counts exactly, and sums of them below 2^24: products with 0/1 columns do not
    depend on the order in which a BLAS adds them.
    """
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return draws.astype(np.float32)


def percentiles(samples: Float[np.ndarray, " resamples *rest"]) -> Float[np.ndarray, " 2 *rest"]:
    """The ends of the central 95 % of resampled values; NaN draws are left out."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return (np.nanquantile if np.isnan(samples).any() else np.quantile)(samples, tails, axis=0)


def bootstrap_interval(
    values: Shaped[np.ndarray, " n"], seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """(mean, low, high) of any values, (n,), one a query: theta_b = sum_i w_bi v_i / n, w_b multinomial.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics, 1979.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = resampling_weights(len(values), seed, resamples).astype(np.float64)
    low, high = percentiles(weights @ values / len(values))
    return float(values.mean()), float(low), float(high)


def split_seed(split: str, seed: int = 0) -> int:
    """The resampling seed of a split: one a split, so that its rows are paired and splits are independent."""
    return zlib.crc32(f"{split}/{seed}".encode())


def _with_pooled(groups: Iterable[tuple[tuple, np.ndarray]]) -> Iterator[tuple[tuple, str, np.ndarray]]:
    """(key without seed, seed, row indices), and for two seeds or more once again with all of them."""
    by_key: dict[tuple, dict[str, np.ndarray]] = {}
    for (*key, seed), rows in groups:
        by_key.setdefault(tuple(key), {})[str(seed)] = rows
    for key, seeds in by_key.items():
        yield from ((key, seed, rows) for seed, rows in seeds.items())
        if len(seeds) > 1:
            yield key, POOLED, np.concatenate(list(seeds.values()))


def _metric_columns(answers: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names (M), and per answer the numerator, in [0, 1], and denominator, 0 or 1, of each metric, (rows, M)."""
    names, numerators, denominators = [], [], []
    everything = np.ones(len(answers), dtype=bool)
    types = {"": everything} | {f":{t}": (answers["type"] == t).to_numpy() for t in sorted(answers["type"].unique())}
    for suffix, of_type in types.items():
        for name, (column, condition) in METRICS.items():
            if column not in answers:
                continue
            known = answers[column].notna().to_numpy()
            counted = known & of_type & (answers[condition].astype(bool).to_numpy() if condition else everything)
            names.append(name + suffix)
            denominators.append(counted)
            numerators.append(np.where(counted, answers[column].astype("Float32").fillna(0).to_numpy(np.float32), 0))
    return names, np.stack(numerators, axis=1), np.stack(denominators, axis=1)


def per_query(
    query_id: Shaped[np.ndarray, " rows"], columns: Shaped[np.ndarray, "rows M"]
) -> Float[np.ndarray, "queries M"]:
    """Rows summed over the seeds of one query, (rows, M) -> (queries, M), in the order of the query's id."""
    _, place = np.unique(query_id, return_inverse=True)
    sums = np.zeros((place.max() + 1, columns.shape[1]), dtype=np.float32)
    np.add.at(sums, place, columns)
    return sums


def summarise(answers: pd.DataFrame, quality: pd.DataFrame | None = None, seed: int = 0,
              resamples: int = RESAMPLES) -> pd.DataFrame:  # fmt: skip
    """summary.csv: every metric of `METRICS`, over all queries and per question type, with its interval.

    With several training seeds a row `POOLED` follows: the mean over seeds, resampled over queries (so its
    interval is about queries, not about seeds). `quality` rows are appended with the judge `none`.
    """
    names, numerators, denominators = _metric_columns(answers)
    query_id, rows = answers["query_id"].to_numpy(), []
    keys = ["profile", "variant", "judge", "split", "bits", "seed"]
    groups = answers.groupby(keys, sort=True).indices.items()
    for (profile, variant, judge, split, bits), label, index in _with_pooled(groups):
        seeds = answers["seed"].iloc[index].nunique()
        top, bottom = (per_query(query_id[index], c[index]) for c in (numerators, denominators))
        weights = resampling_weights(len(top), split_seed(split, seed), resamples)
        with np.errstate(invalid="ignore"):
            samples = (weights @ top).astype(np.float64) / (weights @ bottom)
            values = top.sum(0, dtype=np.float64) / bottom.sum(0)
        for m in np.flatnonzero(bottom.sum(0)):
            low, high = percentiles(samples[:, m])
            n = round(float(bottom[:, m].sum()) / seeds)
            rows.append((profile, variant, label, judge, split, float(bits), names[m], values[m], low, high, n))
    summary = pd.DataFrame(rows, columns=COLUMNS["summary.csv"])
    if quality is not None:
        quality = quality.assign(judge="none", seed=quality["seed"].astype(str))
        summary = pd.concat([summary, quality[COLUMNS["summary.csv"]]], ignore_index=True)
    return summary


def nearest_bits(bits: float, candidates: Iterable[float]) -> float | None:
    """The candidate rate nearest to `bits` (as a ratio), None when all are off by `RATE_FACTOR` or more."""
    return min((c for c in candidates if max(bits / c, c / bits) < RATE_FACTOR),
               key=lambda c: max(bits / c, c / bits), default=None)  # fmt: skip


def default_pairs(answers: pd.DataFrame) -> list[tuple[str, str]]:
    """Every variant against the blank image and against each of the studied references that was evaluated."""
    variants = sorted(answers["variant"].unique())
    studied = ("no_alignment", "query_aware", "uoisc", "no_llava", "uniform", "adaptive", "dial", "dial_uniform",
               "dial_scratch_text", "dial_oracle")  # fmt: skip
    references = [r for r in studied if r in variants]
    return [(v, r) for v in variants for r in (BLANK, *references) if v != r]


class _Matches:
    """The matches of every (variant, bits, seed, split, judge) by query, and how to pair two of them."""

    def __init__(self, answers: pd.DataFrame, seed: int, resamples: int) -> None:
        self.seed, self.resamples, self.cells = seed, resamples, {}
        for key, rows in answers.groupby(["variant", "bits", "seed", "split", "judge"]):
            variant, bits, train_seed, split, judge = key
            columns = rows.set_index("query_id")[["match", "match_blank"]].sort_index().astype(np.float32)
            self.cells[(variant, float(bits), split, judge, str(train_seed))] = columns

    def rates(self, variant: str) -> list[float]:
        return sorted({key[1] for key in self.cells if key[0] == variant})

    def seeds(self, variant: str, bits: float, split: str, judge: str) -> list[str]:
        return sorted(key[-1] for key in self.cells if key[:4] == (variant, bits, split, judge))

    def paired(self, left: tuple, right: tuple, seeds: list[str]) -> np.ndarray:
        """(queries, 2): in how many of `seeds` each of two (variant, bits, split, judge) matched."""
        total = 0
        for seed in seeds:
            ours = self.cells[(*left, seed)]
            blank = right[0] == BLANK
            theirs = ours["match_blank"] if blank else self.cells[(*right, seed)]["match"]
            if not ours.index.equals(theirs.index):
                who = f"{left[0]} and {right[0]} at {left[1]:g} bits ({left[2]}, judge {left[3]})"
                raise ResultsError(f"answers.parquet: {who} did not answer the same queries; evaluate both again")
            total = total + np.stack([ours["match"].to_numpy(), theirs.to_numpy()], axis=1)
        return total

    def resampled(self, pairs: np.ndarray, split: str, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        """The two AMR (1, 2) and their resamples (resamples, 2), of counts over so many seeds."""
        weights = resampling_weights(len(pairs), split_seed(split, self.seed), self.resamples)
        trials = len(pairs) * seeds
        return pairs.sum(0, keepdims=True, dtype=np.float64) / trials, (weights @ pairs).astype(np.float64) / trials


def _difference(means: np.ndarray) -> np.ndarray:
    return means[:, 0] - means[:, 1]


def _relative(means: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = means[:, 0] / means[:, 1] - 1
    return np.where(means[:, 1] > 0, ratio, np.nan)


def _estimate(values: np.ndarray, samples: np.ndarray) -> tuple[float, float, float]:
    if np.isnan(values).any() or np.isnan(samples).all():
        return (np.nan,) * 3
    return (float(values[0]), *map(float, percentiles(samples)))


def _pair_rows(matches: _Matches, variant: str, reference: str, bits: float, reference_bits: float,
               judge: str, splits: Iterable[str]) -> Iterator[tuple]:  # fmt: skip
    """Rows (seed, split, six estimates, n) of one pair at one rate: by seed, pooled, and unseen less seen."""
    spread: dict[str, dict[str, tuple]] = {}
    for split in splits:
        left, right = (variant, bits, split, judge), (reference, reference_bits, split, judge)
        seeds = matches.seeds(*left)
        if reference != BLANK:
            seeds = [s for s in seeds if s in matches.seeds(*right)]
        choices = [(s, [s]) for s in seeds] + ([(POOLED, seeds)] if len(seeds) > 1 else [])
        for label, chosen in choices:
            pairs = matches.paired(left, right, chosen)
            values, samples = matches.resampled(pairs, split, len(chosen))
            differences = _difference(values), _difference(samples)
            yield (label, split, *_estimate(*differences),
                   *_estimate(_relative(values), _relative(samples)), len(pairs))  # fmt: skip
            spread.setdefault(label, {})[split] = (*differences, len(pairs))
    for label, by_split in spread.items():
        if SEEN in by_split and UNSEEN in by_split:
            (unseen, unseen_samples, m), (seen, seen_samples, n) = by_split[UNSEEN], by_split[SEEN]
            yield (
                label,
                GAP,
                *_estimate(unseen - seen, unseen_samples - seen_samples),
                *(np.nan,) * 3,
                m + n,
            )


def differences(answers: pd.DataFrame, pairs: Iterable[tuple[str, str]], seed: int = 0,
                resamples: int = RESAMPLES) -> pd.DataFrame:  # fmt: skip
    """differences.csv: AMR(variant) - AMR(reference) and AMR(variant) / AMR(reference) - 1, paired by query.

    The reference's rate is the one nearest to the variant's; a rate without a near one gives no row. The
    reference `BLANK` is a blank image. Rows of split `GAP` hold the difference on unseen objects less that
    on seen ones: above zero, the variant loses less than its reference when objects are new.
    Raises: ResultsError when the two did not answer the same queries.
    """
    matches, rows = _Matches(answers, seed, resamples), []
    profile = answers["profile"].iloc[0]
    judges, splits = (sorted(answers[column].unique()) for column in ("judge", "split"))
    for variant, reference in pairs:
        for bits in matches.rates(variant):
            near = 0.0 if reference == BLANK else nearest_bits(bits, matches.rates(reference))
            for judge in judges if near is not None else []:
                for label, split, *numbers in _pair_rows(matches, variant, reference, bits, near, judge, splits):
                    rows.append((profile, variant, reference, label, judge, split, bits, near, *numbers))
    return pd.DataFrame(rows, columns=COLUMNS["differences.csv"])
