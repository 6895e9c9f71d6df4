"""What the foundation stage measures of others' models before anything trains."""

import numpy as np
import pytest
import tiny
import torch

from uoisc.base.errors import CheckpointError
from uoisc.base.settings import RELEVANCE_ATTENTIONS
from uoisc.data.questions import Query
from uoisc.frozen.clip import FrozenCLIP, QueryKey, ValueValue
from uoisc.stages import foundation_jobs
from uoisc.stages.foundation_jobs import CHECK_STREAM, check_learnt, located, to_check


@pytest.fixture
def some(monkeypatch) -> int:
    """Fewer questions, of which every third has no region."""
    monkeypatch.setattr(foundation_jobs, "LOCATED", 18)
    return 18


class PartlyKnown:
    """The tiny world, as photographs are: where the answer to every third question lies nobody knows."""

    splits, beyond = tiny.world().splits, ()
    batches, ask_split = tiny.world().batches, tiny.world().ask_split

    def regions(self, queries: list[Query], side: int) -> torch.Tensor:
        region = tiny.world().regions(queries, side).clone()
        region[[i for i, query in enumerate(queries) if query.image % 3 == 0]] = False
        return region


class Unknown(PartlyKnown):
    def regions(self, queries: list[Query], side: int) -> torch.Tensor:
        return torch.zeros(len(queries), side**2, dtype=torch.bool)


def test_localisation_is_measured_by_both_attentions_beside_chance(some):
    source, clip = PartlyKnown(), tiny.clip()
    asked = to_check(source, "unseen", tiny.PARAMS)
    found = located(clip, source, asked, "_unseen", tiny.PARAMS.evaluation.batch_size)
    again = source.ask_split("unseen", tiny.PARAMS.data.validation, some, [tiny.PARAMS.seed, CHECK_STREAM])
    assert asked.queries == again.queries
    expected = {name: [] for name in RELEVANCE_ATTENTIONS}
    chance = []
    for i, query in enumerate(asked.queries):
        region = source.regions([query], clip.grid)[0].numpy()
        if not region.any():
            continue
        chance.append(region.sum() / region.size)
        for name, attention in zip(RELEVANCE_ATTENTIONS, (QueryKey, ValueValue), strict=True):
            own = FrozenCLIP(clip.model, clip.tokenizer, clip.taps).attending(attention)
            tokens = own.see(asked.images(slice(i, i + 1))).tokens[0].double().numpy()
            text = own.text([query.text])[0].double().numpy()
            first = np.argmax(tokens @ text / np.linalg.norm(tokens, axis=1))
            expected[name].append(region[first])
    assert 0 < len(chance) < some
    np.testing.assert_allclose(found["localisation_chance_unseen"], chance)
    for name, hits in expected.items():
        assert list(found[f"localisation_top1_unseen:{name}"]) == hits
    assert isinstance(clip.attention, QueryKey), "it is as it was"


def test_where_nobody_knows_the_regions_nothing_is_said(some):
    asked = to_check(Unknown(), "unseen", tiny.PARAMS)
    assert located(tiny.clip(), Unknown(), asked, "_unseen", tiny.PARAMS.evaluation.batch_size) == {}


def test_a_stand_in_that_has_not_learnt_its_task_stops_the_stage():
    """By the worst of what it is checked by; where nothing is wanted, as at the smoke profile, it may be any."""
    found = {"accuracy:place": np.array([True, False]), "accuracy:colour": np.ones(4, bool)}
    says = r"foundation.llava: its accuracy:place is 0.50, at least foundation.least = 0.8 is wanted: raise"
    with pytest.raises(CheckpointError, match=says):
        check_learnt("llava", found, list(found), 0.8)
    check_learnt("llava", found, ["accuracy:colour"], 0.8)
    check_learnt("llava", found, list(found), 0.0)
