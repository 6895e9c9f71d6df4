"""Figures made of images: the six-panel visual comparison, and one scene under three questions."""

import textwrap
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uoisc.base.picture_data import Examples
from uoisc.claims.names import label
from uoisc.data.questions import POOLED_TYPES
from uoisc.report.figures import GREEN, PAGE, RED, styled

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
    row_height = 1.22
    head = 0.18
    foot = 0.55
    count = len(examples.rows)
    figure = Figure(figsize=(PAGE, head + count * row_height + foot))
    for c, panel in enumerate(examples.images):
        middle = margin + c * (size + gap) + size / 2
        _write(figure, middle, foot + count * row_height + 0.05, label(panel), ha="center")
    for r, row in enumerate(examples.rows):
        bottom = foot + (count - 1 - r) * row_height + 0.18
        query = "\n".join(textwrap.wrap(asked(row["query"]), 15))
        truth = textwrap.wrap(f"answer: {row['truth']}", 15)
        snr = f"Es/N0 {row['es_n0_db']:.1f} dB"
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
def three_questions(examples: Examples) -> Figure:
    """One scene, a row per question: the input, then what each method's receiver draws, with the judge's answers; where
    tokens get different numbers of bits, in front of it the scene under a veil that is thinnest where most are."""
    texts, size, gap, margin, row_height, head, foot = examples.scene_texts, 0.92, 0.1, 1.04, 1.2, 0.3, 0.32
    queries = texts["queries"]
    panels = [("source", False)]
    for method, bits in examples.token_bits.items():
        panels += [(method, mapped) for mapped in ([True, False] if len(np.unique(bits)) > 1 else [False])]
    figure = Figure(figsize=(PAGE, head + len(queries) * row_height + foot))
    top, extent = foot + len(queries) * row_height, (0, 1, 1, 0)  # token maps lie over the scene, whatever their grid
    for c, (method, mapped) in enumerate(panels):
        left = margin + c * (size + gap)
        sent = texts["sent"].get(method)
        what = "bits of each token" if mapped else label(method)
        title = f"{what}\n{sent['bits']:g} bits" if sent and not mapped else what
        _write(figure, left + size / 2, top + 0.04, title, ha="center", linespacing=1.1)
        for q, query in enumerate(queries):
            bottom = top - (q + 1) * row_height + 0.2
            axes = _frame(figure, left, bottom, size)
            shown = examples.scene if mapped or not sent else examples.drawn[method][q]
            axes.imshow(shown, interpolation="nearest", extent=extent, aspect="auto")
            if c == 0:
                words = "\n".join(textwrap.wrap(asked(query), 15))
                _write(figure, 0.02, bottom + size, words, va="top", style="italic", linespacing=1.15)
                show_answer(axes, texts["answers"][q], None, labelpad=2)
            elif mapped:
                veil = np.ones((*(bits := examples.token_bits[method][q]).shape, 4))
                veil[..., 3] = VEIL * (1 - bits / bits.max())
                axes.imshow(veil, interpolation="nearest", extent=extent, aspect="auto")
                axes.set_xlabel(" or ".join(f"{b:g}" for b in np.unique(bits)[::-1]) + " bits", labelpad=2)
            else:
                show_answer(axes, sent["answers"][q], sent["matches"][q], labelpad=2)
    note = f"Answers of {label(examples.judge)}: ✓ matches its answer to the input image, ✗ does not."
    _write(figure, 0.02, 0.04, f"{note}\n{credit(row['type'] for row in examples.rows)}", fontsize=7, linespacing=1.1)
    return figure
