"""Models of the paper's own size with random weights: nothing is downloaded.

CLIP ViT-B/16 at 352 px, and a LLaVA of a SigLIP so400m tower at 384 px and a Qwen2 of half a billion parameters
(llava-interleave-qwen-0.5b's configuration).
"""

from __future__ import annotations

import torch

from benchmarks.shapes import TEXT, VISION
from uoisc.base.config import Params
from uoisc.frozen.clip import FrozenCLIP, open_clip
from uoisc.frozen.llava import FrozenLlava

CPU = torch.device("cpu")
CLIP_NAME = "ViT-B-16-quickgelu"
QUERY = "what colour is the horse that stands behind the fence"
WORDS = ("<pad>", "<unk>", "</s>", "<image>", "user", "assistant", *dict.fromkeys(QUERY.split()))
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} assistant{% endif %}"
)


def random_clip(params: Params) -> FrozenCLIP:
    """ViT-B/16 at the profile's image size."""
    config = open_clip.get_model_config(CLIP_NAME)
    config["vision_cfg"]["image_size"] = params.data.image_size
    return FrozenCLIP(open_clip.CLIP(**config), open_clip.get_tokenizer(CLIP_NAME), params.codec.taps)


class Wide(FrozenLlava):
    """As the LLaVA ran before: under autocast, padded on the left with a mask, its modules as transformers has them."""

    native = property(lambda _: False, lambda *_: None)  # whatever its weights are


def random_llava(dtype: torch.dtype, where: torch.device = CPU, kind: type[FrozenLlava] = FrozenLlava) -> FrozenLlava:
    """A LLaVA of 0.86 billion parameters, with a tokenizer that knows one question."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
        Qwen2Config,
        SiglipImageProcessor,
        SiglipVisionConfig,
    )

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    side = VISION["image_size"]
    processor = LlavaProcessor(
        image_processor=SiglipImageProcessor(size={"height": side, "width": side}), tokenizer=fast,
        patch_size=VISION["patch_size"], vision_feature_select_strategy="full", image_token="<image>",
        chat_template=TEMPLATE,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(**VISION), text_config=Qwen2Config(**TEXT), vision_feature_layer=-1,
        image_token_index=WORDS.index("<image>"), vision_feature_select_strategy="full", tie_word_embeddings=True,
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with where:
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    return kind(model, processor).to(where)
