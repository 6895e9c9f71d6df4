"""What the benchmark times is what the codec does, its parts add up, and its shares and ratios are of one round."""

import sys

import pytest
import tiny
import torch

from benchmarks import codec as benchmark_codec
from benchmarks.clock import WARM_UP, Clock
from benchmarks.codec import BATCHES, PARTS, Rival, decode_in_parts, encode_in_parts, joined, split, table
from uoisc.link import bitstream, header
from uoisc.link.entropy import KINDS
from uoisc.message import Message
from uoisc.rivals.standard_codecs import WEBP
from uoisc.training import Bench

QUERIES = tiny.queries(3)


@pytest.fixture
def bench() -> Bench:
    return Bench(tiny.PARAMS, tiny.world(), tiny.clip(), tiny.llava())


@pytest.fixture(params=benchmark_codec.VARIANTS)
def model(request, bench):
    return benchmark_codec.random_model(bench, request.param, "low", counted=20)


def test_each_kind_of_tables_is_timed_and_finer_ones_take_no_more_bytes(bench, monkeypatch):
    monkeypatch.setattr(benchmark_codec, "COUNTED", 200)
    clock, sizes = benchmark_codec.time_kinds(bench, "adaptive", "low", WARM_UP + 4)
    assert list(sizes) == list(KINDS) and sizes["causal"] <= sizes["static"] + 1
    first, *rows = benchmark_codec.kinds_table(clock, sizes)
    assert "ms a message" in first
    for kind, row in zip(KINDS, rows, strict=True):
        assert row.split()[0] == kind and all(float(cell) >= 0 for cell in row.split()[1:])


def started() -> Clock:
    clock = Clock()
    clock.start_round()
    return clock


def test_files_and_images_are_those_of_the_codec(model):
    x, clock = tiny.images(3), started()
    files = encode_in_parts(clock, "x", model, x, QUERIES)
    message = model.codec.encode(x, QUERIES)
    assert files == [bitstream.write(one, model, (96, 96)) for one in split(message)]
    assert torch.equal(decode_in_parts(clock, "x", model, files, QUERIES), model.codec.decode(message, QUERIES))


def test_parts_add_up_to_less_than_the_whole_and_most_of_it(model):
    """Twice in one round, as one at a time is: everything that is timed adds up over the calls."""
    x, clock = tiny.images(3), started()
    for _ in range(2):
        decode_in_parts(clock, "x", model, encode_in_parts(clock, "x", model, x, QUERIES), QUERIES)
    for direction, names in PARTS.items():
        whole, parts = clock.rounds[0][f"x {direction}"], [clock.rounds[0][f"x {direction} {name}"] for name in names]
        assert min(parts) > 0 and 0.5 * whole < sum(parts) <= whole


def test_alignment_and_quantisation_are_what_the_message_takes_beside_clip(model):
    clock = started()
    encode_in_parts(clock, "x", model, tiny.images(3), QUERIES)
    message, clip, rest = (clock.rounds[0][f"x encode {name}"] for name in ("message", "CLIP", "align, VQ"))
    assert rest == message - clip


@pytest.mark.parametrize("sent", [None, torch.rand(3, 2, 4, 2) < 0.5])
def test_split_and_joined_are_inverse(sent):
    message = Message(torch.randint(4, (3, 2, 4, 2)), sent)
    parts = split(message)
    again = joined(parts)
    assert len(parts) == 3 and torch.equal(again.indices, message.indices)
    assert again.sent is None if sent is None else torch.equal(again.sent, sent)


def by_hand(whole: float, network: float, part: float, rival: float) -> dict[str, float]:
    """A round, seconds: the same for all variants, batch sizes and directions."""
    seconds = {}
    for name in benchmark_codec.VARIANTS:
        for batch in BATCHES:
            for direction, (first, second, *_) in PARTS.items():
                label = f"{name} {batch} {direction}"
                seconds |= {label: whole, f"{label} {first}": network, f"{label} {second}": part}
    return seconds | {f"webp {direction}": rival for direction in PARTS}


def test_a_table_says_milliseconds_an_image_shares_and_ratios():
    """Four images one at a time took 8 ms, 6 of them in the network; four of the rival's 4 ms."""
    rounds = [by_hand(1.0, 0.1, 0.1, 9.0)] * WARM_UP + [by_hand(0.008, 0.006, 0.001, 0.004)] * 3
    head, single, batch, *others = table(Clock(rounds=rounds), "encode", ["webp"])
    assert " ".join(head.split()) == "encode, ms an image whole CLIP align, VQ entropy other not CLIP webp"
    assert single.split()[-7:] == ["2.00", "1.50", "0.25", "0.00", "0.25", "25.0%", "0.50"]
    # 32 images at once took 0.25 ms each, the rival's still 1 ms each
    assert batch.split()[-7:] == ["0.25", "0.19", "0.03", "0.00", "0.03", "25.0%", "4.00"]
    assert len({len(line) for line in (head, single, batch, *others)}) == 1, "columns do not line up"


def test_a_share_is_of_each_round_and_not_of_two_medians():
    rounds = [by_hand(0.01, 0.009, 0.0, 1.0), by_hand(0.1, 0.09, 0.0, 1.0), by_hand(0.02, 0.002, 0.0, 1.0)]
    _, single, *_ = table(Clock(rounds=[rounds[0]] * WARM_UP + rounds), "encode", ["webp"])
    assert single.split()[-2] == "10.0%", "of the medians 0.02 and 0.009 it would be 55 %"


def test_an_image_is_padded_to_what_the_rival_takes():
    x = torch.rand(1, 3, 96, 96)
    padded = benchmark_codec.padded(x)
    assert padded.shape == (1, 3, 128, 128) and torch.equal(padded[..., :96, :96], x)
    assert torch.equal(padded[..., :96, 96:], x[..., -1:].expand(-1, -1, -1, 32))
    assert benchmark_codec.padded(padded).shape == padded.shape


def test_a_file_rival_codes_the_same_pixels_at_its_lowest_quality():
    x = tiny.images(1)
    rival = benchmark_codec.file_rival(WEBP)
    data = rival.encode(x)
    assert data == WEBP.encode((255 * x[0]).round().byte().permute(1, 2, 0).numpy(), 0) and rival.bytes(data) == len(
        data
    )
    assert rival.decode(data).shape == (96, 96, 3)


def test_without_compressai_a_line_says_how_to_install_it(bench, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "compressai.zoo", None)
    monkeypatch.setattr(benchmark_codec, "time_codecs", lambda bench, models, rivals, rounds: rivals_alone(rivals))
    benchmark_codec.print_codecs(bench, "low")
    lines = capsys.readouterr().out.strip().split("\n")
    assert lines[0] == benchmark_codec.HOW_TO_INSTALL
    assert [line.split(":")[0] for line in lines[-3:]] == ["webp", "avif", "adaptive"]


def rivals_alone(rivals: list[Rival]) -> tuple[Clock, dict[str, float]]:
    """Times by hand of all that could be timed."""
    seconds = by_hand(1.0, 0.5, 0.5, 1.0) | {f"{r.name} {direction}": 2.0 for r in rivals for direction in PARTS}
    names = [*benchmark_codec.VARIANTS, *(r.name for r in rivals)]
    return Clock(rounds=[seconds] * (WARM_UP + 1)), dict.fromkeys(names, 50.0)


def test_every_round_times_every_codec_on_every_batch_size(bench):
    models = {name: benchmark_codec.random_model(bench, name, "low", counted=20) for name in benchmark_codec.VARIANTS}
    counted = []
    rival = Rival("theirs", lambda x: counted.append(x) or b"12345", lambda data: None, len)
    clock, sizes = benchmark_codec.time_codecs(bench, models, [rival], rounds=2)
    wholes = {f"{name} {batch} {way}" for name in models for batch in BATCHES for way in PARTS}
    assert len(clock.rounds) == 2 and all(wholes <= r.keys() for r in clock.rounds)
    assert {x.shape for x in counted} == {(1, 3, 96, 96)} and len(counted) == 2 * benchmark_codec.ALONE
    assert sizes["theirs"] == 5 and all(header.HEADER_BYTES < sizes[name] < 100 for name in models)
