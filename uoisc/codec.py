"""The paper on one page: image + query -> aligned features -> indices -> channel -> image.

     query --> vision.text --> t ------------------------.
                                                         v
     image --> vision.see --> taps --> projection --> alignment --> quantizer --> indices, sent   TRANSMITTER
                                                                                     |
                                                                                  channel   bits (link/bitstream.py)
                                                                                     v
     image' <-------------- decoder <-- receiver <----------------------- quantizer.lookup        RECEIVER

Each box is a part that is put in (`variants.py`): an ablation is another part, never a flag.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uoisc.alignment import Identity
from uoisc.base.boundary import check_images, check_relevance
from uoisc.base.devices import precision
from uoisc.base.errors import ConfigError
from uoisc.data.queries import check_queries
from uoisc.message import Message, check_known, check_message
from uoisc.rate import FixedRate, Packing, RateDial


class Output(NamedTuple):
    """A training pass: reconstruction, message, VQ loss, each token's relevance and emphasis (rate.py)."""

    x_hat: Float[Tensor, "B 3 H W"]
    message: Message
    vq_loss: Float[Tensor, ""]
    relevance: Float[Tensor, "B N"]
    emphasis: Float[Tensor, "B N"]


class Codec(nn.Module):
    """A user-oriented image semantic codec.

    Args:
        vision: the frozen CLIP, or encoders learned from scratch (`baselines.py`); sees images, reads queries.
        projection: taps (B, M, N, d) -> features (B, M, N, D).
        alignment: features, text -> features; `Film` in the paper, `Identity` without text alignment.
        quantizer: features -> codes and indices.
        ranking: token embeddings, text -> relevance of each token to the query.
        rate: which segments are sent; `bits` says what that costs an image. A `RateDial` is set by `at`.
        receiver: codes, text -> codes; `Identity`, as the paper's receiver does not use the query.
        decoder: codes -> image.
    """

    def __init__(self, vision, projection, alignment, quantizer, ranking, rate, receiver, decoder):
        super().__init__()
        self.vision = vision
        self.projection = projection
        self.alignment = alignment
        self.quantizer = quantizer
        self.ranking = ranking
        self.rate = rate
        self.receiver = receiver
        self.decoder = decoder

    def at(self, bits: float | Any, background: int | Any | None = None) -> "Codec":
        """The same codec, weights shared, with its rate dial set to at most so many bits (`RateDial.at`).

        Raises ConfigError where the codec has a fixed rate, or the budget is no number or too small.
        """
        return self.packed(self._dial().at(bits, background))

    def adding(self, bits: float | Any) -> "Codec":
        """The same codec, weights shared, whose messages add at most so many bits to what is `known`, image by image.

        Raises ConfigError as `at`; `encode` raises it where the bits are too few.
        """
        return self.packed(self._dial().adding(bits))

    def _dial(self) -> RateDial:
        if not isinstance(self.rate, RateDial):
            raise ConfigError(f"this codec has no rate dial: it always sends {self.bits:g} bits")
        return self.rate

    def packed(self, packing: Packing | RateDial) -> "Codec":
        """The same codec, weights shared, that sends by this packing."""
        parts = {**dict(self.named_children()), "rate": packing}
        return Codec(**parts).train(self.training)

    def forward(
        self,
        x: Float[Tensor, "B 3 H W"],
        queries: list[str],
        relevance: Float[Tensor, "B N"] | None = None,
        rounded: bool = True,
    ) -> Output:
        """Transmitter and receiver in one differentiable pass.

        Args:
            x: images in [0, 1]. queries: one per image.
            relevance: overrides the ranking of tokens (controls: random, oracle); None asks CLIP.
            rounded: whether features become codes; not in the first steps of training (`SegmentVQ`).
        """
        x = x.to(self.device)
        with precision(self.device):
            text = self.vision.text(queries)  # (B, e)
            features, tokens = self._align(x, text)
            relevance = self.ranking(tokens, text) if relevance is None else relevance  # (B, N)
            allocation = self.rate.allocate(relevance)
            quantized = self.quantizer(features, allocation.sent, rounded)
            x_hat = self.decoder(self.receiver(quantized.codes, text))
        message = Message(quantized.indices, allocation.sent)
        return Output(x_hat, message, quantized.loss, relevance, allocation.emphasis)

    def _align(self, x: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Aligned features (B, M, N, D), and token embeddings (B, N, e)."""
        seen = self.vision.see(x)
        return self.alignment(self.projection(seen.taps), text), seen.tokens

    @torch.no_grad()
    def encode(
        self, x: Float[Tensor, "B 3 H W"] | Any, queries: list[str] | Any, relevance=None, known: Message | Any = None
    ) -> Message:
        """The transmitter: what is sent for these images and queries. At a fixed rate nothing needs to be ranked.

        Args:
            x: images in [0, 1] of the codec's own size, on any device. queries: one per image.
            relevance: as in `forward`.
            known: what the receiver has of these images from earlier queries; only what it lacks is sent.

        Raises InputError or QueryError where they are not, ConfigError where a codec cannot go on from `known`.
        """
        check_images(x, self.decoder.side)
        queries = check_queries(queries, len(x))
        check_relevance(relevance, (len(x), self.rate.shape.tokens))
        self._check_known(known, len(x))
        with precision(self.device):
            text = self.vision.text(queries)
            features, tokens = self._align(x.to(self.device, torch.float32), text)
            sent = None
            setting = self.rate.setting
            if not isinstance(self.rate, FixedRate):
                ranks = self.ranking(tokens, text) if relevance is None else relevance.to(self.device)
                if known is None:
                    sent = self.rate.allocate(ranks).sent
                else:
                    sent, setting = self.rate.further(ranks, known.mask.to(self.device))
            return Message(self.quantizer.nearest(features), sent, setting)

    @torch.no_grad()
    def decode(
        self, message: Message | Any, queries: list[str] | Any, known: Message | Any = None
    ) -> Float[Tensor, "B 3 H W"]:
        """The receiver: images in [0, 1] from what arrived (the user knows the query; few receivers read it), and from
        what was `known` of them: as in `encode`, for a third query `second.after(first)`.

        Raises InputError for what is no message of this codec at this setting, QueryError as `encode` does. Segments
        may be missing, which a link has lost. A rate dial that is set to no budget draws messages of all settings.
        """
        check_message(message, self.rate)
        queries = check_queries(queries, len(message.indices))
        self._check_known(known, len(queries))
        message = message.to(self.device)
        message = message if known is None else message.after(known)
        codes = self.quantizer.lookup(message.indices.long(), message.sent)  # (B, M, N, D)
        with precision(self.device):
            text = self.vision.text(queries) if self.receiver_reads else None
            return self.decoder(self.receiver(codes, text))

    def _check_known(self, known: Message | Any, images: int) -> None:
        """Raises ConfigError where nothing of one query's message serves another, InputError for no message."""
        if known is None:
            return
        if not isinstance(self.alignment, Identity):
            raise ConfigError("this codec's indices depend on the query: of another query's message none can be kept")
        if isinstance(self.rate, FixedRate):
            raise ConfigError("a fixed rate sends all of a picture at once: a second message would hold nothing new")
        check_known(known, self.rate.shape, images)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.quantizer.codebooks.device

    @property
    def receiver_reads(self) -> bool:
        """Whether the receiver reads the query."""
        return not isinstance(self.receiver, Identity)

    @property
    def bits(self) -> float:
        """Nominal bits per image, side information included."""
        return self.rate.bits

    def own_state(self) -> dict[str, Tensor]:
        """What training changed: the state without a frozen CLIP's weights."""
        return {key: value for key, value in self.state_dict().items() if not self._is_frozen(key)}

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `own_state`. Raises RuntimeError where keys or shapes do not fit."""
        missing, unexpected = self.load_state_dict(state, strict=False)
        wrong = {*unexpected, *(key for key in missing if not self._is_frozen(key))}
        if wrong:
            raise RuntimeError(f"keys do not fit: {sorted(wrong)[:3]}")

    def _is_frozen(self, key: str) -> bool:
        return key.startswith(tuple(f"vision.{part}" for part in self.vision.frozen))
