"""Tiny real models and a tiny world, for tests that need no download: open_clip's CLIP and transformers' LLaVA,
made by the package's own builders with random weights. All is cached: tests must leave it as they found it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from uoisc.clip import FrozenCLIP, build_clip, open_clip
from uoisc.codec import Codec
from uoisc.config import DIAL, GRID, Clip, Data, Dial, Evaluation, Foundation, Llava, Params, Rate, Training, Weights
from uoisc.config import Codec as CodecParams
from uoisc.foundation import clip_fields
from uoisc.foundation_llava import build_llava, build_processor
from uoisc.llava import FrozenLlava
from uoisc.models import JUDGES, Study
from uoisc.objects import ObjectEntry, load_catalogue, rasterise
from uoisc.scenes import World
from uoisc.variants import variant

CATEGORIES = ("animal", "food", "tool", "vehicle")
A_CATEGORY = 10
IMAGE = 96  # the smallest that a 6 x 6 token grid of the real patch size gives

CLIP = Clip(
    patch_size=16, width=64, layers=3, embed_dim=32, text_width=64, text_layers=1, context_length=16, steps=2,
    batch_size=4, learning_rate=1e-3,
)  # fmt: skip
TOWER = Clip(
    patch_size=32, width=64, layers=2, embed_dim=32, text_width=64, text_layers=1, context_length=16, steps=2,
    batch_size=4, learning_rate=1e-3,
)  # fmt: skip
# Four layers: each of the intent loss's four depths is a layer of its own.
LLAVA = Llava(
    width=64, layers=4, heads=2, mlp_width=64, steps=2, batch_size=2, questions=3, learning_rate=1e-3
)  # fmt: skip
WEIGHTS = Weights(pixel=4.0, perceptual=0.2, vq=0.5, intent=0.5, adversarial=0.02, gradient_penalty=10.0)
PARAMS = Params(
    seed=0,
    workers=1,
    data=Data(
        image_size=IMAGE, objects=len(CATEGORIES) * A_CATEGORY, sprite_variants=2, held_out="animal", validation="food"
    ),
    foundation=Foundation(CLIP, TOWER, LLAVA),
    codec=CodecParams(
        taps=(0, 2), width=16, text_width=16, decoder_channels=(16, 16, 8, 8),
        rates={"low": Rate(2, 4, 2, 4, 6, 1), "high": Rate(4, 8, 4, 8, 12, 1)},
        dial=Dial(
            segments=4, codes=4, tokens=(4, 6), background=(0, 1), budgets=(60, 200), queries=8, steps=3, relevance=0.1
        ),
    ),
    training=Training(
        batch_size=4, phase1_steps=3, rounding_step=1, intent_step=1, phase2_steps=2, learning_rate=2e-3,
        phase2_learning_rate=2e-4, critic_learning_rate=2e-4, critic_channels=4, emphasis=8.0, log_every=1,
        weights=WEIGHTS,
    ),
    variants={"uoisc": ("low",), "adaptive": ("low",), "dial": (DIAL,)},
    evaluation=Evaluation(queries=20, batch_size=8, resamples=100),
)  # fmt: skip


@cache
def entries() -> tuple[ObjectEntry, ...]:
    """The first ten objects of each of four categories, one of which is held out."""
    members = {name: [e for e in load_catalogue() if e.category == name][:A_CATEGORY] for name in CATEGORIES}
    return tuple(entry for group in members.values() for entry in group)


@cache
def world() -> World:
    """40 objects, two drawings each."""
    return World(entries(), rasterise(entries(), variants=2, size=IMAGE // GRID, seed=0))


@cache
def all_names() -> World:
    """Every object of the catalogue, undrawn: for what depends on names alone."""
    catalogue = load_catalogue()
    return World(catalogue, np.zeros((len(catalogue), 1, 1, 1, 4), dtype=np.uint8))


def clip_model(seed: int = 0) -> open_clip.CLIP:
    """A CLIP of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_clip(**clip_fields(CLIP, IMAGE))


def llava_model(seed: int = 0):
    """A `LlavaForConditionalGeneration` of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_llava(LLAVA, TOWER, len(processor().tokenizer), IMAGE).eval()


@cache
def processor():
    """The processor of both judges."""
    return build_processor(world(), TOWER, IMAGE)


@cache
def clip() -> FrozenCLIP:
    """A frozen CLIP of 6 x 6 tokens, tapped at its first and its last block."""
    return FrozenCLIP(
        clip_model(), open_clip.SimpleTokenizer(context_length=CLIP.context_length), PARAMS.codec.taps
    ).eval()


@cache
def llava(seed: int = 0) -> FrozenLlava:
    """A frozen LLaVA of 3 x 3 image tokens; its answers mean nothing."""
    return FrozenLlava(llava_model(seed), processor())


class TinyStudy(Study):
    """A study whose trained codecs are untrained ones: the same weights for the same variant and rate."""

    def codec(self, name: str, rate: str, bits: int | float | None = None, phase: int = 2) -> Codec:
        """No checkpoint is read."""
        made = untrained(name, rate)
        return made if bits is None else made.at(bits)


@cache
def study() -> TinyStudy:
    """The tiny world with two judges."""
    return TinyStudy("tiny", PARAMS, world(), clip(), {name: llava(seed) for seed, name in enumerate(JUDGES)})


def codec(name: str, rate: str = "low", bits: int | float = 200) -> Codec:
    """An untrained codec in evaluation mode, at that rate or, where it has a rate dial, at most so many bits."""
    return untrained(name, DIAL).at(bits) if variant(name).dial else untrained(name, rate)


def untrained(name: str, rate: str = "low") -> Codec:
    """The codec itself; queries matter to it, as FiLM's weights are of the order of 1."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = variant(name).build(clip(), PARAMS, rate)
        for part in (made.alignment, made.receiver):
            if hasattr(part, "scale_shift"):
                torch.nn.init.normal_(part.scale_shift.weight, std=1.0)
    return made.eval()


def images(n: int, seed: int = 0) -> torch.Tensor:
    """n scenes of all objects, (n, 3, 96, 96) in [0, 1]."""
    scenes = world().sample(np.random.default_rng(seed), n, world().pool())
    return world().render(scenes)


def queries(n: int, seed: int = 0) -> list[str]:
    """The texts of n queries, of all types, about the scenes of `images(n, seed)`."""
    rng = np.random.default_rng(seed)
    scenes = world().sample(rng, n, world().pool())
    return [query.text for query in world().ask_each(rng, scenes)]
