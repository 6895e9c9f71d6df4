"""Reading, writing and the bootstrap: strict, atomic, and right against independent calculations."""

import json

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
import yaml
from scipy.stats import norm

from uoisc.base import results
from uoisc.base.config import ROOT
from uoisc.base.errors import ResultsError
from uoisc.judge import bootstrap


@pytest.fixture(scope="module")
def table():
    return synthetic.answers(queries=120)


def one(frame: pd.DataFrame, **where) -> pd.Series:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_interval_agrees_with_the_normal_approximation():
    # n = 4000: the binomial is near normal; 2,000 resamples leave a few per cent of noise in the width
    values = np.random.default_rng(0).random(4000) < 0.7
    value, low, high = bootstrap.bootstrap_interval(values, seed=1)
    half = norm.ppf(0.975) * np.sqrt(value * (1 - value) / len(values))
    assert value == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.1 * half)


def test_interval_of_a_difference_is_the_paired_one(table):
    pairs = [("adaptive", "no_alignment")]
    row = one(bootstrap.differences(table, pairs), judge="llava", split="unseen", bits=138)
    ours, theirs = (
        table[(table.variant == v) & (table.judge == "llava") & (table.split == "unseen") & (table.bits < 200)].match
        for v in pairs[0]
    )
    gap = ours.to_numpy().astype(float) - theirs.to_numpy()
    half = norm.ppf(0.975) * gap.std() / np.sqrt(len(gap))
    unpaired = norm.ppf(0.975) * np.sqrt((ours.var() + theirs.var()) / len(gap))
    assert row.difference == pytest.approx(gap.mean())
    assert (row.difference_high - row.difference_low) / 2 == pytest.approx(half, rel=0.12)
    assert half < 0.8 * unpaired, "the fixture's variants are correlated, or this test shows nothing"
    assert row.relative == pytest.approx(ours.mean() / theirs.mean() - 1)
    assert row.relative_low < row.relative < row.relative_high
    assert (row.bits, row.reference_bits) == (138, 144)


def test_types_are_reliable_where_every_judge_answers_seen_and_unseen_sources():
    checks = pd.DataFrame(
        [("a", "accuracy:place", 0.95), ("b", "accuracy:place", 0.9), ("a", "accuracy_unseen:place", 0.92)]
        + [("a", "accuracy:what", 0.99), ("b", "accuracy_unseen:what", 0.89), ("a", "accuracy:count", 0.4)]
        + [("a", "accuracy", 0.99), ("a", "accuracy:place@novel", 0.2), ("a", "accuracy:rest", 1.0)],
        columns=["model", "metric", "value"],
    )
    assert bootstrap.reliable_types(checks, ["what", "place", "count", "place"]) == ["place"]
    assert bootstrap.reliable_types(checks, ["what", "count"]) == ["count", "what"], "all where none is"
    assert bootstrap.reliable_types(checks[checks["metric"] == "accuracy"], ["other"]) == ["other"]


def test_a_swapped_pair_has_the_opposite_sign(table):
    there, back = (
        one(bootstrap.differences(table, [pair]), judge="llava", split="unseen", bits=bits)
        for pair, bits in ((("adaptive", "query_aware"), 138), (("query_aware", "adaptive"), 144))
    )
    assert there.difference > 0
    assert [back.difference, back.difference_low] == pytest.approx([-there.difference, -there.difference_high])


def test_metrics_against_direct_counting(table):
    table.loc[(table.variant == "uoisc") & (table.query_id < 10), "match_wrong_query"] = None
    summary = bootstrap.summarise(table, synthetic.quality(table), reliable=["place", "what"])
    rows = table[(table.variant == "uoisc") & (table.bits == 144) & (table.judge == "llava") & (table.split == "seen")]
    where = {"variant": "uoisc", "bits": 144, "judge": "llava", "split": "seen"}
    right, known = rows[rows.source_right], rows[rows.match_wrong_query.notna()]
    places = rows[rows.type == "place"]
    reliable = rows[rows.type.isin(["place", "what"])]
    expected = {
        "amr": (rows.match.mean(), len(rows)),
        "amr_reliable": (reliable.match.mean(), len(reliable)),
        "amr_source_right_reliable": (reliable[reliable.source_right].match.mean(), int(reliable.source_right.sum())),
        "amr_floor": (rows.match_blank.mean(), len(rows)),
        "accuracy": (rows.correct.mean(), len(rows)),
        "accuracy_source": (rows.source_right.mean(), len(rows)),
        "amr_source_right": (right.match.mean(), len(right)),
        "amr_wrong_query": (known.match_wrong_query.astype(float).mean(), len(known)),
        "amr:place": (places.match.mean(), len(places)),
    }
    for metric, (value, n) in expected.items():
        row = one(summary, metric=metric, **where)
        assert (row.value, row.n) == (pytest.approx(value), n), metric
        assert row.low <= row.value <= row.high
    measures = {"psnr", "ssim", "perceptual", "clip_score", "flips", "moves"}
    assert set(summary[summary.judge == "none"].metric) == measures
    assert list(summary.columns) == results.COLUMNS["summary.csv"]


def test_the_blank_image_is_a_reference(table):
    row = one(bootstrap.differences(table, [("uoisc", results.BLANK)]), bits=144, judge="llava", split="unseen")
    rows = table[
        (table.variant == "uoisc") & (table.bits == 144) & (table.judge == "llava") & (table.split == "unseen")
    ]
    assert row.difference == pytest.approx(rows.match.mean() - rows.match_blank.mean())
    assert row.reference_bits == 0


def test_gap_is_the_difference_on_unseen_less_that_on_seen(table):
    rows = bootstrap.differences(table, [("uoisc", "query_aware")])
    rows = rows[(rows.judge == "llava") & (rows.bits == 144)].set_index("split")
    assert rows.loc[results.GAP].difference == pytest.approx(
        rows.loc["unseen"].difference - rows.loc["seen"].difference
    )
    width = (rows.difference_high - rows.difference_low) ** 2
    # splits are independent, so the variances add; 20 %: two bootstrap widths of 2,000 resamples
    assert width[results.GAP] == pytest.approx(width["seen"] + width["unseen"], rel=0.2)


def test_rates_pair_with_the_nearest_and_never_with_a_far_one():
    assert bootstrap.nearest_bits(138.0, [144.0, 432.0]) == 144.0
    assert bootstrap.nearest_bits(864.0, [144.0, 432.0]) is None
    assert bootstrap.nearest_bits(864.0, []) is None


def test_different_queries_are_not_paired(table):
    other = table[~((table.variant == "uoisc") & (table.query_id == 0))]
    with pytest.raises(ResultsError, match="did not answer the same queries"):
        bootstrap.differences(other, [("uoisc", "no_alignment")])


def test_queries_that_do_not_count_for_one_are_left_out_of_the_pair(table):
    """As if these queries had not been asked at all; where none is left, the pair has no row."""
    pair = [("uoisc", "no_alignment")]
    left_out = (table["variant"] == "no_alignment") & (table["query_id"] % 3 == 0)
    some = table.assign(match=table["match"].astype("boolean").mask(left_out))
    fewer = table[table["query_id"] % 3 != 0]
    pd.testing.assert_frame_equal(bootstrap.differences(some, pair), bootstrap.differences(fewer, pair))
    none = table.assign(match=table["match"].astype("boolean").mask(table["variant"] == "no_alignment"))
    assert bootstrap.differences(none, pair).empty


def test_missing_file_column_and_rows_say_what_to_do(tmp_path, table):
    with pytest.raises(ResultsError, match=r"summary.csv: not there; run `make repro`.*evaluation"):
        results.read_table(tmp_path, "summary.csv")
    results.write_csv(pd.DataFrame({"profile": ["a"]}), tmp_path / "foundation.csv")
    with pytest.raises(ResultsError, match="lacks the column model, metric"):
        results.read_table(tmp_path, "foundation.csv")
    results.write_csv(pd.DataFrame(columns=results.COLUMNS["data_card.csv"]), tmp_path / "data_card.csv")
    with pytest.raises(ResultsError, match="has no rows"):
        results.read_table(tmp_path, "data_card.csv")
    (tmp_path / "answers.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(ResultsError, match="cannot be read"):
        results.read_table(tmp_path, "answers.parquet")
    (tmp_path / "claims.json").write_text("[{")
    with pytest.raises(ResultsError, match="is no JSON"):
        results.read_json(tmp_path, "claims.json")


def test_tables_come_back_as_they_were_written_and_bytes_repeat(tmp_path, table):
    summary = bootstrap.summarise(table)
    for name in ("a", "b"):
        results.write_csv(summary, tmp_path / name / "summary.csv")
        results.write_parquet(table, tmp_path / name / "answers.parquet")
    for file in ("summary.csv", "answers.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    back = results.read_table(tmp_path / "a", "summary.csv")
    assert back.value.to_numpy() == pytest.approx(summary.value.to_numpy(), rel=1e-5)
    assert set(back.seed) == {"0"}
    assert results.read_table(tmp_path / "a", "answers.parquet").match.equals(table.match)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "claims.json"
    results.write_json([{"low": float("nan"), "n": np.int64(3)}], path)
    assert json.loads(path.read_text()) == [{"low": None, "n": 3}]
    with pytest.raises(RuntimeError), results.written_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == [{"low": None, "n": 3}]
    assert [p.name for p in tmp_path.iterdir()] == ["claims.json"]


def test_each_file_is_written_by_the_stage_that_its_error_names():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: stage for name, stage in stages.items() if "outs" in stage}
    outs = {name: [out if isinstance(out, str) else next(iter(out)) for out in stages[name]["outs"]] for name in stages}
    for file, stage in results.STAGES.items():
        assert f"${{results}}/{file}" in outs[stage], file
    beside = {*results.NO_STAGES, "intent_weight.csv"}
    assert set(results.COLUMNS) == set(results.STAGES) & set(results.COLUMNS) | beside


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("smoke", 0, ["uoisc"]), "is of profile small, not smoke"),
        (("small", 7, ["uoisc"]), "is of another seed than 7"),
        (("small", 0, ["uoisc", "unicorn"]), "lacks the variant unicorn, which small trains"),
    ],
)
def test_results_of_another_profile_seed_or_variants(given, says):
    table = pd.DataFrame({"profile": "small", "seed": ["0", "all"], "variant": "uoisc"})
    results.check_results(table, "small", 0, ["uoisc"])
    with pytest.raises(ResultsError, match=f"summary.csv {says}.*written by: evaluation"):
        results.check_results(table, *given)


def test_a_results_file_that_is_a_folder_or_deeply_nested(tmp_path):
    (tmp_path / "summary.csv").mkdir()
    with pytest.raises(ResultsError, match="summary.csv: cannot be read .Is a directory."):
        results.read_table(tmp_path, "summary.csv")
    (tmp_path / "claims.json").write_text("[" * 200_000)
    with pytest.raises(ResultsError, match="claims.json is no JSON"):
        results.read_json(tmp_path, "claims.json")


def test_the_right_query_is_held_against_another_one_query_by_query():
    table = synthetic.answers(queries=120)
    effect = bootstrap.query_effect(table, synthetic.quality(table), resamples=200)
    assert set(effect["variant"]) == set(synthetic.WRONG) and set(effect["judge"]) == {
        "llava",
        "llava_independent",
        "both",
    }
    own = table[(table["variant"] == "adaptive") & (table["bits"] == 138) & (table["split"] == "unseen")]
    gaps = (own["match"].astype(float) - own["match_wrong_query"].astype(float)).groupby(own["judge"]).mean()
    where = {"variant": "adaptive", "bits": 138, "split": "unseen"}
    for judge in gaps.index:
        row = one(effect, judge=judge, **where)
        assert row.value == pytest.approx(gaps[judge]) and row.low < row.value < row.high and row.n == 120
    both = one(effect, judge="both", **where)
    assert both.value == pytest.approx(gaps.mean()) and both.high - both.low < row.high - row.low
    assert (both.flips, both.moves) == (0.02, 0.5)
