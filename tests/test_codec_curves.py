"""The curves of standard codecs on the tiny study: whose bytes are counted, who is asked, which points are chosen."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from away import away
from test_standard_codecs import flat_bytes

from uoisc.base.config import Paths
from uoisc.base.results import COLUMNS, read_table
from uoisc.base.settings import JUDGES
from uoisc.data.answers import answers_match
from uoisc.data.images import from_bytes, to_bytes
from uoisc.frozen.llava import FrozenLlava
from uoisc.judge import evaluation
from uoisc.judge.evaluation import evaluation_questions, reference_answers
from uoisc.judge.metrics import psnr
from uoisc.rivals.standard_codecs import AVIF, JPEG, WEBP, RelevanceCrop, token_square
from uoisc.stages import codec_curves
from uoisc.stages.codec_curves import (
    CURVES,
    POINTS,
    SPAN,
    codec_for,
    make_curves,
    measure_curve,
    pick_qualities,
    query_count,
)

N = 4  # of the tiny evaluation's 20 queries, by a share of a fifth


class ByBrightness(FrozenLlava):
    """A judge that names an image by its mean brightness: what a codec changes, it answers differently."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def answer(self, x: torch.Tensor, queries: list[str], batch_size: int = 256) -> list[str]:
        return [f"{100 * image.mean():.0f}" for image in x]


@pytest.fixture
def study(monkeypatch) -> tiny.TinyStudy:
    """The tiny study, opened by whatever asks for one."""
    study = replace(tiny.study(), judges={name: ByBrightness() for name in JUDGES})
    for module in (evaluation, codec_curves):
        monkeypatch.setattr(module, "open_study", lambda profile, **_: study)
    monkeypatch.setattr(codec_curves, "SHARE", 0.2)
    return study


def references() -> pd.DataFrame:
    rows = pd.concat([reference_answers("tiny", split, N) for split in ("seen", "unseen")], ignore_index=True)
    return rows.assign(reliable=rows["query_id"] > 0)


def scenes(study, split: str = "unseen"):
    asked = evaluation_questions(study, split, N)
    return asked, asked.all_images()


@pytest.mark.parametrize(
    ("name", "queries", "pixels", "expected"),
    [
        ("avif", 1000, 96, 1000),  # all that the trained codecs are asked: 25 x 40 tiles
        ("avif_crop", 1000, 96, 1000),
        ("jpeg", 1000, 96, 100),
        ("jpeg", 10, 96, 1),
        ("avif", 10**7, 96, (4096 // 96) ** 2),  # as many as a mosaic holds
    ],
)
def test_queries_are_all_or_a_share_as_far_as_a_mosaic_holds_them(name, queries, pixels, expected):
    params = replace(
        tiny.PARAMS,
        evaluation=replace(tiny.PARAMS.evaluation, queries=queries),
        data=replace(tiny.PARAMS.data, image_size=pixels),
    )
    assert query_count(params, name) == expected


def test_a_number_that_makes_too_long_a_mosaic_is_lowered():
    for queries in range(2, 1800, 7):
        params = replace(tiny.PARAMS, evaluation=replace(tiny.PARAMS.evaluation, queries=queries))
        count = query_count(params, "avif")
        sides = [n for n in range(1, count + 1) if count % n == 0 and max(n, count // n) <= 4096 // 96]
        assert sides and count > 0.9 * min(queries, 42**2), queries


def test_the_first_queries_are_those_that_the_evaluation_asks(study):
    whole, part = evaluation_questions(study, "unseen"), evaluation_questions(study, "unseen", N)
    assert len(whole.queries) == tiny.PARAMS.evaluation.queries
    assert part.queries == whole.queries[:N] and part.others == whole.others[:N]
    assert torch.equal(part.all_images(), whole.all_images()[:N])
    answers = reference_answers("tiny", "unseen", N)
    assert list(answers["query"]) == 2 * [query.text for query in part.queries]


def test_accuracy_compares_answers_as_everywhere(study):
    """A judge that writes "Cup." where the truth is "cup" is right."""

    class Aloud(ByBrightness):
        def answer(self, x: torch.Tensor, queries: list[str], batch_size: int = 256) -> list[str]:
            return [f"{query.truth.capitalize()}." for query in scenes(study)[0].queries]

    asked, x = scenes(study)
    loud = replace(study, judges={name: Aloud() for name in JUDGES})
    rows = pd.DataFrame(codec_curves.measure(loud, asked, x, x, references(), {}))
    assert (rows.loc[rows["metric"] == "accuracy", "value"] == 1).all()


@pytest.mark.parametrize("sizes", [lambda q: 100 + 10 * q, lambda q: 100 * 1.04**q], ids=["linear", "steep"])
def test_qualities_are_the_first_to_reach_even_steps_of_the_logarithm(sizes):
    """Against a search of all of a codec's qualities, of files whose sizes are made up."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    found = pick_qualities(lambda codec, x, quality: (x, sizes(quality)), WEBP, images)
    expected = [0]
    for step in range(1, POINTS):
        expected.append(next(q for q in WEBP.qualities if sizes(q) >= 100 * SPAN ** (step / (POINTS - 1))))
    assert found == expected


def test_a_range_that_ends_early_ends_at_the_best_quality():
    def code(codec, images, quality):
        return images, 100 + min(quality, 60)

    found = pick_qualities(code, WEBP, np.zeros((2, 8, 8, 3), np.uint8))
    assert found == [0, 42, 100]  # 100 * 4 ** (1 / 4) = 141.4, then 200: never


def test_the_first_images_choose_the_qualities_once_for_all_splits(study, monkeypatch):
    sized, pick = [], pick_qualities
    monkeypatch.setattr(codec_curves, "SIZED", N - 1)
    monkeypatch.setattr(
        codec_curves, "pick_qualities", lambda code, codec, images: sized.append(images) or pick(code, codec, images)
    )
    table = measure_curve("tiny", "jpeg", "file", references())
    (images,) = sized
    assert np.array_equal(images, to_bytes(scenes(study, "seen")[1])[: N - 1])
    chosen = table.groupby("split")["setting"].unique().map(list)
    assert chosen["seen"] == chosen["unseen"] and len(chosen["seen"]) > 1


def test_a_point_is_the_files_and_what_judges_make_of_them(study):
    """One point by hand: encoder, decoder, judge and measures, image by image."""
    table = measure_curve("tiny", "jpeg", "file", references())
    asked, x = scenes(study)
    quality = sorted(table["setting"].unique())[1]
    made = [JPEG.encode(image, int(quality)) for image in to_bytes(x)]
    x_hat = from_bytes(np.stack([JPEG.decode(data) for data in made]))
    point = table[(table["setting"] == quality) & (table["split"] == "unseen")].set_index(["judge", "metric"])
    mean = np.mean([len(data) for data in made])
    assert (point["bytes"] == mean).all()
    assert (point["bytes_less_flat"] == mean - flat_bytes(JPEG, (96, 96))).all()
    some = point.index.get_level_values("metric").str.endswith("_reliable")
    assert (point["n"] == np.where(some, N - 1, N)).all() and (point["low"] <= point["value"]).all()
    judge, texts = ByBrightness(), [query.text for query in asked.queries]
    source, answers = judge.answer(x, texts), judge.answer(x_hat, texts)
    matches = [answers_match(*three) for three in zip(texts, source, answers, strict=True)]
    floors = [answers_match(q, a, "50") for q, a in zip(texts, source, strict=True)]
    for name in JUDGES:
        assert point.loc[(name, "amr"), "value"] == np.mean(matches)
        assert point.loc[(name, "amr_reliable"), "value"] == np.mean(matches[1:])
        assert point.loc[(name, "amr_floor"), "value"] == np.mean(floors)
        assert point.loc[(name, "accuracy"), "value"] == 0  # no truth is a brightness
    assert point.loc[("none", "psnr"), "value"] == pytest.approx(psnr(x, x_hat).mean())
    assert {"ssim", "perceptual", "clip_score"} < set(point.loc["none"].index)


def test_a_mosaic_shares_one_header_and_its_tiles_are_judged(study):
    given = references()
    alone, shared = (measure_curve("tiny", "webp", form, given) for form in ("file", "mosaic"))
    lowest = [table[table["setting"] == 0].iloc[0] for table in (alone, shared)]
    assert lowest[1]["bytes"] < lowest[0]["bytes"] - flat_bytes(WEBP, (96, 96)) / 2
    images = to_bytes(scenes(study)[1])
    sheet = np.concatenate([np.concatenate(images[i : i + 2], axis=1) for i in (0, 2)], axis=0)
    point = shared[(shared["setting"] == shared["setting"].max()) & (shared["split"] == "unseen")]
    assert (point["bytes"] == len(WEBP.encode(sheet, int(point["setting"].iloc[0]))) / N).all()
    assert (point["bytes"] - point["bytes_less_flat"]).tolist() == pytest.approx(
        [flat_bytes(WEBP, (192, 192)) / N] * len(point)
    )
    best = [table[table["metric"] == "psnr"]["value"].max() for table in (alone, shared)]
    assert best[1] > 20 and abs(best[1] - best[0]) < 3


def test_each_crop_follows_the_relevance_of_its_own_query(study):
    asked, x = scenes(study)
    crops = codec_for(study, RelevanceCrop.name, x, asked)
    for i, (crop, query) in enumerate(zip(crops, asked.queries, strict=True)):
        tokens = study.clip.see(x[i : i + 1]).tokens
        relevance = study.clip.relevance(tokens, study.clip.text([query.text]))[0].reshape(6, 6).numpy()
        np.testing.assert_allclose(crop.relevance, relevance, atol=1e-5)
        row, column, side = token_square(relevance, crop.top)
        assert crop.encode(to_bytes(x)[i], 30)[:2] == bytes([row << 4 | column, side << 4 | 6])
    assert codec_for(study, "avif", x, asked) is AVIF


def test_a_gpus_relevance_crops_alike(study, monkeypatch):
    asked, x = scenes(study)
    here, relevance = codec_for(study, RelevanceCrop.name, x, asked), study.clip.relevance
    monkeypatch.setattr(study.clip, "relevance", lambda *each: away(relevance(*each)))
    for one, other in zip(here, codec_for(study, RelevanceCrop.name, x, asked), strict=True):
        np.testing.assert_array_equal(one.relevance, other.relevance)


def test_the_stage_writes_every_curve_the_same_again(study, monkeypatch, tmp_path):
    monkeypatch.setattr(codec_curves, "load_params", lambda profile: tiny.PARAMS)
    monkeypatch.setattr(codec_curves, "paths", lambda profile: Paths(*[tmp_path] * 5))
    monkeypatch.setattr(codec_curves, "CURVES", [curve for curve in CURVES if curve[0] == "jpeg"])
    checks = pd.DataFrame([("llava", "accuracy:place", 0.95)], columns=["model", "metric", "value"])
    checks.to_csv(tmp_path / "checks.csv")
    make_curves("tiny")
    first = (tmp_path / "standard_codecs.csv").read_bytes()
    table = read_table(tmp_path, "standard_codecs.csv")
    assert list(table.columns) == COLUMNS["standard_codecs.csv"]
    assert set(zip(table["codec"], table["form"], strict=True)) == {("jpeg", "file"), ("jpeg", "mosaic")}
    points = table.groupby(["codec", "form", "split"])["setting"].nunique()
    assert points.between(2, POINTS).all() and len(points) == 4
    assert not table.duplicated(["codec", "form", "split", "setting", "judge", "metric"]).any()
    make_curves("tiny")
    assert (tmp_path / "standard_codecs.csv").read_bytes() == first
