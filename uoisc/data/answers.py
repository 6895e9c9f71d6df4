"""Rules of answers: how they are normalised, when two match, and VQA's accuracy among several people's."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

ARTICLES = {"a", "an", "the"}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: str(number) for number, word in enumerate(DIGITS)}
LONG = 3  # ours: words of a phrase
SIMILAR = 0.85  # authors' code: so alike are two spellings of one answer
SIMILAR_PLACE = 0.8  # authors' code: so alike are two of one place
DENIAL = "there is no"  # how an answer begins that denies what its question supposes
YES_NO = {"is", "are", "does", "do", "can", "has", "have", "was", "were", "did", "will", "could"}  # authors' code

# The normalisation of VQA's own evaluation: what stands between words becomes nothing or a blank, never an apostrophe.
VQA_MARKS = r";/[]\"{}()=+\\_-><@`,?!"
VQA_NUMBERS = {"none": "0", **NUMBERS}
VQA_SHORT = {  # what follows the apostrophe that an answer has left out -> the words before it
    "t": "ain aren can couldn didn doesn don hadn hasn haven isn mightn mustn needn oughtn shan shouldn wasn weren won "
    "wouldn",
    "ve": "could might must not should they we what where who would you",
    "ll": "how it somebody someone something they what who why you",
    "re": "there they what who why you",
    "s": "he how somebody someone that there what when where who why",
    "d": "he how it someone something there they where who you",
}
VQA_CONTRACTIONS = {
    **{f"{word}{end}": f"{word}'{end}" for end, words in VQA_SHORT.items() for word in words.split()},
    **{"maam": "ma'am", "oclock": "o'clock", "twas": "'twas", "yall": "y'all"},
}


def normalise(answer: str) -> str:
    """Lower case, no punctuation, no articles but where nothing else is said (the letter A)."""
    words = re.sub(r"[^\w\s]", " ", answer.lower()).split()
    return " ".join([word for word in words if word not in ARTICLES] or words)


def is_long(answer: str) -> bool:
    """Whether it has more than three words, articles aside: a sentence, where VQA's own answers are a word or a phrase.

    The rules below are not made for sentences. Two that differ in a word are similar enough to match ("The man is
    wearing a red shirt", "... a blue shirt": .90), as are a yes/no question's that begin alike; VQA accuracy counts
    every sentence as wrong. So the share of long answers stands beside each AMR's floor.
    """
    return len(normalise(answer).split()) > LONG


def first_integer(answer: str) -> str | None:
    """The first integer, in digits or in words up to ten."""
    for word in normalise(answer).split():
        digits = re.match(r"\d+", word)
        if digits or word in NUMBERS:
            return digits.group() if digits else NUMBERS[word]
    return None


def answers_match(query: str, answer: str, other: str, accepted: Sequence[str] = ()) -> bool:
    """Whether two answers to a query agree (rules: authors' code).

    "how many": the first integer; yes/no questions: the first word; "where": one holds the other or they are
    .8 similar (difflib); otherwise equal or .85 similar, after `normalise`. Two empty answers never match (ours).
    Ours as well: two answers match where each is one of the `accepted`, an ambiguous query's right answers; and of two
    of which one denies what the query supposes ("there is no lion"), where the other does.
    """
    if accepted and all(any(answers_match(query, said, right) for right in accepted) for said in (answer, other)):
        return True
    a = normalise(answer)
    b = normalise(other)
    if not a or not b:
        return False
    denied = [f"{said} ".startswith(f"{DENIAL} ") for said in (a, b)]
    if any(denied):
        return all(denied)
    question = normalise(query)
    if question.startswith("how many"):
        first = first_integer(answer)
        second = first_integer(other)
        return a == b if first is None or second is None else first == second
    if question.split()[:1] and question.split()[0] in YES_NO:
        return a.split()[0] == b.split()[0]
    if question.startswith("where"):
        return a in b or b in a or SequenceMatcher(None, a, b).ratio() >= SIMILAR_PLACE
    return a == b or SequenceMatcher(None, a, b).ratio() >= SIMILAR


def normalise_vqa(answer: str) -> str:
    """An answer as VQA's evaluation compares it: lower case, digits for number words to ten, no articles.

    Punctuation goes: without a trace where a blank is beside it anywhere in the answer or a comma parts digits
    (1,000), and for a blank otherwise; a full stop stays before a digit. Left-out apostrophes come back (dont).
    """
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    grouped = re.search(r"\d,\d", text) is not None
    cleaned = text
    for mark in VQA_MARKS:
        beside_blank = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if beside_blank or grouped else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned)
    words = (VQA_NUMBERS.get(word, word) for word in cleaned.lower().split())
    return " ".join(VQA_CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(answer: str, answers: tuple[str, ...]) -> float:
    """VQA accuracy in [0, 1]: min(people of nine who said it / 3, 1), over all ways to leave one of ten out.

    Source: VQA's evaluation (Antol et al., 2015). Deviation: both sides are always normalised, theirs only where
    people disagree; contractions of three words (couldn't've) stay as they are.

    Args:
        answers: what people said, two or more (VQA: ten); with fewer than four no answer reaches 1.
    """
    said = normalise_vqa(answer)
    agree = [normalise_vqa(other) == said for other in answers]
    return float(np.mean([min((sum(agree) - left_out) / 3, 1) for left_out in agree]))
