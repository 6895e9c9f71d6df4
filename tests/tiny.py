"""Tiny real models and a tiny world, for tests that need no download: open_clip's CLIP and transformers' LLaVA,
made by the package's own builders with random weights. All is cached: tests must leave it as they found it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from uoisc.base.config import DIAL, Params
from uoisc.base.settings import (
    GRID,
    JUDGES,
    Clip,
    ClipCheckpoint,
    Dial,
    Drawings,
    Evaluation,
    Llava,
    LlavaCheckpoint,
    Rate,
    StandIns,
    Training,
    Vqav2,
    Weights,
)
from uoisc.base.settings import Codec as CodecParams
from uoisc.codec import Codec
from uoisc.data.objects import ObjectEntry, load_catalogue, rasterise
from uoisc.data.scenes import World
from uoisc.frozen.clip import FrozenCLIP, open_clip
from uoisc.frozen.clip_files import build_clip, save_clip
from uoisc.frozen.foundation import clip_fields
from uoisc.frozen.foundation_llava import build_llava, build_processor
from uoisc.frozen.llava import FrozenLlava, save_llava
from uoisc.study import Study
from uoisc.variants import variant

CATEGORIES = ("animal", "food", "tool", "vehicle")
A_CATEGORY = 10
IMAGE = 96  # the smallest that a 6 x 6 token grid of the real patch size gives

CLIP = Clip(
    patch_size=16, width=64, layers=3, embed_dim=32, text_width=64, text_layers=1, context_length=16, steps=2,
    batch_size=4, learning_rate=1e-3,
)  # fmt: skip
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
        image_size=IMAGE, objects=len(CATEGORIES) * A_CATEGORY, sprite_variants=2, held_out="animal", validation="food"
    ),
    foundation=StandIns(CLIP, TOWER, LLAVA),
    codec=CodecParams(
        taps=(0, 2), width=16, text_width=16, decoder_channels=(16, 16, 8, 8),
        rates={"low": Rate(2, 4, 2, 4, 6, 1), "high": Rate(4, 8, 4, 8, 12, 1)},
        dial=Dial(
            segments=4, codes=4, tokens=(4, 6), background=(0, 1), budgets=(60, 200), queries=8, steps=3, relevance=0.1
        ),
    ),
    training=Training(
        batch_size=4, accumulation=1, phase1_steps=3, rounding_step=1, intent_step=1, phase2_steps=2,
        learning_rate=2e-3, phase2_learning_rate=2e-4, critic_learning_rate=2e-4, critic_channels=4, emphasis=8.0,
        log_every=1, save_every=1, weights=WEIGHTS,
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


COCO = {1: "person", 15: "bench", 18: "dog", 63: "couch", 10: "traffic light", 84: "book"}  # as numbered by COCO
OUTLINE = {"segmentation": [[1.5, 2.0, 3.0, 4.25]], "area": 6.0, "iscrowd": 0, "bbox": [1.0, 2.0, 3.0, 2.0]}
IN_TURN = ((18,), (63,), (10, 1), (84,), (1,), (63, 18), (10,), ())  # what an image shows


def vqav2(folder: Path, images: int = 24, parts: tuple[str, ...] = ("train", "val"), questions: int = 3) -> Vqav2:
    """A folder in the official format of VQA v2 on COCO 2014, each part of so many images; returns its settings.

    Image i of a part shows what `IN_TURN` says: an animal in two of eight, a person in two, an indoor thing in two, an
    outdoor one in two. Each has so many questions, of the three answer types in turn, with ten answers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for first, part in enumerate(parts):
        ids = [100_000 * (first + 1) + 7 * i for i in range(images)]
        entries = [_photograph(folder, part, i, n) for n, i in enumerate(ids)]
        asked = [(i, 1000 * i + q, n + q) for n, i in enumerate(ids) for q in range(questions)]
        shown = [(i, category) for n, i in enumerate(ids) for category in IN_TURN[n % len(IN_TURN)]]
        categories = [{"supercategory": "", "id": i, "name": name} for i, name in COCO.items()]
        documents = {
            f"v2_OpenEnded_mscoco_{part}2014_questions.json": {
                "questions": [{"image_id": i, "question": _question(n), "question_id": q} for i, q, n in asked],
            },
            f"v2_mscoco_{part}2014_annotations.json": {"annotations": [_annotation(i, q, n) for i, q, n in asked]},
            f"instances_{part}2014.json": {
                "images": entries,
                "annotations": [OUTLINE | {"image_id": i, "category_id": c, "id": n} for n, (i, c) in enumerate(shown)],
                "categories": categories,
            },
        }
        for name, document in documents.items():
            (folder / name).write_text(json.dumps({"info": {"description": "generated"}} | document))
    shared = dict(image_size=IMAGE, held_out="animal", validation="human", unusable=0.1, loaders=0)
    return Vqav2(**shared, folder=str(folder), questions=1000)


def _photograph(folder: Path, part: str, image_id: int, n: int) -> dict:
    """Writes a small JPEG with smooth random colours; returns its entry."""
    name, (width, height) = f"COCO_{part}2014_{image_id:012d}.jpg", ((64, 48), (48, 64), (120, 100))[n % 3]
    (folder / f"{part}2014").mkdir(exist_ok=True)
    pixels = np.random.default_rng(image_id).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{part}2014" / name)
    return {"license": 1, "file_name": name, "height": height, "width": width, "id": image_id}


def _question(n: int) -> str:
    return ("Is there a dog on the couch?", "How many people are there?", "What color is the wall?")[n % 3]


def _annotation(image_id: int, question_id: int, n: int) -> dict:
    kind, said, else_said = (("yes/no", "yes", "no"), ("number", "2", "3"), ("other", "red", "dark red"))[n % 3]
    said, else_said = (said, else_said) if n % 2 else (else_said, said)
    answers = [said] * 7 + [else_said] * 3
    return {
        "question_type": "none of the above",
        "multiple_choice_answer": said,
        "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(answers)],
        "image_id": image_id,
        "answer_type": kind,
        "question_id": question_id,
    }


# --- checkpoints as others publish them: their formats and layouts, tiny, of random weights ---

NATIVE = 64  # pixels a side of the CLIP checkpoint, 4 x 4 tokens: at IMAGE its positions are interpolated
# LLaVA-1.5's chat template and LLaVA-interleave's, in short: what comes before and behind the image differs
TEMPLATES = {
    "clip": "{% for m in messages %}{{ m['role'].upper() + ': ' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "siglip": "{% for m in messages %}<|im_start|>{{ m['role'] + ' ' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ '\n' + part['text'] }}{% endif %}{% endfor %}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
}
LLAVA_IMAGE = {"clip": 56, "siglip": 58}  # pixels a side; patches of 14, and SigLIP's do not fill 58 (nor 384)


def sha256(file: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def clip_checkpoint(folder: Path, quick_gelu: bool = True) -> ClipCheckpoint:
    """A local folder in open_clip's own format: configuration, normalisation and safetensors; 4 x 4 tokens."""
    fields = clip_fields(CLIP, NATIVE) | {"quick_gelu": quick_gelu}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = open_clip.CLIP(
            embed_dim=CLIP.embed_dim, vision_cfg=open_clip.CLIPVisionCfg(**fields["vision"]),
            text_cfg=open_clip.CLIPTextCfg(**fields["text"]), quick_gelu=quick_gelu,
        )  # fmt: skip
    save_clip(model, folder, fields["vision"], fields["text"], CLIP.embed_dim)
    config = folder / "open_clip_config.json"
    document = json.loads(config.read_text())
    document["model_cfg"]["quick_gelu"] = quick_gelu
    config.write_text(json.dumps(document))
    weights = sha256(folder / "open_clip_model.safetensors")
    return ClipCheckpoint(str(folder), "", weights, CLIP.patch_size, CLIP.layers)


def llava_checkpoint(folder: Path, tower: str = "clip", seed: int = 0) -> LlavaCheckpoint:
    """A local folder as `save_pretrained` writes it: LLaVA-1.5's layout ("clip") or LLaVA-interleave's ("siglip")."""
    save_llava(layout_model(tower, seed), layout_processor(tower), folder)
    return LlavaCheckpoint(str(folder), "", {"model.safetensors": sha256(folder / "model.safetensors")})


def layout_model(tower: str, seed: int = 0):
    """CLIP tower without its class token and Llama, or SigLIP tower and Qwen2 with grouped keys and tied words."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    tokenizer, size = layout_processor(tower).tokenizer, LLAVA_IMAGE[tower]
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = dict(
        hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=2, image_size=size,
        patch_size=14,
    )  # fmt: skip
    text = dict(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=512, initializer_range=0.1, **ends,
    )  # fmt: skip
    if tower == "clip":
        parts = dict(
            vision_config=CLIPVisionConfig(**vision, projection_dim=32),
            text_config=LlamaConfig(**text, bos_token_id=tokenizer.bos_token_id),
            vision_feature_layer=-2, vision_feature_select_strategy="default", tie_word_embeddings=False,
        )  # fmt: skip
    else:
        parts = dict(
            vision_config=SiglipVisionConfig(**vision, vision_use_head=False),
            text_config=Qwen2Config(**text, num_key_value_heads=2, tie_word_embeddings=True),
            vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=True,
        )  # fmt: skip
    config = LlavaConfig(
        **parts,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(size // 14) ** 2,
        **ends,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.update(**ends)
    return model


@cache
def layout_processor(tower: str):
    """A byte-level BPE tokenizer with the layout's special tokens, its image processor and its chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast, SiglipImageProcessor

    llama = tower == "clip"
    special = (
        ["<pad>", "<s>", "</s>", "<image>"] if llama else ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    tokenizer.train_from_iterator(["user assistant USER ASSISTANT what is where is the how many are there"], trainer)
    if llama:  # begins with <s>, which the template leaves to the tokenizer; Qwen's has no such token
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        names = dict(pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    else:
        names = dict(pad_token="<|endoftext|>", eos_token="<|im_end|>")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, extra_special_tokens={"image_token": "<image>"})
    size = LLAVA_IMAGE[tower]
    if llama:
        image = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    else:
        image = SiglipImageProcessor(size={"height": size, "width": size})
    return LlavaProcessor(
        image_processor=image, tokenizer=fast, patch_size=14, image_token="<image>", chat_template=TEMPLATES[tower],
        vision_feature_select_strategy="default" if llama else "full", num_additional_image_tokens=int(llama),
    )  # fmt: skip
