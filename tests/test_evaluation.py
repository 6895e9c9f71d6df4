"""Evaluation on the tiny study: who is asked what about which image, and what the tables then say."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from scipy.stats import spearmanr

from uoisc.base.devices import precision
from uoisc.base.errors import ConfigError
from uoisc.base.results import COLUMNS
from uoisc.base.settings import JUDGES
from uoisc.codec import Message
from uoisc.data.answers import answers_match
from uoisc.data.questions import Asked, Query
from uoisc.frozen.llava import FrozenLlava
from uoisc.judge import evaluation
from uoisc.judge.bootstrap import summarise
from uoisc.judge.evaluation import (
    CONTROLS,
    EVALUATION_STREAM,
    ORACLE,
    Control,
    at_random,
    codebook_rows,
    evaluate_model,
    from_clip,
    from_oracle,
    reference_answers,
    uses_query,
    without_query,
)
from uoisc.judge.metrics import picture_quality
from uoisc.stages import evaluation_jobs
from uoisc.stages.evaluation_jobs import controls, floors, score
from uoisc.study import Point, points
from uoisc.variants import VARIANTS

N = tiny.PARAMS.evaluation.queries


class Scripted(FrozenLlava):
    """A judge that writes down what it is shown and asked, and names the image by its brightness."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.shown: list[torch.Tensor] = []
        self.asked: list[str] = []

    def answer(self, x: torch.Tensor, queries: list[str], batch_size: int = 256) -> list[str]:
        self.shown += list(x)
        self.asked += queries
        return [f"{image.mean():.6f}" for image in x]


@pytest.fixture
def study(monkeypatch) -> tiny.TinyStudy:
    """The tiny study with two scripted judges, opened by whatever asks for one."""
    study = replace(tiny.study(), judges={name: Scripted() for name in JUDGES})
    monkeypatch.setattr(evaluation, "open_study", lambda profile, **_: study)
    return study


def asked(split: str = "unseen") -> Asked:
    return tiny.world().ask_split(split, tiny.PARAMS.data.held_out, N, [tiny.PARAMS.seed, EVALUATION_STREAM])


def texts(queries: list[Query]) -> list[str]:
    return [query.text for query in queries]


def references(study, split: str = "unseen") -> pd.DataFrame:
    rows = reference_answers("tiny", split)
    for judge in study.judges.values():
        judge.shown.clear(), judge.asked.clear()
    return rows


def test_judges_see_the_source_and_a_blank_image(study):
    rows = reference_answers("tiny", "seen")
    split = asked("seen")
    x = split.all_images()
    for name, judge in study.judges.items():
        sources = [image for image in judge.shown if image.std() > 0]
        blanks = [image for image in judge.shown if image.std() == 0]
        assert torch.equal(torch.stack(sources), x)
        assert len(blanks) == N and all((image == 0.5).all() for image in blanks)
        mine = rows[rows["judge"] == name]
        assert list(mine["answer_source"]) == [f"{image.mean():.6f}" for image in x]
        assert set(mine["answer_blank"]) == {"0.500000"}
        assert sorted(judge.asked) == sorted(2 * texts(split.queries))
        assert list(mine["query_id"]) == list(range(N)) and list(mine["query"]) == texts(split.queries)
        assert list(mine["truth"]) == [query.truth for query in split.queries]


@pytest.mark.parametrize("name", ["uoisc", "uoisc_query_decoder"])
def test_the_right_query_is_asked_of_both_reconstructions(study, name):
    """First the image made for the query, then the one made for another query of the same scene."""
    result = evaluate_model("tiny", Point(name, "low", None), None, "unseen", references(study))
    split, codec = asked(), tiny.codec(name)
    size = tiny.PARAMS.evaluation.batch_size

    def sent(queries: list) -> torch.Tensor:
        """Through both ends, batch after batch; the receiver reads what the transmitter was asked."""
        parts = [(x, texts(queries[i : i + size])) for i, x in zip(range(0, N, size), images, strict=True)]
        return torch.cat([codec.decode(codec.encode(x, asks), asks) for x, asks in parts])

    images = split.all_images().split(size)
    right, wrong = sent(split.queries), sent(split.others)
    for name, judge in study.judges.items():
        expected, questions = [], []
        for start in range(0, N, size):
            for received in (right, wrong):
                expected += list(received[start : start + size])
                questions += texts(split.queries[start : start + size])
        assert judge.asked == questions
        assert torch.equal(torch.stack(judge.shown), torch.stack(expected))  # to the bit: both go the same way
        rows = result.answers[result.answers["judge"] == name]
        # an untrained codec may choose the same codes for both queries, but not as a rule
        assert (rows["answer_hat"] != rows["answer_wrong_query"]).mean() > 0.5


def test_rows_say_what_the_answers_say(study):
    result = evaluate_model("tiny", Point("uoisc", "low", None), None, "unseen", references(study))
    rows = result.answers
    assert set(COLUMNS["answers.parquet"]) <= set(rows.columns)
    assert (rows["variant"] == "uoisc").all() and (rows["bits"] == tiny.codec("uoisc").bits).all()
    for row in rows.itertuples():
        assert row.match == answers_match(row.query, row.answer_source, row.answer_hat)
        assert row.match_blank == answers_match(row.query, row.answer_source, row.answer_blank)
        assert row.match_wrong_query == answers_match(row.query, row.answer_source, row.answer_wrong_query)
        assert row.correct == (row.answer_hat == row.truth) and row.source_right == (row.answer_source == row.truth)


def test_any_right_answer_of_an_ambiguous_query_counts():
    right = ("upper left", "lower right")
    query = Query(0, "member", "where is the animal", right[0], "animal", (0, 8), accepted=right)
    one = Asked("unseen", [query], [query], lambda rows: tiny.images(1))
    about = ("unseen", query.text, query.type, query.object, query.truth, 2, True, right[1], "middle left")
    rows = [(about[0], name, 0, *about[1:]) for name in JUDGES]
    references = pd.DataFrame(rows, columns=evaluation.REFERENCE_COLUMNS)
    found = evaluation.judged(references, one, {name: [right[0]] for name in JUDGES}, {})
    assert found[["match", "correct", "source_right"]].all(axis=None) and not found["match_blank"].any()
    found = evaluation.judged(references, one, {name: ["middle left"] for name in JUDGES}, {})
    assert not found[["match", "correct"]].any(axis=None)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_wrong_query_control_runs_where_a_query_can_matter(name):
    deaf = {"no_alignment", "no_alignment_no_llava", "uniform", "dial_uniform"}
    assert uses_query(tiny.codec(name)) == (name not in deaf)


def test_the_control_is_empty_where_no_query_matters(study):
    rows = evaluate_model("tiny", Point("no_alignment", "low", None), None, "unseen", references(study)).answers
    assert rows["answer_wrong_query"].isna().all() and rows["match_wrong_query"].isna().all()
    assert all(len(judge.asked) == N for judge in study.judges.values())


def test_the_oracle_ranks_the_tiles_that_hold_the_answer_first():
    split, study = asked(), tiny.study()
    rows = slice(3, 7)
    relevance, ranking = from_clip(study, split, rows), from_oracle(study, split, rows)
    for b, query in enumerate(split.queries[rows]):
        best = set(ranking[b].topk(4 * len(query.tiles)).indices.tolist())
        assert {n // 6 // 2 * 3 + n % 6 // 2 for n in best} == set(query.tiles)  # two by two tokens a tile
        rest = [n for n in range(36) if n not in best]
        assert [ranking[b, n] for n in rest] == [relevance[b, n] for n in rest]


def located(study, monkeypatch, known: set[int]) -> None:
    """Makes the study's source know of some rows alone where answers lie."""
    ask_split = type(study.source).ask_split

    def ask(*given):
        found = ask_split(*given)
        queries = [replace(query, located=i in known) for i, query in enumerate(found.queries)]
        return replace(found, queries=queries)

    monkeypatch.setattr(type(study.source), "ask_split", ask)


def test_the_oracle_counts_where_the_source_knows_the_answers_place(study, monkeypatch):
    """Other rows are there, so that all answered the same queries, and say nothing."""
    known, point = {1, 4, 5, 11}, Point("adaptive", "low", None)
    every = evaluate_model("tiny", point, ORACLE, "unseen", references(study))
    located(study, monkeypatch, known)
    found = evaluate_model("tiny", point, ORACLE, "unseen", references(study))
    for rows in found.answers, found.answers[found.answers["judge"] == JUDGES[0]]:
        assert set(rows.loc[rows["match"].notna(), "query_id"]) == known
    columns = ["answer_hat", "match", "correct"]
    counted, left = (found.answers["query_id"].isin(known) == which for which in (True, False))
    assert found.answers.loc[left, columns].isna().all(axis=None)
    assert (found.answers.loc[counted, columns] == every.answers.loc[counted, columns]).all(axis=None)
    assert (found.quality["n"] == len(known)).all() and (every.quality["n"] == N).all()
    own = evaluate_model("tiny", point, None, "unseen", references(study))
    table = summarise(pd.concat([own.answers, found.answers]), resamples=100).query("metric == 'amr'")
    assert table.groupby("variant")["n"].unique().map(list).to_dict() == {
        "adaptive": [N],
        "adaptive_oracle": [len(known)],
    }


def test_without_any_answers_place_there_is_no_oracle(study, monkeypatch):
    jobs = []
    monkeypatch.setattr(evaluation, "every_reference", lambda *_, **__: None)
    monkeypatch.setattr(evaluation_jobs, "run_side_by_side", lambda function, made, *_: jobs.extend(made) or 1 / 0)
    models = [Point("adaptive", "low", None)]
    for known, expected in (({0}, [None, "random", "oracle"]), (set(), [None, "random"])):
        jobs.clear()
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            located(study, patch, known)
            evaluation_jobs._ask(study, models)
        assert list(dict.fromkeys(control and control.name for _, _, control, *_ in jobs)) == expected


def test_without_the_query_another_one_ranks_alike():
    study, split = tiny.study(), asked()
    other = replace(split, queries=split.others)
    assert torch.equal(*(without_query(study, one, slice(0, 4)) for one in (split, other)))
    assert not torch.equal(*(from_clip(study, one, slice(0, 4)) for one in (split, other)))


def test_without_the_query_the_tokens_least_like_the_image_come_first():
    study, split, rows = tiny.study(), asked(), slice(2, 6)
    with precision(torch.device("cpu")):
        tokens = study.clip.see(split.images(rows)).tokens
    seen, mean = tokens.double().numpy(), tokens.mean(1, keepdim=True).double().numpy()
    cosines = (seen * mean).sum(2) / np.linalg.norm(seen, axis=2) / np.linalg.norm(mean, axis=2)
    ranking = without_query(study, split, rows).double().numpy()
    for found, cosine in zip(ranking, cosines, strict=True):
        assert spearmanr(found, cosine).statistic < -0.999


def test_random_ranking_asks_nothing_of_clip_and_comes_again():
    study, split = tiny.study(), asked()
    first = at_random(study, split, slice(0, 4))
    assert torch.equal(first, at_random(study, split, slice(0, 4)))
    assert not torch.equal(first, at_random(study, split, slice(4, 8)))
    # of 36 tokens each is first in one of 36 random orders: 6 in 400 draws or fewer are one in 10^4 or rarer
    many = replace(split, queries=split.queries * (4000 // N))
    best = at_random(study, many, slice(0, 4000)).argmax(1)
    assert torch.bincount(best, minlength=36).min() > 60


@pytest.mark.parametrize(("name", "control"), [(name, c) for name in CONTROLS for c in CONTROLS[name]])
def test_controls_are_a_model_under_another_ranking(study, name, control):
    point = Point(name, *(("dial", 200) if name == "dial" else ("low", None)))
    rows = evaluate_model("tiny", point, control, "unseen", references(study)).answers
    split, codec = asked(), tiny.codec(name)
    expected = []
    with torch.no_grad():
        for start in range(0, N, tiny.PARAMS.evaluation.batch_size):
            part = slice(start, start + tiny.PARAMS.evaluation.batch_size)
            x, queries = split.images(part), texts(split.queries[part])
            expected += list(codec(x, queries, control.ranking(study, split, part)).x_hat)
    torch.testing.assert_close(torch.stack(study.judges["llava"].shown), torch.stack(expected), rtol=0, atol=1e-4)
    assert (rows["variant"] == f"{name}_{control.name}").all() and rows["match_wrong_query"].isna().all()


@pytest.mark.parametrize("units", [0, 1])
def test_a_floor_gives_every_token_units(study, units):
    rows = evaluate_model(
        "tiny", Point("dial", "dial", 200), Control(f"floor{units}", floor=units), "unseen", references(study)
    ).answers
    packing = tiny.untrained("dial", "dial").at(200, background=units).rate
    assert (
        packing.background == units
        and set(rows["variant"]) == {f"dial_floor{units}"}
        and set(rows["bits"]) == {packing.bits}
    )


def test_what_is_evaluated_of_a_dial(study):
    assert controls(study, Point("uoisc", "low", None)) == [None]
    assert controls(study, Point("adaptive", "low", None)) == [None, *CONTROLS["adaptive"]]
    tight, wide = (controls(study, Point("dial", "dial", bits)) for bits in (60, 200))
    assert tight == [None, *CONTROLS["dial"]]
    own = tiny.untrained("dial", "dial").rate.at(200).background
    assert wide == [*tight, Control(f"floor{1 - own}", floor=1 - own)], "the other one of the two backgrounds"


def test_floors_are_packings_that_nothing_else_picks():
    dial = tiny.untrained("dial", "dial").rate
    for best in range(len(dial.packings)):
        dial.answers.copy_(torch.where(torch.arange(len(dial.packings)) == best, 0.9, 0.2))
        found = floors(dial, (60, 120, 200))
        picked = [dial.at(bits, control.floor) for bits, controls in found.items() for control in controls]
        own = {dial.at(bits) for bits in (60, 120, 200)}
        assert list(found) == [60, 120, 200] and len({*picked, *own}) == len(picked) + len(own)
        offered = {dial.at(bits, units) for bits in (120, 200) for units in (0, 1)} | {dial.at(60, 0)}
        assert offered == {*picked, *own}


def test_codebook_use_counts_what_was_sent():
    codec = copy.copy(tiny.codec("adaptive"))
    indices = torch.zeros(2, 2, 3, 2, dtype=torch.long)
    indices[0, 0, :, 0] = torch.tensor([0, 1, 2])
    sent = torch.ones_like(indices, dtype=torch.bool)
    sent[:, 0, 2, 0] = False  # of tap 0, segment 0 are sent 0, 1 and twice 0
    sent[:, 1, :, 1] = False  # tap 1, segment 1: nothing
    messages = [Message(indices[:1], sent[:1]), Message(indices[1:], sent[1:])]
    rows = codebook_rows(codec, messages, {"variant": "adaptive"}).set_index(["tap", "segment"])
    assert list(rows.index) == [(0, 0), (0, 1), (1, 0)]
    assert rows.loc[(0, 0), "perplexity"] == pytest.approx(4 / 27**0.25)  # shares 3/4 and 1/4
    assert rows.loc[(0, 0), "dead"] == 2 and rows.loc[(0, 1), "dead"] == 3
    assert (rows["codes"] == codec.quantizer.codes).all()


def test_summary_rows_carry_intervals_and_n(study):
    result = evaluate_model("tiny", Point("uoisc", "low", None), None, "unseen", references(study))
    summary = summarise(result.answers, result.quality, seed=0, resamples=200)
    assert list(summary.columns) == COLUMNS["summary.csv"]
    assert {"amr", "amr_floor", "accuracy", "accuracy_source", "amr_wrong_query"} <= set(summary["metric"])
    measures = {"psnr", "ssim", "perceptual", "clip_score", "flips", "moves"}
    assert measures == set(summary[summary["judge"] == "none"]["metric"])
    assert (summary["low"] <= summary["value"] + 1e-12).all() and (summary["value"] <= summary["high"] + 1e-12).all()
    assert (summary[~summary["metric"].str.contains(":")]["n"] == N).all()
    amr = summary[(summary["metric"] == "amr") & (summary["judge"] == "llava")]["value"].item()
    assert amr == result.answers[result.answers["judge"] == "llava"]["match"].mean()


def test_the_first_so_many_are_measured_as_pictures_whatever_the_batches(study, monkeypatch):
    """All are asked about, and what another query changes is counted of all."""
    size = study.params.evaluation.batch_size
    assert 2 * size < N, "three batches, of which one is measured whole, one in part, one not"
    monkeypatch.setattr(evaluation, "MEASURED_PICTURES", size + 1)
    given = Point("uoisc", "low", None), None, "unseen", references(study)
    few = evaluate_model("tiny", *given).quality.set_index("metric")
    assert few["n"].to_dict() == dict.fromkeys(["psnr", "ssim", "perceptual", "clip_score"], size + 1) | {
        "flips": N,
        "moves": N,
    }
    asked = evaluation.evaluation_questions(study, "unseen")
    x, _, x_hat = evaluation.send(study, study.codec(*given[0]), asked, slice(0, size + 1), None)
    own = picture_quality(study.clip, x, x_hat, asked.texts[: size + 1])
    assert few.loc["psnr", "value"] == pytest.approx(own["psnr"].mean(), abs=1e-4)


def test_some_variants_are_scored_apart_from_the_results(study, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_jobs, "open_study", lambda profile, **_: study)
    monkeypatch.setattr(evaluation_jobs, "load_params", lambda profile: tiny.PARAMS)
    monkeypatch.setattr(evaluation_jobs, "paths", None)  # where the results lie is not even asked
    monkeypatch.setattr(evaluation_jobs, "ROOT", tmp_path)
    table, folder = score("tiny", "uoisc+uoisc")
    assert {p.name for p in (tmp_path / folder).iterdir()} == {"answers.parquet", "quality.csv", "summary.csv"}
    assert folder.parts == ("build", "tiny", "scores", "uoisc")
    assert set(table["variant"]) == {"uoisc"} and set(table["metric"]) == {"amr", "amr_floor"}
    amr = table[(table["metric"] == "amr") & (table["split"] == "unseen") & (table["judge"] == JUDGES[0])]
    answers = pd.read_parquet(tmp_path / folder / "answers.parquet")
    own = answers[(answers["split"] == "unseen") & (answers["judge"] == JUDGES[0])]
    assert amr["value"].item() == pytest.approx(own["match"].mean()) and amr["n"].item() == N


def test_scores_with_another_suffix_lie_beside_those_without(study, tmp_path, monkeypatch):
    opened = []

    def open_changed(profile, changes=()):
        opened.append(changes)
        return study

    for module in (evaluation, evaluation_jobs):
        monkeypatch.setattr(module, "open_study", open_changed)
    monkeypatch.setattr(evaluation_jobs, "load_params", lambda profile: tiny.PARAMS)
    monkeypatch.setattr(evaluation_jobs, "ROOT", tmp_path)
    bare = ('foundation.llava.suffix=""',)
    _, folder = score("tiny", "uoisc", bare)
    assert set(opened) == {bare} and len(opened) > 4, "references and models are asked alike"
    assert folder.name == "uoisc+foundation.llava.suffix=_" and (tmp_path / folder / "summary.csv").is_file()
    with pytest.raises(ConfigError, match=r"^'training.batch_size=8': codecs are trained already; only evaluation\., "):
        score("tiny", "uoisc", ("training.batch_size=8",))


def test_a_photographs_judges_see_the_files_image_too(study, monkeypatch):
    """As large as it is; its VQA accuracy and the source's stand beside the reconstruction's."""
    queries = [replace(query, answers=("yes",) * 4 + ("no",) * 6) for query in asked().queries]
    files = [np.full((5 + i, 7, 3), i, dtype=np.uint8) for i in range(N)]
    photographs = replace(asked(), queries=queries, originals=lambda rows: iter(files[rows]))
    said = {"answer_source": "Yes, there is one.", "answer_hat": "no", "answer_original": "yes"}
    for judge in study.judges.values():
        judge.answer_files = lambda images, texts: [f"{image.shape[0]}" for image in images]
    references = evaluation.ask_references(study, photographs)
    assert list(references["answer_original"]) == [f"{5 + i}" for i in range(N)] * len(JUDGES)
    references = references.assign(**{name: text for name, text in said.items() if name in references})
    answers = {name: [said["answer_hat"]] * N for name in JUDGES}
    rows = evaluation.judged(
        references, photographs, answers, {"variant": "uoisc", "profile": "", "seed": 0, "bits": 1}
    )
    assert rows["long_answer"].all() and (rows["vqa_accuracy_source"] == 0).all()
    assert (rows["vqa_accuracy"] == 1).all() and rows["vqa_accuracy_original"].iloc[0] == pytest.approx(1.0)
    summary = summarise(rows, resamples=100).set_index("metric")["value"]
    assert {"long_answers", "vqa_accuracy_source", "vqa_accuracy_original"} <= set(summary.index)
    drawn = evaluation.ask_references(study, asked())
    assert "answer_original" not in drawn


def test_a_variant_that_is_not_trained_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr(evaluation_jobs, "load_params", lambda profile: tiny.PARAMS)
    monkeypatch.setattr(evaluation_jobs, "open_study", None)
    with pytest.raises(ConfigError, match="profile tiny trains no 'dail': .*did you mean dial"):
        score("tiny", "uoisc+dail")


def test_of_budgets_at_which_a_dial_sends_alike_the_first_counts(study, monkeypatch):
    dials = points(study.params, ["dial"])
    assert {point.variant for point in dials} == {"dial"} and len(points(study.params)) > len(dials) > 1
    codec = study.codec("dial", "dial")
    alike = [Point("dial", "dial", codec.at(dials[0].bits).bits + more) for more in (0, 0.5)]
    fixed = [point for point in points(study.params) if point.bits is None]
    assert study.distinct([*alike, *fixed]) == [alike[0], *fixed]


def test_rates_of_equal_bits_are_all_evaluated(study, monkeypatch):
    rates = [Point("uoisc", rate, None) for rate in ("low", "high")]
    monkeypatch.setattr(type(study), "codec", lambda self, *point: SimpleNamespace(bits=7))
    assert study.distinct(rates) == rates


def test_what_another_query_changes_is_counted_image_by_image():
    """Two images of 2 taps, 3 tokens and 2 segments, by hand."""
    indices = torch.zeros(2, 2, 3, 2, dtype=torch.long)
    other = indices.clone()
    other[0, 0, 0, 0] = other[0, 1, 2, 1] = 1
    fixed = evaluation.query_changes(Message(indices, None), Message(other, None))
    assert fixed["flips"].tolist() == pytest.approx([2 / 12, 0]) and fixed["moves"].tolist() == [0, 0]
    sent, others = torch.zeros(2, 2, 3, 2, dtype=torch.bool), torch.zeros(2, 2, 3, 2, dtype=torch.bool)
    sent[:, 0] = others[:, 0] = True  # of every token the first tap
    sent[:, 1, :2] = True  # whole: the first two tokens; for the other query the first and the last
    others[:, 1, [0, 2]] = True
    ranked = evaluation.query_changes(Message(indices, sent), Message(other, others))
    assert ranked["flips"].tolist() == pytest.approx([1 / 8, 0]), "of what both send"
    assert ranked["moves"].tolist() == [0.5, 0.5]
