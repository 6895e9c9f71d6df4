"""SYNTHETIC results: made-up tables in the form of the pipeline's, for the tests of what presents them.

Nothing here was measured. Each variant answers like its reconstruction kept a question's content with a
probability that is written below; the files must only ever be written to a temporary folder.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from uoisc.base import results
from uoisc.base.picture_data import PANELS, Examples, write_examples
from uoisc.base.settings import JUDGES
from uoisc.judge import bootstrap
from uoisc.report.seeds import Goal, compare

TYPES = {
    "existence": ("yes", "no"),
    "place": ("top left", "centre", "right"),
    "colour": ("red", "blue", "grey"),
    "what": ("lion", "cup", "tractor"),
    "count": ("1", "2", "3"),
}
RATES = (144.0, 432.0, 864.0)
KEPT = {  # probability that the answer is the source's, at the tightest rate on unseen objects
    "uoisc": 0.62, "no_alignment": 0.61, "no_llava": 0.50, "no_alignment_no_llava": 0.49, "plain_vq": 0.55,
    "query_aware": 0.64, "adaptive": 0.80, "uniform": 0.63, "adaptive_random": 0.45, "adaptive_oracle": 0.86,
    "uoisc_cross_attention": 0.63, "uoisc_query_decoder": 0.66, "dial": 0.78, "dial_oracle": 0.80, "dial_random": 0.44,
    "dial_uniform": 0.60, "dial_floor1": 0.70, "dial_floor2": 0.66,
}  # fmt: skip
CONTROLS = ("adaptive_random", "adaptive_oracle")  # of adaptive's model: they send no files of their own
THREE_RATES, TWO_RATES = ("uoisc", "adaptive", "uniform"), ("no_alignment", "query_aware")


DIAL_RATES = (96.0, 144.0, 240.0, 430.0, 990.0)


def rates_of(variant: str) -> tuple[float, ...]:
    if variant.startswith("dial"):
        return DIAL_RATES[3:] if variant[-1].isdigit() else DIAL_RATES
    nominal = RATES if variant in THREE_RATES else RATES[:2] if variant in TWO_RATES else RATES[:1]
    return tuple(bits - 6 for bits in nominal) if variant.startswith("adaptive") else nominal


def answers(
    queries: int = 300, seeds: tuple[int | str, ...] = (0,), kept: dict[str, float] | None = None
) -> pd.DataFrame:
    """A table of answers with every variant, rate, split and judge."""
    types = np.array(sorted(TYPES))[np.arange(queries) % len(TYPES)]
    truth = np.array([TYPES[t][i // 5 % len(TYPES[t])] for i, t in enumerate(types)])
    about = {
        "query_id": np.arange(queries),
        "query": "is there a lion",
        "type": types,
        "object": "lion",
        "truth": truth,
    }
    frames = []
    for split, (j, judge) in product(("seen", "unseen"), enumerate(JUDGES)):
        rng = np.random.default_rng([j, split == "seen"])
        ability = rng.random(queries)  # one draw a query, so that variants are correlated as real ones are
        source_right, match_blank = rng.random(queries) < 0.93, rng.random(queries) < 0.4
        for v, (variant, share) in enumerate((kept or KEPT).items()):
            for (r, bits), seed in product(enumerate(rates_of(variant)), seeds):
                noise = np.random.default_rng([j, v, r, int(seed), split == "seen"]).normal(0, 0.1, queries)
                match = ability + noise < share + (0.05 * (split == "seen") + 0.08 * r)
                keys = {"profile": "synthetic", "variant": variant, "seed": seed, "bits": bits}
                keys |= {"split": split, "judge": judge} | about
                answered = {"answer_source": truth, "answer_hat": np.where(match, truth, "cup"), "answer_blank": "no"}
                wrong = match & (noise < 0) if variant in ("uoisc", "adaptive") else None
                matches = {"match": match, "match_blank": match_blank, "match_wrong_query": wrong}
                right = {"source_right": source_right, "correct": match & source_right}
                frames.append(pd.DataFrame(keys | answered | {"answer_wrong_query": None} | matches | right))
    return pd.concat(frames, ignore_index=True)


def quality(table: pd.DataFrame) -> pd.DataFrame:
    """Made-up picture quality for every (variant, seed, bits, split) of the answers."""
    rows = []
    for i, key in enumerate(table.groupby(["profile", "variant", "seed", "bits", "split"]).groups):
        for metric, value in {"psnr": 17 + i % 5, "ssim": 0.4, "perceptual": 0.3, "clip_score": 0.2}.items():
            rows.append((*key, metric, value, value * 0.98, value * 1.02, 300))
    return pd.DataFrame(rows, columns=results.COLUMNS["quality.csv"])


def training() -> pd.DataFrame:
    """Made-up curves: 400 steps of phase 1, then 100 of phase 2 with a critic."""
    rows = []
    for v, variant in enumerate(("uoisc", "no_alignment", "query_aware", "adaptive")):
        for phase, steps in ((1, range(0, 400, 10)), (2, range(400, 500, 10))):
            for step in steps:
                fall = np.exp(-step / 150) + 0.02 * v
                row = {"profile": "synthetic", "variant": variant, "bits": 144.0, "seed": 0, "phase": phase,
                       "step": step, "lr": 1e-3, "loss": 2 * fall, "pixel": fall, "perceptual": fall,
                       "vq": 0.3 * fall, "gradient_norm": 1 + fall}  # fmt: skip
                if variant != "query_aware":
                    row["intent"] = 0.5 * fall
                if phase == 2:
                    row |= {"adversarial": 0.1 - v / 50, "critic": -0.2 * fall, "gradient_penalty": 0.05}
                rows.append(row)
    return pd.DataFrame(rows)


def codebooks() -> pd.DataFrame:
    """Made-up use of codebooks: 2 taps, two segments, 8 codes."""
    rows = []
    for v, variant in enumerate(("uoisc", "no_alignment", "no_llava", "query_aware", "adaptive")):
        for tap in (1, 3):
            rows += [("synthetic", variant, 144.0, 0, tap, g, 7.5 - tap - v / 3, max(0, tap - 1), 8) for g in range(2)]
    table = pd.DataFrame(rows, columns=results.COLUMNS["codebooks.csv"])
    plain = table[table["variant"] == "uoisc"].assign(variant="plain_vq", codes=64, perplexity=40.0)
    return pd.concat([table, plain[plain["segment"] == 0]], ignore_index=True)


def foundation() -> pd.DataFrame:
    """Made-up quality of the stand-ins."""
    values = {"clip": {f"localisation_top1{end}": 0.96 for end in ("", "_unseen", "@lines", "_unseen@lines")}}
    judged = {"accuracy": 0.9} | {f"accuracy:{t}": 0.9 for t in TYPES}
    judged |= {"accuracy@lines": 0.7, "accuracy:place@lines": 0.6}
    values |= {judge: judged for judge in JUDGES}
    rows = [("synthetic", model, metric, value, value - 0.02, value + 0.02, 1000)
            for model, metrics in values.items() for metric, value in metrics.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=results.COLUMNS["foundation.csv"])


def data_card() -> pd.DataFrame:
    """Made-up counts of answers."""
    return pd.DataFrame([(split, t, answer, 100) for split in ("train", "seen", "unseen")
                         for t, known in TYPES.items() for answer in known],
                        columns=results.COLUMNS["data_card.csv"])  # fmt: skip


def entropy() -> pd.DataFrame:
    """Made-up costs: the finer the tables the cheaper, but none by neighbours for the query-aware rival."""
    rows = [("small", variant, 0, bits, 500, kind, cost, kind == best, 8 * np.ceil(cost / 8))
            for variant in KEPT if variant not in CONTROLS for bits in rates_of(variant)
            for best in ["conditioned" if variant == "query_aware" else "causal"]
            for kind, cost in (("static", bits - 4), ("conditioned", bits - 14), ("causal", bits - 24))
            if not (variant == "query_aware" and kind == "causal")]  # fmt: skip
    return pd.DataFrame(rows, columns=results.COLUMNS["entropy.csv"])


def standard_codecs() -> pd.DataFrame:
    """Made-up curves: AMR and PSNR rise with the logarithm of the bytes, and a mosaic saves 250 bytes."""
    rows = []
    for c, codec in enumerate(("jpeg", "jpeg2000", "webp", "avif", "jpeg_xl", "avif_down2", "avif_down4", "avif_crop")):
        for form in ("file", "mosaic") if codec != "avif_crop" else ("file",):
            for split in ("seen", "unseen"):
                for point, size in enumerate(np.geomspace(300 + 20 * c, 1200 + 80 * c, 6)):
                    spent = size - (250 if form == "mosaic" else 0)
                    keys = ("synthetic", 0, codec, 10 * point, form, split)
                    rise = 0.12 * point + 0.005 * c
                    of_judges = {"amr": 0.3 + rise, "amr_floor": 0.2, "accuracy": 0.3 + 0.9 * rise}
                    measured = [(judge, metric, value) for judge in JUDGES for metric, value in of_judges.items()]
                    for judge, metric, value in [*measured, ("none", "psnr", 18 + 10 * rise)]:
                        rows.append((*keys, judge, spent, size - 290, metric, value, 0.95 * value, 1.03 * value, 196))
    return pd.DataFrame(rows, columns=results.COLUMNS["standard_codecs.csv"])


CHANNEL_DB = {("uncoded", "awgn"): (0, 10, 20), ("uncoded", "rayleigh"): (0, 10, 20, 30),
              ("coded", "awgn"): (0, 1, 20), ("coded", "rayleigh"): (0, 10, 20, 30),
              ("coded_16qam", "awgn"): (0, 6, 20), ("coded_16qam", "rayleigh"): (0, 10, 20, 30)}  # fmt: skip


def channel() -> pd.DataFrame:
    """Made-up AMR over noisy links: a floor of .2, half of what a perfect link gives is left at 10 dB, uncoded."""
    rows = []
    sent = {("uoisc", 144.0): 0.5, ("uoisc", 432.0): 0.6, ("adaptive", 423.0): 0.8, ("dial", 432.0): 0.75,
            ("jpeg2000", 3148.4): 0.7, ("jpeg2000_protected", 3148.4): 0.7}  # fmt: skip
    payload_bits = {"uncoded": 3, "coded": 1, "coded_16qam": 2}  # of a symbol
    for (variant, bits), perfect in sent.items():
        for judge, split in [(j, s) for j in JUDGES for s in ("seen", "unseen")]:

            def row(link, fading, snr, metric, value, judge=judge, split=split, variant=variant, bits=bits):
                interval = (value, value - 0.05, value + 0.05, 300)
                rows.append(("synthetic", 0, variant, bits, link, fading, snr, snr, split, judge, metric, *interval))

            row("perfect", "none", np.nan, "amr", perfect)
            row("perfect", "none", np.nan, "amr_floor", 0.2)
            if not variant.startswith("jpeg2000"):
                row("silent", "none", np.nan, "amr", 0.25)
            for (link, fading), points in CHANNEL_DB.items():
                for snr in points:
                    kept = min(1.0, snr / 20) if link == "uncoded" else float(snr > 0)
                    row(link, fading, snr, "amr", 0.2 + kept * (perfect - 0.2))
                    row(link, fading, snr, "symbols", bits / payload_bits[link], judge="none")
    return pd.DataFrame(rows, columns=results.COLUMNS["channel.csv"])


def examples() -> Examples:
    """Pictures of coloured squares that stand for scenes."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(60, 255, (4, 3, 3, 3)).astype(np.uint8)
    source = tiles.repeat(32, axis=1).repeat(32, axis=2)
    rows = []
    for r, query in enumerate(("where is the lion", "is there a cup", "what colour is behind the horse",
                               "how many animals are there")):  # fmt: skip
        panels = {p: {"answer": "top left" if i < 3 else "bottom right", "match": i < 3, "bits": 144.0 + i}
                  for i, p in enumerate(PANELS)}  # fmt: skip
        rows.append({"query": query, "type": "place", "split": "unseen" if r % 2 == 0 else "seen",
                     "truth": "top left", "es_n0_db": 10.0 + r, "panels": panels})  # fmt: skip
    images = {p: (source * (1 - 0.12 * i)).astype(np.uint8) for i, p in enumerate(PANELS)}
    relevance = rng.random((3, 6, 6)).astype(np.float32)
    maps = {
        "queries": ["where is the lion", "is there a cup", "what colour is behind the tractor"],
        "answers": ["top left", "yes", "grey"],
        "matches": [True, True, False],
        "bits": 138.0,
    }
    link, token_bits = {"es_n0_db": 10.0, "protected": 200}, np.where(relevance > 0.8, 40, 8).astype(np.float32)
    return Examples("llava", link, rows, images, maps, scene=source[0], relevance=relevance,
                    token_bits=token_bits, reconstruction=source[:3])  # fmt: skip


@cache
def seeds() -> pd.DataFrame:
    """Two goals of a reading each over three seeds."""
    goals = [
        Goal("S1", "Ranking beats none.", "dial", 100, "dial_uniform", 100, "absolute", 0.1),
        Goal("S2", "Alignment raises AMR.", "uoisc", 144, "no_alignment", 144, "relative", 0.34),
    ]
    return compare(answers(queries=60, seeds=("0", "10", "20")), goals, 200)


def write(folder: Path, table: pd.DataFrame | None = None) -> Path:
    """Writes every file that the pipeline would write, for the given answers, into `folder`."""
    table = answers() if table is None else table
    quality_rows = quality(table)
    pairs = bootstrap.default_pairs(table)
    results.write_parquet(table, folder / "answers.parquet")
    for name, content in {
        "quality": quality_rows,
        "summary": bootstrap.summarise(table, quality_rows),
        "differences": bootstrap.differences(table, pairs),
        "training": training(),
        "codebooks": codebooks(),
        "foundation": foundation(),
        "data_card": data_card(),
        "entropy": entropy(),
        "standard_codecs": standard_codecs(),
        "channel": channel(),
    }.items():
        results.write_csv(content, folder / f"{name}.csv")
    write_examples(examples(), folder)
    return folder
