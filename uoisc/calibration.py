"""What each packing of a rate dial is worth: the share of matching answers, measured on training scenes.

The training judge is asked about reconstructions of training scenes, packing by packing; between measured levels the
share is interpolated. The rate dial then spends a budget on the packing of the best share (`RateDial.at`). Neither the
independent judge nor a held-out object takes part. Source: ours, in the manner of rate-distortion optimisation.
"""

from collections import defaultdict
from functools import partial
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from uoisc.base.devices import precision
from uoisc.base.distributed import device, spread
from uoisc.base.terminal import bar
from uoisc.codec import Codec
from uoisc.data.questions import Query
from uoisc.message import Message
from uoisc.rate import Packing, RateDial
from uoisc.training import Bench

MEASURED_LEVELS = 4  # of each number of first tokens and each background; the others are interpolated
PIXELS = 4_000_000  # of the images that a codec draws at a time: 434 of 96 pixels a side, 32 of 352


@torch.no_grad()
def calibrate(codec: Codec, bench: Bench, label: str) -> None:
    """Fills the dial's `answers` in place, from `codec.dial.queries` training scenes."""
    dial = codec.rate
    p = bench.params
    size = p.training.batch_size
    behind = p.training.phase2_steps  # the scenes behind phase 2's own
    batches = islice(bench.source.batches([p.seed, 2], size, p.data.held_out, behind), -(-p.codec.dial.queries // size))
    whole = list(batches)
    n = PIXELS // p.data.image_size**2 or 1
    queries = [query for batch in whole for query in batch.queries]
    images = torch.cat([batch.images for batch in whole]).split(n)
    parts = [_seen(codec, bench, x.to(device()), queries[i * n : (i + 1) * n]) for i, x in enumerate(images)]
    measured = {}
    for packing in bar(measured_packings(dial), desc=f"{label} packings measured"):
        found = spread(partial(_matches, codec.packed(packing), bench), parts)
        measured[packing] = float(np.mean([match for part in found for match in part]))
    dial.answers.copy_(interpolated(dial, measured))


def _seen(codec: Codec, bench: Bench, x: Float[Tensor, "B 3 H W"], queries: list[Query]) -> tuple:
    """What all packings share: queries, the judge's answers about images, indices, relevance of the tokens."""
    texts = [query.text for query in queries]
    with precision(x.device):  # as `encode` ranks
        relevance = codec.ranking(codec.vision.see(x).tokens, codec.vision.text(texts))
    indices = codec.packed(codec.rate.packings[0]).encode(x, texts, relevance).indices
    return queries, bench.llava.answer(x, texts), indices, relevance


def _matches(sender: Codec, bench: Bench, seen: tuple) -> list[bool]:
    """Whether the judge answers alike about what is drawn of each message."""
    queries, source, indices, relevance = seen
    texts = [query.text for query in queries]
    message = Message(indices, sender.rate.allocate(relevance).sent, sender.rate.setting)
    answers = bench.llava.answer(sender.decode(message, texts), texts)
    return [*map(Query.match, queries, source, answers)]


def measured_packings(dial: RateDial) -> list[Packing]:
    """Of each number of first tokens and each background, levels from the shallowest to the deepest."""
    chosen = []
    for group in _groups(dial).values():
        places = np.linspace(0, len(group) - 1, min(MEASURED_LEVELS, len(group))).round().astype(int)
        chosen += [group[place] for place in dict.fromkeys(places.tolist())]
    return chosen


def interpolated(dial: RateDial, measured: dict[Packing, float]) -> torch.Tensor:
    """A share per packing of the dial: the measured one, or linear in the level between two that were measured."""
    shares = {}
    for group in _groups(dial).values():
        known = [p for p in group if p in measured]
        levels = [p.level for p in known]
        values = [measured[p] for p in known]
        shares |= {p: np.interp(p.level, levels, values) for p in group}
    return torch.tensor([float(shares[p]) for p in dial.packings], device=dial.answers.device)


def _groups(dial: RateDial) -> dict[tuple[int, int], list[Packing]]:
    """The packings within the dial's budgets that differ in level alone, shallowest first."""
    groups = defaultdict(list)
    for packing in sorted(dial.packings, key=lambda p: p.level):
        groups[packing.top, packing.background].append(packing)
    return groups
