"""docs/bitstream.md says what the code does: a coder written from the page alone gives the same bytes.

`python tests/test_bitstream_document.py` writes the page's example anew.
"""

from __future__ import annotations

import ast
import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from uoisc.codec import Codec
from uoisc.link import bitstream, header
from uoisc.link.bitstream import SharedModel, ranked_of, write
from uoisc.link.entropy import Tables
from uoisc.message import Message, Shape
from uoisc.rate import Packing
from uoisc.relevance import spread_tokens

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/bitstream.md"
EXAMPLE = re.compile(r"(<!-- example:begin -->\n).*?(<!-- example:end -->)", re.DOTALL)
SIZE, CHOSEN, NEXT = (640, 480), 2, 1


def example() -> tuple[SharedModel, Message]:
    """The page's example; of a codec nothing but its rate matters here."""
    names = ("vision", "projection", "alignment", "quantizer", "ranking", "receiver", "decoder")
    parts, shape = dict.fromkeys(names, nn.Identity()), Shape(taps=2, tokens=4, segments=2, codes=4)
    codec = Codec(**parts, rate=Packing(shape, top=1, level=4, background=1))
    rows = np.array([[32768, 16384, 8192, 8192], [8192, 8192, 16384, 32768]] * 4)
    model = SharedModel(codec, Tables(shape, "conditioned", rows), bytes([1, 2, 3, 4]))
    sent = codec.rate.allocate(torch.eye(4)[CHOSEN][None]).sent
    indices = torch.tensor([[[[0, 0], [0, 0], [3, 2], [0, 0]], [[1, 0], [0, 0], [3, 1], [2, 0]]]])
    return model, Message(indices, sent)


def second(first: Message, model: SharedModel) -> Message:
    """The page's second message, after the first one's."""
    sent = model.codec.rate.allocate(torch.eye(4)[NEXT][None]).sent & ~first.sent
    return Message(torch.tensor([[[[0, 0], [2, 1], [0, 0], [0, 0]], [[0, 0], [0, 3], [0, 0], [0, 0]]]]), sent)


def digit(value: int, base: int) -> tuple[int, int]:
    """Where a digit begins and how wide it is, of 2^24."""
    width = (1 << 24) // base
    return value * width, width if value < base - 1 else (1 << 24) - value * width


def digits(chosen: list[int], tokens: int) -> list[tuple[int, int]]:
    """(digit, base) of a choice of tokens, the leading one first."""
    total = math.comb(tokens, len(chosen))
    if total == 1:
        return []
    number = sum(math.comb(token, place) for place, token in enumerate(sorted(chosen), start=1))
    further = next(d for d in range(total) if 4096 ** (d + 1) >= total)
    bases = [-(-total // 4096**further)] + [4096] * further
    return [(number // 4096**place % 4096, base) for place, base in zip(range(further, -1, -1), bases, strict=True)]


def index_range(row: list[int], k: int) -> tuple[int, int]:
    """Where an index begins and how wide it is, of 2^24."""
    codes = len(row)
    begins = [sum(row[:i]) * (2**24 - codes) // 2**16 + i for i in range(codes)] + [2**24]
    return begins[k], begins[k + 1] - begins[k]


def counted(model: SharedModel, message: Message, held: Message) -> tuple[list[bool], list[tuple[str, int, int]]]:
    """Of a message after others: which tokens come first, and the symbols that say how many, and which."""
    rate, (taps, tokens) = model.codec.rate, (model.tables.shape.taps, model.tables.shape.tokens)
    m, g = taps - 1 - (rate.level - 1) % taps, (rate.level - 1) // taps
    lacking = [n for n in range(tokens) if not held.mask[0, m, n, g]]
    chosen = [n for n in lacking if message.mask[0, m, n, g]]
    if not model.chosen:
        return model.unasked.tolist(), []
    least, most = max(0, rate.top - (tokens - len(lacking))), min(rate.top, len(lacking))
    said = [(len(chosen) - least, most - least + 1)] if most > least else []
    which = digits([lacking.index(n) for n in chosen], len(lacking))
    names, said = ["count"] * len(said) + ["choice"] * len(which), said + which
    named = [(f"{name}: {v} of base {b}", *digit(v, b)) for name, (v, b) in zip(names, said, strict=True)]
    return [n in chosen for n in range(tokens)], named


def symbols(model: SharedModel, message: Message, held: Message | None = None) -> list[tuple[str, int, int]]:
    """Each symbol's name, where it begins and how wide it is, in the payload's order."""
    shape, kind, rows = model.tables.shape, model.tables.kind, model.tables.frequencies.tolist()
    indices, sent, ranked = (part[0].tolist() for part in (message.indices, message.mask, ranked_of(message)))
    there, found = sent, []
    if held is not None:
        ranked, found = counted(model, message, held)
        there = (message.mask | held.mask)[0].tolist()
        indices = torch.where(message.mask, message.indices, held.indices)[0].tolist()
    elif model.chosen:
        chosen = [token for token, first in enumerate(ranked) if first]
        found += [(f"choice: {v} of base {b}", *digit(v, b)) for v, b in digits(chosen, shape.tokens)]
    side = math.isqrt(shape.tokens)
    for m in range(shape.taps):
        for n in range(shape.tokens):
            for g in range(shape.segments):
                if not sent[m][n][g]:
                    continue
                left = indices[m][n - 1][g] if n % side and there[m][n - 1][g] else shape.codes
                above = indices[m][n - side][g] if n >= side and there[m][n - side][g] else shape.codes
                r = (m * shape.segments + g) * 2 + int(ranked[n])
                causal = (r * (shape.codes + 1) + left) * (shape.codes + 1) + above
                row = rows[{"static": g, "conditioned": r, "causal": causal}[kind]]
                k = indices[m][n][g]
                found.append((f"tap {m}, token {n}, segment {g}: {k}", *index_range(row, k)))
    return found


def intervals(ranges: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(low, width, words) after each symbol, and before the first."""
    low, width, words = 0, 2**64 - 1, 0
    states = [(low, width, words)]
    for begin, wide in ranges:
        step = width // 2**24
        low, width = low + step * begin, step * wide
        if width < 2**32:
            low, width, words = low * 2**32, width * 2**32, words + 1
        states.append((low, width, words))
    return states


def payload(low: int, width: int, words: int) -> bytes:
    """The shortest bytes whose number lies in the interval, and of these the smallest."""
    for length in range(8 + 4 * words + 1):
        unit = 2 ** (64 + 32 * words - 8 * length)
        number = -(-low // unit)
        if number * unit < low + width:
            return number.to_bytes(length, "big")
    raise AssertionError("no number in the interval")


def file_of(
    model: SharedModel,
    message: Message,
    size: tuple[int, int] | None,
    held: Message | None = None,
    follows: bytes = b"",
) -> bytes:
    """A whole file, from the page; `follows` is the header's checksum of the file before it."""
    data = payload(*intervals([(begin, wide) for _, begin, wide in symbols(model, message, held)])[-1])
    packing = bytes([model.packing])
    if size is None:
        head = b"\xc4" + packing if held else b"\xc3"
        return head + zlib.crc32(model.fingerprint + packing + follows + data).to_bytes(4, "big")[1:] + data
    sides = size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big")
    head = b"UOI" + (b"\x04" if held else b"\x03") + model.fingerprint + sides + packing + follows
    return head + zlib.crc32(head + data).to_bytes(4, "big")[1:] + data


def spaced(data: bytes) -> str:
    return data.hex(" ").upper()


def symbol_table(found: list[tuple[str, int, int]]) -> tuple[list[str], bytes]:
    """The lines of a table of symbols, and the payload that they make."""
    states = intervals([(begin, wide) for _, begin, wide in found])[1:]
    lines = ["| symbol | begins at | is wide | low | width |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {begin} | {wide} | {low:016X} | {width:X} |"
        for (name, begin, wide), (low, width, _) in zip(found, states, strict=True)
    ]
    data = payload(*states[-1])
    return [*lines, "", f"The shortest number in the last interval is the payload: `{spaced(data)}`.", ""], data


FIELDS = {"UOI": 3, "version": 1, "fingerprint": 4, "width": 2, "height": 2, "packing": 1}


def fields(data: bytes, sizes: dict[str, int]) -> list[str]:
    """A file's lines, a field each; the last one is the payload."""
    lines, at = ["```"], 0
    for text, size in (*sizes.items(), ("checksum", 3), ("payload", len(data))):
        lines.append(f"{spaced(data[at : at + size]):<14}{text}")
        at += size
    return [*lines, "```", ""]


def example_text() -> str:
    """The page's example: every symbol, and all files."""
    model, first = example()
    lines, _ = symbol_table(symbols(model, first))
    whole, compact = write(first, model, SIZE), write(first, model, None)
    lines += [*fields(whole, FIELDS), f"The same message in the compact form: `{spaced(compact)}`.", ""]
    then = second(first, model)
    lines += [
        "A second query chooses token 1. Token 2 lacks nothing, so it is one of three, the one numbered 1.",
        "",
    ]
    lines += symbol_table(symbols(model, then, first))[0]
    lines += fields(write(then, model, SIZE, bitstream.hold(whole, model)), FIELDS | {"checksum of the first file": 3})
    after = spaced(write(then, model, None, bitstream.hold(compact, model)))
    return "\n".join([*lines, f"In the compact form, after the first file's: `{after}`.", ""])


def test_the_example_is_what_the_code_writes():
    assert EXAMPLE.search(PAGE.read_text()).group(0).split("\n", 1)[1].rsplit("<!--", 1)[0] == example_text()


def test_the_example_is_read_back():
    model, message = example()
    received, size = bitstream.read(
        bytes.fromhex(re.search(r"compact form: `([0-9A-F ]+)`", PAGE.read_text())[1]), model
    )
    assert size is None and torch.equal(received.indices, message.indices * message.sent)
    assert torch.equal(received.sent, message.sent) and ranked_of(received)[0].nonzero()[0].tolist() == [CHOSEN]


def test_the_second_example_is_read_back():
    model, first = example()
    texts = [re.search(rf"{name}: `([0-9A-F ]+)`", PAGE.read_text())[1] for name in ("compact form", "first file's")]
    held = bitstream.hold(bytes.fromhex(texts[0]), model)
    received, _ = bitstream.read(bytes.fromhex(texts[1]), model, held)
    then = second(first, model)
    assert torch.equal(received.sent, then.sent) and torch.equal(received.indices, then.indices * then.sent)


@pytest.mark.parametrize("size", [SIZE, None], ids=["self-describing", "compact"])
@pytest.mark.parametrize("kind", ["static", "conditioned", "causal"])
@pytest.mark.parametrize("name", ["adaptive", "dial", "dial_uniform"])
def test_a_coder_written_from_the_page_goes_on_alike(name, kind, size):
    from test_bitstream import model, talk

    for seed in range(10):
        shared, follows = model(name, kind), b""
        for message, known, file in talk(shared, size, seed):
            assert file_of(shared, message, size, known, follows) == file
            at = (16 if follows else 13) if size else (2 if follows else 1)
            follows = file[at : at + 3]


@pytest.mark.parametrize("size", [SIZE, None], ids=["self-describing", "compact"])
@pytest.mark.parametrize("kind", ["static", "conditioned", "causal"])
@pytest.mark.parametrize("name", ["adaptive", "uoisc", "plain_vq", "dial", "dial_uniform"])
def test_a_coder_written_from_the_page_writes_the_same_files(name, kind, size):
    from test_bitstream import message, model

    shared = model(name, kind)
    for seed in range(40):
        one = message(name, 3000 + seed)
        assert file_of(shared, one, size) == write(one, shared, size)


def test_the_choice_of_nine_of_thirty_six_tokens_has_the_stated_bases():
    bases = [f"{base:,}" for _, base in digits(list(range(9)), 36)]
    assert f"For 9 of 36 tokens the bases are {', '.join(bases)}." in " ".join(PAGE.read_text().split())


@pytest.mark.parametrize("side", [2, 3, 6, 22])
def test_the_tokens_that_come_first_where_no_query_chooses(side):
    page, found = " ".join(PAGE.read_text().split()), []
    for i in range(65_536):
        y, x = (36_864 + 49_471 * i) % 65_536, (36_864 + 37_345 * i) % 65_536
        found.append(y * side // 65_536 * side + x * side // 65_536)
    assert "y = (36,864 + 49,471 i) mod 65,536 and x = (36,864 + 37,345 i) mod 65,536" in page
    order = list(dict.fromkeys(found))
    for top in range(side**2 + 1):
        assert set(spread_tokens(side**2, top).nonzero()[:, 0].tolist()) == set(order[:top])


def messages_of(module) -> list[str]:
    """The longest stretch of plain text of every BitstreamError that a module raises."""
    raised = [
        node.exc for node in ast.walk(ast.parse(Path(module.__file__).read_text())) if isinstance(node, ast.Raise)
    ]
    texts = [call.args[0] for call in raised if getattr(getattr(call, "func", None), "id", "") == "BitstreamError"]
    pieces = [[node.value for node in ast.walk(text) if isinstance(node, ast.Constant)] for text in texts]
    return [max((str(piece).strip(" ,:") for piece in some), key=len) for some in pieces]


def test_every_error_of_a_reader_is_on_the_page():
    page, found = PAGE.read_text(), messages_of(bitstream) + messages_of(header)
    assert len(found) > 10
    assert [text for text in found if text not in page] == []


if __name__ == "__main__":
    PAGE.write_text(EXAMPLE.sub(lambda found: found[1] + example_text() + found[2], PAGE.read_text()))
