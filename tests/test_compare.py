"""Whether two runs agree: the spread of fresh runs, rows outside it, verdicts that turned."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from uoisc.base.config import ROOT
from uoisc.base.errors import ResultsError
from uoisc.base.results import COLUMNS, read_table, write_csv, write_json
from uoisc.claims.compare import as_text, committed, compare, spread, verdicts
from uoisc.claims.verdicts import t_interval

JUDGES, BITS, VARIANTS = ("llava", "llava_independent"), (144.0, 432.0), [f"v{i}" for i in range(20)]
SD = 0.02
VALUES = (0.08, 0.1, 0.12, 0.09, 0.11)


def summary(rng, spread_of: float = SD) -> pd.DataFrame:
    rows = [
        {"variant": v, "bits": bits, "split": "unseen", "judge": judge, "metric": metric, "value": 0.6 + 0.01 * i}
        for i, v in enumerate(VARIANTS) for bits in BITS for judge in JUDGES for metric in ("amr_reliable", "psnr")
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(profile="small", seed="0", low=0.0, high=1.0, n=100)
    return table.assign(value=table["value"] + rng.normal(0, spread_of, len(table)))[COLUMNS["summary.csv"]]


def runs(rng, seeds: int = 5) -> pd.DataFrame:
    own = [summary(rng).query("metric == 'amr_reliable'").assign(seed=str(10 * k)) for k in range(1, seeds + 1)]
    table = pd.concat(own).rename(columns={"value": "amr"}) if own else pd.DataFrame()
    return table.reindex(columns=COLUMNS["runs.csv"])


def written(folder, summary, runs, verdicts: dict[str, str]):
    folder.mkdir()
    write_csv(summary, folder / "summary.csv")
    write_csv(runs, folder / "runs.csv")
    write_json([claim(id, verdict) for id, verdict in verdicts.items()], folder / "claims.json")
    return folder


def claim(id: str, verdict: str, **changed) -> dict:
    """A primary contrast of five fresh runs that gave `VALUES`, as `decide` writes it."""
    mean, low, high = t_interval(VALUES)
    found = {"mean": mean, "low": low, "high": high, "runs": len(VALUES), "value": 0.11, "primary": True}
    return {"id": id, "verdict": verdict} | found | changed


@pytest.fixture
def published(tmp_path):
    rng = np.random.default_rng(0)
    return written(tmp_path / "published", summary(rng), runs(rng), {"S1": "supported", "S2": "inconclusive"})


def other(tmp_path, seed=1, spread_of=SD, **verdicts):
    rng = np.random.default_rng(seed)
    return written(tmp_path / "other", summary(rng, spread_of), runs(rng, 0), {"S1": "supported"} | verdicts)


def test_the_reach_is_what_two_runs_of_that_spread_differ_by_in_95_of_100_cases():
    reach, allowed = spread(runs(np.random.default_rng(3), 40))
    assert reach == pytest.approx(1.96 * np.sqrt(2) * SD, rel=0.05) and 0.05 < allowed < 0.2
    whole = runs(np.random.default_rng(3), 40)
    parts = whole.assign(split="unseen:several", amr=np.random.default_rng(4).uniform(size=len(whole)))
    assert spread(pd.concat([whole, parts])) == (reach, allowed), "parts of a split are not what is compared"


def test_another_seed_agrees_and_another_method_does_not(published, tmp_path):
    same = compare(published, other(tmp_path))
    assert same.agrees and len(same.rows) == 80 and same.outside <= same.allowed
    assert same.summary().startswith("agrees: 80 rows differ by 0.0")
    (tmp_path / "other").rename(tmp_path / "first")
    worse = compare(published, other(tmp_path, spread_of=0.1))
    assert not worse.agrees and worse.outside > 0.3 and worse.summary().startswith("DIFFERS")
    assert "rows outside" in as_text(worse) and "v0" in as_text(worse)
    shown = json.loads(worse.to_json())
    assert shown["agrees"] is False and len(shown["rows"]) == 80 and shown["verdicts"][0]["turned"] is False


def test_a_verdict_that_turned_is_named_and_one_that_was_not_given_is_not(published, tmp_path):
    turned = compare(published, other(tmp_path, S1="opposed", S2="one run: no verdict", S3="supported"))
    assert not turned.agrees and turned.verdicts.set_index("id")["turned"].to_dict() == {"S1": True, "S2": False}
    assert turned.summary().endswith("claims that turned: S1")


def test_a_claim_turns_where_its_value_is_one_that_no_further_run_would_have(published, tmp_path):
    """Simulated: of five normal runs and one more that lies outside in 5 of 100 cases, all primary ones together."""
    rng = np.random.default_rng(1)
    (tmp_path / "now").mkdir()
    outside = 0
    for _ in range(400):
        rows = []
        for k in range(4):
            values = rng.normal(0, 0.03, 6)
            mean, low, high = t_interval(values[:5].tolist())
            rows.append(claim(f"S{k}", "supported", mean=mean, low=low, high=high, value=float(values[5])))
        rows.append(claim("T", "met", primary=False, value=9.0))  # a secondary one is not held to it
        for folder in (published, tmp_path / "now"):
            write_json(rows, folder / "claims.json")
        found = verdicts(published, tmp_path / "now").set_index("id")["turned"]
        outside += found.any()
        assert not found["T"]
    assert 0.02 < outside / 400 < 0.09


def test_what_a_run_claims_is_shown_beside_where_it_may_lie(published, tmp_path):
    beside = other(tmp_path)
    write_json([claim("S1", "supported", value=0.5), claim("S2", "inconclusive", value=None)], beside / "claims.json")
    found = compare(published, beside)
    assert not found.agrees and found.summary().endswith("claims that turned: S1")
    said = [line.split()[:4] for line in as_text(found).splitlines()]
    assert ["S1", "supported", "supported", "0.500"] in said and ["S2", "inconclusive", "inconclusive", "NaN"] in said


def test_a_further_run_lies_within_students_prediction_interval(published, tmp_path):
    """Of two primary claims together in 95 of 100 cases."""
    found = compare(published, other(tmp_path, S2="inconclusive")).verdicts.set_index("id").loc["S1"]
    n = len(VALUES)
    reach = stats.t.ppf(1 - 0.05 / 2 / 2, n - 1) * np.std(VALUES, ddof=1) * np.sqrt(1 + 1 / n)
    assert [found["low"], found["high"]] == pytest.approx([np.mean(VALUES) - reach, np.mean(VALUES) + reach], abs=1e-5)


def test_the_claims_that_are_published_stand_by_their_own_run():
    found = compare(ROOT / "results", ROOT / "results")
    assert found.agrees and len(found.verdicts) > 40 and not found.rows["difference"].any()


def test_without_fresh_runs_nobody_knows_what_a_seed_moves(tmp_path):
    rng = np.random.default_rng(0)
    alone = written(tmp_path / "alone", summary(rng), runs(rng, 0), {"S1": "one run: no verdict"})
    found = compare(alone, other(tmp_path, spread_of=0.3))
    assert found.agrees and "make seeds" in found.summary() and json.loads(found.to_json())["reach"] is None


def test_a_run_without_a_row_in_common_is_refused(published, tmp_path):
    foreign = other(tmp_path)
    table = pd.read_csv(foreign / "summary.csv")
    write_csv(table.assign(variant="mine"), foreign / "summary.csv")
    with pytest.raises(ResultsError, match="no method, rate, split and judge of it"):
        compare(published, foreign)


@pytest.mark.parametrize("content", ["{}", "[1]", "null", '{"a": 1}', '[{"id": "S1"}]', "["])
def test_claims_that_are_none_are_one_line(published, tmp_path, content):
    folder = other(tmp_path, S1="supported")
    (folder / "claims.json").write_text(content)
    with pytest.raises(ResultsError, match="claims.json (holds no contrasts|is no JSON)") as caught:
        compare(published, folder)
    assert "\n" not in str(caught.value)


def test_nothing_to_compare_is_no_agreement(published, tmp_path):
    folder = other(tmp_path)
    write_json([], folder / "claims.json")
    with pytest.raises(ResultsError, match="has no claim that is published too"):
        compare(published, folder)
    write_json([claim("S1", "supported")], folder / "claims.json")
    table = read_table(folder, "summary.csv")
    write_csv(table.assign(value=np.nan), folder / "summary.csv")
    assert not compare(published, folder).agrees


def test_a_value_that_is_no_number_is_one_line(published, tmp_path):
    folder = other(tmp_path, S1="supported")
    path = folder / "summary.csv"
    path.write_text(path.read_text().replace(",0,1,100", ",low,1,100", 1))
    with pytest.raises(ResultsError, match="summary.csv cannot be read .*'low'"):
        compare(published, folder)


def test_the_spread_is_of_the_same_profile_s_runs(published, tmp_path):
    table = read_table(published, "runs.csv")
    before = compare(published, other(tmp_path)).reach
    wild = table.assign(profile="wild", amr=table["amr"] + np.random.default_rng(3).normal(0, 1, len(table)))
    write_csv(pd.concat([table, wild]), published / "runs.csv")
    assert compare(published, tmp_path / "other").reach == pytest.approx(before, rel=1e-3)


def test_what_a_run_has_written_since_is_not_what_is_published(published, monkeypatch):
    home = published.parent
    published.rename(home / "results")
    held = {path.name: path.read_bytes() for path in (home / "results").iterdir()}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "core.autocrlf=false"]
    for command in (["init", "-q"], ["add", "results"], ["commit", "-q", "-m", "published"]):
        subprocess.run([*git, *command], cwd=home, check=True)
    for name in held:
        (home / "results" / name).write_text("changed")
    monkeypatch.setattr("uoisc.claims.compare.ROOT", home)
    with committed() as folder:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == held


def test_the_published_results_are_those_that_git_holds(tmp_path):
    if subprocess.run(["git", "show", "HEAD:./results/claims.json"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("no git checkout")
    with committed() as folder:
        held = pd.read_csv(folder / "summary.csv")
    assert {"amr"} <= set(held["metric"]) and not folder.exists()
    nowhere = [sys.executable, "-m", "uoisc.cli", "compare", str(tmp_path)]
    done = subprocess.run(nowhere, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "summary.csv" in done.stderr


def test_the_version_is_said():
    done = subprocess.run([sys.executable, "-m", "uoisc.cli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("uoisc 0.")
