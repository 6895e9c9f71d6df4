"""The frozen LLaVA (transformers): answers, hidden states, and gradients that reach the image.

Stand-in and real checkpoints run through the same class: `LlavaForConditionalGeneration` with its own
processor's chat template and normalisation, from a local folder or a hub name.
"""

from collections.abc import Iterable
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from uoisc.base.boundary import check_images
from uoisc.base.errors import CheckpointError
from uoisc.data.queries import Reader, check_fits, check_queries, hub_reader
from uoisc.frozen.clip import speed_up
from uoisc.frozen.kept import Kept
from uoisc.frozen.native import lighten

MAX_ANSWER_TOKENS = 20  # authors' code
RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, which processors are written in


class FrozenLlava(nn.Module):
    """A LLaVA whose weights never change.

    Args:
        model: `LlavaForConditionalGeneration`.
        processor: its `LlavaProcessor` (image processor, tokenizer, chat template).
        suffix: what follows every question, on a line of its own: the form of answer that is wanted. "": nothing.
    """

    def __init__(self, model, processor, suffix: str = ""):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.kept = Kept()
        # Computes in bfloat16 by itself, as its weights are: autocast would widen what lies between.
        self.native = model.dtype is torch.bfloat16
        speed_up(model.model, casts=not self.native)
        if self.native:
            lighten(model.model.language_model)
        self.processor = processor
        self.suffix = suffix
        self.processor.tokenizer.padding_side = "left"  # the last position of every row then predicts the answer
        image = processor.image_processor
        self.register_buffer("mean", torch.tensor(image.image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(image.image_std).view(3, 1, 1), persistent=False)
        size = image.crop_size if image.do_center_crop else image.size
        self.edge = image.size.shortest_edge  # of the whole image before its centre is cut out; None: no crop
        self.size = (size.height, size.width)
        whole = None not in self.size and (self.edge is None or self.edge >= max(self.size))
        if not whole or image.resample not in RESAMPLING or image.do_pad:
            raise CheckpointError(
                f"this LLaVA's processor prepares images in a way that is not known here (size {image.size}, crop to "
                f"{image.crop_size}, method {image.resample}, padding {image.do_pad}): name another checkpoint"
            )
        self.resampling = RESAMPLING[image.resample]
        self.image_tokens = self._image_tokens()

    def _image_tokens(self) -> int:
        """How many placeholders the processor writes for an image. Raises CheckpointError where the tower disagrees."""
        blank = np.zeros((*self.size, 3), dtype=np.uint8)
        try:
            batch = self.processor(images=[blank], text=[self.processor.image_token], return_tensors="pt")
            count = int((batch["input_ids"] == self.model.config.image_token_id).sum())
        except (TypeError, ValueError, AttributeError):  # a processor_config.json of the first days
            count = None
        # a CLIP tower has a class token beside its patches, which "default" drops; a SigLIP tower has none
        positions = self.model.model.vision_tower.embeddings.num_positions
        given = positions - (self.model.config.vision_feature_select_strategy == "default")
        if count != given:
            raise CheckpointError(
                f"this LLaVA's processor writes {count or 'no'} tokens for an image, its vision tower gives {given}: "
                "take a revision whose processor_config.json holds patch_size, num_additional_image_tokens and "
                "vision_feature_select_strategy"
            )
        return count

    def train(self, mode: bool = True) -> "FrozenLlava":
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

    def prompts(self, queries: list[str] | Any) -> list[str]:
        """Each query, the suffix and one image in the chat template.

        Raises QueryError for what would not be read whole as text.
        """
        queries = check_queries(queries)
        check_fits(queries, self.reader)
        return [_prompt(self.processor, query, self.suffix) for query in queries]

    @cached_property
    def reader(self) -> Reader:
        """What its tokenizer makes of queries."""
        return llava_reader(self.processor, self.model.config, self.image_tokens, self.suffix)

    def tokenize(self, queries: list[str] | Any, side: str = "left") -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Token ids with image placeholders expanded, padded on that side, and the mask of what is no padding."""
        placeholder = self.processor.image_token
        begin = self.processor.tokenizer.bos_token
        prompts = self.prompts(queries)
        texts = [p.replace(placeholder, placeholder * self.image_tokens) for p in prompts]
        # transformers' rule: the tokenizer begins the sequence unless the template already has
        special = begin is None or not prompts[0].startswith(begin)
        how = {"padding": True, "padding_side": side, "return_tensors": "pt", "add_special_tokens": special}
        batch = self.processor.tokenizer(texts, **how)
        device = self.mean.device
        return batch["input_ids"].to(device), batch["attention_mask"].bool().to(device)

    def tokenize_answered(
        self, queries: list[str], answers: list[str]
    ) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"], Int[Tensor, "B L"]]:
        """As `tokenize`, each query followed by its answer and the end token; labels are -100 outside the answer."""
        tokenizer = self.processor.tokenizer
        ids, mask = self.tokenize(queries)
        ends = [tokenizer(a, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for a in answers]
        tail = pad_sequence([torch.tensor(end) for end in ends], batch_first=True, padding_value=tokenizer.pad_token_id)
        kept = pad_sequence([torch.ones(len(end), dtype=torch.bool) for end in ends], batch_first=True)
        tail = tail.to(ids.device)
        kept = kept.to(ids.device)
        labels = torch.cat([torch.full_like(ids, -100), tail.masked_fill(~kept, -100)], dim=1)
        return torch.cat([ids, tail], dim=1), torch.cat([mask, kept], dim=1), labels

    def pixels(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 h w"]:
        """Images in [0, 1] as the processor would prepare them, differentiably: resize, cut the centre out, normalise.

        The processor works on bytes, rows before columns, each cut to its range; it rounds, which has no gradient
        and is left out. Before normalisation values differ by 1.1 steps of 1/255 at most (measured on photos).
        """
        x = x.to(self.mean)
        height, width = self._resized(*x.shape[-2:])
        if x.shape[-2:] != (height, width):
            for size in ((x.shape[-2], width), (height, width)):
                x = F.interpolate(x, size, mode=self.resampling, antialias=True, align_corners=False).clamp(0, 1)
        top = (height - self.size[0]) // 2
        left = (width - self.size[1]) // 2
        return (x[..., top : top + self.size[0], left : left + self.size[1]] - self.mean) / self.std

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """The size before the crop: the shorter side is `edge`, the longer one keeps the proportions, cut to pixels."""
        if self.edge is None:
            return self.size
        short = self.edge
        long = int(self.edge * max(height, width) / min(height, width))
        return (long, short) if width <= height else (short, long)

    @torch.no_grad()
    def answer(self, x: Float[Tensor, "B 3 H W"] | Any, queries: list[str] | Any, batch_size: int = 256) -> list[str]:
        """Greedy answers, at most 20 tokens (authors' code), to one query per image; x of any size, on any device.

        Raises InputError or QueryError where they are not.
        """
        check_images(x)
        queries = check_queries(queries, len(x))
        answers = []
        for start in range(0, len(queries), batch_size):
            rows = slice(start, start + batch_size)
            answers += self._generate(self.pixels(x[rows]), queries[rows])
        return answers

    @torch.no_grad()
    def answer_files(self, images: Iterable[UInt8[np.ndarray, "h w 3"]], queries: list[str]) -> list[str]:
        """As `answer`, of images of any shapes, prepared by the processor itself; no more of them than fit a batch."""
        prepare = partial(self.processor.image_processor, return_tensors="pt", input_data_format="channels_last")
        pixels = torch.cat([prepare(images=image)["pixel_values"] for image in images])
        return self._generate(pixels.to(self.mean), check_queries(queries, len(pixels)))

    def _generate(self, pixels: Float[Tensor, "B 3 h w"], queries: list[str]) -> list[str]:
        ids, mask = self.tokenize(queries)
        seen = {"input_ids": ids, "attention_mask": mask.long(), "pixel_values": pixels}
        out = self.model.generate(**seen, max_new_tokens=MAX_ANSWER_TOKENS, do_sample=False)
        texts = self.processor.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def hidden(
        self, x: Float[Tensor, "B 3 H W"], ids: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None, depths=True
    ) -> tuple[Float[Tensor, "B L w"] | None, ...]:
        """Hidden states after the embedding and after every block, for images in [0, 1] and tokenized queries; where
        `depths` numbers some, the others are None. `mask`: of what is no padding; None: padding stands on the right,
        where no other token attends to it."""
        seen = {"input_ids": ids, "attention_mask": None if mask is None else mask.long()}
        seen["pixel_values"] = self.pixels(x)
        return self.model.model(**seen, output_hidden_states=depths, use_cache=False).hidden_states

    def after_image(self, ids: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Which tokens stand behind the image: only these can depend on image and query together."""
        is_image = ids == self.model.config.image_token_id
        seen_after = is_image.flip(1).cumsum(1).flip(1)  # image tokens from here to the end
        return mask & (seen_after == 0)


def llava_reader(processor, config, image_tokens: int, suffix: str) -> Reader:
    """What a LLaVA's tokenizer makes of queries; the prompt around them and the answer take of its context too."""
    tokenizer = processor.tokenizer
    around = len(tokenizer(_prompt(processor, "", suffix))["input_ids"]) - 1 + image_tokens + MAX_ANSWER_TOKENS
    room = config.get_text_config().max_position_embeddings - around
    return hub_reader("the judge", tokenizer, room, config.image_token_id)


def _prompt(processor, query: str, suffix: str) -> str:
    """Where a question becomes a prompt, for answers and losses alike; the suffix as LLaVA's own evaluation adds it."""
    text = f"{query}\n{suffix}" if suffix else query
    content = [{"type": "image"}, {"type": "text", "text": text}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
