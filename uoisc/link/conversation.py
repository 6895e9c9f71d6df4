"""What a second question about a picture costs: as a message of its own, and as what the first one's receiver lacks.

    first question --> message --.
                                 v
    second question --> fresh | lacking | adding --> payload bits, both judges' answers

The second question is the one that the evaluation asks, the first one its other (`Asked.others`). Source: ours.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uoisc.base.config import DIAL
from uoisc.base.results import COLUMNS
from uoisc.data.questions import Asked
from uoisc.judge.bootstrap import mean_rows, split_seed
from uoisc.judge.evaluation import (
    Answers,
    ask,
    ask_references,
    batches,
    evaluation_questions,
    joined,
    judged,
    source_images,
)
from uoisc.link.bitstream import Held, SharedModel, write
from uoisc.link.header import parse
from uoisc.link.tables import shared_model
from uoisc.message import Message
from uoisc.study import Study, open_study, points

FORMS = ("fresh", "lacking", "adding")  # alone; what that lacks; what is best of as many bits as that costs
TALKS = "dial"  # the variant


@torch.no_grad()
def converse(profile: str, split: str) -> pd.DataFrame:
    """The rows of conversation.csv of one split: every form's bits and answers, at each of the dial's budgets."""
    study = open_study(profile)
    model = shared_model(study, TALKS, DIAL)
    asked = evaluation_questions(study, split)
    references = ask_references(study, asked)
    seed = study.params.seed
    rows = []
    for point in study.distinct(points(study.params, [TALKS])):
        used = model.within(point.bits)
        found = []
        for part in batches(study, asked):
            first = [query.text for query in asked.others[part]]
            found.append(second_messages(study, used, source_images(study, asked, part), first, asked.texts[part]))
        matches = {form: _matches(references, asked, [answers[form] for answers, _ in found]) for form in FORMS}
        for form, own in matches.items():
            measures = {"none": {"payload_bits": np.concatenate([costs[form] for _, costs in found])}}
            measures |= {judge: {"amr": own[judge], "amr_gain": own[judge] - matches["fresh"][judge]} for judge in own}
            for judge, each in measures.items():
                keys = {"bits": used.codec.bits, "form": form, "split": split, "judge": judge}
                rows += mean_rows(each, study.params, keys, split_seed(split, seed))
    return pd.DataFrame(rows).assign(profile=profile, variant=TALKS, seed=seed)[COLUMNS["conversation.csv"]]


def _matches(references: pd.DataFrame, asked: Asked, answers: list[Answers]) -> dict[str, np.ndarray]:
    """By judge: whether each answer on what was drawn matches the one on the source."""
    rows = judged(references, asked, joined(answers), {})
    return {judge: own["match"].to_numpy(float) for judge, own in rows.groupby("judge", sort=False)}


def second_messages(
    study: Study, model: SharedModel, x: Tensor, first: list[str], second: list[str]
) -> tuple[dict[str, Answers], dict[str, list[int]]]:
    """Of images (B, 3, H, W) and two questions each: both judges' answers to the second and its bits, by form."""
    codec = model.codec
    dial = model.trained
    known = codec.encode(x, first)
    sent = {
        "fresh": (codec.encode(x, second), None),
        "lacking": (codec.encode(x, second, known=known), known),
        "adding": (dial.adding(codec.bits).encode(x, second, known=known), known),
    }
    answers = {form: ask(study, dial.decode(message, second, held), second) for form, (message, held) in sent.items()}
    return answers, {form: payload_bits(*each, model) for form, each in sent.items()}


def payload_bits(message: Message, known: Message | None, model: SharedModel) -> list[int]:
    """Bits of each image's payload to a receiver that holds `known`; where images choose their packings, with the byte
    that names it."""
    settings = [packing.setting for packing in model.trained.rate.packings]
    chosen = isinstance(message.setting, tuple)
    each = message.setting if chosen else [message.setting] * len(message.indices)
    spent = []
    for row, setting in enumerate(each):
        held = known and Held(_only(known, row), b"", 0)
        data = write(_only(message, row), model.at(settings.index(setting) + 1), None, held)
        spent.append(8 * (len(parse(data).payload) + chosen))
    return spent


def _only(message: Message, row: int) -> Message:
    return Message(message.indices[row : row + 1], message.mask[row : row + 1]).cpu()
