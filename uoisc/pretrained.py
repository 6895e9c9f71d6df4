"""Opens models as others have trained them: CLIP and both judges, by params.yaml's names, revisions and digests."""

from __future__ import annotations

import hashlib
import json

from uoisc.clip import FrozenCLIP, load_clip
from uoisc.errors import CheckpointError
from uoisc.llava import FrozenLlava, load_llava
from uoisc.settings import JUDGES, ClipCheckpoint, LlavaCheckpoint, Pretrained
from uoisc.weights import UNPINNED


def open_pretrained(
    settings: Pretrained,
    taps: tuple[int, ...],
    image_size: int,
    judges: tuple[str, ...] = JUDGES,
    device: str = "cpu",
) -> tuple[FrozenCLIP, dict[str, FrozenLlava]]:
    """CLIP, its positions interpolated to `image_size` pixels a side, and those judges that are asked for.

    Args:
        taps: CLIP's block numbers to tap.
        judges: of `JUDGES`; training asks for the first alone.
        device: where they compute; LLaVA in bfloat16 on a GPU, in float32 on a CPU, CLIP in float32.

    Raises CheckpointError, one line, where something is missing or another one than params.yaml says.
    """
    clip = open_clip_checkpoint(settings.clip, taps, image_size).to(device)
    return clip, {name: open_llava_checkpoint(getattr(settings, name), device) for name in judges}


def open_clip_checkpoint(settings: ClipCheckpoint, taps: tuple[int, ...], image_size: int) -> FrozenCLIP:
    """That CLIP. Raises CheckpointError also where params.yaml gives it another patch size or depth."""
    clip = load_clip(settings.name, settings.weights, taps, image_size, settings.sha256)
    visual = clip.model.visual
    for key, found in (("patch_size", visual.patch_size[0]), ("layers", len(visual.transformer.resblocks))):
        if getattr(settings, key) != found:
            raise CheckpointError(
                f"foundation.clip.{key} = {getattr(settings, key)}: {settings.name} has {found}, say so in params.yaml"
            )
    return clip


def identity(settings: ClipCheckpoint | LlavaCheckpoint) -> str:
    """Which checkpoint that is, without a look at it: the digest that `verify` holds its weights against.

    What is not pinned is known by its name alone.
    """
    pinned = settings.sha256 if isinstance(settings.sha256, dict) else {"weights": settings.sha256}
    known = pinned if UNPINNED not in pinned.values() else [settings.name, pinned]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def open_llava_checkpoint(settings: LlavaCheckpoint, device: str = "cpu") -> FrozenLlava:
    """That LLaVA."""
    return load_llava(settings.name, settings.revision, settings.sha256, device)
