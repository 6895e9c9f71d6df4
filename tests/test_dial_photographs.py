"""The rate dial on photographs at the paper's grid: VQA v2's files, 352 pixels, 22 x 22 tokens, not a multiple of 3;
through every stage to files and tables, under every control."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import workplace
from PIL import Image

from uoisc.base.settings import Dial

DIAL = Dial(
    segments=4, codes=16, tokens=(40, 120), background=(0, 2), budgets=(1500, 6000), queries=8, steps=4, relevance=0.1
)
STAGES = """
from uoisc.stages.entropy_jobs import make_tables
from uoisc.stages.evaluation_jobs import evaluate
from uoisc.stages.foundation_jobs import train_foundation
from uoisc.stages.preparation import prepare_data
from uoisc.stages.train_models import train_variant
from uoisc.stages.validation import validate

prepare_data("tiny")
train_foundation("tiny")
train_variant("tiny", "dial")
make_tables("tiny")
evaluate("tiny")
validate("tiny", "adaptive", "low").to_csv("validated.csv")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder where every stage of a dial has run, and the validation of `adaptive`."""
    base = tmp_path_factory.mktemp("photographs")
    data = replace(tiny.vqav2(base / "vqav2", images=24), image_size=352)
    models = tiny.pretrained(base)
    codec = replace(tiny.PARAMS.codec, dial=DIAL, rates={"low": replace(tiny.PARAMS.codec.rates["low"])})
    params = replace(
        tiny.PARAMS, data=data, foundation=models, codec=codec, variants={"dial": ("dial",)},
        training=replace(tiny.PARAMS.training, phase1_steps=3, phase2_steps=2),
        evaluation=replace(tiny.PARAMS.evaluation, queries=6, batch_size=4),
    )  # fmt: skip
    place = workplace.make(base / "place", params)
    workplace.run(place, "-c", STAGES)
    return place


def test_the_head_learns_where_answers_lie(place):
    log = pd.read_csv(place / "data/tiny/codecs/dials/phase1/dial/dial.csv")
    assert (log["relevance"] > 0).any() and log["relevance"].notna().all()


def test_it_is_evaluated_at_every_budget_under_every_control(place):
    answers = pd.read_parquet(place / "build/tiny/results/answers.parquet")
    names = {"dial", "dial_clip", "dial_oracle", "dial_random", "dial_no_query"}
    assert (
        names <= set(answers["variant"]) and (answers.groupby(["variant", "bits", "split", "judge"]).size() == 6).all()
    )
    assert answers.loc[answers["variant"] == "dial", "bits"].nunique() == 2


def test_the_oracle_counts_located_questions_alone(place):
    """Of three questions "What color is the wall?" names nothing that has a box."""
    folder = place / "build/tiny/results"
    answers = pd.read_parquet(folder / "answers.parquet")
    oracle, own = (answers[answers["variant"] == name] for name in ("dial_oracle", "dial"))
    assert own["match"].notna().all() and (oracle["query"] == "What color is the wall?").any()
    assert (
        oracle.loc[oracle["query"] == "What color is the wall?", ["match", "answer_hat", "correct"]]
        .isna()
        .all(axis=None)
    )
    counted = oracle[oracle["match"].notna()].groupby(["bits", "split", "judge"]).size()
    assert 0 < counted.min() <= counted.max() < 6
    summary = (
        pd.read_csv(folder / "summary.csv").query("metric == 'amr'").set_index(["variant", "bits", "split", "judge"])
    )
    for key, n in counted.items():
        assert summary.loc[("dial_oracle", *key), "n"] == n and summary.loc[("dial", *key), "n"] == 6
    whole = pd.read_csv(folder / "summary.csv").query("variant == 'dial_oracle' and judge != 'none'")
    numbers = whole[whole["metric"].isin(["amr", "amr_floor", "accuracy", "accuracy_source"])]
    assert (numbers.groupby(["bits", "split", "judge"])["n"].nunique() == 1).all(), "over the same questions"
    paired = pd.read_csv(folder / "differences.csv").query("variant == 'dial' and reference == 'dial_oracle'")
    assert len(paired) and (paired.loc[paired["split"] != "unseen-seen", "n"] < 6).all()


def test_a_file_is_written_and_drawn_again(place, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((90, 60)).save(tmp_path / "photo.png")
    options = ("--variant", "dial", "--profile", "tiny")
    image, file, drawn = (str(tmp_path / name) for name in ("photo.png", "photo.uoi", "again.png"))
    asked = ("--query", "Is there a dog?")
    workplace.run(place, "-m", "uoisc.cli", "encode", image, *asked, "-o", file, "--bits", "6000", *options)
    workplace.run(place, "-m", "uoisc.cli", "decode", file, *asked, "-o", drawn, "--profile", "tiny")
    with Image.open(drawn) as restored:
        assert restored.size == (90, 60)
    assert 8 * (tmp_path / "photo.uoi").stat().st_size < 2 * 6000


def test_selection_is_validated_on_a_grid_that_3_does_not_divide(place):
    table = pd.read_csv(place / "validated.csv")
    assert set(table["ranking"]) == {"own", "random", "oracle"}
    assert (table.loc[table["ranking"] == "own", "n"] > table.loc[table["ranking"] == "oracle", "n"].max()).all()
