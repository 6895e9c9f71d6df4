"""What a query may be: one rule for the command line, the API and the importers of questions.

A query is a line of visible text. It comes back in Unicode's composed form (NFC), each run of white space as one
space and none at its ends: so CLIP, both ends of the link and the judges read the same, however it was typed.
"""

from __future__ import annotations

import html
import re
import unicodedata

from uoisc.errors import QueryError

MAX_CHARACTERS = 2000  # no CLIP reads as much, and a tokenizer's time may grow with the square of a word's length
SHOWN = 40  # characters of a query in a message
ADVICE = "ask something, for example 'where is the horse'"
PLAIN = re.compile(r"(?=.*[0-9A-Za-z])[!-%'-;=?-Z^-z~]+(?: [!-%'-;=?-Z^-z~]+)*")  # ASCII that no marker is made of
WHITE = "\t\n\v\f\r\x85"  # control characters that are white space
JOINERS = "\u200c\u200d"  # invisible, but part of Persian's spelling and of many emoji
FILLERS = "\u115f\u1160\u3164\uffa0\u2800"  # letters and symbols that show nothing
MARKER = re.compile(  # by which tokenizers and chat templates tell turns, ends of texts and images
    r"<\|[^<>|]*\|>|<</?sys>>|\[/?(?:inst|cls|sep|pad|unk|mask|img|image)\]"
    r"|</?(?:s|bos|eos|pad|unk|mask|image|video|audio|start_of_text|end_of_text|start_of_turn|end_of_turn)>"
)


def check_query(query: str) -> str:
    """The query as it is read: in NFC, white space as single spaces, none at its ends. About 1 us for plain ASCII.

    Raises QueryError, one line, for what is no str; for an empty query, one of more than 2,000 characters or without
    letter, digit or symbol; for lone surrogates, control, direction-changing and other invisible characters; and for
    markers such as `<image>`, `<|endoftext|>` or `[INST]`, in any case, as entities of HTML or in wide letters too.
    """
    if not isinstance(query, str):
        raise QueryError(f"a query is a str, this is a {type(query).__name__}: {ADVICE}")
    if len(query) > MAX_CHARACTERS:
        raise QueryError(f"the query {shown(query)} has {len(query)} characters: shorten it to {MAX_CHARACTERS}")
    if PLAIN.fullmatch(query):
        return query
    hidden = next(filter(_hidden, query), None)
    if hidden is not None:
        raise QueryError(f"the query {shown(query)} holds {_named(hidden)}: ask without it")
    query = unicodedata.normalize("NFC", " ".join(query.split()))
    if not query:
        raise QueryError(f"the query is empty: {ADVICE}")
    if not any(unicodedata.category(character)[0] in "LNS" for character in query):
        raise QueryError(f"the query {shown(query)} holds no word: {ADVICE}")
    marker = MARKER.search(unicodedata.normalize("NFKC", html.unescape(html.unescape(query))).lower())
    if marker:
        raise QueryError(
            f"the query {shown(query)} holds {shown(marker[0])}, which models take for a command, not text"
        )
    return query


def shown(text: str) -> str:
    """The beginning of a text in quotes; whatever is no ASCII or might steer a terminal is escaped."""
    return ascii(text[:SHOWN]) + "..." * (len(text) > SHOWN)


def _hidden(character: str) -> bool:
    """Whether it shows nothing and is neither white space nor spelling."""
    if character in JOINERS or character in WHITE:
        return False
    return character in FILLERS or unicodedata.category(character) in ("Cc", "Cf", "Cs")


def _named(character: str) -> str:
    """Number and name of a character that shows nothing."""
    kind = "half of a character" if unicodedata.category(character) == "Cs" else "a control character"
    return f"U+{ord(character):04X} ({unicodedata.name(character, kind).lower()})"
