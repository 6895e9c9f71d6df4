"""Prints how fast the study's parts are: scenes, training steps, the quantiser beside its peer, codecs beside others.

Models are as large as the profile says and randomly initialised: their time does not depend on what they know, so
no stage needs to have run. One thread and its processor time, or the GPU where there is one. What is compared is timed
in turn, a little of each at a time, so that whatever else the machine does meets all alike; medians are printed.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.clock import Clock
from benchmarks.codec import print_codecs
from uoisc.base.config import Params, load_params
from uoisc.base.devices import fast_attention, precision
from uoisc.base.distributed import device
from uoisc.base.settings import GRID
from uoisc.codec import Codec, Output
from uoisc.critic import PatchCritic, gradient_penalty
from uoisc.data.objects import load_catalogue, rasterise
from uoisc.data.questions import Batch
from uoisc.data.scenes import World
from uoisc.frozen.clip import FrozenCLIP, open_clip
from uoisc.frozen.clip_files import build_clip
from uoisc.frozen.foundation import clip_fields
from uoisc.frozen.foundation_llava import build_llava, build_processor
from uoisc.frozen.llava import FrozenLlava
from uoisc.losses import adversarial_loss, critic_loss, intent_loss, perceptual_loss
from uoisc.quantization import COMMITMENT, SegmentVQ
from uoisc.stages.machine import described
from uoisc.training import Bench, Log, train_phase1, train_phase2, update_critic
from uoisc.variants import variant

PROFILE, VARIANT, RATE = "small", "uoisc", "middle"
STEPS = 12  # a phase
PARTS = ("data", "codec", "codec, back", "perceptual", "LLaVA", "LLaVA, back", "critic", "optimiser")
VECTORS, WIDTH = 32 * 72, 48  # 32 images, two taps of 36 tokens each; the codec's D
QUANTIZERS = ((3, 4), (4, 64))  # segments, codes
ROUNDS = 60


def main() -> None:
    """Prints the tables."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    params = load_params(PROFILE)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"profile {PROFILE}, torch {torch.__version__}, {platform.machine()}, one thread of {os.cpu_count()}{load}")
    print(", ".join(f"{what} {value}" for what, value in described().items()))
    bench = random_bench(params)
    print(f"scenes: {scenes_a_second(bench):,.0f} a second ({params.data.image_size} px, with one query each)\n")
    print_steps(bench)
    print_quantizers()
    print_codecs(bench, RATE)


def random_bench(params: Params) -> Bench:
    """Drawings, and a CLIP and a LLaVA of the profile's sizes with random weights."""
    cfg, size = params.foundation, params.data.image_size
    entries = load_catalogue(params.data.objects)
    plain = rasterise(entries, params.data.sprite_variants + 1, size // GRID, params.seed)
    world = World(entries, {"drawn": plain}, test_variants=1)
    tokenizer = open_clip.SimpleTokenizer(context_length=cfg.clip.context_length)
    clip = FrozenCLIP(build_clip(**clip_fields(cfg.clip, size)), tokenizer, params.codec.taps)
    processor = build_processor(world, cfg.tower, size)
    llava = FrozenLlava(build_llava(cfg.llava, cfg.tower, len(processor.tokenizer), size), processor)
    return Bench(timed(params), world, clip.to(device()), llava.to(device()))


def timed(params: Params) -> Params:
    """The steps that are timed: those of the longer part of phase 1, after the warm-up, as every variant's are."""
    steps = {"phase1_steps": STEPS, "phase2_steps": STEPS, "rounding_step": 0, "intent_step": 0, "of": {}}
    return replace(params, training=replace(params.training, **steps))


def scenes_a_second(bench: Bench, rounds: int = 20) -> float:
    """How many scenes are sampled, asked about and rendered a second."""
    clock, batches = Clock(), bench.batches(1)
    for _ in range(rounds):
        clock.start_round()
        with clock("batch"):
            next(batches)
    return bench.params.training.batch_size / clock.median("batch")


def print_steps(bench: Bench) -> None:
    """A row a phase: milliseconds of a real step, and the share of each part."""
    print("ms a step    whole " + "".join(f"{part:>13}" for part in (*PARTS, "other")))
    for phase, train in ((1, train_phase1), (2, train_phase2)):
        clock = time_phase(bench, phase, train)
        whole, parts = clock.median("whole"), [clock.median(part) for part in PARTS]
        cells = [f"{1000 * t:6.0f} {t / whole:4.0%}" for t in (*parts, whole - sum(parts))]
        print(f"phase {phase}   {1000 * whole:8.0f} " + "".join(f"{cell:>13}" for cell in cells))
    print("other: pixel loss, sums, logging, and what the parts alone do faster or slower than together\n")


def time_phase(bench: Bench, phase: int, train: Callable) -> Clock:
    """Runs the real loop; after each of its steps the parts of one more step are timed one by one."""
    kind, clock = variant(VARIANT), Clock()
    codec, other = (kind.build(bench.clip, bench.params, RATE).to(device()).train() for _ in range(2))
    own = [p for p in other.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(own, lr=1e-4, fused=True)
    critic = PatchCritic(bench.params.training.critic_channels).to(device())

    batches = bench.batches(3)  # other images than the loop's own

    def steps(numbers: range, label: str) -> Iterator[int]:
        for number in numbers:
            clock.start_round()
            with clock("whole"):
                yield number
            time_parts(clock, bench, batches, other, optimiser, critic if phase == 2 else None)

    with fast_attention():
        train(codec, kind, bench, Log(every=1), steps)
    return clock


def time_parts(
    clock: Clock, bench: Bench, batches: Iterator[Batch], codec: Codec, optimiser, critic: PatchCritic | None
) -> None:
    """One more step, part by part."""
    with clock("data"):
        batch = next(batches)
    with clock("codec"):
        out = codec(batch.images, batch.texts)
    time_losses(clock, bench, batch.images, batch.texts, out, optimiser, critic)


def time_losses(
    clock: Clock, bench, x: Tensor, queries: list[str], out: Output, optimiser, critic: PatchCritic | None
) -> None:
    """A step cut open at the reconstruction: each loss runs back to it, then the codec from it.

    `bench` holds params, clip and llava: a `Bench`, or `full_size.Models`.
    """
    weights = bench.params.training.weights
    x_hat = out.x_hat.detach().requires_grad_(True)
    with clock("perceptual"):
        with precision(x.device):
            loss = weights.perceptual * perceptual_loss(bench.clip, x, x_hat)
        loss.backward()
    with clock("LLaVA"), precision(x.device):
        loss = weights.intent * intent_loss(bench.llava, x, x_hat, queries)
    with clock("LLaVA, back"):
        loss.backward()
    if critic is not None:
        with clock("critic"):
            critic_step(critic, x, x_hat.detach(), weights.gradient_penalty)
            critic.requires_grad_(False)
            (weights.adversarial * adversarial_loss(critic(x_hat))).backward()
            critic.requires_grad_(True)
    with clock("optimiser"):
        optimiser.zero_grad(set_to_none=True)
    with clock("codec, back"):
        torch.autograd.backward([out.x_hat, weights.vq * out.vq_loss], [x_hat.grad, None])
    with clock("optimiser"):
        torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
        optimiser.step()


def critic_step(critic: PatchCritic, x: Tensor, fake: Tensor, weight: float) -> None:
    """The critic's own update, as in phase 2."""
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-4)
    penalty = weight * gradient_penalty(critic, x, fake, torch.Generator().manual_seed(0))
    update_critic(optimiser, critic_loss(critic(x), critic(fake)) + penalty, critic)


def print_quantizers() -> None:
    """Ours against vector-quantize-pytorch: milliseconds, and theirs over ours (above 1: ours is faster)."""
    try:
        from vector_quantize_pytorch import VectorQuantize
    except ImportError:
        print("quantiser: install vector-quantize-pytorch (make setup) to compare with it")
        return
    print(f"quantiser, ({VECTORS}, {WIDTH})      ours ms   vector-quantize-pytorch ms   theirs / ours")
    for segments, codes in QUANTIZERS:
        ours = SegmentVQ(WIDTH, segments, codes).train()
        theirs = VectorQuantize(
            WIDTH, codes, codebook_dim=WIDTH // segments, heads=segments, separate_codebook_per_head=True,
            use_cosine_sim=True, commitment_weight=COMMITMENT,
        ).train()  # fmt: skip
        clock = time_quantizers(ours, theirs)
        for direction in ("forward", "forward and backward"):
            a, b = (clock.median(f"{name} {direction}") for name in ("ours", "theirs"))
            label = f"G={segments} K={codes} {direction}"
            print(f"{label:<32}{1000 * a:7.2f} {1000 * b:28.2f} {b / a:15.2f}")


def time_quantizers(ours: nn.Module, theirs: nn.Module) -> Clock:
    """Both in turn on the same vectors, in training mode: loss and straight-through gradient included."""
    clock = Clock()
    for _ in range(ROUNDS):
        clock.start_round()
        features, pull = torch.randn(1, VECTORS, WIDTH), torch.randn(1, VECTORS, WIDTH)
        for name, quantizer in (("ours", ours), ("theirs", theirs)):
            leaf = features.clone().requires_grad_(True)
            with clock(f"{name} forward and backward"):
                with clock(f"{name} forward"):
                    codes, _, loss = quantizer(leaf)
                ((codes * pull).sum() + loss.sum()).backward()
    return clock


if __name__ == "__main__":
    main()
