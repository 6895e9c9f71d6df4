"""The panels of one query over the authors' link, and one scene under three questions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from uoisc.base.picture_data import PANELS, Examples, read_examples, write_examples
from uoisc.base.settings import JUDGES
from uoisc.data.images import to_bytes
from uoisc.data.questions import SPLITS
from uoisc.judge.evaluation import evaluation_questions
from uoisc.report.pictures import three_questions, visual_comparison
from uoisc.report.tables import SHOWN_DB
from uoisc.rivals.standard_codecs import JPEG2000, at_most
from uoisc.rivals.transmission import FILE_BYTES, PROTECTED
from uoisc.stages import examples as room
from uoisc.stages.examples import SHOWN, make_examples
from uoisc.stages.link_jobs import UNCODED, Air


@pytest.fixture(scope="module")
def study() -> tiny.TinyStudy:
    return replace(
        tiny.study(),
        params=replace(tiny.PARAMS, variants={name: ("low",) for name in PANELS[1:-1]} | {"dial": ("dial",)}),
    )


@pytest.fixture(scope="module")
def asked(study):
    return {split: evaluation_questions(study, split) for split in SPLITS}


@pytest.fixture(scope="module")
def answers(asked) -> pd.DataFrame:
    rows = [(JUDGES[0], split, i, query.type, True) for split in SPLITS for i, query in enumerate(asked[split].queries)]
    return pd.DataFrame(rows, columns=["judge", "split", "query_id", "type", "source_right"])


def made(study, answers, es_n0_db: float | None = None) -> Examples:
    """At the room's own Es/N0 in dB, or at another."""
    with pytest.MonkeyPatch.context() as patch:
        if es_n0_db is not None:
            patch.setattr(room, "ES_N0_DB", es_n0_db)
        return make_examples(study, answers)


@pytest.fixture(scope="module")
def clean(study, answers) -> Examples:
    return made(study, answers, 60.0)


def test_without_noise_the_panels_show_what_the_codecs_and_the_file_show(study, asked, clean):
    codecs = {name: study.codec(name, "low") for name in PANELS[1:-1]}
    for i, (row, (split, kind)) in enumerate(zip(clean.rows, SHOWN, strict=True)):
        assert (row["split"], row["type"]) == (split, kind)
        first = next(i for i, query in enumerate(asked[split].queries) if query.type == kind)
        query, x = asked[split].queries[first], asked[split].only(first).all_images()
        assert row["query"] == query.text and np.array_equal(clean.images["source"][i], to_bytes(x)[0])
        for name, codec in codecs.items():
            with torch.no_grad():
                assert np.array_equal(clean.images[name][i], to_bytes(codec(x, [query.text]).x_hat)[0])
            assert row["panels"][name]["bits"] == codec.bits
        _, best = at_most(JPEG2000, to_bytes(x)[0], FILE_BYTES)
        assert np.array_equal(clean.images["jpeg2000"][i], JPEG2000.decode(best))
        assert row["panels"]["jpeg2000"]["bits"] == 8 * len(best)


def test_every_panel_but_the_source_crosses_the_stated_link(study, answers, clean):
    own = made(study, answers)
    assert own.link == {"es_n0_db": room.ES_N0_DB, "protected": PROTECTED}
    assert room.ES_N0_DB in SHOWN_DB and Air("uncoded", room.FADING, room.ES_N0_DB) in UNCODED, "a point of the sweep"
    assert np.array_equal(own.images["source"], clean.images["source"])
    assert all(not np.array_equal(own.images[panel], clean.images[panel]) for panel in PANELS[1:])
    fading = [row["es_n0_db"] - room.ES_N0_DB for row in own.rows]
    assert len(set(fading)) == len(SHOWN), "each row fades by itself"
    assert fading == pytest.approx([row["es_n0_db"] - 60 for row in clean.rows], abs=0.11)
    again = made(study, answers)
    assert again.rows == own.rows and all(np.array_equal(again.images[p], own.images[p]) for p in PANELS)


def test_panels_are_those_that_a_profile_trains_at_a_rate_that_all_of_them_have():
    rates = {"uoisc": ("a", "b", "c"), "query_aware": ("b", "a"), "no_alignment": ("a",), "uniform": ("c",)}
    assert list(room.compared(rates).items()) == [("uoisc", "a"), ("query_aware", "a"), ("no_alignment", "a")]
    assert room.compared(rates | {"no_alignment": ("d",)}) == {"uoisc": "c", "query_aware": "a", "no_alignment": "d"}
    assert room.compared({"uoisc": ("a", "b"), "dial": ("dial",)}) == {"uoisc": "b"}


def test_a_profile_that_ranks_no_tokens_shows_what_it_has(study, answers, tmp_path):
    few = replace(study, params=replace(study.params, variants={"uoisc": ("low",)}))
    write_examples(make_examples(few, answers), tmp_path)
    back = read_examples(tmp_path)
    assert list(back.drawn) == list(back.token_bits) == list(back.scene_texts["sent"]) == ["uoisc"]
    visual_comparison(back)
    three_questions(back)


def test_rows_are_of_questions_that_there_are():
    """Few photographs may lack a type of question in one split."""
    asked = [("seen", "other"), ("unseen", "yes/no"), ("unseen", "number")]
    few = pd.DataFrame(asked, columns=["split", "type"])
    assert room.shown(few) == (("unseen", "number"), ("unseen", "yes/no"), ("seen", "other"))
    assert room.shown(pd.DataFrame([*SHOWN, ("seen", "count")], columns=["split", "type"])) == SHOWN


def test_a_profile_without_ablations_is_shown_too(study, answers, tmp_path):
    few = replace(study, params=replace(study.params, variants={"uoisc": ("low",), "dial": ("dial",)}))
    write_examples(make_examples(few, answers), tmp_path)
    back = read_examples(tmp_path)
    assert list(back.images) == list(back.rows[0]["panels"]) == ["source", "uoisc", "jpeg2000"]
    visual_comparison(back)


def test_three_questions_are_asked_about_one_scene_by_each_method(study, clean):
    texts, x = clean.scene_texts, evaluation_questions(study, "unseen").about_one_image()[0].expand(3, -1, -1, -1)
    assert list(texts["sent"]) == list(clean.drawn) == ["uoisc", "dial"] and len(texts["queries"]) == 3
    judge, budget = study.judges[JUDGES[0]], study.codec("uoisc", "low").bits
    assert texts["answers"] == judge.answer(x, texts["queries"])
    for name, codec in {"uoisc": study.codec("uoisc", "low"), "dial": study.codec("dial", "dial", budget)}.items():
        x_hat = codec.decode(codec.encode(x, texts["queries"]), texts["queries"])
        assert np.array_equal(clean.drawn[name], to_bytes(x_hat)) and texts["sent"][name]["bits"] == codec.bits
        assert texts["sent"][name]["answers"] == judge.answer(x_hat, texts["queries"])
        assert (clean.token_bits[name].sum((1, 2)) == codec.bits - codec.rate.side_bits).all()
    assert len(np.unique(clean.token_bits["uoisc"])) == 1
    bits = clean.token_bits["dial"]
    assert ((bits == bits.max()).sum((1, 2)) == study.codec("dial", "dial", budget).rate.top).all()
