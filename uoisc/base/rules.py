"""What the values of a profile must keep to together: each rule with the line that says what to change."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from uoisc.base.settings import (
    DIAL,
    FIXED_RATE,
    GRID,
    MAX_CODES,
    MIXED_STAGES,
    NORM_GROUPS,
    RATE_DIALS,
    Drawings,
    StandIns,
)

OBJECTS = Path(__file__).resolve().parent.parent / "data" / "objects.csv"

Rules = Iterator[tuple[bool, str]]  # whether a rule holds, and what to say where it does not


def broken(p) -> str | None:
    """The line of the first rule that the values of a profile, `config.Params`, break; None where they keep all."""
    for rules in (_data_rules, _stand_in_rules, _codec_rules, _rate_rules, _variant_rules, _training_rules):
        for holds, message in rules(p):
            if not holds:
                return message
    return None


def _data_rules(p) -> Rules:
    data, models = p.data, p.foundation
    yield data.validation != data.held_out, f"data.validation = {data.validation!r}: must not be data.held_out"
    yield (
        isinstance(models, StandIns) == isinstance(data, Drawings),
        f"data.kind = {data.KIND}, foundation.kind = {models.KIND}: stand_ins are trained on drawings and know "
        "nothing else, so drawings go with stand_ins, anything else with pretrained",
    )
    patch, size = models.clip.patch_size, data.image_size
    yield size % patch == 0, f"data.image_size = {size}: must be a multiple of foundation.clip.patch_size = {patch}"
    groups = _categories() if isinstance(data, Drawings) else {}
    for key in ("held_out", "validation") if groups else ():
        name = getattr(data, key)
        yield name in groups, f"data.{key} = {name!r}: no drawings of that category, choose of {', '.join(groups)}"
    if groups:
        most = sum(groups.values())
        yield data.objects <= most, f"data.objects = {data.objects}: data/objects.csv keeps {most}"


@lru_cache(maxsize=1)
def _categories() -> dict[str, int]:
    """How many drawings the reviewed list keeps of each category; objects.py says what is wrong with the list."""
    try:
        with OBJECTS.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return {}
    return dict(sorted(Counter(row.get("category") for row in rows if row.get("status") == "kept").items()))


def _stand_in_rules(p) -> Rules:
    if not isinstance(p.foundation, StandIns):
        return
    models, llava, size = p.foundation, p.foundation.llava, p.data.image_size
    for key, tile in (("clip", GRID * models.clip.patch_size), ("tower", GRID * models.tower.patch_size)):
        yield (
            size % tile == 0,
            f"data.image_size = {size}: must be a multiple of {GRID} * foundation.{key}.patch_size = {tile}, so that "
            f"each of the scene's {GRID} x {GRID} tiles holds whole tokens",
        )
    yield (
        models.tower.patch_size * GRID == size,
        f"foundation.tower.patch_size = {models.tower.patch_size}: must be data.image_size / {GRID} = {size / GRID:g}, "
        "as a judge's word starts from the one token of a tile",
    )
    yield (
        llava.width % (2 * llava.heads) == 0,
        f"foundation.llava.heads = {llava.heads}: heads of an even width must make up foundation.llava.width = "
        f"{llava.width}",
    )
    yield (
        llava.width > models.tower.embed_dim,
        f"foundation.llava.width = {llava.width}: must exceed foundation.tower.embed_dim = {models.tower.embed_dim}",
    )


def _codec_rules(p) -> Rules:
    codec, size, blocks = p.codec, p.data.image_size, p.foundation.clip.layers
    taps, channels = list(codec.taps), list(codec.decoder_channels)
    drawn = _tokens(p) * 2 ** len(channels)
    yield (
        drawn == size,
        f"codec.decoder_channels: {len(channels)} stages turn {_tokens(p)} tokens a side into {drawn} pixels, not "
        f"data.image_size = {size}: give one entry a doubling",
    )
    yield (
        not any(c % NORM_GROUPS for c in channels[:MIXED_STAGES]),
        f"codec.decoder_channels = {channels}: the first {MIXED_STAGES} must be multiples of {NORM_GROUPS}, the groups "
        "of their norms",
    )
    yield taps[-1] < blocks, f"codec.taps = {taps}: ascending block numbers from 0 to {blocks - 1}"
    yield (
        len(taps) <= len(channels),
        f"codec.taps = {taps}: at most {len(channels)}, one a stage of codec.decoder_channels",
    )


def _rate_rules(p) -> Rules:
    width, tokens, dial = p.codec.width, _tokens(p) ** 2, p.codec.dial
    segments = {"codec.dial.segments": dial.segments}
    for name, rate in p.codec.rates.items():
        at, ranked = f"codec.rates.{name}", rate.ranked_segments
        yield name != DIAL, f"{at}: is what the variants with a rate dial call theirs; give it another name"
        segments |= {f"{at}.segments": rate.segments, f"{at}.ranked_segments": ranked}
        found = rate.ranked_tokens
        yield found < tokens, f"{at}.ranked_tokens = {found}: must be 1 to {tokens - 1}"
        found = rate.ranked_background
        yield found <= ranked, f"{at}.ranked_background = {found}: must be 0 to ranked_segments = {ranked}"
    for key, value in segments.items():
        yield width % value == 0, f"{key} = {value}: must divide codec.width = {width}"
    units = len(p.codec.taps) * dial.segments
    for key, largest, most in (
        ("tokens", max(dial.tokens), tokens - 1),
        ("background", max(dial.background), units - 1),
    ):
        yield largest <= most, f"codec.dial.{key} = {largest}: must be at most {most}"
    # what the cheapest packing costs: one unit of each of the fewest first tokens, and which these are
    first = min(dial.tokens)
    least = first * math.log2(dial.codes) + math.ceil(math.log2(math.comb(tokens, first)))
    yield min(dial.budgets) >= least, f"codec.dial.budgets = {list(dial.budgets)}: must be {least:g} bits or more"


def _variant_rules(p) -> Rules:
    for name, rates in p.variants.items():
        at, known = f"variants.{name}", (*FIXED_RATE, *RATE_DIALS)
        yield name in known, f"{at}: unknown variant, choose of {', '.join(known)} (settings.py lists a new one)"
        drawings = name in FIXED_RATE or isinstance(p.data, Drawings)
        yield drawings, f"{at}: a rate dial learns where answers lie, which data.kind = {p.data.KIND} does not say"
        choice = p.codec.rates if name in FIXED_RATE else {DIAL: p.codec.dial}
        for rate in rates:
            yield rate in choice, f"{at}: no rate {rate!r}, choose of {', '.join(choice)}"
        yield len({*rates}) == len(rates), f"{at} = {list(rates)}: names a rate twice"
    for rate in p.variants.get("plain_vq", ()):
        codes = p.codec.rates[rate].codes ** p.codec.rates[rate].segments
        yield (
            codes <= MAX_CODES,
            f"variants.plain_vq: at rate {rate!r} its one codebook would hold {codes} codes: at most {MAX_CODES}",
        )


def _training_rules(p) -> Rules:
    training, dialled = p.training, p.codec.dial.steps
    batch, parts, steps = training.batch_size, training.accumulation, training.phase1_steps
    yield batch % parts == 0, f"training.accumulation = {parts}: must divide training.batch_size = {batch}"
    for key, step in (("rounding_step", training.rounding_step), ("intent_step", training.intent_step)):
        yield step <= steps, f"training.{key} = {step}: must be 0 to training.phase1_steps = {steps}"
        yield step <= dialled, f"codec.dial.steps = {dialled}: must be training.{key} = {step} or more"


def _tokens(p) -> int:
    """Tokens of CLIP's a side."""
    return p.data.image_size // p.foundation.clip.patch_size
