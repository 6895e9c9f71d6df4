"""Prints what one training step of the paper's own setting costs, part by part: `python -m benchmarks.full_size`.

Models of the full size with random weights, whose time and memory do not depend on what they know: CLIP ViT-B/16 at 352
px, the codec of the profile `paper`, a LLaVA of a SigLIP so400m tower at 384 px and a Qwen2 of half a billion
parameters (llava-interleave-qwen-0.5b's configuration). Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.shapes import TEXT, VISION
from benchmarks.step import time_losses
from uoisc.base.config import Params, load_params
from uoisc.base.devices import fast_attention
from uoisc.codec import Codec
from uoisc.critic import PatchCritic
from uoisc.frozen.clip import FrozenCLIP, open_clip
from uoisc.frozen.llava import FrozenLlava
from uoisc.variants import variant

PROFILE, VARIANT, RATE = "paper", "uoisc", "wide"
CLIP_NAME = "ViT-B-16-quickgelu"
QUERY = "what colour is the horse that stands behind the fence"
WORDS = ("<pad>", "<unk>", "</s>", "<image>", "user", "assistant", *dict.fromkeys(QUERY.split()))
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} assistant{% endif %}"
)
CODEC_PARTS = (  # of the codec, the method that is timed, and under which name
    ("vision", "text", "CLIP: taps and text"),
    ("vision", "see", "CLIP: taps and text"),
    ("projection", "forward", "projection, alignment, VQ"),
    ("alignment", "forward", "projection, alignment, VQ"),
    ("quantizer", "forward", "projection, alignment, VQ"),
    ("decoder", "forward", "decoder"),
)


class Models(NamedTuple):
    """What a step asks, under `Bench`'s names."""

    params: Params
    clip: FrozenCLIP
    llava: FrozenLlava


class Meter(Clock):
    """Seconds and peak memory of named parts, in the order in which they first ran; parts of one name add up.

    On a CPU these are the processor's seconds, so that waiting for other programs does not count.
    """

    def __init__(self, device: torch.device):
        super().__init__(perf_counter if device.type == "cuda" else process_time)
        self.device = device
        self.peak: dict[str, int] = {}
        self.start_round()

    @property
    def seconds(self) -> dict[str, float]:
        """By part."""
        return self.rounds[0]

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Times the block and takes the most memory that the process, or the GPU, held in it, bytes."""
        self._reset()
        with super().__call__(name):
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        self.peak[name] = max(self.peak.get(name, 0), self._peak())

    def _reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        elif Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        status = Path("/proc/self/status")
        if status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of the whole run

    def show(self, title: str) -> None:
        """One line a part."""
        print(f"{title:<34}{'seconds':>9}{'peak GB':>9}")
        for name, seconds in self.seconds.items():
            print(f"{name:<34}{seconds:9.2f}{self.peak[name] / 1e9:9.2f}")
        print(f"{'in all':<34}{sum(self.seconds.values()):9.2f}{max(self.peak.values()) / 1e9:9.2f}\n")


def random_clip(params: Params) -> FrozenCLIP:
    """ViT-B/16 at the profile's image size."""
    config = open_clip.get_model_config(CLIP_NAME)
    config["vision_cfg"]["image_size"] = params.data.image_size
    return FrozenCLIP(open_clip.CLIP(**config), open_clip.get_tokenizer(CLIP_NAME), params.codec.taps)


def random_llava(dtype: torch.dtype) -> FrozenLlava:
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
        model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    return FrozenLlava(model, processor)


def step(meter: Meter, bench: Models, codec: Codec, x: Tensor, optimiser, critic: PatchCritic | None) -> None:
    """One step, part by part."""
    queries = [QUERY] * len(x)
    with ExitStack() as timed:
        for part, method, name in CODEC_PARTS:
            timed.enter_context(meter.on(getattr(codec, part), method, name))
        out = codec(x, queries)
    time_losses(meter, bench, x, queries, out, optimiser, critic)


def main() -> None:
    """Prints both phases' tables: one step each, after a first one that fills caches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu (one thread) or cuda")
    parser.add_argument("--batch", type=int, default=1, help="images a step")
    parser.add_argument("--bfloat16", action="store_true", help="the LLaVA's weights in bfloat16, as on a GPU")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    params = load_params(PROFILE)
    low = asked.bfloat16 or device.type == "cuda"
    meter = Meter(device)
    with meter("models"):
        clip = random_clip(params).to(device)
        llava = random_llava(torch.bfloat16 if low else torch.float32).to(device)
        codec = variant(VARIANT).build(clip, params, RATE).to(device).train()
        critic = PatchCritic(params.training.critic_channels).to(device)
    bench = Models(params, clip, llava)
    own = [p for p in codec.parameters() if p.requires_grad]
    for name, parts in (("CLIP", clip.parameters()), ("LLaVA", llava.parameters()), ("codec", own)):
        print(f"{name}: {sum(p.numel() for p in parts) / 1e6:,.1f} million parameters")
    print(f"torch {torch.__version__}, {device.type}, batch {asked.batch}, LLaVA in {'bf' if low else 'float'}"
          f"{16 if low else 32}; intent loss over {llava.image_tokens} image tokens\n")  # fmt: skip
    meter.show("models of random weights")
    size = params.data.image_size
    x = torch.rand(asked.batch, 3, size, size, device=device)
    optimiser = torch.optim.Adam(own, lr=params.training.learning_rate, betas=(0.5, 0.999), fused=True)
    with fast_attention() if device.type == "cpu" else nullcontext():
        step(Meter(device), bench, codec, x, optimiser, critic)
        for phase in (1, 2):
            meter = Meter(device)
            step(meter, bench, codec, x, optimiser, critic if phase == 2 else None)
            meter.show(f"one step of phase {phase}")


if __name__ == "__main__":
    main()
