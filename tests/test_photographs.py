"""Photographs as a source: who sees which image, and that the same batches come whoever loads them."""

import itertools
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from uoisc.base.errors import DataError
from uoisc.data.questions import Batch, Source
from uoisc.importers.photographs import Photographs
from uoisc.importers.question_index import Index
from uoisc.importers.vqav2 import index

STREAM = [0, 3]
HELD_OUT = ("animal", "human", "indoor", "outdoor", "dog")
SAMPLES = tiny.SAMPLES


def indexed(folder: Path, parts=("train", "val"), **changes) -> Photographs:
    data = replace(tiny.vqav2(folder / "vqav2", parts=parts), **changes)
    index(data, folder / "source")
    return Photographs(folder / "source", Path(data.folder), 48, data.questions, data.loaders)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return indexed(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def one_part(tmp_path_factory):
    return indexed(tmp_path_factory.mktemp("one"), parts=("val",))


def first(source: Source, n: int, **options) -> list[Batch]:
    options = {"stream": STREAM, "size": 6, "held_out": "animal"} | options
    return list(itertools.islice(source.batches(**options), n))


def equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and a.queries == b.queries


def questions_of(batches: list[Batch]) -> set[tuple[str, bytes]]:
    pairs = [pair for batch in batches for pair in zip(batch.texts, batch.images.numpy(), strict=True)]
    return {(text, image.tobytes()) for text, image in pairs}


def images_of(source: Photographs, split: str, held_out: str) -> np.ndarray:
    return np.unique(source.index.image_of[source.rows(split, held_out)])


def test_it_is_a_source(source):
    assert isinstance(source, Source)


def test_batches_are_images_with_their_queries(source):
    (batch,) = first(source, 1)
    assert batch.images.shape == (6, 3, 48, 48) and batch.images.dtype == torch.float32
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    assert [query.image for query in batch.queries] == list(range(6))
    assert all(len(query.answers) == 10 and query.truth in query.answers for query in batch.queries)
    texts = {"yes/no": "Is there a dog on the couch?", "number": "How many people are there?"}
    assert all(query.text == texts.get(query.type, "What color is the wall?") for query in batch.queries)


def test_the_same_stream_gives_the_same_batches(source):
    assert all(equal(a, b) for a, b in zip(first(source, 3), first(source, 3), strict=True))
    assert not equal(first(source, 1)[0], first(source, 1, stream=[0, 4])[0])
    assert not equal(*first(source, 2))


def test_the_number_of_loaders_changes_nothing(source):
    loaded = Photographs(source.index.folder, source.root, 48, source.questions, loaders=2)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert all(equal(a, b) for a, b in zip(first(source, 5), first(loaded, 5), strict=True))
    assert torch.rand(1) == expected, "loading may not use the random numbers of training"


@pytest.mark.parametrize("loaders", [0, 2])
def test_a_start_skips_as_many_steps(source, loaders):
    loaded = Photographs(source.index.folder, source.root, 48, source.questions, loaders)
    skipped = first(source, 5)[3:]
    assert all(equal(a, b) for a, b in zip(first(loaded, 2, start=3), skipped, strict=True))


@pytest.mark.parametrize("share", [slice(0, 3), slice(3, 6), slice(1, None, 2)])
def test_a_share_is_these_rows_of_the_batch(source, share):
    for whole, part in zip(first(source, 2), first(source, 2, share=share), strict=True):
        assert torch.equal(part.images, whole.images[share])
        assert part.queries == whole.queries[share]


def test_a_share_loads_no_other_image(source, monkeypatch):
    read = []
    pixels = Photographs.pixels
    monkeypatch.setattr(Photographs, "pixels", lambda self, files: read.extend(files) or pixels(self, files))
    first(source, 1, share=slice(0, 2))
    assert len(read) == 2


def test_an_image_is_resized_whole(source):
    entry = source.index.entries(np.array([0]))[0]
    with Image.open(source.root / entry["file"]) as file:
        resized = np.array(file.convert("RGB").resize((48, 48), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(
        source.load([entry["file"]])[0].numpy(), (resized / np.float32(255)).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("parts", ["source", "one_part"])
@pytest.mark.parametrize("held_out", HELD_OUT)
def test_no_split_leaks_into_another(request, parts, held_out, tmp_path):
    """Checked against the instances, not against the index's own masks."""
    source = request.getfixturevalue(parts)
    training, seen, unseen = (images_of(source, split, held_out) for split in ("training", "seen", "unseen"))
    assert len(training) and not set(training) & set(seen) and not set(training) & set(unseen)
    shown = source.index.has(held_out)
    assert not shown[training].any() and not shown[seen].any() and shown[unseen].all()
    test = source.index.is_of("test")
    if parts == "source" and held_out == source.index.held_out:
        assert not test[training].any() and test[seen].all() and test[unseen].all()
        assert set(unseen) == set(np.flatnonzero(test & shown)), "all test images with the category"


@pytest.mark.parametrize("parts", ["source", "one_part"])
def test_settings_are_chosen_without_the_test_images(request, parts):
    source = request.getfixturevalue(parts)
    chosen = {split: images_of(source, split, "human") for split in ("training", "seen", "unseen")}
    tested = set(images_of(source, "seen", "animal")) | set(images_of(source, "unseen", "animal"))
    animals = source.index.has("animal")
    for images in chosen.values():
        assert len(images) and not set(images) & tested and not animals[images].any()


@pytest.mark.parametrize(("held_out", "opposite"), [("indoor", "outdoor"), ("outdoor", "indoor")])
def test_indoor_is_trained_on_outdoor_and_the_other_way_round(tmp_path, held_out, opposite):
    source = indexed(tmp_path, held_out=held_out)
    for split in ("training", "seen"):
        images = images_of(source, split, held_out)
        assert len(images) and source.index.has(opposite)[images].all()


def test_batches_hold_images_of_training_alone(source):
    pixels = {}
    for row in range(len(source.index.questions)):
        entry = source.index.entries(np.array([row]))[0]
        pixels[source.load([entry["file"]]).numpy().tobytes()] = source.index.image_of[row]
    seen = {pixels[image[None].numpy().tobytes()] for batch in first(source, 30) for image in batch.images}
    assert seen == set(images_of(source, "training", "animal"))


def test_training_takes_at_most_so_many_questions(source):
    capped = Photographs(source.index.folder, source.root, 48, 5)
    assert len(questions_of(first(capped, 40))) == 5
    again = questions_of(first(capped, 40, stream=[9]))
    assert again == questions_of(first(capped, 40)), "every codec trains on the same questions"


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_asked_questions_are_one_an_image_first(source, split):
    images = images_of(source, split, "animal")
    asked = source.ask_split(split, "animal", len(images), STREAM)
    x = asked.images(slice(None))
    assert len({image.numpy().tobytes() for image in x}) == len(asked) == len(images)
    assert len(source.ask_split(split, "animal", 3, STREAM)) == 3
    everything = source.ask_split(split, "animal", 10_000, STREAM)
    assert len(everything) == 3 * len(images)
    assert everything.queries[: len(images)] == asked.queries
    again = source.ask_split(split, "animal", 10_000, STREAM)
    assert (everything.queries, everything.others) == (again.queries, again.others)
    assert source.ask_split(split, "animal", 10_000, [1]).queries != everything.queries


@pytest.mark.parametrize("side", [22, 6, 3])
def test_regions_are_the_tokens_in_the_boxes_of_what_a_question_names(source, side):
    queries = [query for batch in first(source, 3) for query in batch.queries]
    found = source.regions(queries, side)
    assert found.shape == (18, side**2) and found.dtype == torch.bool
    assert found.any(1).tolist() == [query.located for query in queries] and 0 < sum(found.any(1)) < 18
    centres = (torch.arange(side) + 0.5) / side
    for row, query in zip(found.view(-1, side, side), queries, strict=True):
        for left, top, right, bottom in query.boxes:
            within = [(centres >= low) & (centres < high) for low, high in ((top, bottom), (left, right))]
            assert row[within[0]][:, within[1]].all()
        covered = sum((right - left) * (bottom - top) for left, top, right, bottom in query.boxes)
        assert row.sum() <= (side * covered**0.5 + 1) ** 2 if query.located else not row.any()


def test_images_of_asked_questions_are_theirs(source):
    asked = source.ask_split("unseen", "animal", 6, STREAM)
    assert torch.equal(asked.images(slice(2, 4)), asked.images(slice(None))[2:4])


def test_the_other_question_is_about_the_same_image(source):
    asked = source.ask_split("seen", "animal", 10, STREAM)
    for query, other in zip(asked.queries, asked.others, strict=True):
        assert other.text != query.text and other.image == query.image
        assert {query.type, other.type} < {"yes/no", "number", "other"}


def test_with_one_question_an_image_the_other_is_another_image_s(tmp_path):
    data = tiny.vqav2(tmp_path / "vqav2", questions=1)
    index(data, tmp_path / "source")
    asked = Photographs(tmp_path / "source", Path(data.folder), 48).ask_split("seen", "animal", 10, STREAM)
    assert all(q.text != o.text for q, o in zip(asked.queries, asked.others, strict=True))


def test_the_other_question_may_come_from_the_rest_of_the_split(tmp_path):
    """Where all that are asked have the same words, one question an image."""
    data = tiny.vqav2(tmp_path / "vqav2", questions=1)
    index(data, tmp_path / "source")
    source = Photographs(tmp_path / "source", Path(data.folder), 48)
    rows = source.rows("seen", "animal")
    texts = [entry["text"] for entry in source.index.entries(rows)]
    alike = rows[[text == texts[0] for text in texts]]
    others = source._others(alike, source.index.entries(alike), rows)
    assert 1 < len(alike) < len(rows) and all(other["text"] in {*texts} - {texts[0]} for other in others)


def test_a_split_of_one_question_cannot_be_asked(tmp_path):
    data = tiny.vqav2(tmp_path / "vqav2", images=1, questions=1)
    index(data, tmp_path / "source")
    with pytest.raises(DataError, match="no other question"):
        Photographs(tmp_path / "source", Path(data.folder), 48).ask_split("unseen", "animal", 10, STREAM)


def test_splits_are_those_that_have_images(source, tmp_path):
    assert source.splits == ("seen", "unseen")
    data = tiny.vqav2(tmp_path / "vqav2", images=1)  # one a part, both of a dog
    index(data, tmp_path / "source")
    only = Photographs(tmp_path / "source", Path(data.folder), 48)
    assert only.splits == ("unseen",)
    with pytest.raises(DataError, match="no question is left for training where 'animal' is held out"):
        next(only.batches(STREAM, 2, "animal"))


def test_an_unknown_category_is_one_line(source):
    with pytest.raises(DataError, match="'unicorn' is not in the data: choose of animal"):
        source.rows("seen", "unicorn")


@pytest.mark.parametrize("loaders", [0, 1])
def test_an_image_lost_after_indexing_is_named_in_one_line(tmp_path, loaders):
    source = indexed(tmp_path, loaders=loaders)
    for file in (source.root / "train2014").iterdir():
        file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(DataError, match="COCO_train2014_.*restore it, or run the data stage again") as raised:
        first(source, 1)
    assert "\n" not in str(raised.value)


def test_no_index_is_one_line(tmp_path):
    with pytest.raises(DataError, match="run the data stage"):
        Photographs(tmp_path, tmp_path, 48)
    indexed(tmp_path)
    file = tmp_path / "source" / "questions.arrow"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="run the data stage"):
        Photographs(tmp_path / "source", tmp_path, 48)


def test_another_process_maps_the_same_index(source):
    copied = pickle.dumps(source)
    assert len(copied) < 1000, "no row travels"
    again = pickle.loads(copied)
    assert isinstance(again.index, Index) and equal(first(again, 1)[0], first(source, 1)[0])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside the repository")
def test_real_photographs_are_trained_on_and_asked_about(tmp_path):
    data = replace(tiny.vqav2(tmp_path / "unused", parts=()), folder=str(SAMPLES))
    index(data, tmp_path / "source")
    source = Photographs(tmp_path / "source", SAMPLES, 96, data.questions, 2)
    assert source.splits == ("seen", "unseen")
    (batch,) = first(source, 1)
    assert batch.images.shape == (6, 3, 96, 96)
    asked = source.ask_split("unseen", "animal", 10, STREAM)
    assert len(asked) == 10 and asked.images(slice(0, 2)).shape == (2, 3, 96, 96)
