"""The project page, docs/index.html: one file that needs no network, made from the published models.

    published models --> scenes x questions x methods x bits x Es/N0: pictures, answers, bytes --.
    paper/figures, paper/tables/claims.csv ------------------------------------------------------+--> page.html filled

Every picture, answer and number on it is worked out here; the script in page.html looks up what the controls say.
Scenes are chosen by rule, not by eye: of each split the first ones about which both judges answer two questions
rightly, of types that no scene before them was asked. Source: ours.
"""

import base64
import html
import json
import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from torch import Tensor

from uoisc.base.config import check_ready, paths
from uoisc.base.distributed import device
from uoisc.base.errors import ResultsError
from uoisc.base.folders import readable, written_aside
from uoisc.base.processes import run_side_by_side
from uoisc.base.settings import DIAL, JUDGES, Drawings
from uoisc.claims.names import SAYS, label
from uoisc.data.images import from_bytes, image_bytes, to_bytes
from uoisc.data.questions import Query
from uoisc.explore.sending import Received, Sent, answers, receive, send
from uoisc.judge.evaluation import ask, evaluation_questions
from uoisc.link.tables import shared_model
from uoisc.rivals.standard_codecs import AVIF, JPEG2000, at_most
from uoisc.stages.publish import open_published, published_points
from uoisc.study import Study

TEMPLATE = Path(__file__).with_name("page.html")
SCENES = {"unseen": 4, "seen": 2}  # of each split
LOOKED_AT = 200  # of a split's questions, for the rule above
ES_N0_DB = (0.0, 5.0, 8.0, 10.0, 12.0, 15.0, None)  # None: no noise
SHOWN = {  # figures, and what each shows; not from the list of all, as a change of any figure would make the page anew
    "amr_against_rate": "answer match rate against bytes, beside text",
    "right_less_wrong": "what another query changes, sent and answered",
    "generalisation": "answer match rate by style, seen and unseen objects",
}
COLUMNS = ["statement", "paper", "one run", "over runs", "runs", "verdict"]  # of the table of claims
FILES = (AVIF, JPEG2000)
START = "data:image/webp;base64,"
LARGEST = 176  # pixels a side of a picture on the page
WIDEST = 1600  # of a figure
PIECE = '<figure><img src="{src}" alt="{alt}"><figcaption>{alt}</figcaption></figure>'
CREDIT = 'Drawings: <a href="https://openmoji.org">OpenMoji</a>, CC BY-SA 4.0, composed into scenes.'


def write_page(profile: str) -> Path:
    """Works out all that the page shows and writes it; returns its path.

    Raises CheckpointError where the profile publishes no models, ResultsError where figures or tables lack.
    """
    check_ready(profile)
    study = open_published(profile)
    where = paths(profile)
    jobs = [(profile, split, row) for split, rows in chosen(study).items() for row in rows]
    scenes = run_side_by_side(explored, jobs, study.params.workers, "scenes of the page")
    methods = {}
    for point in published_points(study):
        methods.setdefault(point.variant, []).append(study.codec(*point).bits)
    data = {
        "scenes": scenes,
        "methods": [{"name": name, "title": label(name), "says": SAYS[name], "bits": b} for name, b in methods.items()],
        "es_n0_db": ES_N0_DB,
        "judges": [label(name) for name in JUDGES],
        "formats": [label(codec.name) for codec in FILES],
        "dial": DIAL,
        "side": study.clip.grid,
    }
    text, pictures = numbered(json.dumps(data, separators=(",", ":")))
    whole = {
        "DATA": text.replace("</", "<\\/"),
        "PICTURES": json.dumps(pictures),
        "CLAIMS": claims_table(where.paper / "tables" / "claims.csv"),
        "FIGURES": "".join(figures(where.paper / "figures")),
        "CREDIT": CREDIT if isinstance(study.params.data, Drawings) else "",
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, value in whole.items():
        page = page.replace(f"<!--{name}-->", value)
    target = where.docs / "index.html"
    with written_aside(target) as aside:
        aside.write_text(page, encoding="utf-8")
    return target


def chosen(study: Study) -> dict[str, list[int]]:
    """Of each split, which of its evaluation's questions the page's scenes are asked; others where too few are fit."""
    found = {}
    for split in (split for split in SCENES if split in study.source.splits):
        asked = evaluation_questions(study, split, LOOKED_AT)
        x = asked.all_images().to(device())
        right = np.ones(len(asked), dtype=bool)
        for queries in (asked.queries, asked.others):
            for heard in ask(study, x, [query.text for query in queries]).values():
                right &= [query.right(answer) for query, answer in zip(queries, heard, strict=True)]
        fit = np.flatnonzero(right).tolist()
        met = set()
        new = []
        for row in fit:
            types = {asked.queries[row].type, asked.others[row].type}
            if len(types) == 2 and not types & met:
                new.append(row)
                met |= types
        found[split] = list(dict.fromkeys([*new, *fit, *range(len(asked))]))[: SCENES[split]]
    return found


def explored(profile: str, split: str, row: int) -> dict:
    """One scene: its picture, its two questions, and under each method what is sent and received for the first, for the
    second, and of a rate dial for the second after the first."""
    study = open_published(profile)
    asked = evaluation_questions(study, split, LOOKED_AT).only(row)
    x = asked.all_images().to(device())
    queries = [asked.queries[0], asked.others[0]]
    source = [answers(study, x, query.text) for query in queries]
    small = SmallFiles(study, x, queries, source)
    sent = {}
    for point in published_points(study):
        model = shared_model(study, point.variant, point.rate)
        model = model.within(point.bits) if point.bits else model
        own = [send(model, x, query.text) for query in queries]
        rows = [
            entry(one, [receive(study, one, q.text, heard, db, match=q.match) for db in ES_N0_DB], small, place)
            for place, (one, q, heard) in enumerate(zip(own, queries, source, strict=True))
        ]
        if point.rate == DIAL:
            before = own[0].held()
            second = queries[1]
            more = send(model, x, second.text, before)
            rows.append(
                entry(more, [receive(study, more, second.text, source[1], None, before, second.match)], small, 1)
            )
        sent.setdefault(point.variant, []).append(rows)
    questions = [
        {"text": query.text, "truth": query.truth, "answers": [*heard.values()]}
        for query, heard in zip(queries, source, strict=True)
    ]
    about = {"split": label(split), "picture": picture(to_bytes(x)[0]), "questions": questions}
    return about | {"sent": sent, "files": small.rows}


class SmallFiles:
    """What standard codecs make of a picture in as many bytes, or in the fewest that they can: each file once."""

    def __init__(self, study: Study, x: Tensor, queries: list[Query], source: list[dict[str, str]]):
        self.study = study
        self.queries = queries
        self.source = source
        self.image = to_bytes(x)[0]
        self.codecs = [_remembering(codec, self.image) for codec in FILES]
        self.least = [at_most(codec, self.image, 0)[1] for codec in self.codecs]
        self.rows = []
        self.places = {}

    def place(self, size: int) -> list[int]:
        """Of each format the place in `rows` of its best file of so many bytes, or of its smallest."""
        return [self._place(at_most(codec, self.image, size)[1] if len(least) <= size else least, codec)
                for codec, least in zip(self.codecs, self.least, strict=True)]  # fmt: skip

    def _place(self, file: bytes, codec) -> int:
        if file not in self.places:
            shown = codec.decode(file)
            x = from_bytes(shown[None]).to(device())
            heard = [answers(self.study, x, query.text) for query in self.queries]
            match = [
                [query.match(one[name], other[name]) for name in one]
                for query, one, other in zip(self.queries, self.source, heard, strict=True)
            ]
            row = {"bytes": len(file), "picture": picture(shown), "answers": [[*h.values()] for h in heard]}
            self.rows.append(row | {"matches": match})
            self.places[file] = len(self.rows) - 1
        return self.places[file]


def _remembering(codec, image: np.ndarray) -> SimpleNamespace:
    """The codec, for one image alone, of which it makes the file of each quality once."""
    file = cache(partial(codec.encode, image))
    return SimpleNamespace(qualities=codec.qualities, encode=lambda _, quality: file(quality), decode=codec.decode)


def entry(sent: Sent, received: list[Received], small: SmallFiles, question: int) -> dict:
    """One message: its bytes and each token's bits, what of it is received at each Es/N0, files as large."""
    rows = [
        {"picture": picture(r.picture), "answers": [*r.answers.values()], "matches": [*r.matches.values()],
         "wrong": round(r.wrong, 3)}
        for r in received
    ]  # fmt: skip
    sizes = {"bytes": len(sent.file), "payload": sent.payload_bytes, "question": question}
    tokens = [round(float(bits)) for bits in sent.token_bits.flatten()]
    return sizes | {"tokens": tokens, "received": rows, "files": small.place(len(sent.file))}


def picture(pixels: np.ndarray) -> str:
    """A picture as the address of an image that the page itself holds."""
    side = min(LARGEST, pixels.shape[0])
    return address(image_bytes(from_bytes(pixels[None]), ".webp", (side, side)))


def address(data: bytes) -> str:
    """A WebP file as a `data:` address."""
    return START + base64.b64encode(data).decode()


def figures(folder: Path) -> Iterator[str]:
    """The figures of `SHOWN`, each with what it shows."""
    from PIL import Image

    for name, shows in SHOWN.items():
        file = readable(folder / f"{name}.png", "run the figures stage: dvc repro figures", ResultsError)
        with Image.open(file) as image:
            wide = min(1, WIDEST / image.width)
            pixels = np.asarray(image.convert("RGB"))
            size = (round(image.width * wide), round(image.height * wide))
        data = image_bytes(from_bytes(pixels[None].copy()), ".webp", size)
        yield PIECE.format(src=address(data), alt=html.escape(shows))


def claims_table(file: Path) -> str:
    """The primary contrasts and their verdicts."""
    table = pd.read_csv(readable(file, "run the figures stage: dvc repro figures", ResultsError), dtype=str)
    return table.fillna("")[COLUMNS].to_html(index=False, border=0)


def numbered(text: str) -> tuple[str, list[str]]:
    """JSON with the place of each picture in a list in the place of its address, and that list."""
    places: dict[str, int] = {}
    text = re.sub(rf'"({START}[^"]*)"', lambda found: str(places.setdefault(found[1], len(places))), text)
    return text, list(places)
