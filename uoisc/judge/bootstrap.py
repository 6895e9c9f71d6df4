"""From answers to numbers: metrics and paired differences, each with a 95 % bootstrap interval.

    answers.parquet ──► summarise ──► summary.csv      a metric with its interval (variant, judge, split, bits)
          ├───────────► differences ► differences.csv  two variants on the same queries
          └───────────► query_effect ► query_effect.csv  the right query and another one

Percentile bootstrap over queries; all rows of one split share their resamples, so that two variants are compared on the
same draws. Splits are resampled apart, though styles beyond the codecs' own share their scenes. Queries are taken as
independent: where several are about one photograph, intervals are too narrow.
The answers are of one run, and so are these intervals: they say nothing of another training, as
`claims/verdicts.py` does.

The metrics that lead (`..._reliable`), and the differences, are over the types of question that both judges answer
reliably: where a judge guesses, equal answers are no sign that anything was kept.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from uoisc.base.config import Params
from uoisc.base.errors import ResultsError
from uoisc.base.results import BLANK, BOTH, COLUMNS, GAP, SEEN, UNSEEN

RESAMPLES = 2000
LEVEL = 0.95
RELIABLE = 0.9  # ours: share of right answers on source images from which on a judge knows a type of question
HEADLINE = "amr_reliable"
RATE_FACTOR = 1.25  # rates nearer than this stand for one rate point; the points lie a factor of 2 apart

REFERENCES = (  # what every variant is held against
    *("no_alignment", "query_aware", "uoisc", "no_llava", "uniform", "adaptive"),
    *("dial", "dial_uniform", "dial_scratch_text", "dial_oracle"),
)
METRICS: dict[str, tuple[str, str | None]] = {  # name: (what is averaged, over which queries)
    "amr": ("match", None),
    "amr_floor": ("match_blank", None),
    "accuracy": ("correct", None),
    "accuracy_source": ("source_right", None),
    "amr_source_right": ("match", "source_right"),
    "amr_wrong_query": ("match_wrong_query", None),  # null where the control was not run
    "long_answers": ("long_answer", None),  # share of answers on sources of more than three words; of photographs
    "vqa_accuracy": ("vqa_accuracy", None),  # this and what follows: where several people answered each question
    "vqa_accuracy_source": ("vqa_accuracy_source", None),
    "vqa_accuracy_original": ("vqa_accuracy_original", None),  # on the file's image, whole, as the judge prepares it
}

OF_GROUPS = ("amr", "amr_floor", "accuracy_source")  # metrics of `asked_for`


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
    """(mean, low, high) of any values, (n,), one per query: theta_b = sum_i w_bi v_i / n, w_b multinomial.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics, 1979.
    """
    weights = resampling_weights(len(values), seed, resamples).astype(np.float64)
    low, high = percentiles(weights @ values / len(values))
    return float(values.mean()), float(low), float(high)


def mean_rows(measures: dict | pd.DataFrame, params: Params, keys: dict, seed: int | None = None) -> list[dict]:
    """A row per measure: `keys`, its name, its mean over queries with the 95 % interval, and their number.

    Args:
        measures: name -> one value per query. seed: of the resampling; None: the profile's.
    """
    seed = params.seed if seed is None else seed
    rows = []
    for metric, values in measures.items():
        values = np.asarray(values, dtype=np.float64)
        value, low, high = bootstrap_interval(values, seed, params.evaluation.resamples)
        rows.append(keys | {"metric": metric, "value": value, "low": low, "high": high, "n": len(values)})
    return rows


def split_seed(split: str, seed: int = 0) -> int:
    """The resampling seed of a split: each has its own, so that its rows are paired and splits are independent."""
    return zlib.crc32(f"{split}/{seed}".encode())


def reliable_types(checks: pd.DataFrame, types: Iterable[str]) -> list[str]:
    """Those of `types` that every judge answers rightly on source images, of seen and of unseen objects, in a share of
    `RELIABLE` or more. All where none is, or where nobody checked them by type, as of photographs.

    Args: checks: foundation.csv, whose metrics `accuracy:TYPE` and `accuracy_unseen:TYPE` are of the codecs' own style.
    """
    own = checks[checks["metric"].str.match(r"accuracy(_unseen)?:[^@]+$")]
    least = own.groupby(own["metric"].str.split(":").str[1])["value"].min()
    return sorted(set(types) & set(least.index[least >= RELIABLE])) or sorted(set(types))


def _metric_columns(answers: pd.DataFrame, reliable: Collection[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names (M), and per answer the numerator, in [0, 1], and denominator, 0 or 1, of each metric, (rows, M)."""
    columns = {}
    everything = np.ones(len(answers), dtype=bool)
    known = answers["match"].notna().to_numpy()  # questions that count, for a control that counts some
    types = {"": everything} | ({"_reliable": answers["type"].isin(reliable).to_numpy()} if reliable else {})
    types |= {f":{t}": (answers["type"] == t).to_numpy() for t in sorted(answers["type"].unique())}
    measured = [(name + suffix, name, group) for suffix, group in types.items() for name in METRICS]
    measured += [(name + suffix, name, group) for suffix, group in asked_for(answers) for name in OF_GROUPS]
    for metric, name, group in measured:
        column, condition = METRICS[name]
        if column in answers:
            counted = answers[column].notna().to_numpy() & known & group
            counted &= answers[condition].to_numpy(bool) if condition else everything
            values = answers[column].astype("Float32").fillna(0).to_numpy(np.float32)
            columns[metric] = np.where(counted, values, 0), counted
    numerators, denominators = (np.stack(part, axis=1) for part in zip(*columns.values(), strict=True))
    return list(columns), numerators, denominators.astype(np.float32)


def asked_for(answers: pd.DataFrame) -> list[tuple[str, Bool[np.ndarray, " rows"]]]:
    """Suffixes of metrics, and the answers of each: those that need so many tiles, of queries with one right answer;
    and, of the types that ask some ambiguous query, those with several right answers and those with one."""
    ambiguous = answers["ambiguous"].to_numpy(bool)
    tiles = answers["tiles"].to_numpy()
    groups = [(f"_tiles:{n}", ~ambiguous & (tiles == n)) for n in range(1, tiles.max(initial=0) + 1)]
    types = answers["type"].isin(answers["type"][ambiguous]).to_numpy()
    return [*groups, ("_answers:one", types & ~ambiguous), ("_answers:several", ambiguous)]


def summarise(
    answers: pd.DataFrame,
    quality: pd.DataFrame | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    reliable: Collection[str] = (),
) -> pd.DataFrame:
    """summary.csv: each metric of `METRICS` with its interval over all queries (`amr`), those of `reliable` types where
    they are given (`amr_reliable`), and each type's (`amr:colour`); those of `OF_GROUPS` also by how much the answer
    needs (`asked_for`). `quality` rows are appended with the judge `none`.
    """
    answers = answers.sort_values("query_id", kind="stable")  # so that the rows of a split share their resamples
    names, numerators, denominators = _metric_columns(answers, reliable)
    rows = []
    keys = ["profile", "variant", "judge", "split", "bits", "seed"]
    for (profile, variant, judge, split, bits, trained), index in answers.groupby(keys, sort=True).indices.items():
        top = numerators[index]
        bottom = denominators[index]
        weights = resampling_weights(len(top), split_seed(split, seed), resamples)
        with np.errstate(invalid="ignore"):
            samples = (weights @ top).astype(np.float64) / (weights @ bottom)
            values = top.sum(0, dtype=np.float64) / bottom.sum(0)
        for m in np.flatnonzero(bottom.sum(0)):
            group = (profile, variant, str(trained), judge, split, float(bits), names[m])
            rows.append((*group, values[m], *percentiles(samples[:, m]), int(bottom[:, m].sum())))
    summary = pd.DataFrame(rows, columns=COLUMNS["summary.csv"])
    if quality is not None:
        quality = quality.assign(judge="none", seed=quality["seed"].astype(str))
        summary = pd.concat([summary, quality[COLUMNS["summary.csv"]]], ignore_index=True)
    return summary


def nearest_bits(bits: float, candidates: Iterable[float]) -> float | None:
    """The candidate rate nearest to `bits` (as a ratio), None when all are off by `RATE_FACTOR` or more."""
    apart = {candidate: max(bits / candidate, candidate / bits) for candidate in candidates}
    nearest = min(apart, key=apart.get, default=None)
    return nearest if nearest is not None and apart[nearest] < RATE_FACTOR else None


def default_pairs(answers: pd.DataFrame) -> list[tuple[str, str]]:
    """Every variant against the blank image and against each of `REFERENCES` that was evaluated."""
    variants = sorted(answers["variant"].unique())
    references = [reference for reference in REFERENCES if reference in variants]
    return [(variant, other) for variant in variants for other in (BLANK, *references) if variant != other]


def answered(own: pd.Series, other: pd.Series) -> Float[np.ndarray, "n 2"]:
    """Whether each of two matched, 0 or 1, on the queries that count for both."""
    return pd.concat([own, other], axis=1).dropna().to_numpy(np.float32)


def paired_means(
    pairs: Float[np.ndarray, "n 2"], seed: int, resamples: int = RESAMPLES
) -> Float[np.ndarray, "draws 2"]:
    """Two means over the same n queries: of the data in the first row, of a resample in each further one."""
    weights = resampling_weights(len(pairs), seed, resamples)
    return np.concatenate([pairs.sum(0, keepdims=True), weights @ pairs]).astype(np.float64) / len(pairs)


def difference(means: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, " draws"]:
    """The first mean less the second."""
    return means[:, 0] - means[:, 1]


def relative(means: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, " draws"]:
    """The ratio of the first mean to the second, less one; NaN where the second is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(means[:, 1] > 0, means[:, 0] / means[:, 1] - 1, np.nan)


def estimate(draws: Float[np.ndarray, " draws"]) -> tuple[float, float, float]:
    """(value, low, high) of the data's value, which comes first, and of those of resamples; NaN where it is none."""
    if np.isnan(draws[0]) or np.isnan(draws[1:]).all():
        return (np.nan,) * 3
    return (float(draws[0]), *map(float, percentiles(draws[1:])))


def differences(
    answers: pd.DataFrame, pairs: Iterable[tuple[str, str]], seed: int = 0, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """differences.csv: AMR(variant) - AMR(reference) and AMR(variant) / AMR(reference) - 1, paired by query.

    The reference's rate is the one nearest to the variant's; a rate without a near one gives no row. The
    reference `BLANK` is a blank image. Rows of split `GAP` hold the difference on unseen objects less that
    on seen ones: above zero, the variant loses less than its reference when objects are new.
    Raises: ResultsError when the two did not answer the same queries.
    """
    cells: dict[tuple, dict[str, pd.DataFrame]] = {}
    for (variant, bits, judge, split), rows in answers.groupby(["variant", "bits", "judge", "split"]):
        rows = rows.set_index("query_id")[["match", "match_blank"]].sort_index()
        cells.setdefault((variant, float(bits), judge), {})[split] = rows
    rates = {variant: sorted(own["bits"].astype(float).unique()) for variant, own in answers.groupby("variant")}
    profile, trained = answers[["profile", "seed"]].iloc[0]
    table = []
    for variant, reference in pairs:
        for bits in rates[variant]:
            near = 0.0 if reference == BLANK else nearest_bits(bits, rates[reference])
            for judge in sorted(answers["judge"].unique()) if near is not None else []:
                matches = {}
                own_splits = cells.get((variant, bits, judge), {})
                theirs = cells.get((reference, near, judge), {})
                for split, own in own_splits.items():
                    if reference != BLANK and split not in theirs:  # a style in which few were tested
                        continue
                    other = own["match_blank"] if reference == BLANK else theirs[split]["match"]
                    if not own.index.equals(other.index):
                        who = f"answers.parquet: {variant} and {reference} at {bits:g} bits ({split}, judge {judge})"
                        raise ResultsError(f"{who} did not answer the same queries; evaluate both again")
                    if len(both := answered(own["match"], other)):
                        matches[split] = both
                for split, *numbers in _pair_rows(matches, seed, resamples):
                    table.append((profile, variant, reference, str(trained), judge, split, bits, near, *numbers))
    return pd.DataFrame(table, columns=COLUMNS["differences.csv"])


def _pair_rows(matches: dict[str, Float[np.ndarray, "n 2"]], seed: int, resamples: int) -> Iterator[tuple]:
    """Rows (split, six estimates, n) of one pair, from which of both matched on each split; and unseen less seen."""
    means = {split: paired_means(own, split_seed(split, seed), resamples) for split, own in matches.items()}
    for split, own in means.items():
        yield split, *estimate(difference(own)), *estimate(relative(own)), len(matches[split])
    if SEEN in means and UNSEEN in means:
        gap = difference(means[UNSEEN]) - difference(means[SEEN])
        yield GAP, *estimate(gap), *(np.nan,) * 3, len(matches[UNSEEN]) + len(matches[SEEN])


def query_effect(
    answers: pd.DataFrame, quality: pd.DataFrame, seed: int = 0, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """query_effect.csv: AMR for the right query less that for another one, paired over `answers`, of each judge and
    (`BOTH`) of the two; and how much of what is sent the other query changes (`flips` and `moves` of quality.csv)."""
    keys = ["profile", "variant", "seed", "bits", "split"]
    rows = []
    changed = quality.pivot_table(index=keys, columns="metric", values="value")
    for key, own in answers.dropna(subset=["match", "match_wrong_query"]).groupby(keys):
        gap = own["match"].astype(float) - own["match_wrong_query"].astype(float)
        wide = own.assign(gap=gap).pivot_table(index="query_id", columns="judge", values="gap")
        for judge, gaps in wide.assign(**{BOTH: wide.mean(axis=1)}).items():
            estimates = bootstrap_interval(gaps.to_numpy(), split_seed(key[-1], seed), resamples)
            rows.append((*key, judge, *estimates, len(gaps), *changed.loc[key, ["flips", "moves"]]))
    return pd.DataFrame(rows, columns=COLUMNS["query_effect.csv"])
