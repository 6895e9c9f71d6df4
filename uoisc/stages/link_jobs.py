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

from uoisc.base.config import DIAL, Params, load_params, paths
from uoisc.base.folders import check_writable
from uoisc.base.picture_data import Strip
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import COLUMNS, write_csv
from uoisc.base.settings import JUDGES
from uoisc.codec import Message
from uoisc.data.answers import answers_match
from uoisc.data.images import to_bytes
from uoisc.data.questions import Asked
from uoisc.judge.bootstrap import bootstrap_interval, split_seed
from uoisc.judge.evaluation import evaluation_questions, reference_answers
from uoisc.judge.metrics import psnr
from uoisc.link.block_errors import BlerTable
from uoisc.link.channel import FADINGS, LINKS, eb_n0_db, from_bits, to_bits, transmit_bits
from uoisc.rivals.standard_codecs import AVIF, JPEG2000, FileCodec, at_most
from uoisc.rivals.transmission import FILE_BYTES, PROTECTED, Arrival, FileSender, MessageSender
from uoisc.study import Point, Study, open_study

QUERIES = 300  # the first of a split's evaluation queries: the interval of a point is about 0.11 wide
METHODS = ("uoisc", "adaptive", "no_alignment", "query_aware")
RATES = ("tight", "middle")
DIALS = ("dial",)
DIAL_BITS = (144, 432)  # at the rates of the others: they are among the dial's budgets
COUNTED_IMAGES = 2000  # fading coefficients behind a simulated symbol error rate
COUNTED_SYMBOLS = 144  # of each
PAYLOAD = "random_bits"  # the variant of those rows
STRIP = ("uoisc", "dial", "jpeg2000")  # of the notebook's pictures
STRIP_DB = (5.0, 10.0, 12.0, 15.0, 20.0)
PREFIXES = {"perfect": None, "first_block": 1, "silent": 0}  # the blocks that arrive, None: all


@dataclass(frozen=True)
class Air:
    """One setting of the air: one of `channel.LINKS`, or one without noise that `PREFIXES` names."""

    link: str
    fading: str = "none"
    es_n0_db: float = np.nan

    def send(self, sender: MessageSender | FileSender, seed: int, split: str) -> Arrival:
        """What arrives. Fading is the same for every sender, and drawn anew at every point."""
        if self.link in PREFIXES:
            return sender.prefix(PREFIXES[self.link])
        name = f"{seed}/{split}/{self.link}/{self.fading}/{self.es_n0_db:g}"
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        link = LINKS[self.link]
        over = sender.coded if link.code_rate else sender.uncoded
        return over(self.es_n0_db, self.fading, generator, link)

    @property
    def eb_n0_db(self) -> float:
        """Eb/N0 in dB of a payload bit; what fills up a block is not counted. NaN without noise."""
        return eb_n0_db(self.es_n0_db, *LINKS[self.link].scheme) if self.link in LINKS else np.nan


PERFECT = Air("perfect")
NOISY = [
    Air(name, fading, float(snr)) for name, link in LINKS.items() for fading in FADINGS for snr in link.es_n0_db[fading]
]
UNCODED = [air for air in NOISY if LINKS[air.link].code_rate is None]


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
    check_writable(paths(profile).results)
    study = open_study(profile)
    for point in methods(params):
        if point.variant not in FILES:
            study.codec(*point)  # stops here, before hours of work, where one is missing or of other models
    splits = study.source.splits
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
        codec, protected, _ = FILES[point.variant]
        images = to_bytes(x)
        files = [codec.encode(image, at_most(codec, image, FILE_BYTES).quality) for image in images]
        return FileSender(codec, files, images.shape[1:3], table, protected)
    codec, texts = study.codec(*point), asked.texts
    size = study.params.evaluation.batch_size
    parts = [codec.encode(x[i : i + size], texts[i : i + size]) for i in range(0, len(x), size)]
    indices = torch.cat([part.indices for part in parts])
    sent = None if parts[0].sent is None else torch.cat([part.sent for part in parts])
    return MessageSender(codec, Message(indices, sent), texts, table)


class Audience:
    """Both judges before the pictures of a split's queries; whatever they have seen of an image they remember.

    Args:
        asked: scenes and queries. references: the judges' answers on the source and on a blank image, one row
            per judge and query, as `reference_answers` gives them.
    """

    def __init__(self, study: Study, asked: Asked, references: pd.DataFrame):
        self.study = study
        self.asked = asked
        self.x = asked.all_images()
        self.texts = asked.texts
        by_judge = {name: references[references["judge"] == name] for name in study.judges}
        self.sources = {name: rows["answer_source"].tolist() for name, rows in by_judge.items()}
        self.memory: dict[tuple[int, bytes], tuple[float, ...]] = {}
        everyone = range(len(self.texts))
        self.floors = {
            (name, "amr_floor"): self._matches(name, everyone, rows["answer_blank"].tolist())
            for name, rows in by_judge.items()
        }

    def see(self, sender: MessageSender | FileSender, contents: list[bytes]) -> dict[tuple[str, str], np.ndarray]:
        """(judge, metric) -> one value per image: whether its answers match, and its PSNR in dB (judge "none")."""
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
    """Symbol error rate with random bits at every uncoded point: simulated, and by theory where there is one."""
    frames = []
    for air in UNCODED:
        modulation = LINKS[air.link].modulation
        name = f"{params.seed}/{PAYLOAD}/{air.fading}/{air.es_n0_db:g}"
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        sent = torch.randint(1 << modulation.bits, (COUNTED_IMAGES, COUNTED_SYMBOLS), generator=generator)
        bits = to_bits(sent, modulation.bits).flatten(1)
        received = transmit_bits(bits, air.es_n0_db, air.fading, generator, modulation)
        wrong = (from_bits(received.unflatten(1, (-1, modulation.bits))) != sent).double().mean(1).numpy()
        rows = _rows(params, air, "none", {("none", "symbol_errors"): wrong}).assign(bits=bits.shape[1])
        frames.append(rows)
        if air.fading in modulation.errors:
            exact = modulation.errors[air.fading](air.es_n0_db)
            frames.append(rows.assign(metric="symbol_errors_theory", value=exact, low=np.nan, high=np.nan))
    return pd.concat(frames, ignore_index=True).assign(profile=profile, seed=params.seed, variant=PAYLOAD)


def _rows(params: Params, air: Air, split: str, seen: dict[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """One row per judge and metric: the mean with its 95 % interval over images."""
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
    x, texts = one.all_images(), one.texts
    judge = study.judges[JUDGES[-1]]
    source = judge.answer(x, texts)[0]
    pictures, answers = {}, {}
    loosest = {point.variant: point for point in methods(study.params)}
    for name in STRIP:
        sender = make_sender(study, loosest[name], one, x)
        arrivals = [Air("uncoded", "awgn", snr).send(sender, study.params.seed, asked.split) for snr in STRIP_DB]
        x_hat = torch.cat([sender.draw([0], arrival.contents) for arrival in arrivals])
        heard = judge.answer(x_hat, texts * len(x_hat))
        pictures[name] = list(to_bytes(x_hat))
        answers[name] = [(answer, answers_match(texts[0], source, answer)) for answer in heard]
    return Strip(texts[0], source, to_bytes(x)[0], STRIP_DB, pictures, answers)
