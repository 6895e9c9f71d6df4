"""What one sample costs at the paper's own size, counted on models without weights (fake tensors): no memory, no GPU.

    codec, critic, CLIP, LLaVA loss, both judges --one sample--> FLOPs, operations, bytes kept for the backward pass

Exact for these models and shapes; `scaling.py` makes hours of it under stated assumptions.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.shapes import JUDGE_TEXT, JUDGE_VISION, TEXT, VISION
from uoisc.alignment import Film, ImageProjection
from uoisc.base.config import load_params
from uoisc.critic import PatchCritic, gradient_penalty
from uoisc.decoder import Decoder
from uoisc.frozen.clip import FrozenCLIP, open_clip
from uoisc.losses import adversarial_loss, critic_loss, perceptual_loss
from uoisc.quantization import SegmentVQ

SOURCE = "of it, the source's states"  # which follow from image and question, and can be kept


@dataclass(frozen=True)
class Setting:
    """The models at full size, at the widest rate of `uoisc` (`paper_setting`)."""

    clip: str
    image_size: int
    grid: int  # tokens a side
    taps: tuple[int, ...]
    width: int
    text_width: int
    segments: int
    codes: int
    decoder_channels: tuple[int, ...]
    critic_channels: int
    prompt_tokens: int = 40  # ours: chat template, a question of VQAv2 and what follows it
    answer_tokens: int = 5  # ours: one or two words and the end


def paper_setting() -> Setting:
    """The setting of the profile `paper`."""
    p = load_params("paper")
    c, rate = p.codec, p.codec.rates[p.variants["uoisc"][-1]]
    return Setting(
        p.foundation.clip.name, p.data.image_size, p.data.image_size // p.foundation.clip.patch_size, c.taps, c.width,
        c.text_width, rate.segments, rate.codes, c.decoder_channels, p.training.critic_channels,
    )  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What one sample costs: FLOPs, operations launched a batch, bytes kept for the backward pass; and parameters."""

    flops: int
    operations: int
    kept: int
    parameters: int


class Counter(TorchDispatchMode):
    """Counts operations, and FLOPs (2 a multiply-add) by torch's own formulas; follows double backward as well."""

    flops = operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.operations += function.namespace == "aten" and not function.is_view
        if (formula := flop_registry.get(function._overloadpacket)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


class FusedAttention(TorchFunctionMode):
    """Attention as GPUs compute it: no attention matrix is kept for the backward pass."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        q, k, v = args
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))  # grouped-query attention
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]


def count(work: Callable[[int], Tensor | None], *models: nn.Module) -> Cost:
    """Cost of `work(batch)`, and of its backward pass where it returns a loss; `models` are those that it runs."""
    runs: list[tuple[int, int, int]] = []
    for batch in (1, 2):
        kept: dict[int, int] = {}

        def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
            return tensor

        with Counter() as counter, FusedAttention(), saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = work(batch)
            if loss is not None:
                loss.backward()
        runs.append((counter.flops, counter.operations, sum(kept.values())))
        if loss is None:
            break
    flops, operations, kept_by_one = runs[0]
    parameters = sum(p.numel() for model in models for p in model.parameters())
    return Cost(flops, operations, runs[-1][2] - kept_by_one, parameters)  # weights, kept once a batch, fall out


@contextmanager
def without_weights(dtype: torch.dtype):
    """Models and tensors made here have shapes and no memory."""
    from transformers.initialization import no_init_weights

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(), no_init_weights():
            yield
    finally:
        torch.set_default_dtype(before)


def build_llava(judge: bool):
    """LLaVA-1.5-7B, the judge, or LLaVA-Interleave-0.5B, whose view is the loss: shapes of their published configs."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    if judge:
        tower, text = CLIPVisionConfig(**JUDGE_VISION), LlamaConfig(**JUDGE_TEXT)
    else:
        tower, text = SiglipVisionConfig(**VISION), Qwen2Config(**TEXT)
    config = LlavaConfig(vision_config=tower, text_config=text, tie_word_embeddings=not judge)
    llava = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    if not judge:
        llava.lm_head.weight = llava.get_input_embeddings().weight
    return llava


def look(llava, pixels: Tensor, words: int) -> Tensor:
    """The language model's last states for an image and so many further tokens, (B, L, w)."""
    model, tower = llava.model, llava.config.vision_config
    seen = model.vision_tower(pixels).last_hidden_state[:, -((tower.image_size // tower.patch_size) ** 2) :]
    text = torch.empty(len(pixels), words, llava.config.text_config.hidden_size)
    inputs = torch.cat([model.multi_modal_projector(seen), text], dim=1)
    return model.language_model(inputs_embeds=inputs, use_cache=False).last_hidden_state


def costs(setting: Setting) -> dict[str, Cost]:
    """Every part of a training step and of an answer, a sample."""
    s, found = setting, {}
    with without_weights(torch.bfloat16):
        config = open_clip.get_model_config(s.clip)
        config["vision_cfg"]["image_size"] = s.image_size
        clip = FrozenCLIP(open_clip.CLIP(**config), None, s.taps)

        def image(batch: int, gradient: bool = False, size: int = s.image_size) -> Tensor:
            return torch.empty(batch, 3, size, size, requires_grad=gradient)

        context = clip.model.context_length

        def see(batch: int) -> None:
            clip.see(image(batch))
            clip.model.encode_text(torch.zeros(batch, context, dtype=torch.long))

        found["CLIP, image and query"] = count(see, clip)
        found["perceptual loss"] = count(lambda b: perceptual_loss(clip, image(b), image(b, True)))
        llava = build_llava(judge=False)
        size = llava.config.vision_config.image_size

        @torch.no_grad()
        def source(batch: int) -> None:
            look(llava, image(batch, size=size), s.prompt_tokens)

        def intent(batch: int) -> Tensor:
            source(batch)
            return look(llava, image(batch, True, size), s.prompt_tokens).sum()

        found["intent loss, LLaVA 0.5B"] = count(intent, llava)
        found[SOURCE] = count(source, llava)
        found["answer, LLaVA 0.5B"] = answer_cost(llava, s)
        found["answer, LLaVA 7B"] = answer_cost(build_llava(judge=True), s)
    with without_weights(torch.float32):
        found |= trained_costs(s, clip.width, clip.text_width)
    return found


@torch.no_grad()
def answer_cost(llava, s: Setting) -> Cost:
    """One answer of a judge."""
    size = llava.config.vision_config.image_size

    def answer(batch: int) -> None:
        states = look(llava, torch.empty(batch, 3, size, size), s.prompt_tokens + s.answer_tokens)
        llava.lm_head(states[:, -s.answer_tokens :])

    return count(answer, llava)


def trained_costs(s: Setting, clip_width: int, clip_text_width: int) -> dict[str, Cost]:
    """The two parts that training changes: the codec behind CLIP, and the critic."""
    taps = len(s.taps)
    parts = (
        ImageProjection(taps, clip_width, s.width),
        Film(taps, clip_text_width, s.text_width, s.width),
        SegmentVQ(s.width, s.segments, s.codes).eval(),  # in training it would look at values
        Decoder(taps, s.width, s.grid, s.decoder_channels),
    )
    critic = PatchCritic(s.critic_channels)

    def codec(batch: int) -> Tensor:
        projection, film, quantizer, decoder = parts
        with torch.autocast("cpu", torch.bfloat16):  # as on a GPU, whatever this machine has
            features = projection(torch.empty(batch, taps, s.grid**2, clip_width))
            quantized = quantizer(film(features, torch.empty(batch, clip_text_width)))
            return decoder(quantized.codes).sum() + quantized.loss

    def adversary(batch: int) -> Tensor:
        x, fake, x_hat = (torch.empty(batch, 3, s.image_size, s.image_size, requires_grad=i == 2) for i in range(3))
        own = critic_loss(critic(x), critic(fake)) + gradient_penalty(critic, x, fake, torch.Generator())
        return own + adversarial_loss(critic(x_hat))

    return {"codec": count(codec, *parts), "critic": count(adversary, critic)}
