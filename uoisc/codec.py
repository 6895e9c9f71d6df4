"""The paper on one page: image + query -> aligned features -> indices -> channel -> image.

     query --> vision.text --> t ------------------------.
                                                         v
     image --> vision.see --> taps --> projection --> alignment --> quantizer --> indices, sent   TRANSMITTER
                                                                                     |
                                                                                  channel         bits
                                                                                     v
     image' <-------------- decoder <-- receiver <----------------------- quantizer.lookup        RECEIVER

Each box is a part that is put in (`variants.py`): an ablation is another part, never a flag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from uoisc.clip import FrozenCLIP
from uoisc.processes import precision
from uoisc.quantization import Quantized


@dataclass(frozen=True)
class Message:
    """What crosses the channel: indices, and which of them were sent (None: all)."""

    indices: Int[Tensor, "B M N G"]
    sent: Bool[Tensor, "B M N G"] | None


class Output(NamedTuple):
    """A training pass: reconstruction, message, VQ loss, and each token's relevance to the query."""

    x_hat: Float[Tensor, "B 3 H W"]
    message: Message
    vq_loss: Float[Tensor, ""]
    relevance: Float[Tensor, "B N"]


class Codec(nn.Module):
    """A user-oriented image semantic codec.

    Args:
        vision: the frozen CLIP, or encoders learned from scratch (`baselines.py`); sees images, reads queries.
        projection: taps (B, M, N, d) -> features (B, M, N, D).
        alignment: features, text -> features; `Film` in the paper, `Identity` without text alignment.
        quantizer: features -> codes and indices.
        rate: which segments are sent; `bits` says what that costs an image.
        receiver: codes, text -> codes; `Identity`, as the paper's receiver does not use the query.
        decoder: codes -> image.
    """

    def __init__(self, vision, projection, alignment, quantizer, rate, receiver, decoder):
        super().__init__()
        self.vision, self.projection, self.alignment = vision, projection, alignment
        self.quantizer, self.rate, self.receiver, self.decoder = quantizer, rate, receiver, decoder

    def forward(
        self,
        x: Float[Tensor, "B 3 H W"],
        queries: list[str],
        relevance: Float[Tensor, "B N"] | None = None,
        rounded: bool = True,
    ) -> Output:
        """Transmitter and receiver in one differentiable pass.

        Args:
            x: images in [0, 1]. queries: one an image.
            relevance: overrides the ranking of tokens (controls: random, oracle); None asks CLIP.
            rounded: whether features become codes; not in the first steps of training (`SegmentVQ`).
        """
        with precision():
            text = self.vision.text(queries)  # (B, e)
            quantized, sent, relevance = self._transmit(x, text, relevance, rounded)
            x_hat = self.decoder(self.receiver(quantized.codes, text))
        return Output(x_hat, Message(quantized.indices, sent), quantized.loss, relevance)

    def _transmit(
        self, x: Tensor, text: Tensor, relevance: Tensor | None, rounded: bool = True
    ) -> tuple[Quantized, Tensor | None, Tensor]:
        """Everything before the channel: codes with indices, which of them are sent, and the tokens' relevance."""
        seen = self.vision.see(x)
        features = self.alignment(self.projection(seen.taps), text)  # (B, M, N, D)
        relevance = self.vision.relevance(seen.tokens, text) if relevance is None else relevance  # (B, N)
        sent = self.rate.sent(relevance)  # (B, M, N, G) or None
        return self.quantizer(features, sent, rounded), sent, relevance

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "B 3 H W"], queries: list[str], relevance=None) -> Message:
        """The transmitter: what is sent for these images and queries."""
        with precision():
            quantized, sent, _ = self._transmit(x, self.vision.text(queries), relevance)
        return Message(quantized.indices, sent)

    @torch.no_grad()
    def decode(self, message: Message, queries: list[str]) -> Float[Tensor, "B 3 H W"]:
        """The receiver: images in [0, 1] from what arrived (the user knows the query)."""
        codes = self.quantizer.lookup(message.indices, message.sent)  # (B, M, N, D)
        with precision():
            return self.decoder(self.receiver(codes, self.vision.text(queries)))

    @property
    def bits(self) -> float:
        """Nominal bits an image, side information included."""
        return self.rate.bits

    def own_state(self) -> dict[str, Tensor]:
        """What training changed: the state without a frozen CLIP's weights."""
        return {k: v for k, v in self.state_dict().items() if not self._is_frozen(k)}

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `own_state`. Raises RuntimeError where keys or shapes do not fit."""
        missing, unexpected = self.load_state_dict(state, strict=False)
        if unexpected or not all(map(self._is_frozen, missing)):
            raise RuntimeError(
                f"keys do not fit: {sorted({*unexpected, *filter(lambda k: not self._is_frozen(k), missing)})[:3]}"
            )

    def _is_frozen(self, key: str) -> bool:
        return isinstance(self.vision, FrozenCLIP) and key.startswith("vision.")
