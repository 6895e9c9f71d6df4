"""Tiny real models and a tiny world, for tests that need no download: open_clip's CLIP and transformers' LLaVA,
made by the package's own builders with random weights. All is cached: tests must leave it as they found it, but for
what models remember.

Checkpoints in the published formats and VQA v2's files are those of the profile `paper_smoke` (benchmarks/).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.tiny_models import (  # noqa: F401 - also for tests, which take all that is tiny from here
    CLIP,
    NATIVE,
    SUFFIX,
    TEMPLATES,
    clip_checkpoint,
    layout_model,
    layout_processor,
    llava_checkpoint,
)
from benchmarks.tiny_vqav2 import write_vqav2
from uoisc.base.config import DIAL, Params, paths
from uoisc.base.settings import (
    JUDGES,
    Beyond,
    CodecSettings,
    Dial,
    Drawings,
    Emphasis,
    Evaluation,
    Llava,
    Pretrained,
    Rate,
    StandIns,
    Training,
    Vqav2,
    Weights,
)
from uoisc.codec import Codec
from uoisc.data.objects import ObjectEntry, load_catalogue
from uoisc.data.question_types import SLOTS, TYPES, slots_of
from uoisc.data.scenes import World
from uoisc.data.styles import drawings
from uoisc.frozen.clip import FrozenCLIP, open_clip
from uoisc.frozen.clip_files import build_clip
from uoisc.frozen.foundation import clip_fields
from uoisc.frozen.foundation_llava import build_llava, build_processor
from uoisc.frozen.kept import Kept
from uoisc.frozen.llava import FrozenLlava
from uoisc.study import Study
from uoisc.variants import variant

# real photographs and questions in VQA v2's official files, which no clone holds: what needs them is skipped without
SAMPLES = Path(os.environ.get("UOISC_SAMPLES", Path(__file__).resolve().parents[2] / "shared/samples/vqav2"))
CATEGORIES = ("animal", "food", "tool", "vehicle")
A_CATEGORY = 10
IMAGE = 96  # the smallest that a 6 x 6 token grid of the real patch size gives

TOWER = replace(CLIP, patch_size=32, layers=2)
# Four layers: each of the intent loss's four depths is a layer of its own.
LLAVA = Llava(width=64, layers=4, heads=2, mlp_width=64, steps=2, batch_size=2, questions=3, learning_rate=1e-3)
WEIGHTS = Weights(pixel=4.0, perceptual=0.2, vq=0.5, intent=0.5, adversarial=0.02, gradient_penalty=10.0)
PARAMS = Params(
    seed=0,
    workers=1,
    deterministic=True,
    kept="nothing",
    compiled=False,
    data=Drawings(
        image_size=IMAGE, objects=len(CATEGORIES) * A_CATEGORY, sprite_variants=2, test_variants=1,
        held_out="animal", validation="food",
    ),
    foundation=StandIns(0.0, CLIP, TOWER, LLAVA, TOWER, LLAVA),
    codec=CodecSettings(
        taps=(0, 2), width=16, text_width=16, decoder_channels=(16, 16, 8, 8),
        rates={"low": Rate(2, 4, 2, 4, 6, 1), "high": Rate(4, 8, 4, 8, 12, 1)},
        dial=Dial(
            segments=4, codes=4, tokens=(4, 6), background=(0, 1), budgets=(60, 200), queries=8, steps=3, relevance=0.1
        ),
    ),
    training=Training(
        batch_size=4, accumulation=1, phase1_steps=3, rounding_step=1, intent_step=1, phase2_steps=2,
        learning_rate=2e-3, phase2_learning_rate=2e-4, critic_learning_rate=2e-4, critic_channels=4, log_every=1,
        emphasis=Emphasis(pixel=8.0, perceptual=1.0), save_every=1, weights=WEIGHTS,
    ),
    variants={"uoisc": ("low",), "adaptive": ("low",), "dial": (DIAL,)},
    evaluation=Evaluation(
        queries=20, batch_size=8, resamples=100, beyond=Beyond(variants=("uoisc", "dial"), rates=("low",), queries=10)
    ),
)  # fmt: skip


@cache
def entries() -> tuple[ObjectEntry, ...]:
    """The first ten objects of each of four categories, one of which is held out."""
    members = {name: [e for e in load_catalogue() if e.category == name][:A_CATEGORY] for name in CATEGORIES}
    return tuple(entry for group in members.values() for entry in group)


@cache
def world() -> World:
    """40 objects, two drawings each to train on and one to test, in every style."""
    return World(entries(), drawings(entries(), variants=3, size=IMAGE, seed=0), test_variants=1)


@cache
def all_names() -> World:
    """Every object of the catalogue, undrawn: for what depends on names alone."""
    catalogue = load_catalogue()
    return World(catalogue, {"drawn": np.zeros((len(catalogue), 2, 1, 1, 4), dtype=np.uint8)}, test_variants=1)


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
    judges = {name: llava(seed) for seed, name in enumerate(JUDGES)}
    return TinyStudy("tiny", PARAMS, paths("tiny"), world(), clip(), judges)


def forget() -> None:
    """What the study's models remember of the source images that they saw."""
    if study.cache_info().currsize:
        for frozen in (study().clip, *study().judges.values()):
            frozen.kept = Kept()


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


def vqav2(folder: Path, images: int = 24, parts: tuple[str, ...] = ("train", "val"), questions: int = 3) -> Vqav2:
    """A folder in the official format of VQA v2, as benchmarks/tiny_vqav2.py writes it; returns its settings."""
    write_vqav2(folder, images, parts, questions)
    shared = dict(image_size=IMAGE, held_out="animal", validation="human", unusable=0.1, loaders=0)
    return Vqav2(**shared, folder=str(folder), questions=1000)


def pretrained(folder: Path) -> Pretrained:
    """Others' models as files of their own formats: a CLIP, and LLaVAs of both layouts."""
    return Pretrained(
        clip_checkpoint(folder / "clip"),
        llava_checkpoint(folder / "llava", "siglip"),
        llava_checkpoint(folder / "independent", "clip", seed=1),
    )


def sha256(file: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def texts_of(kind: str, world) -> list[str]:
    """Every query that a type's template can make."""
    template = TYPES[kind].template
    names = sorted(slots_of(template))
    filled = product(*(SLOTS[name].words(world) for name in names))
    return [template.format(**dict(zip(names, words, strict=True))) for words in filled]


def query_texts(world) -> list[str]:
    """Every query that can be asked, sorted."""
    return sorted({text for kind in TYPES for text in texts_of(kind, world)})
