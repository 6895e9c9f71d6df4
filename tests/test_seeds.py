"""Goals over training seeds: independent arithmetic, budgets, verdicts each way, and the published rows."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
import yaml
from msgspec.structs import asdict, replace

from uoisc.base import results
from uoisc.base.config import load_params
from uoisc.base.errors import ConfigError, DataError, ResultsError
from uoisc.base.settings import JUDGES
from uoisc.report import seeds
from uoisc.report.seeds import POOLED

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = ROOT / "paper" / "claims.yaml"
GOAL = seeds.Goal("G", "in words", "dial", 100, "uoisc", 144, "absolute", 0.1)


@pytest.fixture(scope="module")
def answers():
    return synthetic.answers(queries=60, seeds=("0", "10", "20"))


def shares(answers, variant, bits, seed, judge):
    rows = answers[(answers["variant"] == variant) & (answers["bits"] == bits) & (answers["split"] == "unseen")]
    return rows[(rows["seed"] == seed) & (rows["judge"] == judge)]["match"].mean()


@pytest.mark.parametrize("reading", seeds.READINGS)
def test_each_seeds_value_is_the_difference_or_ratio_of_match_rates(answers, reading):
    table = seeds.compare(answers, [replace(GOAL, reading=reading)], 200)
    for row in table[table["seed"] != POOLED].itertuples():
        ours, theirs = (shares(answers, v, b, row.seed, row.judge) for v, b in (("dial", 96.0), ("uoisc", 144.0)))
        expected = ours - theirs if reading == "absolute" else ours / theirs - 1
        assert row.value == pytest.approx(expected, abs=1e-6) and row.low <= row.value <= row.high and row.n == 60
        assert (row.sent_bits, row.sent_reference_bits) == (96, 144)


def test_swapped_ends_flip_the_sign(answers):
    there = seeds.compare(answers, [GOAL], 200)
    back = replace(GOAL, variant=GOAL.reference, bits=GOAL.reference_bits, reference="dial", reference_bits=GOAL.bits)
    assert there["value"].to_numpy() == pytest.approx(-seeds.compare(answers, [back], 200)["value"].to_numpy())


def test_the_mean_over_seeds_has_students_interval(answers):
    found = seeds.over_seeds([0.1, 0.2, 0.6])
    # by hand: mean .3, s = sqrt((.04 + .01 + .09) / 2) = .264575, t(.975, 2) = 4.302653
    reach = 4.302653 * 0.264575 / 3**0.5
    assert list(found) == pytest.approx([0.3, 0.3 - reach, 0.3 + reach], abs=1e-5)
    table = seeds.compare(answers, [GOAL], 200)
    pooled = table[table["seed"] == POOLED].set_index("judge")
    for judge in JUDGES:
        own = table[(table["judge"] == judge) & (table["seed"] != POOLED)]["value"]
        assert pooled.loc[judge, "value"] == pytest.approx(own.mean()) and pooled.loc[judge, "n"] == 3


def test_one_seed_has_no_mean(answers):
    table = seeds.compare(answers[answers["seed"] == "0"], [GOAL], 200)
    assert set(table["seed"]) == {"0"} and not seeds.verdicts(table)["met"].any()


def rows(pooled, each, goal):
    """seeds.csv of one goal: (value, low) of the mean for both judges, and each seed's values."""
    means = [{"judge": j, "seed": POOLED, "value": v, "low": low} for j, (v, low) in zip(JUDGES, pooled, strict=True)]
    own = [{"judge": j, "seed": str(s), "value": v, "low": v} for s, pair in enumerate(each)
           for j, v in zip(JUDGES, pair, strict=True)]  # fmt: skip
    return pd.DataFrame(means + own).assign(id="G", goal=goal)


@pytest.mark.parametrize(
    ("pooled", "goal", "met"),
    [
        (((0.2, 0.1), (0.2, 0.1)), 0.18, True),
        (((0.2, -0.1), (0.2, 0.1)), 0.18, False),  # one judge's interval holds zero
        (((0.2, 0.1), (0.1, 0.05)), 0.18, False),  # one judge's mean falls short
        (((-0.02, -0.1), (-0.03, -0.1)), -0.03, True),  # a loss that was allowed
        (((-0.02, -0.1), (-0.04, -0.1)), -0.03, False),
        (((-0.2, -0.3), (-0.2, -0.3)), 0.18, False),
    ],
)
def test_verdict_rule(pooled, goal, met):
    found = seeds.verdicts(rows(pooled, [(0.2, 0.2), (0.2, 0.1), (-0.5, -0.5)], goal))
    assert found["met"].tolist() == [met] and found["seeds"].tolist() == [3]
    assert found["seeds_met"].tolist() == [{0.18: 1, -0.03: 2}[goal]]


def test_what_cannot_be_compared_is_named_in_one_line(answers):
    with pytest.raises(ResultsError, match=r"lacks dial within 50 bits, seed 0.*goal G"):
        seeds.compare(answers, [replace(GOAL, bits=50)], 200)
    short = answers[(answers["variant"] != "uoisc") | (answers["query_id"] != 3)]
    with pytest.raises(ResultsError, match="did not answer the same queries"):
        seeds.compare(short, [GOAL], 200)


def test_folders_are_joined_and_a_seed_comes_once(answers, tmp_path):
    claims = tmp_path / "claims.yaml"
    claims.write_text(yaml.safe_dump({"goals": [asdict(GOAL)]}))
    for seed in ("0", "10"):
        results.write_parquet(answers[answers["seed"] == seed], tmp_path / seed / "answers.parquet")
    table = seeds.write_seeds([tmp_path / "0", tmp_path / "10"], claims, 200, tmp_path / "seeds.csv")
    back = results.read_table(tmp_path, "seeds.csv")
    assert back["seed"].tolist() == table["seed"].tolist() == ["0", "10", POOLED] * 2
    with pytest.raises(ResultsError, match="seed 10: two folders"):
        seeds.write_seeds([tmp_path / "10", tmp_path / "10"], claims, 200, tmp_path / "twice.csv")
    with pytest.raises(ResultsError, match=r"answers.parquet: not there"):
        seeds.write_seeds([tmp_path / "nowhere"], claims, 200, tmp_path / "twice.csv")
    assert not (tmp_path / "twice.csv").exists()
    with pytest.raises(ResultsError, match="make seeds"):
        results.read_table(tmp_path / "nowhere", "seeds.csv")


@pytest.mark.parametrize(
    ("change", "named"), [({"golf": 1}, "golf"), ({"reading": "odd"}, "reading must be"), ({"goal": None}, "goal")]
)
def test_a_wrong_goal_is_named(tmp_path, change, named):
    entry = asdict(GOAL) | change
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"goals": [entry]}))
    with pytest.raises(ConfigError, match=f"G: .*{named}"):
        seeds.load_goals(path)


def test_a_table_that_is_there_is_replaced_with_force_alone(tmp_path, answers, monkeypatch):
    folders = [tmp_path / seed for seed in ("0", "10", "20")]
    for folder in folders:
        results.write_parquet(answers[answers["seed"] == folder.name], folder / "answers.parquet")
    monkeypatch.setattr(seeds, "paths", lambda profile: SimpleNamespace(results=folders[0]))
    monkeypatch.setattr(seeds, "load_goals", lambda path: [GOAL])
    seeds.write_profile_seeds("small", folders[1:], force=False)
    first = (folders[0] / "seeds.csv").read_bytes()
    with pytest.raises(DataError, match="seeds.csv: exists; --force replaces it"):
        seeds.write_profile_seeds("small", folders[1:2], force=False)
    assert (folders[0] / "seeds.csv").read_bytes() == first
    seeds.write_profile_seeds("small", folders[1:2], force=True)
    assert (folders[0] / "seeds.csv").read_bytes() != first


def test_the_published_rows_are_those_of_the_published_answers():
    published = results.read_table(ROOT / "results", "seeds.csv")
    answers = results.read_table(ROOT / "results", "answers.parquet")
    goals = seeds.load_goals(CLAIMS)
    again = seeds.compare(answers, goals, load_params("small").evaluation.resamples)
    own = published[published["seed"] == "0"].reset_index(drop=True)
    for column in ("value", "low", "high", "goal", "n", "sent_bits", "sent_reference_bits"):
        np.testing.assert_allclose(own[column], again[column], rtol=1e-5)
    assert set(published["id"]) == {goal.id for goal in goals} and set(published["seed"]) == {"0", "10", "20", POOLED}
