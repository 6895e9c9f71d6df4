"""Checkpoints as others publish them, tiny and of random weights: their formats and layouts without a download.

open_clip's own folder for CLIP; `save_pretrained`'s, with processor and chat template, for LLaVA-1.5's layout and
LLaVA-interleave's.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from uoisc.base.settings import Clip, ClipCheckpoint, LlavaCheckpoint
from uoisc.frozen.clip import open_clip
from uoisc.frozen.clip_files import save_clip
from uoisc.frozen.foundation import clip_fields
from uoisc.frozen.llava_files import save_llava
from uoisc.frozen.weights import digest

CLIP = Clip(
    patch_size=16, width=64, layers=3, embed_dim=32, text_width=64, text_layers=1, context_length=16, steps=2,
    batch_size=4, learning_rate=1e-3,
)  # fmt: skip
NATIVE = 64  # pixels a side of the CLIP checkpoint, 4 x 4 tokens: at other sizes its positions are interpolated
# LLaVA-1.5's chat template and LLaVA-interleave's, in short: what comes before and behind the image differs
TEMPLATES = {
    "clip": "{% for m in messages %}{{ m['role'].upper() + ': ' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "siglip": "{% for m in messages %}<|im_start|>{{ m['role'] + ' ' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ '\n' + part['text'] }}{% endif %}{% endfor %}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
}
SUFFIX = "Answer in one word."  # after every question
LLAVA_IMAGE = {"clip": 56, "siglip": 58}  # pixels a side; patches of 14, and SigLIP's do not fill 58 (nor 384)


def clip_checkpoint(folder: Path, quick_gelu: bool = True, sizes: Clip = CLIP) -> ClipCheckpoint:
    """A local folder in open_clip's own format: configuration, normalisation and safetensors; 4 x 4 tokens."""
    fields = clip_fields(sizes, NATIVE) | {"quick_gelu": quick_gelu}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = open_clip.CLIP(
            embed_dim=sizes.embed_dim, vision_cfg=open_clip.CLIPVisionCfg(**fields["vision"]),
            text_cfg=open_clip.CLIPTextCfg(**fields["text"]), quick_gelu=quick_gelu,
        )  # fmt: skip
    save_clip(model, folder, fields["vision"], fields["text"], sizes.embed_dim)
    config = folder / "open_clip_config.json"
    document = json.loads(config.read_text())
    document["model_cfg"]["quick_gelu"] = quick_gelu
    config.write_text(json.dumps(document))
    weights = digest(folder / "open_clip_model.safetensors")
    return ClipCheckpoint(str(folder), "", weights, sizes.patch_size, sizes.layers, "value_value")


def llava_checkpoint(folder: Path, tower: str = "clip", seed: int = 0, suffix: str = SUFFIX) -> LlavaCheckpoint:
    """A local folder as `save_pretrained` writes it: LLaVA-1.5's layout ("clip") or LLaVA-interleave's ("siglip")."""
    save_llava(layout_model(tower, seed), layout_processor(tower), folder)
    return LlavaCheckpoint(str(folder), "", {"model.safetensors": digest(folder / "model.safetensors")}, suffix)


def layout_model(tower: str, seed: int = 0):
    """CLIP tower without its class token and Llama, or SigLIP tower and Qwen2 with grouped keys and tied words."""
    from transformers import LlavaForConditionalGeneration

    config = _layout(tower)
    ends = {"pad_token_id": config.text_config.pad_token_id, "eos_token_id": config.text_config.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.update(**ends)
    return model


def _layout(tower: str):
    """The configuration of a layout."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, Qwen2Config, SiglipVisionConfig

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
    return LlavaConfig(
        **parts,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(size // 14) ** 2,
        **ends,
    )


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
        vocab_size=400,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
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
