"""The rule of verdicts: each way, at its edges, and how often it errs where nothing is to be found."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic

from uoisc.base import results
from uoisc.claims import contrasts, verdicts

ASKED = contrasts.load_contrasts(synthetic.CLAIMS)
OWN, OURS = (next(one for one in ASKED if one.id == f"S1-{name}") for name in ("film", "selection"))
NONE = pd.DataFrame(columns=results.COLUMNS["seeds.csv"])


def runs(contrast, values, gain=0.1):
    """Rows of seeds.csv of a contrast: a value per fresh run."""
    keys = {"profile": "small", "id": contrast.id, "right_less_wrong": np.linspace(gain, 1.1 * gain, len(values))}
    return pd.DataFrame(keys | {"seed": [str(10 * i + 10) for i in range(len(values))], "value": values})


def spread(mean, reach, n=5):
    """Values whose mean and 95 % interval are mean -+ reach."""
    values = np.linspace(-1, 1, n)
    _, low, high = verdicts.t_interval(values.tolist())
    return (mean + values * 2 * reach / (high - low)).tolist()


def decided(contrast, values, **more):
    return verdicts.decide([contrast], runs(contrast, values, **more), NONE)["verdict"].item()


def test_the_mean_over_runs_has_students_interval():
    # by hand: mean .3, s = sqrt((.04 + .01 + .09) / 2) = .264575, t(.975, 2) = 4.302653
    reach = 4.302653 * 0.264575 / 3**0.5
    assert list(verdicts.t_interval([0.1, 0.2, 0.6])) == pytest.approx([0.3, 0.3 - reach, 0.3 + reach], abs=1e-5)
    assert verdicts.t_interval([0.2])[0] == 0.2 and np.isnan(verdicts.t_interval([0.2])[1])
    assert np.isnan(verdicts.t_interval([])).all()


def test_a_t_test_and_its_interval_agree():
    values = [0.02, 0.05, 0.03, 0.09, 0.04]
    _, low, high = verdicts.t_interval(values)
    assert verdicts.t_test(values, low) == pytest.approx(0.05) == verdicts.t_test(values, high)
    assert verdicts.t_test([0.1], 0.0) == verdicts.t_test([0.1, 0.1], 0.0) == 1, (
        "one run, and runs all alike, tell nothing"
    )


def test_holm_multiplies_the_smallest_by_all_and_never_lets_a_larger_p_fall_below():
    assert verdicts.holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert verdicts.holm([0.01, 0.6, 0.5]) == pytest.approx([0.03, 1, 1])
    assert verdicts.holm([0.04]) == pytest.approx([0.04])


@pytest.mark.parametrize(
    ("low", "high", "paper", "word"),
    [
        (0.05, 0.20, 0.048, "exceeds"),
        (0.01, 0.04, 0.048, "falls short"),
        (0.03, 0.07, 0.048, "compatible"),
        (0.024, 0.072, 0.048, "compatible"),  # reaches just half of it each way
        (0.023, 0.072, 0.048, "undetermined"),
        (0.048, 0.08, 0.048, "compatible"),  # its end is the number
        (0.001, 0.5, 0.048, "undetermined"),
    ],
)
def test_size_against_the_papers_number(low, high, paper, word):
    assert verdicts.size(low, high, paper) == word


@pytest.mark.parametrize(
    ("contrast", "mean", "reach", "verdict"),
    [
        (OWN, 0.05, 0.02, "reproduced"),
        (OURS, 0.05, 0.02, "supported, compatible"),  # ours never reproduces
        (OWN, 0.30, 0.02, "supported, exceeds"),
        (OWN, 0.02, 0.01, "supported, falls short"),
        (OWN, 0.05, 0.04, "supported, undetermined"),
        (OWN, 0.05, 0.06, "inconclusive"),
        (OWN, -0.05, 0.02, "opposed"),
        (replace(OWN, paper=None), 0.05, 0.02, "supported"),
        (replace(OWN, goal=0.04), 0.05, 0.005, "reproduced"),
        (replace(OWN, goal=0.06), 0.05, 0.005, "opposed"),
        (replace(OWN, goal=-0.03, paper=None), -0.01, 0.015, "supported"),  # not worse by .03
        (replace(OWN, primary=False, goal=None), 0.05, 0.02, "descriptive"),
        (replace(OWN, primary=False, goal=-0.03), -0.01, 0.015, "met"),
        (replace(OWN, primary=False, goal=-0.03), -0.01, 0.025, "not met"),  # met in the mean only
        (replace(OWN, primary=False, goal=0.0), 0.01, 0.02, "not met"),
    ],
)
def test_verdict_rule(contrast, mean, reach, verdict):
    assert decided(contrast, spread(mean, reach)) == verdict


def test_the_wrong_query_takes_the_reproduction_away():
    values = spread(0.05, 0.02)
    assert decided(OWN, values, gain=-0.01) == decided(OWN, values, gain=np.nan) == "supported, compatible"
    rows = runs(OWN, values).assign(right_less_wrong=[0.1, -0.1, 0.1, -0.1, 0.05])  # above 0 in the mean only
    assert verdicts.decide([OWN], rows, NONE)["verdict"].item() == "supported, compatible"


def test_few_runs_give_no_verdict():
    assert decided(OWN, spread(0.3, 0.01, 4)) == "4 runs: no verdict" and decided(OWN, [0.3]) == "one run: no verdict"
    assert verdicts.decide([OWN], NONE, NONE)["verdict"].item() == "not measured"
    one = runs(OWN, [0.3]).reindex(columns=NONE.columns)
    row = verdicts.decide([OWN], NONE, one).iloc[0]
    assert (row["verdict"], row["value"], row["runs"]) == ("one run: no verdict", 0.3, 0) and np.isnan(row["mean"])


def test_the_profiles_own_run_changes_no_verdict():
    fresh, own = runs(OWN, spread(0.05, 0.02)), runs(OWN, [9.0]).reindex(columns=NONE.columns)
    row = verdicts.decide([OWN], fresh, own).iloc[0]
    assert (row["verdict"], row["value"]) == ("reproduced", 9.0) and row["mean"] == pytest.approx(0.05)


def test_every_primary_contrast_counts_whether_measured_or_not():
    """p = .03 alone is below .05, and among two of which one gave nothing it is not."""
    other = replace(OURS, id="other")
    values = spread(0.05, 0.05 * 0.85)
    assert 0.025 < verdicts.t_test(values, 0.0) < 0.05 and decided(OWN, values).startswith("supported")
    table = verdicts.decide([OWN, other], runs(OWN, values), NONE)
    assert table["verdict"].tolist() == ["inconclusive", "not measured"]
    secondary = replace(other, primary=False)
    assert verdicts.decide([OWN, secondary], runs(OWN, values), NONE)["verdict"].iloc[0].startswith("supported")


def test_where_nothing_is_to_be_found_five_of_a_hundred_studies_find_something():
    """Ten primary contrasts without an effect, five runs: any verdict but inconclusive is an error."""
    rng, studies, tests = np.random.default_rng(0), 2000, 10
    noise = rng.normal(0, 0.03, (studies, tests, verdicts.ENOUGH))
    t = noise.mean(-1) / (noise.std(-1, ddof=1) / verdicts.ENOUGH**0.5)
    from scipy import stats

    p = 2 * stats.t.sf(np.abs(t), verdicts.ENOUGH - 1)
    assert p[0] == pytest.approx([verdicts.t_test(values, 0.0) for values in noise[0].tolist()])
    erred = np.mean([(verdicts.holm(row) < 0.05).any() for row in p.tolist()])
    assert 0.035 < erred < 0.065 and np.mean((p < 0.05).any(1)) > 0.35, "without Holm two in five would"


def test_claims_go_round(tmp_path):
    table = verdicts.decide(ASKED, synthetic.over_runs()["seeds"], NONE)
    rows = verdicts.write_claims(table, tmp_path)
    assert [row["id"] for row in results.read_json(tmp_path, "claims.json")] == [one.id for one in ASKED]
    assert all(row["value"] is None and row["verdict"] for row in rows)
