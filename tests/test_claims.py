"""Verdicts follow the numbers, each way; a flipped sign fails."""

from pathlib import Path

import pytest
import synthetic_results as synthetic
import yaml
from msgspec.structs import replace

from uoisc.base.errors import ConfigError
from uoisc.base.settings import JUDGES
from uoisc.judge import bootstrap
from uoisc.report import claims
from uoisc.report.claims import NOT, NOT_TESTABLE, PARTLY, REPRODUCED, Claim, Evidence

CLAIMS = Path(__file__).resolve().parent.parent / "paper" / "claims.yaml"


def judges(*intervals, bits=144.0, reference_bits=144.0):
    """Evidence of the two judges from (value, low, high) each."""
    return {j: Evidence(*i, 300, bits, reference_bits) for j, i in zip(JUDGES, intervals, strict=False)}


STRONG, WEAK, SMALL = (0.30, 0.20, 0.40), (0.10, -0.05, 0.25), (0.10, 0.05, 0.15)


@pytest.mark.parametrize(
    ("evidence", "paper", "verdict"),
    [
        (judges(STRONG, STRONG), 0.34, REPRODUCED),  # within the interval
        (judges(STRONG, STRONG), 0.048, REPRODUCED),  # above the paper's figure
        (judges(STRONG, SMALL), 0.34, PARTLY),  # one judge's size falls short
        (judges(SMALL, SMALL), 0.34, PARTLY),
        (judges(STRONG, WEAK), 0.10, PARTLY),  # one judge's interval includes zero
        (judges(WEAK, WEAK), 0.048, NOT),
        (judges(STRONG, (-0.01, -0.05, 0.03)), 0.048, NOT),  # the judges disagree on the sign
        (judges(STRONG, STRONG), None, REPRODUCED),  # the paper gives no size
        (judges(STRONG, WEAK), None, PARTLY),
        (judges(STRONG), 0.34, NOT_TESTABLE),  # one judge lacks
        ({}, 0.34, NOT_TESTABLE),
        (judges(STRONG, STRONG, bits=160.0), 0.34, NOT_TESTABLE),  # paid for with more bits
        (judges(STRONG, STRONG, bits=138.0), 0.34, REPRODUCED),
        (judges(STRONG, STRONG, reference_bits=0.0), None, REPRODUCED),  # against the blank image
    ],
)
def test_verdict_rule(evidence, paper, verdict):
    assert claims.decide(evidence, paper) == verdict


@pytest.fixture(scope="module")
def differences():
    table = synthetic.answers(queries=300)
    return bootstrap.differences(table, bootstrap.default_pairs(table))


def by_id(differences):
    return {row["id"]: row for row in claims.claim_rows(claims.load_claims(CLAIMS), differences)}


def test_claims_of_the_fixture(differences):
    rows = by_id(differences)
    assert all(
        list(row) == ["id", "statement", "metric", "paper", "ours", "low", "high", "n", "verdict"]
        for row in rows.values()
    )
    # adaptive keeps .80 where query-aware keeps .64; FiLM is within .02 of both of its rivals
    assert rows["C1-selection-points"]["verdict"] == REPRODUCED
    assert rows["C1-film-points"]["verdict"] == NOT
    assert rows["C2-film-ratio"]["verdict"] == NOT
    assert rows["L1"]["verdict"] == NOT_TESTABLE
    assert {rows["L1"][name] for name in ("paper", "ours", "low", "high", "n")} == {None}
    ours = differences[(differences.variant == "adaptive") & (differences.reference == "query_aware")]
    ours = ours[(ours.split == "unseen") & (ours.judge == JUDGES[1]) & (ours.bits == 138)].iloc[0]
    assert rows["C1-selection-points"]["ours"] == pytest.approx(ours.difference)
    assert rows["C1-selection-ratio"]["ours"] == pytest.approx(ours.relative)
    assert "138 against 144 bits" in rows["C1-selection-points"]["metric"]


def test_flipping_every_difference_reproduces_nothing(differences):
    flipped = differences.copy()
    for kind in ("difference", "relative"):
        flipped[[kind, f"{kind}_low", f"{kind}_high"]] = -differences[[kind, f"{kind}_high", f"{kind}_low"]].to_numpy()
    gained = {name for name, row in by_id(differences).items() if row["verdict"] in (REPRODUCED, PARTLY)}
    assert {"C1-selection-points", "C3-film-preserves"} <= gained
    # Flipped, the references fall below their own floors too, which makes some claims untestable.
    assert {by_id(flipped)[name]["verdict"] for name in gained} <= {NOT, NOT_TESTABLE}
    assert by_id(flipped)["C3-film-preserves"]["verdict"] == NOT


def test_a_variant_that_was_not_evaluated_is_not_testable(differences):
    rows = by_id(differences[differences.variant != "adaptive"])
    assert rows["C2-selection-ratio"]["verdict"] == NOT_TESTABLE
    assert rows["C2-selection-ratio"]["metric"].endswith("not evaluated")
    assert rows["C2-film-ratio"]["verdict"] == NOT


def test_rates_are_read_from_the_data(differences):
    """Of the rates that variant and reference share: UO-ISC has three, the codec without alignment two."""

    def bits_of(claim):
        rates = claims.CHOICES["rate"]
        return [{e.bits for e in claims.gather(replace(claim, rate=rate), differences).values()} for rate in rates]

    assert bits_of(Claim("x", "x", "uoisc", "blank")) == [{144.0}, {432.0}, {864.0}]
    assert bits_of(Claim("x", "x", "uoisc", "no_alignment")) == [{144.0}, {432.0}, {432.0}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spilt": "seen"}, "unknown field `spilt`"),
        ({"variant": None}, "missing key variant"),
        ({"paper": "much"}, r"Expected `float \| null`, got `str` - at `\$.paper`"),
        ({"rate": "tight"}, "rate must be one of tightest, middle, loosest"),
        ({"split": "unseen-seen", "reading": "relative"}, "absolute reading only"),
    ],
)
def test_a_wrong_claim_is_named(tmp_path, change, message):
    entry = {"id": "C9", "statement": "s", "variant": "uoisc", "reference": "blank"} | change
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [entry]}))
    with pytest.raises(ConfigError, match=f"C9: .*{message}"):
        claims.load_claims(tmp_path / "claims.yaml")


def test_a_reference_at_its_floor_proves_nothing(differences):
    """A rival whose own AMR is no better than a blank image's makes every claim against it untestable."""
    broken = differences.copy()
    rows = (broken["variant"] == "query_aware") & (broken["reference"] == "blank")
    broken.loc[rows, ["difference", "difference_low", "difference_high"]] = [0.0, -0.02, 0.02]
    claim = next(c for c in claims.load_claims(CLAIMS) if c.reference == "query_aware" and c.split == "unseen")
    assert claims.decide(claims.gather(claim, differences), claim.paper) != NOT_TESTABLE
    assert claims.decide(claims.gather(claim, broken), claim.paper) == NOT_TESTABLE


@pytest.mark.parametrize("text", ["claims: 5", "claims: [a, b]", "goals: []", "[", "\xff"])
def test_a_file_without_a_list_of_claims_is_one_line(tmp_path, text):
    (tmp_path / "claims.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="claims") as caught:
        claims.load_claims(tmp_path / "claims.yaml")
    assert "\n" not in str(caught.value)
