"""A second question about a picture: every form's real bits and both judges' answers, on the tiny study."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from test_bitstream import model
from test_relevance import Brightness

from uoisc.base.results import COLUMNS, read_table
from uoisc.base.settings import JUDGES
from uoisc.data.questions import Query
from uoisc.judge.evaluation import batches, evaluation_questions
from uoisc.link import conversation
from uoisc.link.bitstream import hold, parse, write
from uoisc.message import Message
from uoisc.report.dial_curves import conversation as shown
from uoisc.stages import entropy_jobs

N = tiny.PARAMS.evaluation.queries


@pytest.fixture
def rows(monkeypatch):
    """The rows of one split."""
    monkeypatch.setattr(conversation, "open_study", lambda profile: tiny.study())
    monkeypatch.setattr(conversation, "shared_model", lambda study, name, rate: model("dial"))
    return conversation.converse("tiny", "unseen")


def test_every_form_at_every_budget_has_its_bits_and_answers(rows):
    assert list(rows.columns) == COLUMNS["conversation.csv"] and (rows["n"] == N).all()
    budgets = {model("dial", bits=bits).codec.bits for bits in tiny.PARAMS.codec.dial.budgets}
    assert {*rows["bits"]} == budgets and {*rows["form"]} == {*conversation.FORMS}
    assert len(rows) == len(budgets) * len(conversation.FORMS) * (1 + 2 * len(JUDGES))
    spent = rows[rows["metric"] == "payload_bits"].pivot(index="bits", columns="form", values="value")
    assert (spent["lacking"] < spent["fresh"]).all() and (spent["lacking"] <= spent["adding"]).all()
    wide = rows[rows["judge"] == JUDGES[0]].pivot(index=["bits", "form"], columns="metric", values="value")
    for bits in budgets:
        fresh = wide.loc[(bits, "fresh"), "amr"]
        for form in conversation.FORMS:
            assert wide.loc[(bits, form), "amr_gain"] == pytest.approx(wide.loc[(bits, form), "amr"] - fresh)
    assert {*shown(rows)["second message"]} == {"alone", "what the first lacks", "as many bits more"}


def test_every_form_answers_the_second_question_from_what_both_messages_say(monkeypatch):
    """The first is about the query's other one: by hand, batch by batch."""
    study = replace(tiny.study(), judges={name: Brightness() for name in JUDGES})
    monkeypatch.setattr(conversation, "open_study", lambda profile: study)
    monkeypatch.setattr(conversation, "shared_model", lambda study, name, rate: model("dial"))
    rows = conversation.converse("tiny", "unseen").set_index(["bits", "form", "judge", "metric"]).sort_index()["value"]
    asked, judge, dial = evaluation_questions(study, "unseen"), study.judges[JUDGES[0]], model("dial").trained
    source, drawn = judge.answer(asked.all_images(), asked.texts), iter(judge.shown[2 * N :])
    for bits in tiny.PARAMS.codec.dial.budgets:
        used = model("dial", bits=bits)
        spent, matches = ({form: [] for form in conversation.FORMS} for _ in range(2))
        for part in batches(study, asked):
            x, second = asked.images(part), asked.texts[part]
            known = used.codec.encode(x, [other.text for other in asked.others[part]])
            sent = {
                "fresh": (used.codec.encode(x, second), None),
                "lacking": (used.codec.encode(x, second, known=known), known),
                "adding": (dial.adding(used.codec.bits).encode(x, second, known=known), known),
            }
            for form, (message, held) in sent.items():
                images = dial.decode(message, second, held)
                assert all(torch.equal(image, next(drawn)) for image in images)
                spent[form] += conversation.payload_bits(message, held, used)
                answers = judge.answer(images, second)
                matches[form] += map(Query.match, asked.queries[part], source[part], answers)
        for form in conversation.FORMS:
            found = rows[used.codec.bits, form]
            assert found["none", "payload_bits"] == np.mean(spent[form])
            assert found[JUDGES[0], "amr"] == pytest.approx(np.mean(matches[form]))


def test_payload_bits_are_those_of_the_files():
    shared, x, first, second = model("dial"), tiny.images(3), tiny.queries(3), tiny.queries(3, 7)
    known = shared.codec.encode(x, first)
    then = shared.codec.encode(x, second, known=known)
    found = conversation.payload_bits(then, known, shared)
    for row in range(3):
        one, two = (Message(m.indices[row : row + 1], m.mask[row : row + 1]) for m in (known, then))
        file = write(two, shared, (9, 9), hold(write(one, shared, (9, 9)), shared))
        assert found[row] == 8 * len(parse(file).payload)
    assert np.mean(found) < np.mean(conversation.payload_bits(shared.codec.encode(x, second), None, shared))
    chosen = Message(then.indices, then.sent, (then.setting,) * 3)
    named = conversation.payload_bits(chosen, known, shared)
    assert named == [bits + 8 for bits in found], "which packing an image chose is a byte of its own"


@pytest.mark.parametrize("trained", [True, False])
def test_the_stage_asks_about_each_split_where_there_is_a_dial(tmp_path, monkeypatch, trained):
    class Where:
        results = tmp_path

    params = tiny.PARAMS if trained else type("P", (), {"variants": {"uoisc": ("low",)}})
    source = type("S", (), {"splits": ("seen", "unseen")})
    asked = []
    monkeypatch.setattr(entropy_jobs, "paths", lambda profile: Where)
    monkeypatch.setattr(entropy_jobs, "load_params", lambda profile: params)
    monkeypatch.setattr(entropy_jobs, "open_study", lambda profile: type("T", (), {"source": source}))

    def side_by_side(function, jobs, workers):
        asked.extend(jobs)
        import synthetic_results

        return [synthetic_results.conversation()]

    monkeypatch.setattr(entropy_jobs, "run_side_by_side", side_by_side)
    table = entropy_jobs.measure_conversation("tiny")
    assert asked == ([("tiny", "seen"), ("tiny", "unseen")] if trained else [])
    assert table.empty is not trained and (tmp_path / "conversation.csv").is_file()
    if trained:
        assert len(read_table(tmp_path, "conversation.csv")) == len(table)
