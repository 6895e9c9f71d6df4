"""Files go round, cost what they should, and a broken, foreign or wrong one is refused by name."""

import math
import zlib
from dataclasses import replace
from functools import cache

import constriction
import numpy as np
import pytest
import tiny
import torch
from away import away
from hypothesis import given, settings
from hypothesis import strategies as st

from uoisc.base.errors import CheckpointError
from uoisc.link import bitstream, choice, header
from uoisc.link.bitstream import BitstreamError, Held, SharedModel, hold, parse, read, write
from uoisc.link.entropy import build_tables
from uoisc.message import Message
from uoisc.variants import variant

FUZZED = 20_000
SIZE = (640, 480)
BUDGETS = (60, 100, 200)


codec_of = cache(tiny.codec)


@cache
def model(
    name: str = "adaptive", kind: str = "causal", mark: bytes = b"\x01\x02\x03\x04", bits: int = 200
) -> SharedModel:
    """A tiny codec with tables counted on skewed indices; a rate dial is set to at most so many bits."""
    if variant(name).dial:
        trained = tiny.untrained(name, "dial")
        return SharedModel(trained, build_tables(trained.rate.shape, kind, *counted(name)), mark).within(bits)
    return SharedModel(codec_of(name), build_tables(codec_of(name).rate.shape, kind, *counted(name)), mark)


def counted(name: str) -> tuple[np.ndarray, ...]:
    """Indices, which were sent, and which tokens came first, of forty messages."""
    many = [message(name, seed) for seed in range(40)]
    indices = np.concatenate([m.indices.numpy() for m in many])
    ranked = np.concatenate([bitstream.ranked_of(m) for m in many])
    sent = np.concatenate([m.mask.numpy() for m in many])
    return indices, sent, ranked


def message(name: str = "adaptive", seed: int = 0, bits: int = 200) -> Message:
    """A message of skewed indices, 0 where nothing is sent."""
    codec, generator = codec_of(name, bits=bits), torch.Generator().manual_seed(seed)
    sent = codec.rate.allocate(torch.rand(1, 36, generator=generator)).sent
    uniform = torch.rand(1, 2, 36, codec.quantizer.segments, generator=generator)
    indices = (uniform.square() * codec.quantizer.codes).long()
    return Message(indices if sent is None else indices * sent, sent)


def talk(shared: SharedModel, size: tuple[int, int] | None, seed: int = 0, queries: int = 3):
    """(what a query adds, what was known before it, its file) of queries about one picture of skewed indices."""
    generator, rate = torch.Generator().manual_seed(seed), shared.codec.rate
    uniform = torch.rand(1, 2, 36, rate.shape.segments, generator=generator)
    indices, held = (uniform.square() * rate.shape.codes).long(), None
    for _ in range(queries):
        relevance, known = torch.rand(1, 36, generator=generator), held and held.message
        sent = rate.allocate(relevance).sent if known is None else rate.further(relevance, known.mask)[0]
        message = Message(indices * sent, sent)
        file = write(message, shared, size, held)
        yield message, known, file
        held = hold(file, shared, held)


def same(one: Message, other: Message) -> bool:
    equal = (one.sent is None) == (other.sent is None) and torch.equal(one.indices, other.indices)
    return equal and (one.sent is None or torch.equal(one.sent, other.sent))


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("kind", ["static", "conditioned", "causal"])
@pytest.mark.parametrize("name", ["adaptive", "uoisc", "plain_vq"])
def test_round_trip(name, kind, size):
    for seed in range(20):
        sent = message(name, 100 + seed)
        data = write(sent, model(name, kind), size)
        received, restored = read(data, model(name, kind))
        assert same(sent, received) and restored == size
        assert data[:3] == b"UOI" if size else data[0] == 0xC3


@pytest.mark.parametrize("name", ["dial", "dial_uniform"])
@pytest.mark.parametrize("bits", BUDGETS)
def test_a_rate_dials_file_says_how_it_was_set(name, bits):
    sent = message(name, bits=bits)
    data = write(sent, model(name, bits=bits), SIZE)
    # read by a model that is set otherwise: the header's packing counts
    received, _ = read(data, model(name, bits=BUDGETS[0]))
    assert same(sent, received)
    packing = parse(data).packing
    assert model(name).trained.rate.packings[packing - 1].bits == model(name, bits=bits).codec.bits <= bits
    compact = write(sent, model(name, bits=bits), None)
    assert same(sent, read(compact, model(name, bits=bits))[0])
    other = model(name, bits=BUDGETS[0] if bits > BUDGETS[0] else BUDGETS[1])
    with pytest.raises(BitstreamError, match="altered, or written with another model"):
        read(compact, other)


def test_a_gpus_message_is_written_alike():
    one = message()
    there = Message(away(one.indices), away(one.sent))
    assert write(there, model(), (96, 96)) == write(one, model(), (96, 96))


def test_a_packing_that_the_model_does_not_have_is_refused():
    data = write(message("dial"), model("dial"), SIZE)
    for packing in (0, len(model("dial").trained.rate.packings) + 1):
        with pytest.raises(BitstreamError, match=f"packing {packing} is none of this model's"):
            read(signed(data[:12] + bytes([packing]) + data[13:]), model("dial"))
    fixed = write(message(), model(), SIZE)
    with pytest.raises(BitstreamError, match="packing 3 is none of this model's 0"):
        read(signed(fixed[:12] + bytes([3]) + fixed[13:]), model())


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("kind", ["static", "conditioned", "causal"])
@pytest.mark.parametrize("name", ["adaptive", "dial", "dial_uniform"])
def test_files_about_one_picture_hold_what_those_before_lack(name, kind, size):
    shared, costs = model(name, kind), []
    for seed in range(10):
        held = None
        for message, _, file in talk(shared, size, seed):
            # read by a model that is set otherwise, where the file says how it was set
            received, restored = read(file, shared if held is None else replace(shared, packing=0), held)
            assert same(message, received) and restored == size
            held = hold(file, shared, held)
        files = [file for *_, file in talk(shared, size, seed)]
        costs.append([len(parse(file).payload) for file in files])
        assert [parse(file).version for file in files] == [3, 4, 4]
        assert parse(files[2]).after == (parse(files[1]).checksum if size else None)
    first, second, third = np.mean(costs, axis=0)
    assert first > 1.5 * second > 0 or (name == "dial_uniform" and second == third == 0)


def test_tokens_that_lack_nothing_are_not_named():
    """With a third of 36 tokens held whole, the others' choice costs less; with all of them held nothing is left."""
    shared = model("adaptive")
    rate, everything = shared.codec.rate, torch.ones_like(message().indices, dtype=torch.bool)
    assert rate.counts(36) == range(6, 7) and rate.counts(33) == range(3, 7) and rate.counts(0) == range(0, 1)
    held = Held(Message(message().indices, everything), b"abc", 0)
    nothing = Message(message().indices, torch.zeros_like(everything))
    assert parse(write(nothing, shared, SIZE, held)).payload == b""
    assert not read(write(nothing, shared, SIZE, held), shared, held)[0].mask.any()


@given(st.integers(0, 2**31), st.integers(1, 16_384), st.integers(1, 16_384))
@settings(max_examples=60, deadline=None)
def test_round_trip_of_any_message_and_size(seed, width, height):
    sent = message(seed=seed)
    received, size = read(write(sent, model(), (width, height)), model())
    assert same(sent, received) and size == (width, height)


@given(st.integers(2, 60), st.data())
def test_a_choice_of_tokens_and_its_number_go_round(tokens, data):
    size = data.draw(st.integers(1, tokens - 1))
    number = data.draw(st.integers(0, math.comb(tokens, size) - 1))
    ranked = choice.choice(number, tokens, size)
    assert ranked.sum() == size and choice.choice_number(ranked) == number
    digits = choice.digits(number, math.comb(tokens, size))
    value = 0
    for digit, base in digits:
        assert 0 <= digit < base
        value = value * base + digit
    assert value == number and [base for _, base in digits] == choice.bases(math.comb(tokens, size))


@pytest.mark.parametrize("name", ["adaptive", "uoisc"])
def test_real_bytes_are_the_cross_entropy_and_less_than_two_more(name):
    """Two per cent, and the part of a byte that a whole number of bytes costs."""
    shared = model(name)
    spent = ideal = 0.0
    for seed in range(200):
        one = message(name, 1000 + seed)
        sent = one.mask.numpy()
        side = math.log2(math.comb(36, shared.chosen)) if shared.chosen else 0
        ideal += (shared.tables.bits(one.indices.numpy(), sent, bitstream.ranked_of(one))[0] + side) / 8
        spent += len(write(one, shared, None)) - header.COMPACT_BYTES
    assert ideal / 200 - 0.01 <= spent / 200 <= 1.02 * ideal / 200 + 1


def decoded(payload: bytes, bases: list[int]) -> list[int] | None:
    """Digits of these bases, read from bytes with zeros after them; None where no encoder can have made them."""
    padded = payload + bytes(-len(payload) % 4) + bytes(8)
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
    try:
        return [int(decoder.decode(constriction.stream.model.Uniform(base))) for base in bases]
    except AssertionError:
        return None


def shortest_by_decoding(whole: bytes, bases: list[int], wanted: list[int]) -> bytes:
    """The format's rule to the letter: every shorter prefix, and its successor, is decoded."""
    best = whole
    for length in range(len(whole) - 1, -1, -1):
        cut = int.from_bytes(whole[:length], "big")
        candidates = [n.to_bytes(length, "big") for n in (cut, cut + 1) if n < 1 << 8 * length]
        if not (fitting := [c for c in candidates if decoded(c, bases) == wanted]):
            break
        best = fitting[0]
    return best


NEAR_A_CARRY = [[half, *[end] * 7] for half, end in ((1 << 31, 0), ((1 << 31) - 1, (1 << 32) - 1), (5, 0))]


@pytest.mark.parametrize("words", [*NEAR_A_CARRY, None], ids=["above", "below", "small", "random"])
def test_the_shortest_prefix_is_found_without_decoding(words):
    """Messages near a word boundary hold back the coder's carry, which chance alone would not show."""
    rng, shorter = np.random.default_rng(0), 0
    for _ in range(300):
        bases = rng.integers(2, 1 << 12, rng.integers(0, 15)).tolist()
        source = np.array(words or rng.integers(0, 1 << 32, 8), dtype=np.uint32)
        wanted = decoded(source.astype(">u4").tobytes(), bases)
        if wanted is None:
            continue
        encoder = constriction.stream.queue.RangeEncoder()
        for digit, base in zip(wanted, bases, strict=True):
            encoder.encode(digit, constriction.stream.model.Uniform(base))
        whole = encoder.get_compressed().astype(">u4").tobytes()
        found = bitstream._shortest(encoder)
        assert found == shortest_by_decoding(whole, bases, wanted) and decoded(found, bases) == wanted
        shorter += len(found) < len(whole)
    assert shorter > 100


def test_bytes_do_not_depend_on_threads():
    threads, alone = torch.get_num_threads(), write(message(), model(), SIZE)
    torch.set_num_threads(threads + 1)
    try:
        assert write(message(), model(), SIZE) == alone and same(read(alone, model())[0], message())
    finally:
        torch.set_num_threads(threads)


def signed(data: bytes) -> bytes:
    """The file with its checksum made right again, as an attacker would."""
    return data[:13] + (zlib.crc32(data[:13] + data[16:]) & 0xFFFFFF).to_bytes(3, "big") + data[16:]


def following(data: bytes, checksum: bytes) -> bytes:
    """The file as one that follows that of a checksum, with its own made right."""
    head, payload = data[:3] + b"\x04" + data[4:13] + checksum, data[16:]
    return head + (zlib.crc32(head + payload) & 0xFFFFFF).to_bytes(3, "big") + payload


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_wrong_file_before_is_refused_by_name(size):
    shared, says = model(), "it follows the file of checksum" if size else "after another file"
    (_, _, first), (_, _, second), (_, _, third) = talk(shared, size)
    others = [file for *_, file in talk(shared, size, seed=1)]
    held = hold(first, shared)
    for wrong in (hold(others[0], shared), hold(second, shared, held)):
        with pytest.raises(BitstreamError, match=says):
            read(second, shared, wrong)
    with pytest.raises(BitstreamError, match=says):
        read(third, shared, held)
    with pytest.raises(BitstreamError, match="give that by --after"):
        read(second, shared)
    with pytest.raises(BitstreamError, match="follows no file: leave --after out"):
        read(first, shared, held)
    with pytest.raises(BitstreamError, match="written with model" if size else "another model"):
        read(second, model(mark=b"\x09\x09\x09\x09"), held)


def test_no_file_of_a_fixed_rate_follows_another():
    shared = model("uoisc")
    held = hold(write(message("uoisc"), shared, SIZE), shared)
    with pytest.raises(BitstreamError, match="a model of fixed rate sends all at once"):
        write(message("uoisc"), shared, SIZE, held)
    with pytest.raises(BitstreamError, match="a model of fixed rate sends all at once"):
        read(following(write(message("uoisc"), shared, SIZE), held.checksum), shared, held)


def test_what_a_packing_would_not_add_is_not_written():
    held = hold(write(message(), model(), SIZE), model())
    with pytest.raises(BitstreamError, match="not what this model adds to what the receiver holds"):
        write(message(seed=1), model(), SIZE, held)


def test_what_the_model_does_not_send_is_not_written():
    other = model("dial", bits=BUDGETS[1])
    with pytest.raises(BitstreamError, match="not what this model sends at this setting"):
        write(message("dial", bits=BUDGETS[0]), other, SIZE)
    packings = [(p.top, p.level, p.background) for p in other.trained.rate.packings]
    level = max(level for top, level, background in packings if (top, background) == (6, 1))
    few, many = (other.at(packings.index((top, level, 1)) + 1) for top in (4, 6))
    like = few.codec.encode(torch.rand(1, 3, 96, 96), ["where is the hammer"])
    with pytest.raises(BitstreamError, match="not what this model sends at this setting"):
        write(like, many, SIZE)
    for name in ("adaptive", "uoisc"):
        lost = message(name)
        sent = lost.mask.clone()
        sent[0, 0, int(sent[0, 0].any(dim=-1).nonzero()[0])] = False
        with pytest.raises(BitstreamError, match="not what this model sends at this setting"):
            write(Message(lost.indices, sent), model(name), SIZE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: b"", "the file is empty"),
        (lambda d: d[:10], "truncated"),
        (lambda d: d[:-1], "altered or truncated"),
        (lambda d: d[:20] + bytes([d[20] ^ 4]) + d[21:], "altered or truncated"),
        (lambda d: b"\x89PNG" + d[4:], "no .uoi file"),
        (lambda d: b"U", "truncated"),
        (lambda d: d[:3] + b"\x05" + d[4:], "version 5 of the format, this program reads 3 and 4: use a newer program"),
        (lambda d: d[:3] + b"\x01" + d[4:], "version 1 of the format, this program reads 3 and 4: encode the image ag"),
        (lambda d: d[:3] + b"\x04" + d[4:18], "18 bytes are less than a header"),
        (lambda d: following(d, b"abc"), "it follows the file of checksum 616263: give that by --after"),
        (lambda d: signed(d[:4] + b"\xff" + d[5:]), "written with model ff020304, this one is 01020304"),
        (lambda d: signed(d[:8] + bytes(4) + d[12:]), "an image of 0 x 0 pixels"),
        (lambda d: signed(d[:8] + b"\xff" * 4 + d[12:]), "an image of 65535 x 65535 pixels"),
        (lambda d: signed(d[:8] + b"\x40\0\x40\0" + d[12:]), "an image of 16384 x 16384 pixels: .* 178,956,970 in all"),
        (lambda d: signed(d + bytes(1)), "not one that this model writes"),
        (lambda d: signed(d + bytes(10_000)), "at most"),
    ],
)
def test_a_broken_file_is_refused_by_name(change, says):
    with pytest.raises(BitstreamError, match=says) as caught:
        read(change(write(message(), model(), SIZE)), model())
    assert "\n" not in str(caught.value)


def test_the_compact_form_notices_another_model_and_a_flip():
    data = write(message(), model(), None)
    for wrong in (data[:-1], data[:5] + bytes([data[5] ^ 1]) + data[6:], data[:2] + bytes([data[2] ^ 1]) + data[3:]):
        with pytest.raises(BitstreamError, match="altered, or written with another model"):
            read(wrong, model())
    with pytest.raises(BitstreamError, match="another model"):
        read(data, model(mark=b"\x09\x09\x09\x09"))
    with pytest.raises(BitstreamError, match="version 5"):
        read(b"\xc5" + data[1:], model())
    with pytest.raises(BitstreamError, match="it follows another file: give that by --after"):
        read(b"\xc4" + data[1:], model())
    with pytest.raises(BitstreamError, match="truncated"):
        read(data[:3], model())


def test_a_size_that_no_header_holds_is_refused_before_anything_is_written():
    for size in ((0, 10), (10, 70_000)):
        with pytest.raises(BitstreamError, match="1 to 16384 a side"):
            write(message(), model(), size)


def test_a_model_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read .Is a directory."):
        bitstream.fingerprint(tmp_path)


def test_parse_tells_without_a_model():
    full, compact = write(message(), model(), SIZE), write(message(), model(), None)
    assert full[16:] == compact[4:]
    file = parse(full)
    assert (file.fingerprint, file.size) == (b"\x01\x02\x03\x04", SIZE)
    assert file.packing == 0
    assert parse(compact).size is None


@pytest.mark.parametrize("follows", [False, True])
def test_fuzz(follows):
    """Mutated files, a half of them signed again: each is refused by name, or reads as a message that it writes."""
    rng = np.random.default_rng(0)
    sizes = [SIZE if s % 2 else None for s in range(50)]
    helds = [hold(next(talk(model(), size, s))[2], model()) if follows else None for s, size in enumerate(sizes)]
    talks = [[file for *_, file in talk(model(), size, s, 2)] for s, size in enumerate(sizes)]
    originals = [files[1] if follows else files[0] for files in talks]
    read_again = 0
    for number in range(FUZZED // 2):
        data, held = bytearray(originals[number % 50]), helds[number % 50]
        for _ in range(rng.integers(1, 4)):
            kind, at = rng.integers(4), int(rng.integers(max(1, len(data))))
            if kind == 0 and data:
                data[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del data[at:]
            elif kind == 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            else:
                data[at : at + 4] = rng.bytes(4)
        mutated = bytes(data)
        if rng.random() < 0.5 and len(mutated) >= 19:
            mutated = following(mutated[:13] + mutated[16:], held.checksum) if follows else signed(mutated)
        try:
            received, size = read(mutated, model(), held)
        except BitstreamError as error:
            assert "\n" not in str(error)
            continue
        read_again += 1
        assert write(received, model(), size, held) == mutated
    assert 0 < read_again < FUZZED // 4
