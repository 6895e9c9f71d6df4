"""The channel stage: answer match rates over noisy links, of codecs and of standard files, against Es/N0.

first queries of each evaluation split --> sender --> perfect | silent | uncoded | coded links --> both judges

    point, split --> encoded once --> at each point of the air: contents that were not met yet are drawn and judged
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from uoisc.block_errors import BlerTable
from uoisc.bootstrap import bootstrap_interval, split_seed
from uoisc.channel import FADINGS, from_bits, psk_error_awgn, psk_error_rayleigh, to_bits, transmit_bits
from uoisc.codec import Message
from uoisc.config import DIAL, Params, load_params, paths
from uoisc.evaluation import evaluation_questions, reference_answers
from uoisc.images import to_bytes
from uoisc.link_figures import Strip
from uoisc.metrics import answers_match, psnr
from uoisc.models import JUDGES, Point, Study, open_study
from uoisc.processes import run_side_by_side
from uoisc.questions import Asked
from uoisc.results import COLUMNS, write_csv
from uoisc.standard_codecs import AVIF, JPEG2000, FileCodec, at_most
from uoisc.transmission import (
    FILE_BYTES,
    PROTECTED,
    QAM16,
    QPSK,
    SCHEMES,
    Arrival,
    FileSender,
    MessageSender,
    payload_eb_n0_db,
)

QUERIES = 300  # the first of a split's evaluation queries: a point's interval is about 0.11 wide
METHODS = ("uoisc", "adaptive", "no_alignment", "query_aware")
RATES = ("tight", "middle")
DIALS, DIAL_BITS = ("dial",), (144, 432)  # at the rates of the others: they are among the dial's budgets
UNCODED_DB = {"awgn": (0, 5, 8, 10, 12, 15, 17, 20), "rayleigh": (0, 5, 10, 15, 20, 25, 30)}  # Es/N0: around each cliff
CODED_DB = {
    QPSK: {"awgn": (0, 0.5, 1, 1.5, 2, 3, 5, 10, 15, 20), "rayleigh": (0, 5, 10, 15, 20, 25, 30)},
    QAM16: {"awgn": (5, 5.5, 6, 6.5, 7, 7.5, 8, 10, 15, 20), "rayleigh": (0, 5, 10, 15, 20, 25, 30)},
}
COUNTED_IMAGES, COUNTED_SYMBOLS = 2000, 144  # behind a simulated symbol error rate: fading coefficients, symbols each
PAYLOAD = "random_bits"  # the variant of those rows
STRIP, STRIP_DB = ("uoisc", "dial", "jpeg2000"), (5.0, 10.0, 12.0, 15.0, 20.0)  # of the notebook's pictures
PREFIXES = {"perfect": None, "first_block": 1, "silent": 0}  # the blocks that arrive, None: all


@dataclass(frozen=True)
class Air:
    """One setting of the air: link "uncoded" or one of `SCHEMES`, or one without noise that `PREFIXES` names."""

    link: str
    fading: str = "none"
    es_n0_db: float = np.nan

    def send(self, sender: MessageSender | FileSender, seed: int, split: str) -> Arrival:
        """What arrives. Fading is the same for every sender, and drawn anew at every point."""
        if self.link in PREFIXES:
            return sender.prefix(PREFIXES[self.link])
        name = f"{seed}/{split}/{self.link}/{self.fading}/{self.es_n0_db:g}"
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if self.link in SCHEMES:
            return sender.coded(self.es_n0_db, self.fading, generator, self.link)
        return sender.uncoded(self.es_n0_db, self.fading, generator)

    @property
    def eb_n0_db(self) -> float:
        """Eb/N0 in dB of a payload bit; NaN without noise."""
        return self.es_n0_db if np.isnan(self.es_n0_db) else payload_eb_n0_db(self.link, self.es_n0_db)


UNCODED = [Air("uncoded", fading, float(snr)) for fading in FADINGS for snr in UNCODED_DB[fading]]
CODED = [Air(link, fading, float(snr)) for link in SCHEMES for fading in FADINGS for snr in CODED_DB[link][fading]]
PERFECT = Air("perfect")
NOISY = [*UNCODED, *CODED]


class FileMethod(NamedTuple):
    """A standard codec, its first bytes that are free of errors on the uncoded link, and where it is sent."""

    codec: FileCodec
    protected: int
    noisy: list[Air]


FILES = {
    "jpeg2000": FileMethod(JPEG2000, 0, NOISY),
    "jpeg2000_protected": FileMethod(JPEG2000, PROTECTED, UNCODED),
    "avif": FileMethod(AVIF, 0, NOISY),
}


def measure_links(profile: str) -> pd.DataFrame:
    """Sends every method's messages and files over every link; returns and writes channel.csv."""
    params = load_params(profile)
    splits = open_study(profile).source.splits
    asked = [(profile, split, QUERIES) for split in splits]
    split_references = run_side_by_side(reference_answers, asked, params.workers)
    jobs = [
        (profile, point, split, references)
        for point in methods(params)
        for split, references in zip(splits, split_references, strict=True)
    ]
    measured = run_side_by_side(measure_sender, jobs, params.workers, "senders and splits measured")
    table = pd.concat([symbol_errors(profile, params), *measured], ignore_index=True)[COLUMNS["channel.csv"]]
    write_csv(table, paths(profile).results / "channel.csv")
    return table


@torch.no_grad()
def measure_sender(profile: str, point: Point, split: str, references: pd.DataFrame) -> pd.DataFrame:
    """The rows of one sender on one split, at every point of the air."""
    study = open_study(profile)
    audience = Audience(study, evaluation_questions(study, split, QUERIES), references)
    sender = make_sender(study, point, audience.asked, audience.x)
    airs = [PERFECT, *FILES[point.variant].noisy] if point.variant in FILES else [*map(Air, PREFIXES), *NOISY]
    frames = []
    for air in airs:
        arrival = air.send(sender, study.params.seed, split)
        seen = audience.see(sender, arrival.contents)
        seen |= {("none", metric): values for metric, values in arrival.measures.items()}
        if air == PERFECT:
            seen |= audience.floors
        frames.append(_rows(study.params, air, split, seen))
    keys = {"profile": profile, "seed": study.params.seed, "variant": point.variant, "bits": sender.bits}
    return pd.concat(frames, ignore_index=True).assign(**keys)


def methods(params: Params) -> list[Point]:
    """What is sent: what is trained of `METHODS` and `DIALS`, tightest rates first, and `FILES`, which have no rate."""
    fixed = [(name, rate, None) for name in METHODS for rate in RATES if rate in params.variants.get(name, ())]
    dials = [(name, DIAL, bits) for name in DIALS if name in params.variants for bits in DIAL_BITS]
    return [Point(*key) for key in (*fixed, *dials, *((name, None, None) for name in FILES))]


def make_sender(study: Study, point: Point, asked: Asked, x: torch.Tensor) -> MessageSender | FileSender:
    """What a method makes of the images (B, 3, H, W): encoded messages, or a standard codec's files."""
    table = BlerTable()
    if point.variant in FILES:
        (codec, protected, _), images = FILES[point.variant], to_bytes(x)
        files = [codec.encode(image, at_most(codec, image, FILE_BYTES).quality) for image in images]
        return FileSender(codec, files, images.shape[1:3], table, protected)
    codec, texts, size = study.codec(*point), [q.text for q in asked.queries], study.params.evaluation.batch_size
    parts = [codec.encode(x[i : i + size], texts[i : i + size]) for i in range(0, len(x), size)]
    indices = torch.cat([part.indices for part in parts])
    sent = None if parts[0].sent is None else torch.cat([part.sent for part in parts])
    return MessageSender(codec, Message(indices, sent), texts, table)


class Audience:
    """Both judges before the pictures of a split's queries; whatever they have seen of an image they remember.

    Args:
        asked: scenes and queries. references: the judges' answers on the source and on a blank image, a row a judge
            and query, as `reference_answers` gives them.
    """

    def __init__(self, study: Study, asked: Asked, references: pd.DataFrame):
        self.study, self.asked = study, asked
        self.x, self.texts = asked.all_images(), asked.texts
        by_judge = {name: references[references["judge"] == name] for name in study.judges}
        self.sources = {name: rows["answer_source"].tolist() for name, rows in by_judge.items()}
        self.memory: dict[tuple[int, bytes], tuple[float, ...]] = {}
        everyone = range(len(self.texts))
        self.floors = {
            (name, "amr_floor"): self._matches(name, everyone, rows["answer_blank"].tolist())
            for name, rows in by_judge.items()
        }

    def see(self, sender: MessageSender | FileSender, contents: list[bytes]) -> dict[tuple[str, str], np.ndarray]:
        """(judge, metric) -> one value an image: whether its answers match, and its PSNR in dB (judge "none")."""
        new = [i for i, content in enumerate(contents) if (i, content) not in self.memory]
        size = self.study.params.evaluation.batch_size
        for start in range(0, len(new), size):
            images = new[start : start + size]
            x_hat = sender.draw(images, [contents[i] for i in images])
            queries = [self.texts[i] for i in images]
            values = [psnr(self.x[images], x_hat)]
            for name, judge in self.study.judges.items():
                values.append(self._matches(name, images, judge.answer(x_hat, queries)))
            for i, *row in zip(images, *values, strict=True):
                self.memory[i, contents[i]] = tuple(row)
        columns = np.array([self.memory[i, content] for i, content in enumerate(contents)], dtype=float).T
        keys = [("none", "psnr"), *((name, "amr") for name in self.study.judges)]
        return dict(zip(keys, columns, strict=True))

    def _matches(self, judge: str, images, answers: list[str]) -> np.ndarray:
        pairs = zip(images, answers, strict=True)
        return np.array([answers_match(self.texts[i], self.sources[judge][i], answer) for i, answer in pairs], float)


def symbol_errors(profile: str, params: Params) -> pd.DataFrame:
    """Symbol error rate of 8-PSK with random bits, simulated and in theory, at every uncoded point."""
    theory = {"awgn": psk_error_awgn, "rayleigh": psk_error_rayleigh}
    frames = []
    for air in UNCODED:
        name = f"{params.seed}/{PAYLOAD}/{air.fading}/{air.es_n0_db:g}"
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        sent = torch.randint(8, (COUNTED_IMAGES, COUNTED_SYMBOLS), generator=generator)
        bits = transmit_bits(to_bits(sent, 3).flatten(1), air.es_n0_db, air.fading, generator)
        wrong = (from_bits(bits.unflatten(1, (-1, 3))) != sent).double().mean(1).numpy()
        rows = _rows(params, air, "none", {("none", "symbol_errors"): wrong})
        exact = rows.assign(
            metric="symbol_errors_theory", value=theory[air.fading](air.es_n0_db), low=np.nan, high=np.nan
        )
        frames += [rows, exact]
    keys = {"profile": profile, "seed": params.seed, "variant": PAYLOAD, "bits": 3 * COUNTED_SYMBOLS}
    return pd.concat(frames, ignore_index=True).assign(**keys)


def _rows(params: Params, air: Air, split: str, seen: dict[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """One row a judge and metric: the mean with its 95 % interval over images."""
    place = {"link": air.link, "fading": air.fading, "es_n0_db": air.es_n0_db, "eb_n0_db": air.eb_n0_db, "split": split}
    rows = []
    for (judge, metric), values in seen.items():
        value, low, high = bootstrap_interval(values, split_seed(split, params.seed), params.evaluation.resamples)
        estimate = {"value": value, "low": low, "high": high, "n": len(values)}
        rows.append(place | {"judge": judge, "metric": metric} | estimate)
    return pd.DataFrame(rows)


@torch.no_grad()
def make_strip(profile: str) -> Strip:
    """The first "where" query of the unseen split over the uncoded AWGN link, with the independent judge's answers."""
    study = open_study(profile)
    asked = evaluation_questions(study, "unseen", QUERIES)
    place = next(i for i, query in enumerate(asked.queries) if query.type == "place")
    one = asked.only(place)
    x, texts, judge = one.all_images(), one.texts, study.judges[JUDGES[-1]]
    source, pictures, answers = judge.answer(x, texts)[0], {}, {}
    loosest = {point.variant: point for point in methods(study.params)}
    for name in STRIP:
        sender = make_sender(study, loosest[name], one, x)
        arrivals = [Air("uncoded", "awgn", snr).send(sender, study.params.seed, asked.split) for snr in STRIP_DB]
        x_hat = torch.cat([sender.draw([0], arrival.contents) for arrival in arrivals])
        heard = judge.answer(x_hat, texts * len(x_hat))
        pictures[name] = list(to_bytes(x_hat))
        answers[name] = [(answer, answers_match(texts[0], source, answer)) for answer in heard]
    return Strip(texts[0], source, to_bytes(x)[0], STRIP_DB, pictures, answers)
