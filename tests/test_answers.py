"""Answer rules each way (the authors' code), and VQA's accuracy by hand."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import tiny

from benchmarks.matching_rules import without
from uoisc.data.answers import answers_match, first_integer, is_long, normalise, normalise_vqa, vqa_accuracy
from uoisc.data.questions import Query
from uoisc.data.sights import COLOURS, MAX_OBJECTS, PLACES

COUNT, YES_NO, WHERE, WHAT = "how many animals are there", "is there a lion", "where is the lion", "what is it"
COLOUR = "what colour is behind the lion"


@pytest.mark.parametrize(
    ("query", "answer", "other", "match"),
    [
        # "how many": the first integer, in digits or in words
        (COUNT, "2", "two", True),
        (COUNT, "There are three animals.", "3 of them, not 4", True),
        (COUNT, "two", "3", False),
        (COUNT, "12", "1", False),
        (COUNT, "10", "ten", True),
        (COUNT, "none", "none", True),
        (COUNT, "none", "0", False),
        ("How many animals are there?", "2", "2 animals", True),
        # yes/no: the first word
        (YES_NO, "yes", "Yes, on the left.", True),
        (YES_NO, "yes", "no", False),
        (YES_NO, "no lion", "no", True),
        ("Does the cat have a collar?", "yes it does", "yes", True),
        ("Are there two?", "no", "yes", False),
        # "where": one holds the other, or .8 similar
        (WHERE, "upper left", "in the upper left", True),
        (WHERE, "at the upper left", "upper left", True),
        (WHERE, "uper left", "upper left", True),
        (WHERE, "upper left", "lower right", False),
        # otherwise: equal, or .85 similar
        (WHAT, "red", "Red.", True),
        (WHAT, "a lion", "the lion", True),
        (WHAT, "lion", "a small lion", False),
        (WHAT, "strawberry", "strawbery", True),
        (WHAT, "cat", "car", False),
        # what denies the query's premise matches what denies it, and nothing else
        (COLOUR, "there is no lion", "There is no lion.", True),
        (COLOUR, "there is no lion", "there is no such animal", True),
        (COLOUR, "there is no lion", "red", False),
        (WHERE, "there is no lion", "lion", False),
        (COUNT, "there is no lion", "0", False),
        (COUNT, "There is no dog", "there is north", False),
        (COLOUR, "there is nothing", "there is no lion", False),
        # two empty answers never match, nor do two that are nothing but articles and punctuation
        (WHAT, "", "", False),
        (YES_NO, "", "", False),
        (WHERE, "", "upper left", False),
        (COUNT, "", "", False),
        (WHAT, "the", "a!", False),
    ],
)
def test_rules(query, answer, other, match):
    assert answers_match(query, answer, other) is match
    assert answers_match(query, other, answer) is match


@pytest.mark.parametrize(
    ("query", "threshold"),
    [(WHERE, 0.8), (WHAT, 0.85)],
)
def test_similarity_thresholds(query, threshold):
    """Twice the shared letters over all letters: 2 * 20 letters, the last ones other in one of them."""
    for different in range(1, 6):
        a, b = "x" * 20, "x" * (20 - different) + "y" * different
        assert answers_match(query, a, b) == (2 * (20 - different) / 40 >= threshold)


def test_any_two_right_answers_of_an_ambiguous_query_match():
    query = Query(0, "member", "where is the animal", "upper left", "animal", accepted=("upper left", "lower right"))
    assert query.ambiguous and not replace(query, accepted=()).ambiguous
    for answer, other, match in (
        ("upper left", "lower right", True),
        ("Lower right.", "at the upper left", True),  # each by the rule of its query
        ("upper left", "middle left", False),
        ("middle left", "middle left", True),  # wrong, but the same
        ("", "upper left", False),
    ):
        assert query.match(answer, other) is query.match(other, answer) is match
        assert not replace(query, accepted=()).match(answer, other) or answer == other
    assert [query.right(answer) for answer in ("Lower right", "upper left", "middle left")] == [True, True, False]
    assert not replace(query, accepted=()).right("lower right"), "then the truth alone"


def test_normalise_and_first_integer():
    assert normalise("The RED, an old; car!") == "red old car"
    assert normalise("theatre another") == "theatre another"
    assert [first_integer(text) for text in ("seven", "the 12th", "a few", "one or 2")] == ["7", "12", None, "1"]


def test_no_two_answers_of_the_benchmark_match_each_other():
    """Else a wrong answer would count as the right one."""
    names = tiny.all_names().names
    kinds = {
        YES_NO: ("yes", "no"),
        WHERE: PLACES,
        COLOUR: (*COLOURS, "there is no lion"),
        "what is at the upper left": (*names, "nothing"),
        COUNT: tuple(str(i) for i in range(MAX_OBJECTS + 1)),
    }
    for query, answers in kinds.items():
        assert all(answers_match(query, answer, answer) for answer in answers)
        assert not [(a, b) for a, b in combinations(answers, 2) if answers_match(query, a, b)]


@pytest.mark.parametrize(
    ("people", "accuracy"),
    # k of ten said it: leaving one of these out leaves k - 1, leaving one of the others out leaves k
    [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)],
)
def test_vqa_accuracy_by_hand(people, accuracy):
    answers = ("red",) * people + ("blue",) * (10 - people)
    assert vqa_accuracy("Red.", answers) == pytest.approx(accuracy)


def test_vqa_accuracy_is_the_mean_over_all_nine_of_ten():
    answers = ("yes", "Yes", "yes.", "no", "no", "maybe", "yea", "no", "no", "no")
    for answer in ("yes", "no", "maybe", "never"):
        nines = [[normalise_vqa(a) for a in nine] for nine in combinations(answers, 9)]
        expected = np.mean([min(nine.count(answer) / 3, 1) for nine in nines])
        assert vqa_accuracy(answer, answers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "normalised"),
    [
        ("Red", "red"),
        ("the dog", "dog"),
        ("An  apple and\na pear", "apple and pear"),
        ("Two", "2"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("yes.", "yes"),
        ("2.5", "2.5"),
        ("p.m.", "pm"),
        ("1,000", "1000"),
        ("1,000-2", "10002"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("red, white", "red white"),
        ("red,white", "red white"),
        ("t-shirt", "t shirt"),
        ("t-shirt - red", "tshirt red"),
        ("yes!", "yes"),
        ("dont know", "don't know"),
        ("don't know", "don't know"),
        ("5 oclock", "5 o'clock"),
        ("hell", "hell"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_vqa_does(answer, normalised):
    assert normalise_vqa(answer) == normalised


@pytest.mark.parametrize(
    ("answer", "long"),
    [("yes", False), ("a red and white", False), ("The man is wearing a red shirt.", True), ("Yes, it is here", True)],
)
def test_what_is_longer_than_a_phrase(answer, long):
    assert is_long(answer) == long


def test_sentences_that_differ_in_a_word_match_and_no_sentence_is_accurate():
    """Why questions end with the form of answer that is wanted."""
    one, other = "The man is wearing a red shirt.", "The man is wearing a blue shirt."
    assert answers_match("What is the man wearing?", one, other) and not answers_match("What colour?", "red", "blue")
    assert vqa_accuracy(one, ("red",) * 10) == 0


def test_an_article_that_is_the_whole_answer_counts():
    assert normalise("The letter.") == "letter" and normalise("A") == "a"
    assert answers_match("what letter is on the sign", "A", "a.") and not answers_match("what is it", "A", "the")


def test_without_the_rule_of_several_right_answers_two_of_them_do_not_match():
    rows = [("where is the animal", "upper left", hat) for hat in ("upper left", "lower right", None)]
    answers = pd.DataFrame(rows, columns=["query", "answer_source", "answer_hat"]).assign(match=[True, True, None])
    others = {"answer_blank": ["lower right", "upper left", ""], "answer_wrong_query": [None, "lower right", None]}
    found = without(answers.assign(**others))
    assert found["match"].tolist() == [True, False, pd.NA]
    assert found["match_blank"].tolist() == [False, True, False]
    assert found["match_wrong_query"].tolist() == [pd.NA, False, pd.NA]
