"""The sections of a profile: what may be set, and in which range. `config.py` reads them from params.yaml."""

from dataclasses import dataclass, field
from typing import ClassVar

from uoisc.base.schema import number

GRID = 3  # a scene's tiles a side
HEAD_WIDTH = 32  # channels of one attention head of the stand-ins' transformers
ATTENTION_HEADS = 4  # of joint attention and of the rival's text encoder
MAX_CODES = 65_536  # a codebook
NORM_GROUPS = 8  # groups of the decoder's norms
MIXED_STAGES = 2  # the decoder's first stages mix over the whole scene; the others, at high resolution, only draw
DIAL = "dial"  # the rate of every variant that has a rate dial
RELEVANCE_ATTENTIONS = ("query_key", "value_value")
JUDGES = ("llava", "llava_independent")  # the first one's view is a loss, the second never meets a codec in training
KEPT = {"all": ("clip", JUDGES[0]), "states": JUDGES[:1], "nothing": ()}  # whose view of training images, by `kept`

# What variants.py builds: each at fixed rates, and one model for any budget of bits. Named here as well, so that a
# wrong name is one line before torch is imported.
FIXED_RATE = (
    *("uoisc", "no_alignment", "no_llava", "no_alignment_no_llava", "plain_vq", "query_aware", "adaptive", "uniform"),
    *("uoisc_joint_attention", "uoisc_query_decoder", "query_aware_intent", "uoisc_answer"),
)
RATE_DIALS = ("dial", "dial_uniform", "dial_scratch_text", "dial_blind_decoder")


@dataclass(frozen=True)
class Drawings:
    """The embedded benchmark (data/scenes.py)."""

    KIND: ClassVar[str] = "drawings"
    image_size: int = number(32, 4096)
    objects: int = number(30, 10_000)
    sprite_variants: int = number(1, 64)
    test_variants: int = number(1, 64)  # further ones, for evaluation alone
    held_out: str
    validation: str  # held out in its place while settings are chosen


@dataclass(frozen=True)
class Photographed:
    """What all sources of photographs share (importers/photographs.py)."""

    image_size: int = number(32, 4096)
    held_out: str
    validation: str
    unusable: float = number(0, 1)  # a larger share of broken entries stops
    loaders: int = number(0, 256)  # processes that read images


@dataclass(frozen=True)
class Vqav2(Photographed):
    """VQA v2 on COCO 2014, as downloaded (importers/vqav2.py)."""

    KIND: ClassVar[str] = "vqav2"
    folder: str  # of the official files
    questions: int = number(1, 1_000_000)  # at most, in training


@dataclass(frozen=True)
class Manifest(Photographed):
    """Anyone's images, a line each of a JSONL file (importers/manifest.py)."""

    KIND: ClassVar[str] = "manifest"
    file: str


@dataclass(frozen=True)
class Clip:
    patch_size: int = number(4, 64)
    width: int = number(32, 4096, HEAD_WIDTH)
    layers: int = number(2, 64)  # the perceptual loss reads the first two
    embed_dim: int = number(16, 4096, ATTENTION_HEADS)
    text_width: int = number(32, 4096, HEAD_WIDTH)
    text_layers: int = number(1, 64)
    context_length: int = number(12, 77)
    steps: int = number(1, 1_000_000)
    batch_size: int = number(2, 65_536)
    learning_rate: float = number(1e-7, 1.0)
    exclude: str = ""  # a category that no scene of its training holds


@dataclass(frozen=True)
class Llava:
    width: int = number(32, 8192)
    layers: int = number(1, 128)
    heads: int = number(1, 128)
    mlp_width: int = number(32, 32_768)
    steps: int = number(1, 1_000_000)
    batch_size: int = number(1, 65_536)
    questions: int = number(1, 64)
    learning_rate: float = number(1e-7, 1.0)


@dataclass(frozen=True)
class StandIns:
    """Small models that the foundation stage trains (frozen/foundation.py)."""

    KIND: ClassVar[str] = "stand_ins"
    least: float = number(0, 1)  # share of right answers below which a model has not learnt its task: the stage stops
    clip: Clip
    tower: Clip
    llava: Llava
    tower_independent: Clip
    llava_independent: Llava


@dataclass(frozen=True)
class ClipCheckpoint:
    """A trained CLIP: an open_clip name with a tag or weights file, or a local folder. `sha256` is of its weights."""

    name: str
    weights: str  # open_clip's tag, or a file; "" where `name` is a folder
    sha256: str
    patch_size: int = number(4, 64)
    layers: int = number(2, 64)  # as the stand-in's
    relevance_attention: str  # of `RELEVANCE_ATTENTIONS`: the last block's, for the relevance of tokens to a query


@dataclass(frozen=True)
class LlavaCheckpoint:
    """A trained LLaVA in transformers' own format: a hub name at a revision, or a local folder ("" as revision)."""

    name: str
    revision: str
    sha256: dict[str, str]  # of each weights file
    suffix: str  # what follows every question, on a line of its own; "" asks the bare question


@dataclass(frozen=True)
class Pretrained:
    """Checkpoints as others have trained them (frozen/pretrained.py)."""

    KIND: ClassVar[str] = "pretrained"
    clip: ClipCheckpoint
    llava: LlavaCheckpoint  # its view is a loss, and it judges
    llava_independent: LlavaCheckpoint  # judges alone


@dataclass(frozen=True)
class Rate:
    """One point of the rate axis: what a fixed-rate and a ranked codec spend there."""

    segments: int = number(1, 256)
    codes: int = number(2, MAX_CODES)
    ranked_segments: int = number(1, 256)
    ranked_codes: int = number(2, MAX_CODES)
    ranked_tokens: int = number(1, 65_536)
    ranked_background: int = number(0, 256)  # units that the other tokens send


@dataclass(frozen=True)
class Dial:
    """What a rate dial is made of. A unit is one segment of one tap."""

    segments: int = number(1, 256)
    codes: int = number(2, MAX_CODES)
    tokens: tuple[int, ...] = number(1, 65_536, ascending=True)  # how many tokens may come first
    background: tuple[int, ...] = number(0, 4096, ascending=True)  # how many units the others may send
    budgets: tuple[int, ...] = number(1, 1_000_000, ascending=True)  # bits it is evaluated at; trained from least up
    queries: int = number(5, 1_000_000)  # training scenes that each packing is measured on
    steps: int = number(1, 10_000_000)  # of phase 1, in the place of training.phase1_steps
    relevance: float = number(0, 1000)  # weight of the loss of the head that ranks the tokens


@dataclass(frozen=True)
class CodecSettings:
    taps: tuple[int, ...] = number(0, 128, ascending=True)
    width: int = number(8, 8192, ATTENTION_HEADS)
    text_width: int = number(8, 8192)
    decoder_channels: tuple[int, ...] = number(8, 4096)
    rates: dict[str, Rate]
    dial: Dial


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms."""

    pixel: float = number(0, 1000)
    perceptual: float = number(0, 1000)
    vq: float = number(0, 1000)
    intent: float = number(0, 1000)
    adversarial: float = number(0, 1000)
    gradient_penalty: float = number(0, 1000)


@dataclass(frozen=True)
class Emphasis:
    """By what factor a ranked token's part of a loss term outweighs another token's; 1: all tokens alike."""

    pixel: float = number(1, 1000)
    perceptual: float = number(1, 1000)


@dataclass(frozen=True)
class Training:
    batch_size: int = number(1, 65_536)
    accumulation: int = number(1, 65_536)  # micro-batches that a process makes of its share of a batch
    phase1_steps: int = number(1, 10_000_000)
    rounding_step: int = number(0, 10_000_000)  # of phase 1: from here on features are rounded to codes
    intent_step: int = number(0, 10_000_000)  # of phase 1: from here on the intent loss counts
    phase2_steps: int = number(1, 10_000_000)
    learning_rate: float = number(1e-8, 1.0)
    phase2_learning_rate: float = number(1e-8, 1.0)
    critic_learning_rate: float = number(1e-8, 1.0)
    critic_channels: int = number(4, 1024)
    emphasis: Emphasis
    log_every: int = number(1, 100_000)
    save_every: int = number(1, 1_000_000)  # steps between the saves that an interrupted run goes on from
    weights: Weights
    of: dict[str, "Training"] = field(default_factory=dict, metadata={"empty": True})  # by variant, whole


@dataclass(frozen=True)
class Beyond:
    """What is tested outside the style of scenes that codecs are trained on as well."""

    variants: tuple[str, ...]
    rates: tuple[str, ...]  # of a rate dial, the budgets nearest to them
    queries: int = number(5, 10_000_000)  # a split


@dataclass(frozen=True)
class Evaluation:
    queries: int = number(5, 10_000_000)  # a split
    beyond: Beyond
    batch_size: int = number(1, 65_536)
    resamples: int = number(100, 1_000_000)
