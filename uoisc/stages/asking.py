"""To try codecs: an answer about an image, scenes to ask about, which codecs there are: `ask`, `sample`, `variants`."""

import numpy as np
import pandas as pd

from uoisc.base.config import load_params, paths
from uoisc.base.errors import ConfigError, choices
from uoisc.base.outputs import check_outputs, naming, write
from uoisc.base.results import CODECS, read_table
from uoisc.base.settings import JUDGES, Drawings
from uoisc.base.terminal import show
from uoisc.data.answers import answers_match
from uoisc.data.images import image_bytes
from uoisc.data.question_types import TYPES
from uoisc.data.questions import SPLITS
from uoisc.data.styles import of_domain
from uoisc.link.transfer import beside, model_within, read_picture, suffix_of, tell_unknown
from uoisc.study import nearest, open_codecs, open_questions

SAMPLE_STREAM = 9  # scenes that no other part of the study draws


def ask(
    image: str, query: str, profile: str, variant: str, bits: float | None, output: str | None, force: bool
) -> dict[str, object]:
    """Sends an image for a query; writes what is drawn to `output`, where one is given.

    Returns what was sent (variant, bits) and the judge's answers on both ends (source, reconstruction), and whether
    they match. Raises as `encode` does.
    """
    if output is not None:
        suffix = suffix_of(output)
        check_outputs([output], [image], force)
    study = open_codecs(profile, JUDGES[:1])
    tell_unknown(study, query)
    picture = read_picture(image, study.params.data.image_size)
    judge = study.judges[JUDGES[0]]
    codec = model_within(study, variant, bits).codec
    x_hat = codec.decode(codec.encode(picture.x, [query]), [query])
    if output is not None:
        with naming(output):
            write(image_bytes(x_hat, suffix, picture.size), output, force)
    source, reconstruction = (judge.answer(x, [query])[0] for x in (picture.x, x_hat))
    answers = {
        "source": source,
        "reconstruction": reconstruction,
        "match": answers_match(query, source, reconstruction),
    }
    return {"query": query, "variant": variant, "bits": codec.bits} | answers


def answers_as_text(found: dict[str, object]) -> str:
    """What `ask` returns, a line each."""
    said = f"answer on the source: {found['source']}\nanswer on the reconstruction: {found['reconstruction']}"
    return f"bits: {found['bits']:g}\n{said}\nthey match: {'yes' if found['match'] else 'no'}"


def sample(output: str, profile: str, seed: int, split: str, force: bool) -> None:
    """Writes a scene of a split in the codecs' style; prints a question of every type about it, with the right answers.

    Raises ConfigError for a profile of photographs or an unknown split, DataError where nothing can be written.
    """
    params = load_params(profile)
    if not isinstance(params.data, Drawings):
        raise ConfigError(f"profile {profile} asks about photographs: take one of those, or a profile of drawings")
    if split not in SPLITS:
        raise ConfigError(f"no split {split!r}: {choices(split, SPLITS)}")
    suffix = suffix_of(output)
    lines = beside(output)
    check_outputs([output], [], force)
    world = open_questions(profile, params, nearest(profile))
    rng = np.random.default_rng([params.seed, SAMPLE_STREAM, seed, SPLITS.index(split)])
    held_out = params.data.held_out
    unseen = split != SPLITS[0]
    allowed = world.pool(exclude=None if unseen else held_out)
    scenes = world.sample_test(rng, 1, allowed, held_out if unseen else None, *of_domain(CODECS))
    image = world.render(scenes)
    with naming(output):
        write(image_bytes(image, suffix), output, force)
    subjects = world.pool(only=held_out) if unseen else allowed
    for query in world.ask_each(rng, scenes, len(TYPES), subjects, allowed):
        show(f"{query.text}: {' or '.join(query.accepted or [query.truth])}", lines)


def listed(profile: str) -> pd.DataFrame:
    """A row per trained variant and number of bits: the answer match rates of the results here, by split, the judges'
    mean; and at which of its rates there are `models`. Raises ResultsError where there are no results."""
    params = load_params(profile)
    home = nearest(profile)
    here = {name: [r for r in rates if home.codec(2, name, r).is_file()] for name, rates in params.variants.items()}
    summary = read_table(paths(profile).results, "summary.csv")
    own = summary[
        (summary["metric"] == "amr") & summary["variant"].isin(params.variants) & summary["split"].isin(SPLITS)
    ]
    table = own.pivot_table(index=["variant", "bits"], columns="split", values="value").reset_index()
    return table.assign(models=table["variant"].map(lambda name: "+".join(here[name]) or "none here"))
