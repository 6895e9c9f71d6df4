"""Opens models as others have trained them: CLIP and both judges, by params.yaml's names, revisions and digests."""

import hashlib
import json

from uoisc.base.errors import CheckpointError, ConfigError, QueryError, first_line
from uoisc.base.folders import ROOT
from uoisc.base.settings import JUDGES, ClipCheckpoint, LlavaCheckpoint, Pretrained
from uoisc.data.queries import Reader, check_query
from uoisc.frozen.clip import ATTENTIONS, FrozenCLIP, clip_reader
from uoisc.frozen.clip_files import load_clip
from uoisc.frozen.llava import FrozenLlava, llava_reader
from uoisc.frozen.llava_files import load_llava
from uoisc.frozen.weights import UNPINNED, cached_folder


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
    checkpoints = {name: getattr(settings, name) for name in judges}
    suffixes = {name: checked_suffix(name, c.suffix) for name, c in checkpoints.items()}
    return clip, {n: load_llava(c.name, c.revision, c.sha256, device, suffixes[n]) for n, c in checkpoints.items()}


def checked_suffix(judge: str, suffix: str) -> str:
    """What follows every question to a judge. Raises ConfigError where it is no visible text (`check_query`)."""
    try:
        return check_query(suffix) if suffix else ""
    except QueryError as error:
        raise ConfigError(f"foundation.{judge}.suffix: {error}") from None


def open_clip_checkpoint(settings: ClipCheckpoint, taps: tuple[int, ...], image_size: int) -> FrozenCLIP:
    """That CLIP. Raises CheckpointError also where params.yaml gives it another patch size or depth."""
    clip = load_clip(settings.name, settings.weights, taps, image_size, settings.sha256)
    visual = clip.model.visual
    for key, found in (("patch_size", visual.patch_size[0]), ("layers", len(visual.transformer.resblocks))):
        if getattr(settings, key) != found:
            raise CheckpointError(
                f"foundation.clip.{key} = {getattr(settings, key)}: {settings.name} has {found}, say so in params.yaml"
            )
    return clip.attending(ATTENTIONS[settings.relevance_attention])


def identity(settings: ClipCheckpoint | LlavaCheckpoint) -> str:
    """Which checkpoint that is, without a look at it: the digest that `verify` holds its weights against, and the
    attention by which a CLIP finds tokens relevant.

    What is not pinned is known by its name alone.
    """
    pinned = settings.sha256 if isinstance(settings.sha256, dict) else {"weights": settings.sha256}
    known = pinned if UNPINNED not in pinned.values() else [settings.name, pinned]
    how = getattr(settings, "relevance_attention", None)
    return hashlib.sha256(json.dumps([known, how], sort_keys=True).encode()).hexdigest()


def open_readers(settings: Pretrained) -> tuple[list[Reader], list[str]]:
    """The tokenizers of CLIP and both judges, without their weights, and a line for each that is not here."""
    readers = []
    absent = []
    for key in ("clip", *JUDGES):
        checkpoint = getattr(settings, key)
        try:
            readers.append(_clip_reader(checkpoint.name) if key == "clip" else _llava_reader(key, checkpoint))
        except Exception as error:  # whatever a missing or damaged folder makes parsers raise: training says it again
            absent.append(f"foundation.{key} cannot be asked whether it reads every question ({first_line(error)})")
    return readers, absent


def _clip_reader(name: str) -> Reader:
    import open_clip

    folder = (ROOT / name).is_dir() and bool(name)
    if not folder and open_clip.get_model_config(name) is None:
        raise CheckpointError(f"no model {name!r}")
    return clip_reader(open_clip.get_tokenizer(f"local-dir:{ROOT / name}" if folder else name))


def _llava_reader(key: str, settings: LlavaCheckpoint) -> Reader:
    from transformers import AutoConfig, AutoProcessor

    named = bool(settings.name) and (ROOT / settings.name).is_dir()
    folder = ROOT / settings.name if named else cached_folder(settings.name, settings.revision)
    if folder is None:
        raise CheckpointError(f"{settings.name} is not in the local cache")
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokens = config.vision_config.image_size**2 // config.vision_config.patch_size**2
    return llava_reader(processor, config, tokens, checked_suffix(key, settings.suffix))
