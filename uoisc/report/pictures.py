"""Figures made of images: the six-panel visual comparison, and relevance maps of one scene."""

import textwrap
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uoisc.base.picture_data import Examples
from uoisc.base.results import LeftOut
from uoisc.data.questions import POOLED_TYPES
from uoisc.report.figures import GREEN, PAGE, RED, styled
from uoisc.report.names import label

ATTRIBUTION = "Drawings: OpenMoji (openmoji.org), CC BY-SA 4.0, composed into scenes."
FITS = 15  # characters of an answer under a panel
VEIL = 0.85  # opacity over a token that sends nothing


@styled
def said(text: str) -> Figure:
    """A line of text in a figure's place."""
    figure = Figure(figsize=(PAGE, 0.3))
    figure.text(0.5, 0.5, text, ha="center", va="center", style="italic")
    return figure


def bare(axes: Axes) -> None:
    """Takes ticks and frame from a panel that shows a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def asked(query: str) -> str:
    """A query in quotation marks; people write their own question mark."""
    return f"“{query.rstrip('?')}?”"


def credit(types: Iterable[str]) -> str:
    """Whom the pictures are from that such questions are asked about: of photographs nothing is known."""
    return ATTRIBUTION if {*types} & {*POOLED_TYPES} else ""


def show_answer(axes: Axes, answer: str, match: bool | None, **style: object) -> None:
    """The judge's answer under an image, cut to fit: a tick or a cross tells (with the colour) whether it matches."""
    mark, colour = {None: ("", "black"), True: ("✓ ", GREEN), False: ("✗ ", RED)}[match]
    words = " ".join(answer.split()) or "no answer"
    axes.set_xlabel(mark + (words if len(words) <= FITS else f"{words[: FITS - 1]}…"), color=colour, **style)


def _frame(figure: Figure, left: float, bottom: float, size: float) -> Axes:
    """A square panel without ticks, placed in inches from the lower left: all panels come out equal."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, size / width, size / height))
    bare(axes)
    return axes


def _write(figure: Figure, left: float, bottom: float, text: str, **style: object) -> None:
    """Text at a place in inches from the lower left, 7.5 pt unless told."""
    width, height = figure.get_size_inches()
    figure.text(left / width, bottom / height, text, **{"fontsize": 7.5, "va": "baseline"} | style)


@styled
def visual_comparison(examples: Examples) -> Figure:
    """Input and reconstructions of each query over a noisy link, with the judge's answer and the bits of each."""
    size, gap, margin = 0.9, 0.13, 1.03  # inches: of a panel, between panels, left of them
    row_height, head, foot = 1.22, 0.18, 0.55
    count = len(examples.rows)
    figure = Figure(figsize=(PAGE, head + count * row_height + foot))
    for c, panel in enumerate(examples.images):
        middle = margin + c * (size + gap) + size / 2
        _write(figure, middle, foot + count * row_height + 0.05, label(panel), ha="center")
    for r, row in enumerate(examples.rows):
        bottom = foot + (count - 1 - r) * row_height + 0.18
        query = "\n".join(textwrap.wrap(asked(row["query"]), 15))
        truth, snr = textwrap.wrap(f"answer: {row['truth']}", 15), f"Es/N0 {row['es_n0_db']:.1f} dB"
        about = "\n".join([label(row["split"]), *truth, snr])
        _write(figure, 0.02, bottom + size, query, va="top", style="italic", linespacing=1.15)
        _write(figure, 0.02, bottom, about, fontsize=7, linespacing=1.15)
        for c, panel in enumerate(examples.images):
            axes = _frame(figure, margin + c * (size + gap), bottom, size)
            seen = row["panels"][panel]
            axes.imshow(examples.images[panel][r], interpolation="nearest", aspect="auto")
            is_source = panel == "source"
            axes.set_title("" if is_source else f"{seen['bits']:g} bits", fontsize=7, pad=2)
            show_answer(axes, seen["answer"], None if is_source else seen["match"], labelpad=2)
    link = examples.link
    notes = [
        f"Answers of {label(examples.judge)}: ✓ matches its answer to the input image, ✗ does not.",
        "All but the input crossed uncoded 8-PSK under Rayleigh fading "
        f"at a mean Es/N0 of {link['es_n0_db']:g} dB (left: a row's own).",
        f"JPEG 2000's first {link['protected']} bytes are free of errors; a file that no longer decodes is grey.",
        credit(row["type"] for row in examples.rows),
    ]
    _write(figure, 0.02, 0.04, "\n".join(notes), fontsize=7, linespacing=1.1)
    return figure


@styled
def relevance_maps(examples: Examples) -> Figure:
    """One scene under several queries: relevance by the rate dial's head, each token's bits, what the receiver sees."""
    maps = examples.maps
    if not maps["queries"]:
        raise LeftOut("no variant that ranks tokens is trained")
    height = examples.scene.shape[0]
    count = len(maps["queries"])
    gap, between, bottom = 0.04, 0.12, 0.34  # inches: within a query's three panels, between queries, below all
    size = (PAGE - count * (2 * gap + between)) / (1 + 3 * count)
    figure = Figure(figsize=(PAGE, bottom + size + 0.2))
    extent = (0, height, height, 0)  # token maps lie over the scene, whatever their grid
    scene = _frame(figure, 0.0, bottom, size)
    scene.imshow(examples.scene, interpolation="nearest", extent=extent)
    scene.set_xlabel("scene", labelpad=2)
    for q, query in enumerate(maps["queries"]):
        left = size + between + q * (3 * size + 2 * gap + between)
        _write(figure, left, bottom + size + 0.06, asked(query), style="italic")
        ranked, sent, received = (_frame(figure, left + c * (size + gap), bottom, size) for c in range(3))
        ranked.imshow(examples.relevance[q], cmap="cividis", interpolation="nearest", extent=extent)
        ranked.set_xlabel("relevance", labelpad=2)
        sent.imshow(examples.scene, interpolation="nearest", extent=extent)
        bits = examples.token_bits[q]
        veil = np.ones((*bits.shape, 4))
        veil[..., 3] = VEIL * (1 - bits / bits.max())
        sent.imshow(veil, interpolation="nearest", extent=extent)
        sent.set_xlabel(" or ".join(f"{b:g}" for b in np.unique(bits)[::-1]) + " bits", labelpad=2)
        received.imshow(examples.reconstruction[q], interpolation="nearest", extent=extent)
        show_answer(received, maps["answers"][q], maps["matches"][q], labelpad=2)
    note = f"Yellow: most relevant. Third: bits per token, bright: most; {maps['bits']:g} in all."
    _write(figure, 0.02, 0.04, f"{note} {credit(row['type'] for row in examples.rows)}", fontsize=7)
    return figure
