"""What complex and ambiguous queries cost, against direct counting on SYNTHETIC answers."""

import pytest
import synthetic_results as synthetic
from matplotlib.text import Text

from uoisc.base.results import LeftOut
from uoisc.claims.runs import COMPLEX
from uoisc.judge.bootstrap import summarise
from uoisc.report.complexity import amr_by_complexity, complexity, lead_table, leads

POINT = {"judge": "llava", "split": "unseen", "bits": 144.0}


@pytest.fixture(scope="module")
def answers():
    return synthetic.answers(queries=120)


@pytest.fixture(scope="module")
def summary(answers):
    return summarise(answers, resamples=50)


def of(table, variant: str, **where):
    for column, value in (POINT | {"variant": variant} | where).items():
        table = table[table[column] == value]
    return table


def test_every_group_is_counted_by_hand(answers, summary):
    table = complexity(summary).reset_index()
    own = of(answers, "uoisc")
    groups = {f"tiles:{n}": own[~own["ambiguous"] & (own["tiles"] == n)] for n in (1, 2, 3)}
    groups["answers:several"] = own[own["ambiguous"]]
    groups["answers:one"] = own[(own["type"] == "member") & ~own["ambiguous"]]
    found = of(table, "uoisc").set_index("group")
    assert set(found.index) == set(groups)
    for name, rows in groups.items():
        row = found.loc[name]
        assert row["n"] == len(rows) > 0
        assert row["value"] == pytest.approx(rows["match"].mean())
        assert row["floor"] == pytest.approx(rows["match_blank"].mean())
        assert row["source"] == pytest.approx(rows["source_right"].mean())
        assert row["low"] <= row["value"] <= row["high"]


def test_a_lead_is_the_difference_to_the_control_on_simple_and_on_complex_queries(answers, summary):
    rows = leads(summary)
    assert set(rows["variant"]) == {"uoisc", "adaptive", "dial"}
    row = of(rows, "uoisc", contrast="tiles").iloc[0]
    amr = {}
    for variant in ("uoisc", "no_alignment"):
        own = of(answers, variant)
        own = own[~own["ambiguous"]]
        amr[variant] = [own[chosen]["match"].mean() for chosen in (own["tiles"] == 1, own["tiles"] >= COMPLEX)]
    (simple, complex_), (control, control_complex) = amr["uoisc"], amr["no_alignment"]
    assert (row["simple"], row["complex"]) == pytest.approx((simple, complex_))
    assert (row["lead_simple"], row["lead_complex"]) == pytest.approx((simple - control, complex_ - control_complex))
    assert row["change"] == pytest.approx(row["lead_complex"] - row["lead_simple"])
    several = of(answers, "uoisc")
    several = several[several["ambiguous"]]["match"].mean()
    assert of(rows, "uoisc", contrast="answers").iloc[0]["complex"] == pytest.approx(several)
    assert of(rows, "adaptive", bits=138.0, contrast="tiles")["lead_simple"].notna().all(), "uniform's 144 are near"


def test_the_table_and_the_figure_name_methods_floors_and_counts(summary):
    table = lead_table(summary)
    assert {"UO-ISC (FiLM)", "rate dial"} <= set(table["method"]) and set(table["contrast"]) == {"tiles", "answers"}
    shown = "\n".join(text.get_text() for text in amr_by_complexity(summary).findobj(Text))
    assert all(part in shown for part in ("tiles that the answer needs", "several", "floor", "UO-ISC (FiLM), 144 bits"))


def test_photographs_are_left_out(answers):
    rows = answers.assign(tiles=0, ambiguous=False)
    for shows in (complexity, leads, amr_by_complexity):
        with pytest.raises(LeftOut, match="nobody knows"):
            shows(summarise(rows, resamples=20))


def test_methods_without_their_controls_are_left_out(summary):
    with pytest.raises(LeftOut, match="beside its control"):
        leads(summary[summary["variant"].isin(["uoisc", "adaptive_oracle"])])
