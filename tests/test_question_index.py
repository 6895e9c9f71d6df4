"""What importers share: one spelling of each category."""

from dataclasses import replace

import pytest
from own_data import N, two_each, written

from uoisc.base.errors import DataError
from uoisc.importers.manifest import index


@pytest.fixture
def lines() -> list[dict]:
    return two_each()


SPELLINGS = (
    *("Animal", "ANIMAL", " animal", "animal\u00a0", "ani\u00admal", "\uff41nimal"),
    *("animals", "ani-mal", "ani_mal"),
)


@pytest.mark.parametrize("other", SPELLINGS)
def test_a_category_in_two_spellings_is_refused_by_name(tmp_path, lines, other):
    """Case, white space, width, hyphens, plural: of each, images would be trained on that are to be held out."""
    data = written(tmp_path, [*lines, lines[2] | {"question": "Why?", "categories": [other]}])
    with pytest.raises(DataError, match="write them alike") as raised:
        index(data, tmp_path / "source")
    said = str(raised.value)
    assert "'animal' (line 1)" in said and f"{other!r} (line {2 * N + 1})" in said and "\n" not in said
    assert not (tmp_path / "source").exists()
    with pytest.raises(DataError, match="data.held_out"):
        index(replace(written(tmp_path, lines), held_out=other), tmp_path / "source")


def test_composed_and_decomposed_letters_are_one_category(tmp_path, lines):
    more = [lines[2] | {"question": f"Why {name}?", "categories": [name]} for name in ("caf\u00e9", "cafe\u0301")]
    with pytest.raises(DataError, match="differ in spelling alone"):
        index(written(tmp_path, lines + more), tmp_path / "a")


def test_plurals_of_what_is_not_held_out_may_be_categories_of_their_own(tmp_path, lines):
    more = [lines[2] | {"question": f"Why {name}?", "categories": [name]} for name in ("glass", "glasses", "hot dog")]
    assert index(written(tmp_path, lines + more), tmp_path / "source").problems == {}
