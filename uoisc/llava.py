"""The frozen LLaVA (transformers): answers, hidden states, and gradients that reach the image.

Stand-in and real checkpoints run through the same class: `LlavaForConditionalGeneration` with its own
processor's chat template and normalisation, from a local folder or a hub name.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from uoisc.clip import speed_up
from uoisc.errors import CheckpointError

MAX_ANSWER_TOKENS = 20  # authors' code


class FrozenLlava(nn.Module):
    """A LLaVA whose weights never change.

    Args:
        model: `LlavaForConditionalGeneration`.
        processor: its `LlavaProcessor` (image processor, tokenizer, chat template).
    """

    def __init__(self, model, processor):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        speed_up(model.model.vision_tower)
        self.processor = processor
        self.processor.tokenizer.padding_side = "left"  # the last position of every row then predicts the answer
        image = processor.image_processor
        self.register_buffer("mean", torch.tensor(image.image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(image.image_std).view(3, 1, 1), persistent=False)
        size = image.crop_size if image.do_center_crop else image.size
        self.size = (size["height"], size["width"])

    def train(self, mode: bool = True) -> FrozenLlava:
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

    def prompts(self, queries: list[str]) -> list[str]:
        """The processor's chat template around each query and one image, ending where the answer begins."""
        return [
            self.processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": query}]}],
                add_generation_prompt=True,
            )
            for query in queries
        ]

    def tokenize(self, queries: list[str]) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Token ids with image placeholders expanded, padded on the left, and the mask of what is no padding."""
        tower = self.model.config.vision_config
        image_tokens = (self.size[0] // tower.patch_size) * (self.size[1] // tower.patch_size)
        placeholder = self.processor.image_token
        texts = [p.replace(placeholder, placeholder * image_tokens) for p in self.prompts(queries)]
        batch = self.processor.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        device = self.mean.device
        return batch["input_ids"].to(device), batch["attention_mask"].bool().to(device)

    def tokenize_answered(
        self, queries: list[str], answers: list[str]
    ) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"], Int[Tensor, "B L"]]:
        """As `tokenize`, each query followed by its answer and the end token; labels are -100 outside the answer."""
        tokenizer = self.processor.tokenizer
        ids, mask = self.tokenize(queries)
        ends = [tokenizer(a, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for a in answers]
        longest = max(map(len, ends))
        tail = torch.full((len(ends), longest), tokenizer.pad_token_id)
        kept = torch.zeros(len(ends), longest, dtype=torch.bool)
        for row, end in enumerate(ends):
            tail[row, : len(end)], kept[row, : len(end)] = torch.tensor(end), True
        tail, kept = tail.to(ids.device), kept.to(ids.device)
        labels = torch.cat([torch.full_like(ids, -100), tail.masked_fill(~kept, -100)], dim=1)
        return torch.cat([ids, tail], dim=1), torch.cat([mask, kept], dim=1), labels

    def pixels(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 h w"]:
        """Images in [0, 1] as the processor would prepare them, differentiably: resize (bicubic), normalise."""
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return (x - self.mean) / self.std

    @torch.no_grad()
    def answer(self, x: Float[Tensor, "B 3 H W"], queries: list[str], batch_size: int = 256) -> list[str]:
        """Greedy answers, at most 20 tokens (authors' code)."""
        answers = []
        for start in range(0, len(queries), batch_size):
            rows = slice(start, start + batch_size)
            ids, mask = self.tokenize(queries[rows])
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask.long(),
                pixel_values=self.pixels(x[rows]),
                max_new_tokens=MAX_ANSWER_TOKENS,
                do_sample=False,
            )
            texts = self.processor.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
            answers += [text.strip() for text in texts]
        return answers

    def hidden(
        self, x: Float[Tensor, "B 3 H W"], ids: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "B L w"], ...]:
        """Hidden states after the embedding and after every block, for images in [0, 1] and tokenized queries."""
        out = self.model.model(
            input_ids=ids,
            attention_mask=mask.long(),
            pixel_values=self.pixels(x),
            output_hidden_states=True,
            use_cache=False,
        )
        return out.hidden_states

    def after_image(self, ids: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Which tokens stand behind the image: only these can depend on image and query together."""
        is_image = ids == self.model.config.image_token_id
        seen_after = is_image.flip(1).cumsum(1).flip(1)  # image tokens from here to the end
        return mask & (seen_after == 0)


def load_llava(name: str) -> FrozenLlava:
    """A frozen LLaVA from a local folder or a hub name; no remote code, safetensors alone.

    Raises CheckpointError when it is not there or is no LLaVA.
    """
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for every small file drowns the training's own
    try:
        model = LlavaForConditionalGeneration.from_pretrained(name, use_safetensors=True, attn_implementation="sdpa")
        processor = AutoProcessor.from_pretrained(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"LLaVA {name!r} cannot be loaded ({str(error).splitlines()[0]}): "
            "run the foundation stage (dvc repro), or name a checkpoint that is here"
        ) from error
    if not isinstance(model, LlavaForConditionalGeneration):
        raise CheckpointError(f"{name!r} is a {type(model).__name__}, not a LLaVA: name another checkpoint")
    return FrozenLlava(model, processor)


def save_llava(model, processor, folder: Path) -> None:
    """Writes the model and its processor in transformers' own format."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
