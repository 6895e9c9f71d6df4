"""Phase 1 and phase 2 of training, as two loops.

    phase 1   pixels, features and codes; after a warm-up features are rounded to codes, after another one
              the user-intent relevance loss joins
    phase 2   goes on from phase 1 against a critic (WGAN-GP)

A codec's scenes never hold an object of the held-out category.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uoisc.clip import FrozenCLIP
from uoisc.codec import Codec, Output
from uoisc.config import Params
from uoisc.critic import PatchCritic, gradient_penalty
from uoisc.errors import UoiscError
from uoisc.llava import FrozenLlava
from uoisc.losses import (
    adversarial_loss,
    critic_loss,
    intent_loss,
    perceptual_loss,
    pixel_loss,
    relevance_weight,
)
from uoisc.processes import precision
from uoisc.relevance import relevance_loss
from uoisc.scenes import World, regions
from uoisc.variants import Variant

Progress = Callable[[range, str], object]  # wraps a range of steps, as tqdm does


class DivergedError(UoiscError):
    """A loss is no longer a number."""


@dataclass
class Log:
    """Rows of loss terms, one every `every` steps: the mean since the row before."""

    every: int
    rows: list[dict] = field(default_factory=list)
    _sums: dict[str, float] = field(default_factory=dict)
    _count: int = 0

    def add(self, phase: int, step: int, lr: float, terms: dict[str, Tensor | float]) -> dict[str, float]:
        """Takes in one step. Raises DivergedError where a term is not finite."""
        values = {k: torch.as_tensor(v).item() for k, v in terms.items()}
        # A term that is no number makes the sum so too: the sum comes last, so that the term is named.
        for name in sorted(values, key="loss".__eq__):
            if not math.isfinite(values[name]):
                raise DivergedError(
                    f"phase {phase}, step {step}: {name} is {values[name]}; lower training.learning_rate "
                    "or the term's weight in params.yaml"
                )
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        if self._count == self.every:
            means = {k: v / self._count for k, v in self._sums.items()}
            self.rows.append({"phase": phase, "step": step + 1, "lr": lr, **means})
            self._sums, self._count = {}, 0
        return values


@dataclass
class Bench:
    """What both phases train with: frozen models, scenes, and one stream of random numbers."""

    params: Params
    world: World
    clip: FrozenCLIP
    llava: FrozenLlava
    rng: np.random.Generator

    def batch(self) -> tuple[Tensor, list[str], Tensor]:
        """Images (B, 3, H, W) without held-out objects, one query each, the types in turn, and the tokens (B, N)
        where its answer lies."""
        allowed = self.world.pool(exclude=self.params.data.held_out)
        scenes = self.world.sample(self.rng, self.params.training.batch_size, allowed)
        queries = self.world.ask_each(self.rng, scenes, 1, allowed)
        return self.world.render(scenes), [query.text for query in queries], regions(queries, self.clip.grid)


def codec_terms(
    bench: Bench, kind: Variant, batch: tuple[Tensor, list[str], Tensor], out: Output, intent: bool
) -> dict[str, Tensor]:
    """The weighted terms of the codec's loss that both phases share."""
    x, queries, region = batch
    params, weights, x_hat = bench.params, bench.params.training.weights, out.x_hat
    weight = None
    if kind.weighted:
        weight = relevance_weight(out.first, params.training.emphasis, params.data.image_size)
    terms = {
        "pixel": weights.pixel * pixel_loss(x, x_hat, weight),
        "perceptual": weights.perceptual * perceptual_loss(bench.clip, x, x_hat),
        "vq": weights.vq * out.vq_loss,
    }
    if kind.ranked:
        terms["relevance"] = params.codec.dial.relevance * relevance_loss(out.relevance, region)
    if intent:
        terms["intent"] = weights.intent * intent_loss(bench.llava, x, x_hat, queries)
    return terms


def train_phase1(codec: Codec, kind: Variant, bench: Bench, log: Log, progress: Progress) -> None:
    """Trains the codec in place without a critic; first without rounding to codes, then without the intent loss."""
    cfg = bench.params.training
    own = [p for p in codec.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(own, lr=cfg.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    steps = bench.params.codec.dial.steps if kind.dial else cfg.phase1_steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, cfg.learning_rate, total_steps=steps, pct_start=0.1)
    codec.train()
    for step in (bar := progress(range(steps), "phase 1")):
        x, queries, _ = batch = bench.batch()
        out = codec(x, queries, rounded=step >= cfg.rounding_step)
        with precision():
            terms = codec_terms(bench, kind, batch, out, intent=kind.intent and step >= cfg.intent_step)
        loss = sum(terms.values())
        norm = update(optimiser, loss, own)
        schedule.step()
        values = log.add(1, step, schedule.get_last_lr()[0], {"loss": loss, **terms, "gradient_norm": norm})
        show(bar, values)
    codec.eval()


def train_phase2(codec: Codec, kind: Variant, bench: Bench, log: Log, progress: Progress) -> None:
    """Goes on from phase 1 against a critic; critic and codec take one step each in turn."""
    cfg = bench.params.training
    own = [p for p in codec.parameters() if p.requires_grad]
    critic = PatchCritic(cfg.critic_channels)
    optimiser = torch.optim.AdamW(own, lr=cfg.phase2_learning_rate, betas=(0.5, 0.99), weight_decay=0.01, fused=True)
    critic_optimiser = torch.optim.Adam(critic.parameters(), lr=cfg.critic_learning_rate, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, cfg.phase2_steps)
    generator = torch.Generator().manual_seed(bench.params.seed)
    codec.train()
    for step in (steps := progress(range(cfg.phase2_steps), "phase 2")):
        x, queries, _ = batch = bench.batch()
        out = codec(x, queries)
        fake = out.x_hat.detach()
        penalty = cfg.weights.gradient_penalty * gradient_penalty(critic, x, fake, generator)
        distance = critic_loss(critic(x), critic(fake))
        update(critic_optimiser, distance + penalty, list(critic.parameters()))

        with precision():
            terms = codec_terms(bench, kind, batch, out, intent=kind.intent)
        critic.requires_grad_(False)
        terms["adversarial"] = cfg.weights.adversarial * adversarial_loss(critic(out.x_hat))
        critic.requires_grad_(True)
        loss = sum(terms.values())
        norm = update(optimiser, loss, own)
        schedule.step()
        extra = {"critic": distance, "gradient_penalty": penalty, "gradient_norm": norm}
        show(steps, log.add(2, step, schedule.get_last_lr()[0], {"loss": loss, **terms, **extra}))
    codec.eval()


def update(optimiser: torch.optim.Optimizer, loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """One step with the gradient clipped to norm 1; returns the norm before."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    return norm


def show(steps, values: dict[str, float]) -> None:
    """Loss terms beside the progress bar."""
    if hasattr(steps, "set_postfix"):
        steps.set_postfix({k: f"{v:.3f}" for k, v in values.items()}, refresh=False)
