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
from uoisc.claims import contrasts
from uoisc.judge import bootstrap

TYPES = {
    "existence": ("yes", "no"),
    "place": ("top left", "centre", "right"),
    "colour": ("red", "blue", "grey"),
    "what": ("lion", "cup", "tractor"),
    "count": ("1", "2", "3"),
    "member": ("top left", "centre", "right"),
}
RELIABLE = ["colour", "existence", "member", "place", "what"]  # the types that the judges answer reliably
CLAIMS = Path(__file__).resolve().parent.parent / "paper" / "claims.yaml"
RATES = (144.0, 432.0, 864.0)
KEPT = {  # probability that the answer is the source's, at the tightest rate on unseen objects
    "uoisc": 0.62, "no_alignment": 0.61, "no_llava": 0.50, "no_alignment_no_llava": 0.49, "plain_vq": 0.55,
    "query_aware": 0.64, "adaptive": 0.80, "uniform": 0.63, "adaptive_random": 0.45, "adaptive_oracle": 0.86,
    "uoisc_joint_attention": 0.63, "uoisc_query_decoder": 0.66, "dial": 0.78, "dial_oracle": 0.80, "dial_random": 0.44,
    "dial_uniform": 0.60, "dial_floor1": 0.70, "dial_floor2": 0.66,
}  # fmt: skip
CONTROLS = ("adaptive_random", "adaptive_oracle")  # of adaptive's model: they send no files of their own
COMPARED = ["uoisc", "no_alignment", "query_aware", "adaptive", "uniform", "dial", "dial_oracle", "dial_uniform"]
WRONG = ("uoisc", "adaptive")  # are sent for another query as well
THREE_RATES, TWO_RATES = ("uoisc", "adaptive", "uniform"), ("no_alignment", "query_aware")


STYLES = ("seen", "unseen", "seen@pretrained", "unseen@pretrained", "seen@novel", "unseen@novel")
BEYOND = ("uoisc", "no_alignment", "query_aware", "adaptive", "dial")  # tested in other styles too
DIAL_RATES = (96.0, 144.0, 240.0, 430.0, 990.0)


def rates_of(variant: str) -> tuple[float, ...]:
    if variant.startswith("dial"):
        return DIAL_RATES[3:] if variant[-1].isdigit() else DIAL_RATES
    nominal = RATES if variant in THREE_RATES else RATES[:2] if variant in TWO_RATES else RATES[:1]
    return tuple(bits - 6 for bits in nominal) if variant.startswith("adaptive") else nominal


def answers(
    queries: int = 300,
    seeds: tuple[int | str, ...] = (0,),
    kept: dict[str, float] | None = None,
    splits: tuple[str, ...] = STYLES,
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
        "tiles": [int(t) if t.isdigit() else 1 for t in truth],
        "ambiguous": (types == "member") & (np.arange(queries) // len(TYPES) % 4 > 0),
    }
    frames = []
    for split, (j, judge) in product(splits, enumerate(JUDGES)):
        rng = np.random.default_rng([j, split == "seen"])
        ability = rng.random(queries)  # one draw a query, so that variants are correlated as real ones are
        source_right, match_blank = rng.random(queries) < 0.93, rng.random(queries) < 0.4
        for v, (variant, share) in enumerate((kept or KEPT).items()):
            if "@" in split and variant not in BEYOND:
                continue
            for (r, bits), seed in product(enumerate(rates_of(variant)), seeds):
                noise = np.random.default_rng([j, v, r, int(seed), split == "seen"]).normal(0, 0.1, queries)
                match = ability + noise < share + (0.05 * split.startswith("seen") + 0.08 * r) - 0.1 * ("@" in split)
                keys = {"profile": "synthetic", "variant": variant, "seed": seed, "bits": bits}
                keys |= {"split": split, "judge": judge} | about
                answered = {"answer_source": truth, "answer_hat": np.where(match, truth, "cup"), "answer_blank": "no"}
                wrong = match & (noise < 0) if variant in WRONG else None
                matches = {"match": match, "match_blank": match_blank, "match_wrong_query": wrong}
                right = {"source_right": source_right, "correct": match & source_right}
                frames.append(pd.DataFrame(keys | answered | {"answer_wrong_query": None} | matches | right))
    return pd.concat(frames, ignore_index=True)


def quality(table: pd.DataFrame) -> pd.DataFrame:
    """Made-up picture quality for every (variant, seed, bits, split) of the answers."""
    rows = []
    for i, key in enumerate(table.groupby(["profile", "variant", "seed", "bits", "split"]).groups):
        measures = {"psnr": 17 + i % 5, "ssim": 0.4, "perceptual": 0.3, "clip_score": 0.2}
        changed = {"flips": 0.02, "moves": 0.5 * (key[1] == "adaptive")} if key[1] in WRONG else {}
        for metric, value in (measures | changed).items():
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
    judged = {"accuracy": 0.9} | {f"accuracy:{t}": 0.9 if t in RELIABLE else 0.4 for t in TYPES}
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


def intent_weight() -> pd.DataFrame:
    """Made-up trials: the intent loss is worth more where the perceptual term weighs less."""
    rows = [
        ("uoisc", "tight", f"training.weights.intent={i} training.weights.perceptual={p}", 144.0, split, judge)
        + (amr := 0.4 + 0.02 * i / p, amr - 0.03, amr + 0.03, 0.2, 1000)
        for i, p, split, judge in product((0, 1, 3), (0.2, 1.0), ("seen", "unseen"), JUDGES)
    ]
    return pd.DataFrame(rows, columns=results.COLUMNS["intent_weight.csv"])


def conversation() -> pd.DataFrame:
    """Made-up second questions: what is lacking costs two thirds, and as many bits answer .05 better."""
    rows = []
    for bits, split in product(DIAL_RATES, ("seen", "unseen")):
        for form, share, gain in (("fresh", 1, 0), ("lacking", 2 / 3, 0.01), ("adding", 0.95, 0.05)):
            keys = ("synthetic", "dial", 0, bits, form, split)
            rows.append((*keys, "none", "payload_bits", 0.75 * share * bits, bits / 2, bits, 300))
            for judge, (metric, value) in product(JUDGES, (("amr", 0.7 + gain), ("amr_gain", gain))):
                rows.append((*keys, judge, metric, value, value - 0.02, value + 0.02, 300))
    return pd.DataFrame(rows, columns=results.COLUMNS["conversation.csv"])


def standard_codecs(queries: int = 300) -> pd.DataFrame:
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
                    of_judges |= {f"{metric}_reliable": value for metric, value in of_judges.items()}
                    measured = [(judge, metric, value) for judge in JUDGES for metric, value in of_judges.items()]
                    for judge, metric, value in [*measured, ("none", "psnr", 18 + 10 * rise)]:
                        n = 300 if metric == "psnr" else queries * 5 // 6 if metric.endswith("_reliable") else queries
                        rows.append((*keys, judge, spent, size - 290, metric, value, 0.95 * value, 1.03 * value, n))
    return pd.DataFrame(rows, columns=results.COLUMNS["standard_codecs.csv"])


def text_bounds() -> pd.DataFrame:
    """Made-up texts and pictures: every answer costs 4 bits, a description 70; a picture serves its question best."""
    rows = []
    for split, judge in product(("seen", "unseen"), JUDGES):
        sent = {("answer", 4.0): 0.9, ("guess", 0.0): 0.2, ("description", 70.0): 0.9, ("perfect", 71.0): 0.95}
        sent |= {("sprites", 80.0): 0.98, ("uoisc", 144.0): 0.5, ("uoisc", 432.0): 0.6, ("dial", 144.0): 0.8}
        for ((method, bits), value), known in product(sent.items(), (1, 2, 4, 8)):
            spent = bits * known if method == "answer" else bits
            metrics = {"amr": value - 0.02 * known * (method == "dial")} | (
                {"amr_unforeseen": 0.4, "amr_reliable": value} if known == 1 else {}
            )
            for metric, found in metrics.items():
                keys = ("synthetic", 0, method, known, split, judge, spent, metric)
                rows.append((*keys, found, found - 0.03, found + 0.03, 75))
        for metric, value in {"utf8_bits": 190.0, "ideal_bits": 8.5}.items():
            keys = ("synthetic", 0, "query", 1, split, "none", np.nan, metric)
            rows += [(*keys, value, value - 1, value + 1, 75)] if judge == JUDGES[0] else []
    return pd.DataFrame(rows, columns=results.COLUMNS["text_bounds.csv"])


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
    answers = {"answers": ["top left", "yes", "grey"], "matches": [True, True, False]}
    sent = {method: answers | {"bits": 138.0 + i} for i, method in enumerate(("uoisc", "adaptive", "dial"))}
    scene_texts = {"queries": ["where is the lion", "is there a cup", "what colour is behind the tractor"],
                   "answers": ["top left", "yes", "blue"], "sent": sent}  # fmt: skip
    ranked = np.where(rng.random((3, 6, 6)) > 0.8, 40, 8).astype(np.float32)
    token_bits = {"uoisc": np.full_like(ranked, 4), "adaptive": ranked, "dial": ranked.clip(16)}
    link = {"es_n0_db": 10.0, "protected": 200}
    return Examples("llava", link, rows, images, scene_texts, scene=source[0], drawn=dict.fromkeys(sent, source[:3]),
                    token_bits=token_bits)  # fmt: skip


@cache
def over_runs() -> dict[str, pd.DataFrame]:
    """The rows of seeds.csv and runs.csv of five fresh runs."""
    kept = {name: KEPT[name] for name in COMPARED}
    runs = [answers(queries=60, seeds=(str(seed),), kept=kept) for seed in range(10, 60, 10)]
    asked = contrasts.load_contrasts(CLAIMS)
    seeds = pd.concat([contrasts.measured(asked, run, entropy(), RELIABLE) for run in runs], ignore_index=True)
    table = pd.concat([contrasts.points(run, entropy(), RELIABLE) for run in runs], ignore_index=True)
    return {"seeds": seeds.assign(profile="small"), "runs": table.assign(profile="small")}


def write(folder: Path, table: pd.DataFrame | None = None) -> Path:
    """Writes every file that the pipeline would write, for the given answers, into `folder`."""
    table = answers() if table is None else table
    quality_rows = quality(table)
    pairs = bootstrap.default_pairs(table)
    results.write_parquet(table, folder / "answers.parquet")
    for name, content in {
        "quality": quality_rows,
        "summary": bootstrap.summarise(table, quality_rows, reliable=RELIABLE),
        "differences": bootstrap.differences(table[table["type"].isin(RELIABLE)], pairs),
        "training": training(),
        "codebooks": codebooks(),
        "foundation": foundation(),
        "data_card": data_card(),
        "entropy": entropy(),
        "conversation": conversation(),
        "standard_codecs": standard_codecs(),
        "text_bounds": text_bounds(),
        "query_effect": bootstrap.query_effect(table, quality_rows),
        "channel": channel(),
        **over_runs(),
    }.items():
        results.write_csv(content, folder / f"{name}.csv")
    write_examples(examples(), folder)
    return folder
