"""Phase 1 and phase 2 of training: what each step's loss is, and the loop that both run.

    phase 1   pixels, features and codes; after a warm-up features are rounded to codes, after another one
              the user-intent relevance loss joins
    phase 2   goes on from phase 1 against a critic (WGAN-GP)

A codec's images never hold an object of the held-out category. A step takes in a whole batch, shared out over the
processes launched together and, in each, over `training.accumulation` micro-batches, whose means count alike.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from uoisc.base.config import Params
from uoisc.base.devices import precision
from uoisc.base.distributed import accelerator, average_gradients, device, processes, share, total
from uoisc.base.errors import UoiscError
from uoisc.base.resuming import Keeper, Running
from uoisc.codec import Codec, Output
from uoisc.critic import PatchCritic, gradient_penalty
from uoisc.data.questions import Batch, Source
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.llava import FrozenLlava
from uoisc.losses import adversarial_loss, critic_loss, perceptual_loss, pixel_loss, pixel_weight, token_weight
from uoisc.relevance import relevance_loss
from uoisc.variants import Variant

Terms = dict[str, Tensor]  # a loss, term by term
Progress = Callable[[range, str], object]  # wraps a range of steps, as tqdm does


class DivergedError(UoiscError):
    """A loss is no longer a number."""


@dataclass
class Log:
    """Rows of loss terms, every `every` steps and after a phase's last: means since the previous row, from `sums` over
    `count` steps."""

    every: int
    rows: list[dict] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(
        self, phase: int, step: int, lr: float, terms: dict[str, Tensor | float], last: bool = False
    ) -> dict[str, float]:
        """Takes in one step, the `last` of its phase or not. Raises DivergedError where a term is not finite."""
        values = {k: torch.as_tensor(v).item() for k, v in terms.items()}
        # A term that is no number makes the sum so too: the sum comes last, so that the term is named.
        for name in sorted(values, key="loss".__eq__):
            if not math.isfinite(values[name]):
                raise DivergedError(
                    f"phase {phase}, step {step}: {name} is {values[name]}; lower training.learning_rate "
                    "or the term's weight in params.yaml"
                )
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if self.count == self.every or last:
            means = {k: v / self.count for k, v in self.sums.items()}
            self.rows.append({"phase": phase, "step": step + 1, "lr": lr, **means})
            self.sums = {}
            self.count = 0
        return values


@dataclass
class Bench:
    """What both phases train with: frozen models, and the source of images and queries."""

    params: Params
    source: Source
    clip: FrozenCLIP
    llava: FrozenLlava

    def batches(self, phase: int, start: int = 0) -> Iterator[Batch]:
        """This process's share of every batch of a phase, from step `start` on."""
        p = self.params
        size = p.training.batch_size
        own = share(size, p.training.accumulation)
        for batch in self.source.batches([p.seed, phase], size, p.data.held_out, start, own):
            yield batch.to(device())

    def know(self, batch: Batch | None) -> None:
        """Its images are the source from now on: what is made of them is worked out once (`frozen/kept.py`)."""
        for frozen in (self.clip, self.llava):
            frozen.kept.know(*((batch.images, batch.names) if batch else (None, ())))


def codec_terms(bench: Bench, kind: Variant, batch: Batch, out: Output, intent: bool) -> Terms:
    """The weighted terms of the codec's loss that both phases share; `intent`: whether its time has come."""
    params = bench.params
    weights = params.training.weights
    emphasis = params.training.emphasis
    x = batch.images
    x_hat = out.x_hat
    pixels = tokens = None
    if kind.weighted:
        pixels = pixel_weight(out.emphasis, emphasis.pixel, params.data.image_size)
        tokens = token_weight(out.emphasis, emphasis.perceptual)
    terms = {
        "pixel": weights.pixel * pixel_loss(x, x_hat, pixels),
        "perceptual": weights.perceptual * perceptual_loss(bench.clip, x, x_hat, tokens),
        "vq": weights.vq * out.vq_loss,
    }
    if kind.ranked:
        region = bench.source.regions(batch.queries, bench.clip.grid)
        terms["relevance"] = params.codec.dial.relevance * relevance_loss(out.relevance, region)
    if intent and kind.intent is not None:
        terms["intent"] = weights.intent * kind.intent(bench.llava, x, x_hat, batch.texts)
    return terms


def train_phase1(
    codec: Codec, kind: Variant, bench: Bench, log: Log, progress: Progress, keeper: Keeper | None = None
) -> None:
    """Trains the codec in place without a critic; first without rounding to codes, then without the intent loss."""
    cfg = bench.params.training
    steps = bench.params.codec.dial.steps if kind.dial else cfg.phase1_steps
    # the schedule moves the first beta too: down to 0.85 while the rate rises, and back
    optimiser = torch.optim.AdamW(
        trained(codec), lr=cfg.learning_rate, betas=(0.95, 0.99), weight_decay=0.01, fused=True
    )
    rise = 0.1 if steps != 10 else 0.2  # a rise of one step, torch divides by zero
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, cfg.learning_rate, total_steps=steps, pct_start=rise)

    def terms(model: nn.Module, step: int, batch: Batch) -> tuple[Terms, Terms]:
        out = model(batch.images, batch.texts, rounded=step >= cfg.rounding_step)
        with precision(batch.images.device):
            return codec_terms(bench, kind, batch, out, intent=step >= cfg.intent_step), {}

    run_phase(1, steps, Running(codec, log, optimiser, schedule), terms, bench, progress, keeper or Keeper())


def train_phase2(
    codec: Codec, kind: Variant, bench: Bench, log: Log, progress: Progress, keeper: Keeper | None = None
) -> None:
    """Goes on from phase 1 against a critic; critic and codec take one step each in turn.

    The critic takes one a micro-batch, as it must have seen the reconstructions that the codec's gradient is of.
    """
    cfg = bench.params.training
    critic = PatchCritic(cfg.critic_channels).to(device())
    optimiser = torch.optim.AdamW(
        trained(codec), lr=cfg.phase2_learning_rate, betas=(0.5, 0.99), weight_decay=0.01, fused=True
    )
    critic_optimiser = torch.optim.Adam(critic.parameters(), lr=cfg.critic_learning_rate, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, cfg.phase2_steps)
    generator = torch.Generator().manual_seed(bench.params.seed)

    def terms(model: nn.Module, step: int, batch: Batch) -> tuple[Terms, Terms]:
        out = model(batch.images, batch.texts)
        x = batch.images
        fake = out.x_hat.detach()
        penalty = cfg.weights.gradient_penalty * gradient_penalty(critic, x, fake, generator)
        judged = {"critic": critic_loss(critic(x), critic(fake)), "gradient_penalty": penalty}
        update_critic(critic_optimiser, judged["critic"] + judged["gradient_penalty"], critic)
        with precision(batch.images.device):
            ours = codec_terms(bench, kind, batch, out, intent=True)
        critic.requires_grad_(False)
        ours["adversarial"] = cfg.weights.adversarial * adversarial_loss(critic(out.x_hat))
        critic.requires_grad_(True)
        return ours, judged

    running = Running(codec, log, optimiser, schedule, critic, critic_optimiser, generator)
    run_phase(2, cfg.phase2_steps, running, terms, bench, progress, keeper or Keeper())


def trained(codec: Codec) -> list[Tensor]:
    """The weights that training changes."""
    return [p for p in codec.parameters() if p.requires_grad]


def run_phase(
    phase: int, steps: int, running: Running, terms: Callable, bench: Bench, progress: Progress, keeper: Keeper
) -> None:
    """A phase's loop, from the last step that `keeper` holds: `terms` of each micro-batch, one update for each batch.

    Args:
        terms: from the model, the step and a micro-batch to the terms of its loss, and what the log shows beside them.
    """
    codec = running.codec
    own = trained(codec)
    launched = accelerator(bench.params.training.accumulation)
    model, running.optimiser = launched.prepare(codec, running.optimiser)
    start = keeper.resume(running)
    codec.train()
    bar = progress(range(start, steps), f"phase {phase}")
    for step, batch in zip(keeper.over(bar, running, steps), bench.batches(phase, start), strict=False):
        parts = []
        for part in batch.parts(bench.params.training.accumulation):
            bench.know(part)
            with launched.accumulate(model):
                ours, beside = terms(model, step, part)
                loss = sum(ours.values())
                norm = update(launched, running.optimiser, loss, own)
            parts.append({"loss": loss, **ours, **beside})
        running.schedule.step()
        values = mean_terms(parts) | {"gradient_norm": norm}
        shown = running.log.add(phase, step, running.schedule.get_last_lr()[0], values, step + 1 == steps)
        if hasattr(bar, "set_postfix"):
            bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()}, refresh=False)
    codec.eval()
    bench.know(None)
    launched.free_memory()


def update(launched, optimiser, loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """One step with the gradient clipped to norm 1, once all micro-batches are in; returns the norm before.

    `launched` is Accelerate's handle, by which `optimiser` was prepared.
    """
    launched.backward(loss)
    norm = loss.new_zeros(())
    if launched.sync_gradients:
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return norm


def update_critic(optimiser: torch.optim.Optimizer, loss: Tensor, critic: PatchCritic) -> None:
    """One step of the critic, its gradient averaged over processes and clipped to norm 1."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(critic)
    torch.nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
    optimiser.step()


def mean_terms(parts: list[Terms]) -> Terms:
    """Each term's mean over micro-batches and processes."""
    count = len(parts) * processes()
    return {name: total(sum(part[name].detach() for part in parts)) / count for name in parts[0]}
