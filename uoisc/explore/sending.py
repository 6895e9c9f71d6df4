"""One question about one picture, all the way: what is sent, what arrives, what the judges answer.

    picture, query --> message --> file of so many bytes
                          '--> uncoded 8-PSK at an Es/N0, or no noise --> picture drawn --> both judges' answers

What the project page holds ready and notebook 11 makes live. Source: ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from uoisc.data.answers import answers_match
from uoisc.data.images import to_bytes
from uoisc.link import bitstream
from uoisc.link.bitstream import Held, SharedModel
from uoisc.link.block_errors import BlerTable
from uoisc.link.channel import seeded
from uoisc.link.header import parse
from uoisc.message import Message
from uoisc.rivals.transmission import MessageSender
from uoisc.study import Study

FADING = "awgn"  # one picture under one fading coefficient would show its luck
bler_table = lru_cache(maxsize=1)(BlerTable)


@dataclass(frozen=True)
class Sent:
    """A message about one picture.

    file: self-describing, as `uoisc encode` writes it. payload_bytes: of it. token_bits: what each token takes of the
    nominal bits.
    """

    message: Message
    model: SharedModel
    file: bytes
    payload_bytes: int
    token_bits: Float[np.ndarray, "h w"]

    def held(self, before: Held | None = None) -> Held:
        """What both ends hold once it has joined what they held `before`."""
        return bitstream.hold(self.file, self.model, before)


@dataclass(frozen=True)
class Received:
    """What the receiver makes of it: the picture, the judges' answers, whether each matches the one on the source, and
    the share of what was sent that arrived wrong."""

    picture: UInt8[np.ndarray, "H W 3"]
    answers: dict[str, str]
    matches: dict[str, bool]
    wrong: float


@torch.no_grad()
def send(
    model: SharedModel,
    x: Float[Tensor, "1 3 H W"],
    query: str,
    held: Held | None = None,
    bits: int | float | None = None,
) -> Sent:
    """The message about a picture; or what it adds for this query to what the receiver holds, in at most so many bits
    where they are given (`SharedModel.message`)."""
    message, used = model.message(x, query, held, bits)
    side = x.shape[-1]
    file = bitstream.write(message, used, (side, side), held)
    sent_units = rearrange(message.mask.sum((1, 3)), "1 (h w) -> h w", h=used.tables.shape.side)
    token_bits = (sent_units.cpu().numpy() * math.log2(used.tables.shape.codes)).astype(np.float32)
    return Sent(message, used, file, len(parse(file).payload), token_bits)


@torch.no_grad()
def receive(
    study: Study,
    sent: Sent,
    query: str,
    source: dict[str, str],
    es_n0_db: float | None = None,
    before: Held | None = None,
    match: Callable[[str, str], bool] | None = None,
) -> Received:
    """What arrives at an Es/N0 in dB over the uncoded link (None: all, as sent), drawn and asked about.

    Args:
        source: the judges' answers on the source picture (`answers`).
        before: what the receiver held before the message; such a one is drawn as it arrives without noise.
        match: whether two answers agree; `answers_match` where none is given.
    """
    codec = sent.model.codec
    wrong = 0.0
    if es_n0_db is None or before is not None:
        known = before and before.message
        x_hat = (sent.model.trained if known else codec).decode(sent.message, [query], known)
    else:
        sender = MessageSender(codec, sent.message, [query], bler_table())
        arrival = sender.uncoded(es_n0_db, FADING, seeded(f"explore/{es_n0_db:g}"))
        x_hat = sender.draw([0], arrival.contents)
        wrong = float(arrival.measures["index_errors"][0])
    heard = answers(study, x_hat, query)
    match = match or partial(answers_match, query)
    return Received(to_bytes(x_hat)[0], heard, {name: match(source[name], heard[name]) for name in heard}, wrong)


def answers(study: Study, x: Float[Tensor, "1 3 H W"], query: str) -> dict[str, str]:
    """Each judge's answer about a picture."""
    return {name: judge.answer(x, [query])[0] for name, judge in study.judges.items()}
