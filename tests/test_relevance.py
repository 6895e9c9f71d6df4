"""What ranks the tokens: the cosine at the start of training, more once the head has learnt where answers lie."""

import math
from itertools import islice

import numpy as np
import pytest
import tiny
import torch
from test_evaluation import Scripted

from uoisc import calibration
from uoisc.calibration import measured_packings
from uoisc.data.questions import Query
from uoisc.relevance import Cosine, RelevanceHead, relevance_loss
from uoisc.training import Bench


@pytest.fixture
def seen() -> tuple[torch.Tensor, torch.Tensor]:
    """Token embeddings (5, 36, 8) and queries (5, 8)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 36, 8, generator=generator), torch.randn(5, 8, generator=generator)


def test_an_untrained_head_ranks_as_the_cosine_does(seen):
    head, cosine = RelevanceHead(36, 8)(*seen), Cosine()(*seen)
    assert torch.equal(head.argsort(dim=1), cosine.argsort(dim=1))
    # standardised by hand, without the scale's small constant
    by_hand = (cosine - cosine.mean(1, keepdim=True)) / cosine.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(head, by_hand, rtol=1e-3, atol=1e-3)


def test_a_head_keeps_its_precision_under_autocast(seen):
    head = RelevanceHead(36, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(*seen)
    assert found.dtype == torch.float32 and torch.equal(found, head(*seen))


def test_a_head_learns_a_place_that_only_the_words_of_the_query_tell(seen):
    """Two queries, the same tokens: the answer lies at one end for the one, at the other for the other."""
    torch.manual_seed(0)
    tokens, text = seen[0][:1].expand(2, -1, -1), torch.eye(8)[:2]
    region = torch.zeros(2, 36, dtype=torch.bool)
    region[0, :2] = region[1, -2:] = True
    head = RelevanceHead(36, 8)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    first = relevance_loss(head(tokens, text), region).item()
    for _ in range(60):
        optimiser.zero_grad()
        loss = relevance_loss(head(tokens, text), region)
        loss.backward()
        optimiser.step()
    assert loss.item() < first and head(tokens, text).topk(2, dim=1).indices.sort().values.tolist() == [
        [0, 1],
        [34, 35],
    ]


def test_the_loss_is_the_cross_entropy_by_hand_and_leaves_out_images_without_an_answer():
    relevance = torch.tensor([[math.log(2), 0.0, 0.0], [5.0, -1.0, 3.0], [0.0, 0.0, math.log(6)]])
    region = torch.tensor([[True, False, False], [False, False, False], [True, False, True]])
    # shares 2/4 in the first image; 1/8 and 6/8 in the third
    expected = (-math.log(2 / 4) - (math.log(1 / 8) + math.log(6 / 8)) / 2) / 2
    assert relevance_loss(relevance, region).item() == pytest.approx(expected, rel=1e-5)
    assert relevance_loss(relevance, torch.zeros(3, 3, dtype=torch.bool)).item() == 0


def test_regions_are_the_tokens_of_the_answers_tiles():
    queries = [
        Query(0, "place", "", "", "", (0,)),
        Query(1, "count", "", "", "", (4, 8)),
        Query(2, "existence", "", "", "", ()),
    ]
    found = tiny.world().regions(queries, side=6).view(3, 6, 6)
    expected = torch.zeros(3, 6, 6, dtype=torch.bool)
    expected[0, :2, :2] = expected[1, 2:4, 2:4] = expected[1, 4:, 4:] = True
    assert torch.equal(found, expected)


def test_training_moves_the_head_and_measures_the_packings():
    """One model through both phases, as the pipeline does it."""
    from uoisc.stages.train_models import fit, untrained

    study = tiny.study()
    codec = untrained(study, "dial", "dial")
    before = codec.ranking.places.weight.clone()
    logs = [fit(study, codec, "dial", "dial", phase) for phase in (1, 2)]
    assert not torch.equal(codec.ranking.places.weight, before)
    assert all("relevance" in row for log in logs for row in log.rows)
    answers = codec.rate.answers
    assert not answers.isnan().any() and answers.min() >= 0 and answers.max() <= 1
    assert "rate.answers" in codec.own_state()


class Brightness(Scripted):
    """Says yes about every other shade."""

    def answer(self, x: torch.Tensor, queries: list[str], batch_size: int = 256) -> list[str]:
        super().answer(x, queries)
        return ["yes" if int(image.mean() * 20_000) % 2 else "no" for image in x]


@pytest.fixture
def bench() -> Bench:
    """Of the tiny study, with a judge that tells reconstructions apart."""
    study = tiny.study()
    return Bench(study.params, study.source, study.clip, Brightness())


@pytest.fixture
def measured_on(bench) -> tuple[torch.Tensor, list[Query]]:
    """What phase 2's stream would have come to next: scenes and queries, batch by batch."""
    p = bench.params
    size, drawn = p.training.batch_size, p.training.phase2_steps
    stream = tiny.world().batches([p.seed, 2], size, p.data.held_out)
    behind = list(islice(stream, drawn, drawn + p.codec.dial.queries // size))
    return torch.cat([batch.images for batch in behind]), [query for batch in behind for query in batch.queries]


def test_packings_are_measured_on_scenes_that_phase_2_has_not_trained_on(bench, measured_on):
    images, queries = measured_on
    calibration.calibrate(tiny.untrained("dial", "dial"), bench, "dial")
    assert torch.equal(torch.stack(bench.llava.shown[: len(images)]), images)
    assert {*bench.llava.asked} == {query.text for query in queries}


def test_a_packings_share_is_that_of_messages_through_both_ends(bench, measured_on):
    images, queries = measured_on
    texts = [query.text for query in queries]
    codec = tiny.untrained("dial", "dial")
    calibration.calibrate(codec, bench, "dial")
    source = bench.llava.answer(images, texts)
    shares = []
    for packing in measured_packings(codec.rate):
        sender = codec.packed(packing)
        drawn = bench.llava.answer(sender.decode(sender.encode(images, texts), texts), texts)
        shares.append(np.mean([*map(Query.match, queries, source, drawn)]))
        assert codec.rate.answers[codec.rate.packings.index(packing)].item() == pytest.approx(shares[-1])
    assert len({*shares}) > 2, "the judge tells packings apart"


def test_measuring_some_images_at_a_time_measures_the_same(monkeypatch):
    study = tiny.study()
    bench = Bench(study.params, study.source, study.clip, study.judges["llava"])
    found = []
    for pixels in (calibration.PIXELS, 3 * tiny.IMAGE**2, 1):
        monkeypatch.setattr(calibration, "PIXELS", pixels)
        codec = tiny.untrained("dial", "dial")
        calibration.calibrate(codec, bench, "dial")
        found.append(codec.rate.answers.tolist())
    assert found[0] == found[1] == found[2]
