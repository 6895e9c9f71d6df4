"""Figures made of images: the six-panel visual comparison, and relevance maps of one scene.

`Examples` is what they are drawn from; the evaluation writes it (`write_examples`) as examples.npz, which
holds the arrays, and examples.json, which holds queries and answers.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uoisc.figures import COLUMN, GREEN, PAGE, RED, label, styled
from uoisc.results import missing, read_json, write_json, written_aside

PANELS = ("source", "uoisc", "query_aware", "no_alignment", "no_alignment_no_llava", "jpeg2000")
ATTRIBUTION = "Drawings: OpenMoji (openmoji.org), CC BY-SA 4.0, composed into scenes."
MAPS = ("scene", "relevance", "selected", "reconstruction")


@dataclass(frozen=True)
class Examples:
    """Pictures and answers behind the two figures.

    judge: whose answers are shown.
    rows: one a query: {query, type, split, truth, panels: {panel: {answer, match, bits, bytes}}}; the panels
        are `PANELS`; match is null for the source.
    images: panel -> one image a row of `rows`.
    maps: {queries, answers, matches, bits} of the adaptive codec on one scene, a list entry a query.
    scene, relevance, selected, reconstruction: that scene, and per query CLIP's relevance of each token (any
        scale), the tokens that were sent in full, and the decoded image.
    """

    judge: str
    rows: list[dict]
    images: dict[str, UInt8[np.ndarray, "R H W 3"]]
    maps: dict
    scene: UInt8[np.ndarray, "H W 3"]
    relevance: Float[np.ndarray, "Q h w"]
    selected: Bool[np.ndarray, "Q h w"]
    reconstruction: UInt8[np.ndarray, "Q H W 3"]


def write_examples(examples: Examples, folder: Path) -> None:
    """Writes examples.npz and examples.json, each atomically."""
    arrays = examples.images | {name: getattr(examples, name) for name in MAPS}
    with written_aside(Path(folder) / "examples.npz") as aside, aside.open("wb") as file:
        np.savez_compressed(file, **arrays)
    content = {"judge": examples.judge, "rows": examples.rows, "maps": examples.maps}
    write_json(content, Path(folder) / "examples.json")


def read_examples(folder: Path) -> Examples:
    """Reads what `write_examples` wrote. Raises: ResultsError when a file, an array or an answer lacks."""
    path, content = Path(folder) / "examples.npz", read_json(folder, "examples.json")
    if not path.exists():
        raise missing(path)
    try:
        with np.load(path) as stored:
            arrays = dict(stored)
    except (BadZipFile, ValueError, OSError) as error:
        raise missing(path, f"cannot be read ({error})") from error
    lacking = [name for name in (*PANELS, *MAPS) if name not in arrays]
    lacking += [f"{panel} of row {r}" for r, row in enumerate(content.get("rows", [])) for panel in PANELS
                if panel not in row["panels"]]  # fmt: skip
    if lacking:
        raise missing(path, f"lacks {', '.join(lacking)}")
    return Examples(content["judge"], content["rows"], {panel: arrays[panel] for panel in PANELS},
                    content["maps"], **{name: arrays[name] for name in MAPS})  # fmt: skip


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _answer(axes: Axes, answer: str, match: bool | None) -> None:
    """The judge's answer under an image: a tick or a cross tells (with the colour) whether it matches."""
    mark, colour = {None: ("", "black"), True: ("✓ ", GREEN), False: ("✗ ", RED)}[match]
    axes.set_xlabel(f"{mark}{answer or 'no answer'}", color=colour, fontsize=7.5, labelpad=2)


@styled
def visual_comparison(examples: Examples) -> Figure:
    """Input and five reconstructions of each query, with the judge's answer and the bits under each."""
    count = len(examples.rows)
    figure = Figure(figsize=(PAGE, 0.35 + 1.47 * count), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.02, wspace=0.02)
    strips = np.atleast_1d(figure.subfigures(count, 1))
    for r, (strip, row) in enumerate(zip(strips, examples.rows, strict=True)):
        strip.suptitle(f"“{row['query']}?” ({label(row['split'])}; answer: {row['truth']})", fontsize=8, x=0.01, ha="left")
        for axes, panel in zip(strip.subplots(1, len(PANELS)), PANELS, strict=True):
            _show(axes, examples.images[panel][r])
            seen = row["panels"][panel]
            _answer(axes, seen["answer"], None if panel == "source" else seen["match"])
            size = "source" if panel == "source" else f"{seen['bits']:g} bits"
            title = "\n".join(textwrap.wrap(label(panel), 20)) if r == 0 else ""
            axes.set_title(title if panel == "source" else f"{title}\n{size}".strip(), fontsize=7, pad=2)
    strips[-1].supxlabel(f"Answers of {label(examples.judge)}: ✓ matches its answer on the input, ✗ does not. {ATTRIBUTION}",
                         fontsize=7, x=0.01, ha="left")  # fmt: skip
    return figure


@styled
def relevance_maps(examples: Examples) -> Figure:
    """One scene under several queries: CLIP's relevance, the tokens sent in full, what the receiver sees."""
    maps, size = examples.maps, examples.scene.shape[0]
    count = len(maps["queries"])
    figure = Figure(figsize=(COLUMN, 0.3 + 1.12 * count), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.02, wspace=0.02)
    strips = np.atleast_1d(figure.subfigures(count, 1))
    titles = ("scene", "relevance", "tokens sent", f"received, {maps['bits']:g} bits")
    for q, strip in enumerate(strips):
        strip.suptitle(f"“{maps['queries'][q]}?”", fontsize=7.5, x=0.01, ha="left")
        panels = strip.subplots(1, 4)
        for axes in panels[[0, 2]]:
            _show(axes, examples.scene)
        # token maps lie over the scene: one token a square, whatever the grid
        panels[1].imshow(examples.relevance[q], cmap="cividis", interpolation="nearest", extent=(0, size, size, 0))
        kept = np.where(examples.selected[q][..., None], [0, 0, 0, 0.0], [1, 1, 1, 0.78])
        panels[2].imshow(kept, interpolation="nearest", extent=(-0.5, size - 0.5, size - 0.5, -0.5))
        panels[1].set(xticks=[], yticks=[])
        panels[1].spines[:].set_visible(False)
        panels[2].set_xlabel(f"{int(examples.selected[q].sum())} of {examples.selected[q].size}", labelpad=2)
        _show(panels[3], examples.reconstruction[q])
        _answer(panels[3], maps["answers"][q], maps["matches"][q])
        for axes, title in zip(panels, titles if q == 0 else [""] * 4, strict=True):
            axes.set_title(title, fontsize=7, pad=2)
    strips[-1].supxlabel("\n".join(textwrap.wrap(ATTRIBUTION, 66)), fontsize=7, x=0.01, ha="left")
    return figure
