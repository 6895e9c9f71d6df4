"""The channel stage: answer match rates over noisy links, of codecs and of standard files, against Es/N0.

first queries of each evaluation split --> sender --> perfect | silent | uncoded | coded links --> both judges

    point, split --> encoded once --> at each point of the air: contents that were not met yet are drawn and judged
"""

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from uoisc.base.config import DIAL, Params, load_params, paths
from uoisc.base.distributed import device
from uoisc.base.folders import check_writable
from uoisc.base.picture_data import Strip
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import COLUMNS, write_csv
from uoisc.base.settings import JUDGES
from uoisc.data.images import to_bytes
from uoisc.data.questions import Asked, Query
from uoisc.judge.bootstrap import mean_rows, split_seed
from uoisc.judge.evaluation import ask, batches, evaluation_questions, every_reference
from uoisc.judge.metrics import psnr
from uoisc.link.block_errors import BlerTable
from uoisc.link.channel import FADINGS, LINKS, eb_n0_db, from_bits, seeded, to_bits, transmit_bits
from uoisc.message import Message
from uoisc.rivals.standard_codecs import AVIF, JPEG2000, FileCodec
from uoisc.rivals.transmission import PROTECTED, Arrival, FileSender, MessageSender
from uoisc.study import Point, Study, open_study

QUERIES = 300  # the first of a split's evaluation queries: the interval of a point is about 0.11 wide
METHODS = ("uoisc", "adaptive", "no_alignment", "query_aware")
RATES = ("tight", "middle")
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
        link = LINKS[self.link]
        over = sender.coded if link.code_rate else sender.uncoded
        return over(self.es_n0_db, self.fading, seeded(name), link)

    @property
    def eb_n0_db(self) -> float:
        """Eb/N0 in dB of a payload bit; what fills up a block is not counted. NaN without noise."""
        return eb_n0_db(self.es_n0_db, *LINKS[self.link].scheme) if self.link in LINKS else np.nan


PERFECT = Air("perfect")
NOISY = [Air(name, by, float(snr)) for name, link in LINKS.items() for by in FADINGS for snr in link.es_n0_db[by]]
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
    references = every_reference(study, study.source.splits, QUERIES)
    jobs = [(profile, point, split, references) for point in methods(params) for split in study.source.splits]
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
    keys = {"profile": profile, "seed": study.params.seed, "variant": point.variant, "bits": sender.bits}
    rows = []
    for air in airs:
        arrival = air.send(sender, study.params.seed, split)
        seen = audience.see(sender, arrival.contents)
        seen |= {("none", metric): values for metric, values in arrival.measures.items()}
        if air == PERFECT:
            seen |= audience.floors
        rows += _rows(study.params, air, split, seen, keys)
    return pd.DataFrame(rows)


def methods(params: Params) -> list[Point]:
    """What is sent: what is trained of `METHODS` and the dial, tightest rates first, and `FILES` without a rate."""
    fixed = [Point(name, rate, None) for name in METHODS for rate in RATES if rate in params.variants.get(name, ())]
    dialed = [Point("dial", DIAL, bits) for bits in dial_bits(params) if "dial" in params.variants]
    return [*fixed, *dialed, *(Point(name, None, None) for name in FILES)]


def dial_bits(params: Params) -> list[int]:
    """The dial's budgets nearest to what `RATES` cost at a fixed rate."""
    codec = params.codec
    tokens = (params.data.image_size // params.foundation.clip.patch_size) ** 2
    rates = [codec.rates[rate] for rate in RATES if rate in codec.rates]
    wanted = [len(codec.taps) * tokens * rate.segments * math.log2(rate.codes) for rate in rates]
    return sorted({min(codec.dial.budgets, key=lambda bits: abs(math.log(bits / most))) for most in wanted})


def make_sender(study: Study, point: Point, asked: Asked, x: torch.Tensor) -> MessageSender | FileSender:
    """What a method makes of the images (B, 3, H, W): encoded messages, or a standard codec's files."""
    table = BlerTable()
    if point.variant in FILES:
        codec, protected, _ = FILES[point.variant]
        return FileSender.fitting(codec, to_bytes(x), table, protected)
    codec = study.codec(*point)
    texts = asked.texts
    parts = [codec.encode(x[rows], texts[rows]) for rows in batches(study, asked)]
    message = Message(torch.cat([part.indices for part in parts]), torch.cat([part.mask for part in parts]))
    return MessageSender(codec, message, texts, table)


class Audience:
    """Both judges before the pictures of a split's queries; whatever they have seen of an image they remember.

    Args:
        asked: scenes and queries. references: answers on the sources and on a blank image, as `every_reference` gives
            them for as many queries.
    """

    def __init__(self, study: Study, asked: Asked, references: pd.DataFrame):
        self.study = study
        self.asked = asked
        self.x = asked.all_images().to(device())
        self.sources = {}  # judge -> answers
        self.floors = {}  # as the values of `see`
        self.memory: dict[tuple[int, bytes], tuple[float, ...]] = {}
        for name, own in references[references["split"] == asked.split].groupby("judge", sort=False):
            self.sources[name] = own["answer_source"].tolist()
            floor = map(Query.match, asked.queries, self.sources[name], own["answer_blank"])
            self.floors[name, "amr_floor"] = list(floor)

    def see(self, sender: MessageSender | FileSender, contents: list[bytes]) -> dict[tuple[str, str], np.ndarray]:
        """(judge, metric) -> one value per image: whether its answers match, and its PSNR in dB (judge "none")."""
        new = [i for i, content in enumerate(contents) if (i, content) not in self.memory]
        size = self.study.params.evaluation.batch_size
        for start in range(0, len(new), size):
            images = new[start : start + size]
            x_hat = sender.draw(images, [contents[i] for i in images]).to(device())
            queries = [self.asked.queries[i] for i in images]
            values = [psnr(self.x[images], x_hat)]
            for name, answers in ask(self.study, x_hat, [query.text for query in queries]).items():
                values.append(map(Query.match, queries, [self.sources[name][i] for i in images], answers))
            for i, *row in zip(images, *values, strict=True):
                self.memory[i, contents[i]] = tuple(row)
        columns = np.array([self.memory[i, content] for i, content in enumerate(contents)], dtype=float).T
        keys = [("none", "psnr"), *((name, "amr") for name in self.study.judges)]
        return dict(zip(keys, columns, strict=True))


def symbol_errors(profile: str, params: Params) -> pd.DataFrame:
    """Symbol error rate with random bits at every uncoded point: simulated, and by theory where there is one."""
    rows = []
    for air in UNCODED:
        modulation = LINKS[air.link].modulation
        name = f"{params.seed}/{PAYLOAD}/{air.fading}/{air.es_n0_db:g}"
        generator = seeded(name)
        sent = torch.randint(1 << modulation.bits, (COUNTED_IMAGES, COUNTED_SYMBOLS), generator=generator)
        bits = to_bits(sent, modulation.bits).flatten(1)
        received = transmit_bits(bits, air.es_n0_db, air.fading, generator, modulation)
        wrong = (from_bits(received.unflatten(1, (-1, modulation.bits))) != sent).double().mean(1).numpy()
        keys = {"profile": profile, "seed": params.seed, "variant": PAYLOAD, "bits": bits.shape[1]}
        (simulated,) = _rows(params, air, "none", {("none", "symbol_errors"): wrong}, keys)
        rows.append(simulated)
        if air.fading in modulation.errors:
            exact = modulation.errors[air.fading](air.es_n0_db)
            rows.append(simulated | {"metric": "symbol_errors_theory", "value": exact, "low": np.nan, "high": np.nan})
    return pd.DataFrame(rows)


def _rows(params: Params, air: Air, split: str, seen: dict[tuple[str, str], np.ndarray], keys: dict) -> list[dict]:
    """One row per judge and metric: the mean with its 95 % interval over images."""
    keys = keys | asdict(air) | {"eb_n0_db": air.eb_n0_db, "split": split}
    seed = split_seed(split, params.seed)
    rows = []
    for (judge, metric), values in seen.items():
        rows += mean_rows({metric: values}, params, keys | {"judge": judge}, seed)
    return rows


@torch.no_grad()
def make_strip(profile: str) -> Strip:
    """A query of the unseen split, if there are any the first "where", over the uncoded AWGN link, with the independent
    judge's answers: a row for each of `STRIP` that the profile has."""
    study = open_study(profile)
    asked = evaluation_questions(study, study.source.splits[-1], QUERIES)
    one = asked.only(next((i for i, query in enumerate(asked.queries) if query.type == "place"), 0))
    x = one.all_images()
    texts = one.texts
    judge = study.judges[JUDGES[-1]]
    source = judge.answer(x, texts)[0]
    pictures = {}
    answers = {}
    loosest = {point.variant: point for point in methods(study.params)}
    for name in filter(loosest.__contains__, STRIP):
        sender = make_sender(study, loosest[name], one, x)
        arrivals = [Air("uncoded", "awgn", snr).send(sender, study.params.seed, asked.split) for snr in STRIP_DB]
        x_hat = torch.cat([sender.draw([0], arrival.contents) for arrival in arrivals])
        heard = judge.answer(x_hat, texts * len(x_hat))
        pictures[name] = list(to_bytes(x_hat))
        answers[name] = [(answer, one.queries[0].match(source, answer)) for answer in heard]
    return Strip(texts[0], one.queries[0].type, source, to_bytes(x)[0], STRIP_DB, pictures, answers)
