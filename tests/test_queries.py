"""What a query may be: one form for all readers, nothing hidden, no commands to a model, and short enough."""

import unicodedata
from functools import cache

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from uoisc.base.errors import QueryError
from uoisc.data.queries import (
    MAX_CHARACTERS,
    PLAIN,
    Reader,
    check_fits,
    check_queries,
    check_query,
    hub_reader,
    misfits,
)
from uoisc.frozen.clip import clip_reader, open_clip

MARKERS = (
    "<end_of_text>", "<START_OF_TEXT>", "<|endoftext|>", "<|im_start|>user", "[INST]", "[/inst]", "<<SYS>>", "<s>",
    "</s>", "<unk>", "<pad>", "<image>", "&lt;image&gt;", "&amp;lt;/s&amp;gt;", "\uff1cend_of_text\uff1e",
    "\ufe64image\ufe65",
)  # fmt: skip
HIDDEN = {
    "\ud800": "U+D800 .half of a character", "\0": "U+0000 .a control", "\x1b[31m": "U+001B", "\x1c": "U+001C",
    "\x7f": "U+007F", "\u200b": "U+200B .zero width space", "\u202e": "U+202E .right-to-left override",
    "\u2066": "U+2066", "\ufeff": "U+FEFF", "\xad": "U+00AD", "\U000e0061": "U+E0061", "\u3164": "U+3164",
    "&#8203;": "U+200B", "&rlm;": "U+200F",
}  # fmt: skip


def refused(query) -> str:
    with pytest.raises(QueryError) as caught:
        check_query(query)
    line = str(caught.value)
    assert line.isprintable() and line.encode() and len(line) < 300  # one line, which a terminal shows, and no more
    return line


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("where is the horse", "where is the horse"),
        ("  Where\tis\n the\u2003horse?\u2028", "Where is the horse?"),
        ("cafe\u0301", "caf\xe9"),
        ("is 3 < 4 & 5 > 2, or [not]?", "is 3 < 4 & 5 > 2, or [not]?"),
        ("\u0433\u0434\u0435 \u043b\u0435\u0432?", "\u0433\u0434\u0435 \u043b\u0435\u0432?"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("7", "7"),
    ],
)
def test_one_form_for_all_readers(typed, read):
    assert check_query(typed) == read


@pytest.mark.parametrize("query", ["", " \t\n", "\u2003", "&nbsp;", "\xa0"])
def test_an_empty_query(query):
    assert "the query is empty" in refused(query)


@pytest.mark.parametrize("query", ["?", "...", "\u200d", "\u0301"])
def test_a_query_without_a_word(query):
    assert "holds no word" in refused(query)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("around", ["{}", "where{} is it", "\u0433\u0434\u0435{}"])
def test_hidden_characters_are_named(hidden, around):
    line = refused(around.format(hidden))
    number, _, name = HIDDEN[hidden].partition(" .")
    assert number in line and name in line


@pytest.mark.parametrize("marker", MARKERS)
def test_commands_to_a_model(marker):
    assert "a command to a model" in refused(f"where {marker} is it")


@pytest.mark.parametrize("query", [None, b"where", 3, ["where"]])
def test_a_query_is_text(query):
    assert f"not {type(query).__name__}" in refused(query)


def test_a_query_of_a_megabyte():
    assert check_query("a" * MAX_CHARACTERS)
    assert f"shorten it to {MAX_CHARACTERS}" in refused("a" * 1_000_000)


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_what_passes_is_visible_text_in_one_form(query):
    try:
        read = check_query(query)
    except QueryError as error:
        assert str(error).isprintable()
        return
    assert read == check_query(read) == unicodedata.normalize("NFC", read) == " ".join(read.split())
    assert not {unicodedata.category(c) for c in read} & {"Cc", "Cs", "Zl", "Zp"} and read.encode()


@given(st.text(st.characters(max_codepoint=127), max_size=30))
def test_the_quick_way_changes_no_answer(query):
    if PLAIN.fullmatch(query):
        assert " ".join(query.split()) == query and any(c.isalnum() for c in query) and not set("<>[]&|") & set(query)


@pytest.mark.parametrize("queries", ["where is it", None, {"where": 1}, iter(["where"])])
def test_queries_are_a_list(queries):
    with pytest.raises(QueryError, match="wants a list of texts, one for each image, not"):
        check_queries(queries, 1)


def test_one_query_for_each_image():
    assert check_queries((" a ", "b"), 2) == ["a", "b"]
    with pytest.raises(QueryError, match="2 queries for 1 images"):
        check_queries(["a", "b"], 1)


# --- what a model's own tokenizer makes of them ---


@cache
def readers() -> tuple[Reader, ...]:
    """CLIP's own tokenizer, the stand-in judge's, and those of two LLaVAs' layouts."""
    layouts = (hub_reader(tower, tiny.layout_processor(tower).tokenizer, 40) for tower in ("clip", "siglip"))
    return clip_reader(open_clip.SimpleTokenizer()), tiny.llava().reader, *layouts


def test_ordinary_queries_fit_every_reader():
    assert [misfits(tiny.queries(8), reader) for reader in readers()] == [{}] * 4
    assert readers()[0].room == 75


@pytest.mark.parametrize("query", ["<end_of\ufffc_text> where", "\xef\xbc\u0153end_of_text\xef\xbc\u017e"])
def test_what_clips_tokenizer_mends_into_a_command(query):
    """It drops characters and mends wrong encodings first: only its tokens tell."""
    assert check_query(query) == query
    assert "holds what CLIP takes for a command" in misfits([query], readers()[0])[0]


@pytest.mark.parametrize("reader", range(4))
def test_every_special_token_of_a_tokenizer_is_refused(reader):
    reader = readers()[reader]
    names = {
        "CLIP": ["<start_of_text>", "<end_of_text>"],
        "the judge": ["<pad>", "<s>", "</s>", "<image>"],
        "clip": ["<pad>", "<s>", "</s>", "<image>"],
        "siglip": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"],
    }[reader.name]
    for name in names:
        assert "takes for a command" in misfits(["what", f"where {name} is"], reader)[1]
        refused(f"where {name} is")


def test_the_longest_query_that_fits():
    reader = readers()[0]
    fits, cut = " ".join(["cat"] * 75), " ".join(["cat"] * 76)
    assert list(misfits([fits, cut, "\u732b" * 20, "\u732b" * 60], reader)) == [1, 3]
    with pytest.raises(QueryError, match="is too long: CLIP reads 75 tokens at most, it has 76, shorten it"):
        check_fits([fits, cut], reader)


def test_what_a_reader_reads_as_nothing():
    assert "is empty to CLIP" in misfits(["\ufffc"], readers()[0])[0]


@given(st.text(st.characters(max_codepoint=127), max_size=120))
def test_short_plain_queries_need_no_tokenizer(query):
    """The bound that spares tokenizing: at most one token a character."""
    if PLAIN.fullmatch(query):
        for reader in readers():
            assert len(reader.encode([query])[0]) <= len(query)
