"""What notebook 11 shows: a picture, words, a method, bits and a link, and what comes of them at once.

    upload | scene, query, method, bits, Es/N0 --> source, bits of each token, what arrives; both judges' answers, bytes

Any models of a profile, trained here or published; `ipywidgets` draws it. Source: ours.
"""

import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property

import ipywidgets as widgets
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from uoisc.base.config import DIAL
from uoisc.base.distributed import device
from uoisc.base.errors import CheckpointError, UoiscError
from uoisc.claims.names import label
from uoisc.data.images import from_bytes, image_bytes, read_image, to_bytes
from uoisc.explore.page import ES_N0_DB, chosen
from uoisc.explore.sending import Received, Sent, answers, receive, send
from uoisc.judge.evaluation import evaluation_questions
from uoisc.link.bitstream import Held, SharedModel
from uoisc.link.tables import shared_model
from uoisc.link.transfer import unknown_words
from uoisc.study import Study, points

WIDE = {"width": 240, "height": 240, "format": "png"}
BLUE = np.array([11, 98, 196])
KEEP = "the receiver keeps what it has: ask again (rate dial)"


class Explorer:
    """The controls, and what they show. Set `query.value` and so on from code, or use the mouse.

    Args: study: with its questions, whose first scenes may be chosen.
    """

    def __init__(self, study: Study):
        self.study = study
        self.before = None
        self.sent = None
        self.waiting = False
        self.model = cache(self._opened)
        self.scene = widgets.Dropdown(options=[(name, place) for place, (name, _, _) in enumerate(self.scenes)])
        self.upload = widgets.FileUpload(accept="image/*", description="your image")
        self.query = widgets.Text(self.scenes[0][2], description="query", continuous_update=False)
        self.method = widgets.Dropdown(options=[(label(name), name) for name in self.rates], description="method")
        self.bits = widgets.SelectionSlider(options=[("", 0)], description="bits", continuous_update=False)
        noise = [("no noise" if db is None else f"{db:g} dB", place) for place, db in enumerate(ES_N0_DB)]
        self.noise = widgets.SelectionSlider(options=noise, description="Es/N0", continuous_update=False)
        self.noise.value = len(noise) - 1
        self.keep = widgets.Checkbox(description=KEEP, indent=False, layout={"width": "auto"})
        self.source, self.tokens, self.received = (widgets.Image(**WIDE) for _ in range(3))
        self.said = widgets.HTML()
        self.x = self.scenes[0][1]
        if not self.rates:
            raise CheckpointError("no codec here has its tables: run the rate stage, `uoisc run 08_rate`")
        self.method.value = DIAL if DIAL in self.rates else next(iter(self.rates))
        self._listen()
        self._offer_bits()

    @cached_property
    def rates(self) -> dict[str, list[tuple[str, str, int | float | None]]]:
        """Of each variant whose models are here: the rate points, (nominal bits as text, rate, a dial's budget)."""
        found: dict[str, list] = {}
        home = self.study.home
        codecs = [point for point in points(self.study.params) if home.codec(2, *point[:2]).is_file()]
        here = [point for point in codecs if home.table(*point[:2]).is_file()]
        for name, rate, budget in self.study.distinct(here):
            found.setdefault(name, []).append((f"{self.model(name, rate, budget).codec.bits:g}", rate, budget))
        return found

    @cached_property
    def scenes(self) -> list[tuple[str, Float[Tensor, "1 3 H W"], str]]:
        """Scenes to choose from: name, picture, a first question; those of the project page."""
        found = []
        for split, rows in chosen(self.study).items():
            asked = evaluation_questions(self.study, split)
            found += [(split, asked.only(row).all_images().to(device()), asked.queries[row].text) for row in rows]
        return [(f"scene {i + 1}, {label(split)}", x, query) for i, (split, x, query) in enumerate(found)]

    def _opened(self, name: str, rate: str, budget: int | float | None) -> SharedModel:
        """A variant's model with its tables, its dial set."""
        model = shared_model(self.study, name, rate)
        return model.within(budget) if budget else model

    def show(self, *_) -> None:
        """Works out what the controls say and shows it, or why it cannot be."""
        if self.waiting:
            return
        self.sent = None  # of what the controls said before
        try:
            _, rate, budget = self.rates[self.method.value][self.bits.value]
            before = self.before
            query = self.query.value
            source = answers(self.study, self.x, query)
            self.sent = send(self.model(self.method.value, rate, budget), self.x, query, before, budget)
            got = receive(self.study, self.sent, query, source, ES_N0_DB[self.noise.value], before)
        except UoiscError as error:
            self.said.value = f"<b>{html.escape(str(error))}</b>"
            return
        self.source.value = image_bytes(self.x, ".png")
        self.received.value = image_bytes(from_bytes(got.picture[None]), ".png")
        self.tokens.value = image_bytes(from_bytes(token_map(to_bytes(self.x)[0], self.sent)[None]), ".png")
        self.said.value = report(self.sent, got, source, before, unknown_words(self.study, query))

    @property
    def box(self) -> widgets.VBox:
        """All of it."""
        named = zip(
            ("source", "bits of each token", "what arrives"), (self.source, self.tokens, self.received), strict=True
        )
        pictures = [widgets.VBox([widgets.Label(name), picture]) for name, picture in named]
        rows = [[self.scene, self.upload], [self.query, self.method], [self.bits, self.noise], [self.keep]]
        return widgets.VBox([*map(widgets.HBox, rows), widgets.HBox(pictures), self.said])

    def _listen(self) -> None:
        self.scene.observe(self._take_scene, "value")
        self.upload.observe(self._take_upload, "value")
        self.method.observe(self._offer_bits, "value")
        self.keep.observe(self._hold, "value")
        for control in (self.query, self.bits, self.noise):
            control.observe(self.show, "value")

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """What several controls come to is shown once."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False
        self.show()

    def _offer_bits(self, *_) -> None:
        with self._at_once():
            self.keep.value = False
            self.keep.disabled = self.method.value != DIAL
            texts = [bits for bits, _, _ in self.rates[self.method.value]]
            self.bits.options = [(text, place) for place, text in enumerate(texts)]
            self.bits.value = min(1, len(texts) - 1)

    def _take_scene(self, *_) -> None:
        with self._at_once():
            self.keep.value = False
            _, self.x, self.query.value = self.scenes[self.scene.value]

    def _take_upload(self, *_) -> None:
        if not self.upload.value:
            return
        try:
            picture = read_image(io.BytesIO(bytes(self.upload.value[0]["content"])), self.study.params.data.image_size)
        except UoiscError as error:
            self.said.value = f"<b>{html.escape(str(error))}</b>"
            return
        with self._at_once():
            self.keep.value = False
            self.x = picture.x.to(device())

    def _hold(self, *_) -> None:
        self.before: Held | None = self.sent.held() if self.keep.value and self.sent else None
        self.noise.disabled = self.before is not None  # what is added to what is held arrives as it was sent
        self.show()


@torch.no_grad()
def token_map(picture: UInt8[np.ndarray, "H W 3"], sent: Sent) -> UInt8[np.ndarray, "H W 3"]:
    """The picture in dark grey, the bluer a token the more bits it takes."""
    share = sent.token_bits / max(1.0, float(sent.token_bits.max()))
    lines = np.arange(picture.shape[0]) * len(share) // picture.shape[0]
    weight = 0.75 * share[np.ix_(lines, lines)][..., None]
    grey = 0.5 * picture.mean(axis=2, keepdims=True)
    return (grey * (1 - weight) + BLUE * weight).astype(np.uint8)


def report(sent: Sent, got: Received, source: dict[str, str], before: Held | None, unknown: str) -> str:
    """Answers and bytes, as HTML."""
    cells = [
        f"<tr><td>{label(name)}</td><td>{html.escape(source[name])}</td><td>{html.escape(heard)}</td>"
        f"<td>{'match' if got.matches[name] else '<b>no match</b>'}</td></tr>"
        for name, heard in got.answers.items()
    ]
    head = "<tr><th></th><th>on the source</th><th>on what arrives</th><th></th></tr>"
    added = "adds to what the receiver has" if before else "in all"
    lines = [f"{len(sent.file)} bytes as a file, {sent.payload_bytes} of them payload, {added}."]
    lines += [f"{got.wrong:.0%} of what was sent arrived wrong."] if got.wrong else []
    lines += [html.escape(unknown)] if unknown else []
    return f"<table>{head}{''.join(cells)}</table><p>{'<br>'.join(lines)}</p>"
