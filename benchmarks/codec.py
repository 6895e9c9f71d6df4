"""Prints how long an image takes to become a file and a picture again, part by part, beside codecs that people use.

    image, query --CLIP--> --align, VQ--> --entropy--> file --entropy--> --lookup--> --network--> image

Random weights, tables counted on messages about random scenes: nothing needs to be trained. Parts are timed where
`Codec.encode` and `Codec.decode` call them; `other` is what a whole has beside them. All take turns, round after round;
shares and ratios are medians of what each round says: what else the machine does meets both sides of a ratio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.clock import Clock
from uoisc.base.compat import import_torchvision
from uoisc.base.distributed import device
from uoisc.link import bitstream
from uoisc.link.bitstream import SharedModel
from uoisc.link.entropy import KINDS, build_tables
from uoisc.message import Message
from uoisc.rivals.standard_codecs import AVIF, WEBP, FileCodec
from uoisc.stages.entropy_jobs import messages
from uoisc.training import Bench
from uoisc.variants import variant

VARIANTS = ("adaptive", "uoisc")
BATCHES = {1: 4, 32: 1}  # images at a time: how often a round
ALONE = 4  # images a round of a rival, which codes one at a time
COUNTED = 500  # scenes that tables are counted on
ROUNDS = 12
TABLES = "causal"  # the kind that both variants choose when trained, and the slowest
GOAL = 0.15  # of encoding, at most, for all but the frozen CLIP
# What is timed of each direction; the first is the network against which everything else is weighed.
PARTS = {"encode": ("CLIP", "align, VQ", "entropy"), "decode": ("network", "entropy", "lookup")}
RIVAL_SIDE = 64  # its images are padded to multiples of so many pixels
HOW_TO_INSTALL = (
    "cheng2020-anchor: pip install --no-deps compressai torch-geometric pytorch-msssim xxhash to compare with it "
    "(it works with this numpy, but its own requirements refuse it)"
)


@dataclass(frozen=True)
class Rival:
    """Another codec: an image (1, 3, H, W) in [0, 1] to something that `decode` takes, and how many bytes that has."""

    name: str
    encode: Callable[[Tensor], object]
    decode: Callable[[object], object]
    bytes: Callable[[object], int]


def print_codecs(bench: Bench, rate: str, rounds: int = ROUNDS) -> None:
    """Two tables, encode and decode, a row per variant and batch size; then a line per rival."""
    rivals = [file_rival(WEBP), file_rival(AVIF)]
    try:
        rivals.append(learned_rival())
    except ImportError:
        print(f"\n{HOW_TO_INSTALL}")
    models = {name: random_model(bench, name, rate) for name in VARIANTS}
    clock, sizes = time_codecs(bench, models, rivals, rounds)
    for direction in PARTS:
        print("\n" + "\n".join(table(clock, direction, [rival.name for rival in rivals])))
    print("\n" + "\n".join(kinds_table(*time_kinds(bench, VARIANTS[0], rate, rounds))))
    print(f"\ngoal: not CLIP at most {GOAL:.0%}; last columns: their time / ours, above 1 ours is faster")
    print("theirs at the lowest quality, one image at a time (several at once gain cheng2020-anchor nothing)")
    for rival in rivals:
        encode, decode = (1000 * clock.median(f"{rival.name} {direction}") / ALONE for direction in PARTS)
        print(f"{rival.name}: {sizes[rival.name]:.0f} bytes, encode {encode:.1f} ms, decode {decode:.1f} ms")
    print("; ".join(f"{name}: {sizes[name]:.0f} bytes" for name in models) + " (random weights)")


def random_model(bench: Bench, name: str, rate: str, counted: int = COUNTED) -> SharedModel:
    """An untrained codec with tables of its own messages."""
    codec = variant(name).build(bench.clip, bench.params, rate).to(device()).eval()
    pairs = ((batch.images, batch.texts) for batch in bench.batches(1))
    tables = build_tables(codec.rate.shape, TABLES, *messages(codec, pairs, counted))
    return SharedModel(codec, tables, bytes(4))


def file_rival(codec: FileCodec) -> Rival:
    """A file format at the lowest of its qualities, whose files come nearest to ours."""
    quality = codec.qualities[0]
    return Rival(codec.name, lambda x: codec.encode(pixels(x), quality), codec.decode, len)


def learned_rival() -> Rival:
    """CompressAI's `cheng2020-anchor` (Cheng et al., 2020) at its lowest quality, with random weights.

    Raises ImportError where the package, or one that it needs, is missing.
    """
    import_torchvision()
    from compressai.zoo import cheng2020_anchor

    model = cheng2020_anchor(quality=1, pretrained=False).eval()
    model.update()
    return Rival(
        "cheng2020-anchor",
        torch.no_grad()(lambda x: model.compress(padded(x))),
        torch.no_grad()(lambda coded: model.decompress(coded["strings"], coded["shape"])["x_hat"]),
        lambda coded: sum(len(strings[0]) for strings in coded["strings"]),
    )


def padded(x: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 3 H2 W2"]:
    """The image with its edges repeated to the right and below, up to multiples of 64 pixels."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % RIVAL_SIDE, 0, -height % RIVAL_SIDE), mode="replicate")


def pixels(x: Float[Tensor, "1 3 H W"]) -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.ascontiguousarray((255 * x[0]).round().to(torch.uint8).movedim(0, -1).numpy())


def time_codecs(
    bench: Bench, models: dict[str, SharedModel], rivals: list[Rival], rounds: int
) -> tuple[Clock, dict[str, float]]:
    """Every round: each model on each batch size, each rival on some images. Returns times, and mean bytes by name."""
    clock, sizes = Clock(), {name: [] for name in [*models, *(rival.name for rival in rivals)]}
    batches = bench.source.batches([0], max(BATCHES), bench.params.data.held_out)
    for _ in range(rounds):
        clock.start_round()
        batch = next(batches)
        x, queries = batch.images, batch.texts
        for name, model in models.items():
            for batch, times in BATCHES.items():
                label, rows = f"{name} {batch}", [slice(at, at + batch) for at in range(0, batch * times, batch)]
                files = [encode_in_parts(clock, label, model, x[row], queries[row]) for row in rows]
                for row, some in zip(rows, files, strict=True):
                    decode_in_parts(clock, label, model, some, queries[row])
            sizes[name] += [len(file) for some in files for file in some]
        for rival in rivals:
            for image in x[:ALONE].split(1):
                with clock(f"{rival.name} encode"):
                    coded = rival.encode(image)
                with clock(f"{rival.name} decode"):
                    rival.decode(coded)
                sizes[rival.name].append(rival.bytes(coded))
    return clock, {name: float(np.mean(of_one)) for name, of_one in sizes.items()}


def encode_in_parts(
    clock: Clock, label: str, model: SharedModel, x: Float[Tensor, "B 3 H W"], queries: list[str]
) -> list[bytes]:
    """A file an image."""
    vision, whole, size = model.codec.vision, f"{label} encode", (x.shape[3], x.shape[2])
    clip, message = f"{whole} CLIP", f"{whole} message"
    with clock(whole):
        with clock.on(vision, "see", clip), clock.on(vision, "text", clip), clock(message):
            sent = model.codec.encode(x, queries)
        with clock(f"{whole} entropy"):
            files = [bitstream.write(one, model, size) for one in split(sent)]
    so_far = clock.rounds[-1]
    so_far[f"{whole} align, VQ"] = so_far[message] - so_far[clip]
    return files


def decode_in_parts(
    clock: Clock, label: str, model: SharedModel, files: list[bytes], queries: list[str]
) -> Float[Tensor, "B 3 H W"]:
    """The images of files."""
    codec, whole = model.codec, f"{label} decode"
    with clock(whole):
        with clock(f"{whole} entropy"):
            messages = [bitstream.read(file, model)[0] for file in files]
        with (
            clock.on(codec.quantizer, "lookup", f"{whole} lookup"),
            clock.on(codec.decoder, "forward", f"{whole} network"),
        ):
            return codec.decode(joined(messages), queries)


def time_kinds(bench: Bench, name: str, rate: str, rounds: int) -> tuple[Clock, dict[str, float]]:
    """What each kind of tables costs a message to write and to read, and its mean bytes; all in turn."""
    codec, clock = variant(name).build(bench.clip, bench.params, rate).to(device()).eval(), Clock()
    pairs = ((batch.images, batch.texts) for batch in bench.batches(1))
    counted = messages(codec, pairs, COUNTED)
    models = {kind: SharedModel(codec, build_tables(codec.rate.shape, kind, *counted), bytes(4)) for kind in KINDS}
    sizes = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        clock.start_round()
        images, texts = next(pairs)
        sent = split(codec.encode(images[:ALONE], texts[:ALONE]))
        for kind, model in models.items():
            with clock(f"{kind} write"):
                files = [bitstream.write(one, model, (images.shape[3], images.shape[2])) for one in sent]
            with clock(f"{kind} read"):
                for file in files:
                    bitstream.read(file, model)
            sizes[kind] += map(len, files)
    return clock, {kind: float(np.mean(of_one)) for kind, of_one in sizes.items()}


def kinds_table(clock: Clock, sizes: dict[str, float]) -> list[str]:
    """A line per kind of tables: milliseconds a message, bytes with the header."""
    lines = [f"{'tables, ms a message':<24}{'write':>9}{'read':>9}{'bytes':>9}"]
    for kind, mean in sizes.items():
        write, read = (1000 * clock.median(f"{kind} {way}") / ALONE for way in ("write", "read"))
        lines.append(f"{kind:<24}{write:>9.2f}{read:>9.2f}{mean:>9.1f}")
    return lines


def split(message: Message) -> list[Message]:
    """A batch's messages one by one."""
    sent = [None] * len(message.indices) if message.sent is None else message.sent.split(1)
    return [Message(*one) for one in zip(message.indices.split(1), sent, strict=True)]


def joined(messages: list[Message]) -> Message:
    """Inverse of `split`."""
    indices, sent = zip(*((one.indices, one.sent) for one in messages), strict=True)
    return Message(torch.cat(indices), None if sent[0] is None else torch.cat(sent))


def table(clock: Clock, direction: str, rivals: list[str]) -> list[str]:
    """A direction's lines: ms an image of the whole and its parts, the share beside the network, and the ratios."""
    network, *_ = parts = PARTS[direction]
    heads = ["whole", *parts, "other", f"not {network}", *rivals]
    lines = [f"{f'{direction}, ms an image':<24}" + "".join(f"{head:>{max(9, len(head) + 2)}}" for head in heads)]
    for name in VARIANTS:
        for batch, times in BATCHES.items():
            whole = f"{name} {batch} {direction}"
            cells = milliseconds(clock, whole, parts, batch * times)
            cells.append(f"{1 - clock.ratio(f'{whole} {network}', whole):.1%}")
            cells += [f"{batch * times / ALONE * clock.ratio(f'{rival} {direction}', whole):.2f}" for rival in rivals]
            row = "".join(f"{cell:>{max(9, len(head) + 2)}}" for head, cell in zip(heads, cells, strict=True))
            lines.append(f"{f'{name}, {batch} at a time':<24}" + row)
    return lines


def milliseconds(clock: Clock, whole: str, parts: tuple[str, ...], images: int) -> list[str]:
    """An image's whole, parts and rest of them."""
    total, of_parts = clock.median(whole), [clock.median(f"{whole} {part}") for part in parts]
    return [f"{1000 * t / images:.2f}" for t in (total, *of_parts, total - sum(of_parts))]
