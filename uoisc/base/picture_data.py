"""Pictures and answers that the stages leave for figures, in examples.npz (arrays) and examples.json (all else)."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, UInt8

from uoisc.base.folders import written_aside
from uoisc.base.results import found, missing, read_json, write_json

PANELS = ("source", "uoisc", "query_aware", "no_alignment", "no_alignment_no_llava", "jpeg2000")
TEXTS = ("judge", "link", "rows", "scene_texts")


@dataclass(frozen=True)
class Examples:
    """Pictures and answers behind the two figures.

    link: {es_n0_db, protected} of the uncoded link that all panels but the source crossed: the mean over the fading,
        and how many first bytes of the JPEG 2000 files are free of errors.
    rows: one per query: {query, type, split, truth, es_n0_db, panels: {panel: {answer, match, bits}}}; the panels are
        those of `PANELS` that were trained; match is null for the source; es_n0_db has the row's own fading.
    scene_texts: of one scene without a link: {queries, answers, sent: {method: {bits, answers, matches}}}, an entry per
        query; answers are to the scene itself, and to what each method sends of it.
    """

    judge: str  # whose answers are shown
    link: dict
    rows: list[dict]
    images: dict[str, UInt8[np.ndarray, "R H W 3"]]  # by panel, in the order of `PANELS`
    scene_texts: dict
    scene: UInt8[np.ndarray, "H W 3"]
    drawn: dict[str, UInt8[np.ndarray, "Q H W 3"]]  # by method: what the receiver draws of the scene for each query
    token_bits: dict[str, Float[np.ndarray, "Q h w"]]  # by method: what each token gets


def write_examples(examples: Examples, folder: Path) -> None:
    """Writes examples.npz and examples.json, each atomically."""
    arrays = examples.images | {"scene": examples.scene}
    for of in ("drawn", "token_bits"):
        arrays |= {f"{of}_{method}": array for method, array in getattr(examples, of).items()}
    with written_aside(Path(folder) / "examples.npz") as aside, aside.open("wb") as file:
        np.savez_compressed(file, **arrays)
    write_json({name: getattr(examples, name) for name in TEXTS}, Path(folder) / "examples.json")


def read_examples(folder: Path) -> Examples:
    """Reads what `write_examples` wrote. Raises: ResultsError when a file, an array or an answer lacks."""
    path = found(Path(folder) / "examples.npz")
    content = read_json(folder, "examples.json")
    try:
        with np.load(path) as stored:
            arrays = dict(stored)
    except (BadZipFile, ValueError, OSError, EOFError) as error:
        raise missing(path, f"cannot be read ({error})") from error
    rows = content.get("rows", [])
    shown = [panel for panel in PANELS if any(panel in row["panels"] for row in rows)]
    lacking = [name for name in TEXTS if name not in content]
    methods = [] if "scene_texts" in lacking else list(content["scene_texts"]["sent"])
    by_method = {of: {method: f"{of}_{method}" for method in methods} for of in ("drawn", "token_bits")}
    stored = [name for of in by_method.values() for name in of.values()]
    lacking += [name for name in (*shown, "scene", *stored) if name not in arrays]
    lacking += [f"{panel} of row {n}" for n, row in enumerate(rows) for panel in shown if panel not in row["panels"]]
    if lacking:
        raise missing(path, f"lacks {', '.join(lacking)}")
    kept = {name: content[name] for name in TEXTS} | {"scene": arrays["scene"]}
    kept |= {of: {method: arrays[name] for method, name in own.items()} for of, own in by_method.items()}
    return Examples(images={panel: arrays[panel] for panel in shown}, **kept)


@dataclass(frozen=True)
class Strip:
    """One scene over the uncoded AWGN link: what each method's receiver shows at each Es/N0, and a judge's answers.

    answer: on the source. pictures, answers: method -> one entry per Es/N0 of `es_n0_db`; an answer, and whether it
        matches that on the source.
    """

    query: str
    type: str
    answer: str
    source: UInt8[np.ndarray, "H W 3"]
    es_n0_db: tuple[float, ...]
    pictures: dict[str, list[UInt8[np.ndarray, "H W 3"]]]
    answers: dict[str, list[tuple[str, bool]]]
