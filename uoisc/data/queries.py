"""What a query may be: one rule for the command line, the API and the importers of questions.

A query is a line of visible text. It comes back in Unicode's composed form (NFC), each run of white space as one
space and none at its ends: so CLIP, both ends of the link and the judges read the same, however it was typed.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from uoisc.base.errors import QueryError

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


def check_query(query: str | Any) -> str:
    """The query as it is read: in NFC, white space as single spaces, none at its ends. About 2 us for plain ASCII.

    Raises QueryError, one line, for what is no str; for an empty query, one of more than 2,000 characters or without
    letter, digit or symbol; for lone surrogates, control, direction-changing and other invisible characters; and for
    markers such as `<image>`, `<|endoftext|>` or `[INST]`, in any case, as entities of HTML or in wide letters too.
    """
    if not isinstance(query, str):
        raise QueryError(f"a query is text (str), not {type(query).__name__}: {ADVICE}")
    if len(query) > MAX_CHARACTERS:
        raise QueryError(f"the query {shown(query)} has {len(query)} characters: shorten it to {MAX_CHARACTERS}")
    if PLAIN.fullmatch(query):
        return query
    unescaped = html.unescape(html.unescape(query))  # as CLIP's tokenizer does, or more
    read = unicodedata.normalize("NFKC", unescaped).lower()
    hidden = next(filter(_hidden, query + read), None)
    if hidden is not None:
        name = "half of a character" if unicodedata.category(hidden) == "Cs" else "a control character"
        name = f"U+{ord(hidden):04X} ({unicodedata.name(hidden, name).lower()})"
        raise QueryError(f"the query {shown(query)} holds {name}: ask without it")
    if not any(unicodedata.category(character)[0] in "LNS" for character in read):
        raise QueryError(f"the query {f'{shown(query)} holds no word' if read.strip() else 'is empty'}: {ADVICE}")
    marker = MARKER.search(read)
    if marker:
        raise QueryError(f"the query {shown(query)} holds {shown(marker[0])}, a command to a model: ask without it")
    return unicodedata.normalize("NFC", " ".join(query.split()))


def check_queries(queries: list[str] | Any, images: int | None = None) -> list[str]:
    """Every query as `check_query` gives it. Raises QueryError also for no list, or other than one for each image."""
    if isinstance(queries, str) or not isinstance(queries, list | tuple):
        kind = type(queries).__name__
        raise QueryError(f"queries: wants a list of texts, one for each image, not {kind}: give ['...']")
    if images is not None and len(queries) != images:
        raise QueryError(f"{len(queries)} queries for {images} images: give one for each")
    return [check_query(query) for query in queries]


class Reader(NamedTuple):
    """What a model's tokenizer makes of a query, and how many tokens of it the model holds."""

    name: str
    room: int
    encode: Callable[[list[str]], list[list[int]]]  # the queries' own tokens, without those that begin and end a text
    special: frozenset[int]  # tokens that stand for no text


def hub_reader(name: str, tokenizer, room: int, *special: int) -> Reader:
    """Of a tokenizer of transformers; `special` tokens beside those that it names so itself."""
    own = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    own -= {tokenizer.unk_token_id}  # what unknown words become too; `check_query` refuses a query that writes it

    def encode(queries: list[str]) -> list[list[int]]:
        return tokenizer(queries, add_special_tokens=False)["input_ids"]

    return Reader(name, room, encode, frozenset({*own, *special}))


def misfits(queries: Sequence[str], reader: Reader) -> dict[int, str]:
    """Which of these queries (as `check_query` gives them) a model would not read whole and as text: place -> why.

    A query of plain ASCII takes at most one token a character: only longer and stranger ones are tokenized.
    """
    doubtful = [i for i, query in enumerate(queries) if len(query) >= reader.room or not PLAIN.fullmatch(query)]
    found = {}
    for i, tokens in zip(doubtful, reader.encode([queries[i] for i in doubtful]) if doubtful else [], strict=True):
        query = f"the query {shown(queries[i])}"
        if not reader.special.isdisjoint(tokens):
            found[i] = f"{query} holds what {reader.name} takes for a command: ask without it"
        elif len(tokens) > reader.room:
            most = f"{reader.name} reads {reader.room} tokens at most, it has {len(tokens)}"
            found[i] = f"{query} is too long: {most}, shorten it"
        elif not tokens:
            found[i] = f"{query} is empty to {reader.name}: {ADVICE}"
    return found


def check_fits(queries: Sequence[str], *readers: Reader) -> None:
    """Raises QueryError for the first query that one of the models would not read whole and as text (`misfits`)."""
    for reader in readers:
        for why in misfits(queries, reader).values():
            raise QueryError(why)


def shown(text: str) -> str:
    """The beginning of a text in quotes; what shows nothing or might steer a terminal is escaped."""
    return repr(text[:SHOWN]) + "..." * (len(text) > SHOWN)


def _hidden(character: str) -> bool:
    """Whether it shows nothing and is neither white space nor spelling."""
    invisible = character in FILLERS or unicodedata.category(character) in ("Cc", "Cf", "Cs")
    return invisible and character not in JOINERS + WHITE
