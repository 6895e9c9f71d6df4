"""Contrasts of a run: independent arithmetic, budgets, payloads, and what cannot be compared."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
import yaml

from uoisc.base import results
from uoisc.base.errors import ConfigError, DataError, ResultsError
from uoisc.base.settings import JUDGES
from uoisc.claims import contrasts

ROOT = Path(__file__).resolve().parent.parent
ASKED = contrasts.load_contrasts(synthetic.CLAIMS)
RATES = ("tight", "middle", "wide")
RUNS = sorted((ROOT / "results" / "runs").glob("[0-9]*"))


@pytest.fixture(scope="module")
def answers():
    return synthetic.answers(queries=60, seeds=("10",), splits=("seen", "unseen"))


def asked(compare: str, on: str = "unseen") -> contrasts.Contrast:
    return contrasts._parsed(contrasts.Entry("X", "in words", compare, on), True)


def measured(answers, compare, on="unseen", types=synthetic.RELIABLE):
    (row,) = contrasts.measured([asked(compare, on)], answers, synthetic.entropy(), types, RATES).to_dict("records")
    return row


def share(answers, variant, bits, judge, split="unseen", column="match"):
    rows = answers[(answers["variant"] == variant) & (answers["bits"] == bits) & (answers["split"] == split)]
    return rows[(rows["judge"] == judge) & (rows["type"] != "count")][column].astype(float).mean()


def test_a_value_is_the_difference_or_ratio_of_match_rates_over_reliable_types_and_both_judges(answers):
    own, other = (np.mean([share(answers, v, b, j) for j in JUDGES]) for v, b in (("dial", 96.0), ("uoisc", 144.0)))
    row = measured(answers, "dial@100 - uoisc@tight")
    assert (
        row["value"] == pytest.approx(own - other) and row["n"] == 50 and row["types"] == "+".join(synthetic.RELIABLE)
    )
    assert measured(answers, "dial@100 / uoisc@144")["value"] == pytest.approx(own / other - 1)
    for judge in JUDGES:
        expected = share(answers, "dial", 96.0, judge) - share(answers, "uoisc", 144.0, judge)
        assert row[f"value_{judge}"] == pytest.approx(expected)
    every = measured(answers, "dial@100 - uoisc@tight", types=list(synthetic.TYPES))
    assert row["value_all_types"] == every["value"] == every["value_all_types"] != row["value"]
    assert (row["bits"], row["reference_bits"]) == (96, 144)
    assert (row["payload_bits"], row["reference_payload_bits"]) == (72, 120)
    assert measured(answers, "uoisc@tight - dial@100")["value"] == -row["value"]


def test_what_is_kept_is_of_queries_that_need_the_picture(answers):
    """Every type; the judge is right on the source, and answers otherwise on a blank image."""

    def kept(split):
        own = answers[(answers["variant"] == "uoisc") & (answers["bits"] == 432) & (answers["split"] == split)]
        own = own[own["source_right"].astype(bool) & ~own["match_blank"].astype(bool)]
        return own.groupby("judge")["match"].mean().mean(), own.groupby("judge").size()

    row = measured(answers, "uoisc@middle kept")
    assert row["value"] == pytest.approx(kept("unseen")[0]) == row["value_all_types"] and 0 < row["value"] < 1
    assert row["n"] == kept("unseen")[1].sum() // 2 < 60 and row["reference_bits"] == 0
    less = measured(answers, "uoisc@middle kept", "unseen less seen")
    assert less["value"] == pytest.approx(kept("unseen")[0] - kept("seen")[0])
    assert less["n"] == min(kept(split)[1].sum() // 2 for split in ("unseen", "seen")), "the smaller side's"
    wrong = (
        [asked("uoisc@middle kept")],
        answers.assign(source_right=False),
        synthetic.entropy(),
        synthetic.RELIABLE,
        RATES,
    )
    assert contrasts.measured(*wrong).empty, "no query needs the picture"
    perfect = answers.assign(match=answers["match"] | (answers["variant"] == "uoisc"))
    assert measured(perfect, "uoisc@middle kept")["value"] == 1
    assert str(asked("dial@100 kept", "unseen less seen")) == "kept by dial@100, unseen less seen"


def test_what_guessing_keeps_is_what_other_questions_answers_would_match(answers):
    """Counted one by one."""
    row, net = (measured(answers, f"uoisc@middle {reading}") for reading in ("kept", "kept above guessing"))
    own = answers[(answers["variant"] == "uoisc") & (answers["bits"] == 432) & (answers["split"] == "unseen")]
    shares = {judge: [] for judge in JUDGES}
    for i, query in own.iterrows():
        alike = own[(own["judge"] == query["judge"]) & (own["type"] == query["type"])].drop(i)
        if query["source_right"] and not query["match_blank"]:
            shares[query["judge"]].append((alike["answer_hat"] == query["answer_source"]).mean())
    expected = np.mean([np.mean(share) for share in shares.values()])
    assert 0 < expected < 1 and row["value"] - net["value"] == pytest.approx(expected)
    assert str(asked("dial@100 kept above guessing")) == "kept above guessing by dial@100, unseen"


def test_right_less_wrong_query_is_of_the_variant(answers):
    found = [share(answers, "uoisc", 432.0, j) - share(answers, "uoisc", 432.0, j, column="match_wrong_query")
             for j in JUDGES]  # fmt: skip
    row = measured(answers, "uoisc@middle - query_aware@middle")
    assert row["right_less_wrong"] == pytest.approx(np.mean(found)) and row["right_less_wrong"] > 0
    assert np.isnan(measured(answers, "query_aware@middle - uoisc@middle")["right_less_wrong"]), "was not asked"


def test_two_splits_and_the_blank_image(answers):
    by_split = [measured(answers, "uoisc@wide - blank", split)["value"] for split in ("unseen", "seen")]
    floors = np.mean([share(answers, "uoisc", 864.0, j) - share(answers, "uoisc", 864.0, j, column="match_blank")
                      for j in JUDGES])  # fmt: skip
    assert by_split[0] == pytest.approx(floors)
    assert measured(answers, "uoisc@wide - blank", "unseen less seen")["value"] == pytest.approx(
        by_split[0] - by_split[1]
    )


def test_at_equal_payloads_a_dial_stands_between_its_budgets(answers):
    entropy = synthetic.entropy()
    paid = {96.0: 80.0, 144.0: 100.0, 240.0: 200.0, 430.0: 400.0, 990.0: 800.0}
    dial, rival = (entropy["variant"] == name for name in ("dial", "uoisc"))
    entropy.loc[dial, "payload_bits"] = entropy.loc[dial, "bits"].map(paid)

    def at(payload):
        entropy.loc[rival, "payload_bits"] = float(payload)
        return contrasts.measured([asked("dial@payload - uoisc@144")], answers, entropy, synthetic.RELIABLE, RATES)

    low, high, own = (np.mean([share(answers, v, b, j) for j in JUDGES])
                      for v, b in (("dial", 144.0), ("dial", 240.0), ("uoisc", 144.0)))  # fmt: skip
    assert at(125)["value"].item() == pytest.approx(0.75 * low + 0.25 * high - own)
    assert at(125)["bits"].item() == 144 + 0.25 * 96 and at(125)["payload_bits"].item() == 125
    assert at(100)["value"].item() == pytest.approx(low - own)
    assert at(900)["bits"].item() == 990 and at(79).empty, "none has as few bits"


def test_what_a_run_lacks_gives_no_row_and_other_queries_are_an_error(answers):
    absent = [
        asked("dial@50 - uoisc@tight"),
        asked("uoisc@tight - blank", "unseen@novel"),
        asked("dial@100 - dial_clip@96"),
        asked("plain_vq@middle - uoisc@middle"),
    ]
    found = contrasts.measured(absent, answers, synthetic.entropy(), synthetic.RELIABLE, RATES)
    assert found.empty, "a method without a rate there is not compared at a tighter one"
    fewer = answers[(answers["variant"] != "uoisc") | (answers["bits"] != 432)]
    two = contrasts.measured(
        [asked("dial@100 - uoisc@wide")], fewer, synthetic.entropy(), synthetic.RELIABLE, RATES[::2]
    )
    assert two["reference_bits"].item() == 864, "rates are told apart by their names"
    short = answers[(answers["variant"] != "uoisc") | (answers["query_id"] != 3)]
    with pytest.raises(ResultsError, match="did not answer the same queries"):
        measured(short, "dial@100 - uoisc@tight")
    with pytest.raises(ResultsError, match="of seeds 10, 20; a run has one"):
        measured(pd.concat([answers, answers.assign(seed="20")]), "dial@100 - uoisc@tight")


def test_queries_that_do_not_count_for_one_side_do_not_for_the_other(answers):
    fewer = answers.assign(match=answers["match"].astype("boolean"))
    fewer.loc[(fewer["variant"] == "dial_oracle") & (fewer["query_id"] < 30), "match"] = pd.NA
    kept = answers[answers["query_id"] >= 30]
    row = measured(fewer, "dial@100 - dial_oracle@100")
    assert row["n"] == 25 and row["value"] == measured(kept, "dial@100 - dial_oracle@100")["value"]


def test_the_file_asks_about_ten_primary_contrasts_and_keeps_its_ids():
    primary = [one for one in ASKED if one.primary]
    assert 8 <= len(primary) <= 13 and ASKED[: len(primary)] == primary
    assert len({str(one) for one in primary}) == len(primary), "each once"
    goals = {one.id for one in ASKED}
    assert {"S1-film", "S2-dial", "S3-tightest", "S4-oracle", "S5-half", "S5-third", "S6-1000"} <= goals
    assert all(not one.statement.endswith("..") and one.paper in (None, 0.048, 0.34) for one in ASKED)
    assert str(asked("dial@100 / query_aware@144", "seen")) == "AMR dial@100 / query_aware@144 - 1, seen"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spilt": "seen"}, "unknown field `spilt`"),
        ({"paper": "much"}, r"Expected `float \| null`, got `str`"),
        ({"compare": "uoisc - blank"}, "'uoisc - blank' is not like"),
        ({"compare": "uoisk@tight - blank"}, "no method 'uoisk'"),
        ({"on": "unsen"}, "'unsen': a split, or two"),
        ({"compare": "uoisc@payload - blank"}, "a blank image has no payload"),
        ({"compare": "uoisc@tight / blank", "on": "unseen less seen"}, "a ratio no other split"),
    ],
)
def test_a_wrong_contrast_is_named(tmp_path, change, message):
    entry = {"id": "X9", "statement": "s", "compare": "uoisc@tight - blank"}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"primary": [entry | change], "secondary": []}))
    with pytest.raises(ConfigError, match=f"X9: .*{message}") as caught:
        contrasts.load_contrasts(path)
    assert "\n" not in str(caught.value)
    path.write_text(yaml.safe_dump({"primary": [entry], "secondary": [dict(entry)]}))
    with pytest.raises(ConfigError, match="X9: stands there twice"):
        contrasts.load_contrasts(path)


@pytest.mark.parametrize("text", ["primary: 5", "primary: [a, b]", "goals: []", "[", "\xff"])
def test_a_file_without_a_list_of_contrasts_is_one_line(tmp_path, text):
    (tmp_path / "claims.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="claims") as caught:
        contrasts.load_contrasts(tmp_path / "claims.yaml")
    assert "\n" not in str(caught.value)


def test_fresh_runs_are_joined_and_each_comes_once(tmp_path, answers, monkeypatch):
    folders = {seed: tmp_path / seed for seed in ("0", "10", "20")}
    for seed, folder in folders.items():
        results.write_parquet(answers.assign(seed=seed), folder / "answers.parquet")
        results.write_csv(synthetic.entropy(), folder / "entropy.csv")
        results.write_csv(synthetic.foundation(), folder / "foundation.csv")
    monkeypatch.setattr(contrasts, "paths", lambda profile: SimpleNamespace(results=folders["0"]))
    monkeypatch.setattr(contrasts, "OVER_RUNS", folders["0"])
    fresh = [folders["10"], folders["20"]]
    table = contrasts.write_seeds("small", fresh, force=False)
    assert set(table["seed"]) == {"10", "20"} and set(table["profile"]) == {"small"}
    known = [one for one in ASKED if one.variant != "dial_clip" and "@" not in one.split + one.less]
    assert set(table["id"]) == {one.id for one in known}
    runs = results.read_table(folders["0"], "runs.csv")
    one = runs[
        (runs["variant"] == "dial") & (runs["bits"] == 96) & (runs["split"] == "unseen") & (runs["seed"] == "20")
    ]
    assert one["amr"].tolist() == pytest.approx([share(answers, "dial", 96.0, judge) for judge in JUDGES])
    assert one["payload_bits"].tolist() == [72, 72] and not runs["variant"].eq("adaptive_random").any()
    first = (folders["0"] / "seeds.csv").read_bytes()
    with pytest.raises(DataError, match="seeds.csv: exists; --force replaces it"):
        contrasts.write_seeds("small", fresh[:1], force=False)
    for again, says in (
        ([*fresh, fresh[0]], "seed 10: two runs"),
        ([folders["0"]], "seed 0: two runs have it, or it is"),
    ):
        with pytest.raises(ResultsError, match=says):
            contrasts.write_seeds("small", again, force=True)
    with pytest.raises(ResultsError, match=r"answers.parquet: not there"):
        contrasts.write_seeds("small", [tmp_path / "nowhere"], force=True)
    assert (folders["0"] / "seeds.csv").read_bytes() == first
    contrasts.write_seeds("extended", fresh[:1], force=True)
    both = results.read_table(folders["0"], "seeds.csv")
    assert dict(both.groupby("profile")["seed"].nunique()) == {"extended": 1, "small": 2}
    contrasts.write_seeds("small", fresh, force=True)
    again = results.read_table(folders["0"], "seeds.csv")
    pd.testing.assert_frame_equal(
        again[again["profile"] == "small"].reset_index(drop=True),
        both[both["profile"] == "small"].reset_index(drop=True),
    )
    with pytest.raises(ResultsError, match="make seeds"):
        results.read_table(tmp_path / "nowhere", "seeds.csv")


def test_the_published_runs_are_of_what_the_file_asks():
    published = results.read_table(ROOT / "results", "seeds.csv")
    assert set(published["id"]) <= {one.id for one in ASKED} and "0" not in set(published["seed"])


@pytest.mark.skipif(not RUNS, reason="no fresh runs are published")
def test_the_published_contrasts_are_those_of_the_runs_that_git_keeps(tmp_path, monkeypatch):
    monkeypatch.setattr(contrasts, "paths", lambda profile: SimpleNamespace(results=tmp_path))
    monkeypatch.setattr(contrasts, "OVER_RUNS", tmp_path)
    shutil.copy(ROOT / "results" / "foundation.csv", tmp_path)
    contrasts.write_seeds("small", RUNS, force=False)
    for name in ("seeds.csv", "runs.csv"):
        kept, again = (results.read_table(folder, name) for folder in (ROOT / "results", tmp_path))
        pd.testing.assert_frame_equal(kept, again, rtol=1e-9)


def test_runs_that_are_kept_are_not_made_again(tmp_path):
    """`make seeds` with a stand-in for the command: it trains the run that is lacking, keeps it, and measures both."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / "results" / "runs" / "10").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "params.yaml").write_text("active: [small]\npublished: small\n")
    for name in ("requirements.lock", "pyproject.toml", ".venv/.installed"):
        (tmp_path / name).touch()
    (tmp_path / "dvc.lock").write_text("the tree's")
    made = "echo $* >> dvc.lock; mkdir -p results; cd results; touch answers.parquet"
    made += " entropy.csv machine.json foundation.csv"
    listed = "if test $1 = ls-files; then printf 'dvc.lock\\0params.yaml\\0'; fi"
    for name, does in (("uoisc", f"echo uoisc $* >> {tmp_path}/said"), ("dvc", made), ("git", listed)):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    for _ in range(2):
        run = subprocess.run(["make", "seeds", "SEEDS=10 20"], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    kept = tmp_path / "results" / "runs"
    kept_of_each = {"answers.parquet", "entropy.csv", "machine.json", "foundation.csv", "dvc.lock"}
    assert {path.name for path in kept.iterdir()} == {"10", "20"}
    assert {path.name for path in (kept / "20").iterdir()} == kept_of_each
    said = (tmp_path / "said").read_text().splitlines()
    assert [line.split()[-1] for line in said if "activate" in line] == ["20"], "once, and only the one that lacked"
    assert said.count("uoisc seeds --force results/runs/10 results/runs/20") == 2
    command = ["make", "repro", "PROFILE=seeds", "SEED=20", "STAGES=evaluation rate"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    lock = (tmp_path / "build" / "repro-seeds-20" / "dvc.lock").read_text()
    assert lock.startswith("the tree's") and lock.count("repro evaluation rate") == 2, "its own lock goes on"
