"""What the values of a profile must keep to together: a line for each rule that is broken says what to change."""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from uoisc.base import settings
from uoisc.base.folders import ROOT
from uoisc.base.settings import DIAL, FIXED_RATE, GRID, MAX_CODES, MIXED_STAGES, NORM_GROUPS, RATE_DIALS

OBJECTS = ROOT / "data" / "objects.csv"


def broken(p) -> Iterator[str]:
    """A line for each rule that the values of a profile, `config.Params`, break; the first is sure to make sense."""
    if p.kept not in settings.KEPT:
        yield f"kept = {p.kept!r}: choose of {', '.join(settings.KEPT)}"
    yield from _data_rules(p)
    if isinstance(p.foundation, settings.StandIns):
        yield from _stand_in_rules(p.foundation, p.data.image_size)
    elif (name := p.foundation.clip.relevance_attention) not in settings.RELEVANCE_ATTENTIONS:
        yield f"foundation.clip.relevance_attention = {name!r}: choose of {', '.join(settings.RELEVANCE_ATTENTIONS)}"
    yield from _codec_rules(p)
    yield from _rate_rules(p.codec, _side(p) ** 2)
    yield from _variant_rules(p)
    yield from _beyond_rules(p)
    yield from _training_rules("training", p.training, p.codec.dial.steps)
    for name, own in p.training.of.items():
        if name not in (known := (*FIXED_RATE, *RATE_DIALS)):
            yield f"training.of.{name}: unknown variant, choose of {', '.join(known)}"
        if name in RATE_DIALS and own.phase1_steps != p.training.phase1_steps:
            yield f"training.of.{name}.phase1_steps = {own.phase1_steps}: a rate dial's are codec.dial.steps"
        yield from _training_rules(f"training.of.{name}", own, p.codec.dial.steps)


def _data_rules(p) -> Iterator[str]:
    data = p.data
    models = p.foundation
    size = p.data.image_size
    patch = p.foundation.clip.patch_size
    if data.validation == data.held_out:
        yield f"data.validation = {data.validation!r}: must not be data.held_out"
    if isinstance(models, settings.StandIns) != isinstance(data, settings.Drawings):
        yield (
            f"data.kind = {data.KIND}, foundation.kind = {models.KIND}: stand_ins are trained on drawings and know "
            "nothing else, so drawings go with stand_ins, anything else with pretrained"
        )
    if size % patch:
        yield f"data.image_size = {size}: must be a multiple of foundation.clip.patch_size = {patch}"
    if isinstance(data, settings.Drawings) and (groups := _categories()):
        named = {"data.held_out": data.held_out, "data.validation": data.validation}
        if isinstance(models, settings.StandIns):
            seeing = ("clip", "tower", "tower_independent")
            left_out = {f"foundation.{key}.exclude": getattr(models, key).exclude for key in seeing}
            named |= {key: name for key, name in left_out.items() if name}
        for key, name in named.items():
            if name not in groups:
                yield f"{key} = {name!r}: no drawings of that category, choose of {', '.join(groups)}"
        if data.objects > (most := sum(groups.values())):
            yield f"data.objects = {data.objects}: data/objects.csv keeps {most}"


@lru_cache(maxsize=1)
def _categories() -> dict[str, int]:
    """How many drawings the reviewed list keeps of each category; objects.py says what is wrong with the list."""
    try:
        with OBJECTS.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return {}
    return dict(sorted(Counter(row.get("category") for row in rows if row.get("status") == "kept").items()))


def _stand_in_rules(models: settings.StandIns, size: int) -> Iterator[str]:
    if size % (tile := GRID * models.clip.patch_size):
        at = f"data.image_size = {size}: must be a multiple of {GRID} * foundation.clip.patch_size = {tile}"
        yield f"{at}, so that each of the scene's {GRID} x {GRID} tiles holds whole tokens"
    for end in ("", "_independent"):
        tower = getattr(models, f"tower{end}")
        judge = getattr(models, f"llava{end}")
        least = tower.embed_dim
        width = judge.width
        heads = judge.heads
        if tower.patch_size * GRID != size:
            at = f"foundation.tower{end}.patch_size = {tower.patch_size}: must be data.image_size / {GRID}"
            yield f"{at} = {size / GRID:g}, as a judge's word starts from the one token of a tile"
        if width % (2 * heads):
            at = f"foundation.llava{end}.heads = {heads}: heads of an even width must make up"
            yield f"{at} foundation.llava{end}.width = {width}"
        if width <= least:
            yield f"foundation.llava{end}.width = {width}: must exceed foundation.tower{end}.embed_dim = {least}"


def _codec_rules(p) -> Iterator[str]:
    size = p.data.image_size
    blocks = p.foundation.clip.layers
    taps = list(p.codec.taps)
    channels = list(p.codec.decoder_channels)
    drawn = _side(p) * 2 ** len(channels)
    if drawn != size:
        turn = f"{len(channels)} stages turn {_side(p)} tokens a side into {drawn} pixels"
        yield f"codec.decoder_channels: {turn}, not data.image_size = {size}: give one entry a doubling"
    if any(c % NORM_GROUPS for c in channels[:MIXED_STAGES]):
        at = f"codec.decoder_channels = {channels}: the first {MIXED_STAGES}"
        yield f"{at} must be multiples of {NORM_GROUPS}, the groups of their norms"
    if taps[-1] >= blocks:
        yield f"codec.taps = {taps}: ascending block numbers from 0 to {blocks - 1}"
    if len(taps) > len(channels):
        yield f"codec.taps = {taps}: at most {len(channels)}, one per stage of codec.decoder_channels"


def _rate_rules(codec, tokens: int) -> Iterator[str]:
    dial = codec.dial
    segments = {"codec.dial.segments": codec.dial.segments}
    for name, rate in codec.rates.items():
        at = f"codec.rates.{name}"
        ranked = rate.ranked_segments
        segments |= {f"{at}.segments": rate.segments, f"{at}.ranked_segments": ranked}
        if name == DIAL:
            yield f"{at}: is what the variants with a rate dial call theirs; give it another name"
        if rate.ranked_tokens >= tokens:
            yield f"{at}.ranked_tokens = {rate.ranked_tokens}: must be 1 to {tokens - 1}"
        most = len(codec.taps) * ranked - 1  # the first tokens send one unit more, or all alike
        if rate.ranked_background > most:
            yield f"{at}.ranked_background = {rate.ranked_background}: must be 0 to {most}"
    for key, value in segments.items():
        if codec.width % value:
            yield f"{key} = {value}: must divide codec.width = {codec.width}"
    for key, most in (("tokens", tokens - 1), ("background", len(codec.taps) * dial.segments - 1)):
        if (largest := max(getattr(dial, key))) > most:
            yield f"codec.dial.{key} = {largest}: must be at most {most}"
    # of the cheapest packing (rate.py): first tokens send one unit more than the others, and which these are is said
    least = min(
        (first + tokens * others) * math.log2(dial.codes) + math.ceil(math.log2(math.comb(tokens, first)))
        for first in dial.tokens
        for others in dial.background
    )
    if min(dial.budgets) < least:
        yield f"codec.dial.budgets = {list(dial.budgets)}: must be {least:g} bits or more"


def _variant_rules(p) -> Iterator[str]:
    known = (*FIXED_RATE, *RATE_DIALS)
    for name, rates in p.variants.items():
        at = f"variants.{name}"
        choice = p.codec.rates if name in FIXED_RATE else {DIAL: p.codec.dial}
        if name not in known:
            yield f"{at}: unknown variant, choose of {', '.join(known)} (settings.py lists a new one)"
        for rate in rates:
            if rate not in choice:
                yield f"{at}: no rate {rate!r}, choose of {', '.join(choice)}"
        if len({*rates}) < len(rates):
            yield f"{at} = {list(rates)}: names a rate twice"
        elif len({_bits(p, name, rate) for rate in rates if rate in choice}) < len(rates) and {*rates} <= {*choice}:
            yield f"{at} = {list(rates)}: two of them cost the same bits, by which results tell rates apart"
    for rate in p.variants.get("plain_vq", ()):
        if (codes := p.codec.rates[rate].codes ** p.codec.rates[rate].segments) > MAX_CODES:
            yield f"variants.plain_vq: at rate {rate!r} its one codebook would hold {codes} codes: at most {MAX_CODES}"


def _bits(p, name: str, rate: str) -> float:
    """What a variant spends at a rate, up to a factor that all of its rates share."""
    if rate == DIAL:
        return math.inf
    spent = p.codec.rates[rate]
    if name != "adaptive":
        return spent.segments * math.log2(spent.codes)
    tokens = _side(p) ** 2
    first = spent.ranked_tokens
    units = first * len(p.codec.taps) * spent.ranked_segments + (tokens - first) * spent.ranked_background
    return units * math.log2(spent.ranked_codes) + math.ceil(math.log2(math.comb(tokens, first)))


def _beyond_rules(p) -> Iterator[str]:
    chosen = p.evaluation.beyond
    for key, known in (("variants", (*FIXED_RATE, *RATE_DIALS)), ("rates", p.codec.rates)):
        for name in getattr(chosen, key):
            if name not in known:
                yield f"evaluation.beyond.{key}: unknown {name!r}, choose of {', '.join(known)}"


def _training_rules(at: str, training, dialled: int) -> Iterator[str]:
    batch = training.batch_size
    parts = training.accumulation
    steps = training.phase1_steps
    if batch % parts:
        yield f"{at}.accumulation = {parts}: must divide {at}.batch_size = {batch}"
    for key in ("rounding_step", "intent_step"):
        if (step := getattr(training, key)) > steps:
            yield f"{at}.{key} = {step}: must be 0 to {at}.phase1_steps = {steps}"
        if step > dialled:
            yield f"codec.dial.steps = {dialled}: must be {at}.{key} = {step} or more"


def _side(p) -> int:
    """Tokens of CLIP's a side."""
    return p.data.image_size // p.foundation.clip.patch_size
