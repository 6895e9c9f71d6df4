"""What frozen models make of source images is worked out once: the same bytes as without, whatever the folder holds."""

from collections import namedtuple
from dataclasses import replace

import pytest
import tiny
import torch

from uoisc.base.devices import fast_attention
from uoisc.frozen import kept as module
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.kept import Folder, Kept, Memory
from uoisc.frozen.llava import FrozenLlava
from uoisc.training import Bench, Log, train_phase1, train_phase2
from uoisc.variants import variant

LABEL = {"CLIP": "one"}
RECORD = (torch.arange(6.0).view(2, 3), torch.ones(2, 1, dtype=torch.bfloat16))


def equal(record, other) -> bool:
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(record, other, strict=True))


def test_a_folder_gives_back_what_it_was_given(tmp_path):
    Folder(tmp_path, LABEL).put("see/0-1", RECORD)
    assert equal(Folder(tmp_path, LABEL).get("see/0-1"), RECORD)
    assert Folder(tmp_path, LABEL).get("see/0-2") is None
    assert Folder(tmp_path, {"CLIP": "another"}).get("see/0-1") is None, "of other models"


def test_a_record_that_is_cut_short_or_changed_is_missing(tmp_path):
    folder = Folder(tmp_path, LABEL)
    folder.put("a", RECORD)
    (file,) = tmp_path.glob("*.safetensors")
    whole = file.read_bytes()
    for broken in (whole[:-3], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        file.write_bytes(broken)
        assert folder.get("a") is None
    folder.put("a", RECORD)
    assert equal(folder.get("a"), RECORD)


def test_a_full_disk_and_a_folder_that_takes_nothing_stop_no_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    Folder(tmp_path / "file", LABEL).put("a", RECORD)
    monkeypatch.setattr(module, "disk_usage", lambda _: namedtuple("Usage", "free")(1e9))
    Folder(tmp_path / "full", LABEL).put("a", RECORD)
    assert Folder(tmp_path / "full", LABEL).get("a") is None


def test_memory_keeps_what_there_is_room_for():
    memory = Memory(30)
    memory.put("a", RECORD)  # 24 + 4 bytes
    memory.put("b", RECORD)
    assert memory.get("a") is RECORD and memory.get("b") is None


def test_what_is_not_the_source_is_never_kept():
    shelf, made = Memory(1e6), []
    kept, x = Kept(shelf), torch.zeros(2, 3)
    make = lambda: made.append(1) or (x + 1,)  # noqa: E731
    kept.of(x, "see", make)
    kept.know(x, ())
    kept.of(x, "see", make)
    kept.know(x, ("a",))
    kept.of(x.clone(), "see", make)
    assert len(made) == 3 and not shelf.records
    for _ in range(2):
        assert torch.equal(kept.of(x, "see", make)[0], x + 1)
    assert len(made) == 4 and list(shelf.records) == ["see-float32/a"]
    with torch.autocast("cpu", torch.bfloat16):
        kept.of(x, "see", make)
    assert len(made) == 5, "in another precision it is another record"


def test_rows_of_their_own_names_meet_in_other_batches():
    """As photographs' questions do: each is worked out with the first batch that holds it."""
    shelf, made = Memory(1e6), []

    def look(names: tuple[str, ...], sizes: list[int]) -> torch.Tensor:
        kept, x = Kept(shelf), torch.zeros(len(names))
        kept.know(x, names)
        tokens = [torch.full((size, 2), float(name)) for name, size in zip(names, sizes, strict=True)]
        return kept.of(x, "states", lambda: made.append(names) or (torch.cat(tokens),), sizes)[0][:, 0].tolist()

    assert look(("1", "2"), [2, 1]) == [1, 1, 2]
    assert look(("2", "3"), [1, 2]) == [2, 3, 3]
    assert look(("3", "1"), [2, 2]) == [3, 3, 1, 1]
    assert made == [("1", "2"), ("2", "3")]


def test_records_of_the_disk_meet_new_ones_where_the_models_are():
    """A folder gives tensors of the CPU; `meta` stands for a GPU, as it may not be mixed with another device either."""
    kept, x = Kept(Memory(1e6)), torch.zeros(2, 3, device="meta")
    kept.shelf.put("see-float32/1", (torch.ones(1, 3),))
    kept.know(x, ("1", "2"))
    (seen,) = kept.of(x, "see", lambda: (x + 1,))
    assert seen.device.type == "meta" and seen.shape == (2, 3)


@pytest.fixture
def bench() -> Bench:
    """Frozen models of their own, as tests share `tiny`'s."""
    clip = FrozenCLIP(tiny.clip_model(), tiny.clip().tokenizer, tiny.PARAMS.codec.taps).eval()
    return Bench(tiny.PARAMS, tiny.world(), clip, FrozenLlava(tiny.llava_model(), tiny.processor()))


def trained(bench: Bench, name: str, accumulation: int = 1) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Weights and log of both phases."""
    training = replace(bench.params.training, accumulation=accumulation)
    bench = replace(bench, params=replace(bench.params, training=training))
    torch.manual_seed(0)
    codec, log = variant(name).build(bench.clip, bench.params, "dial" if name == "dial" else "low"), Log(every=1)
    with fast_attention():
        for train in (train_phase1, train_phase2):
            train(codec, variant(name), bench, log, lambda steps, label: steps)
    return codec.own_state(), log.rows


@pytest.mark.parametrize(("name", "accumulation"), [("uoisc", 1), ("query_aware", 1), ("dial", 1), ("uoisc", 2)])
def test_training_gives_the_same_bytes_with_and_without(bench, tmp_path, name, accumulation):
    weights, rows = trained(bench, name, accumulation)
    for attempt in ("cold", "warm", "damaged"):
        for model in (bench.clip, bench.llava):
            model.kept = Kept(Folder(tmp_path / type(model).__name__, LABEL))
        if attempt == "damaged":
            for file in list(tmp_path.rglob("*.safetensors"))[::2]:
                file.write_bytes(file.read_bytes()[:100])
        again, log = trained(bench, name, accumulation)
        assert log == rows, attempt
        for key, value in weights.items():  # an uncalibrated dial's answers are nan
            torch.testing.assert_close(again[key], value, rtol=0, atol=0, equal_nan=True, msg=f"{attempt}: {key}")


def test_a_second_model_looks_at_no_source_image_again(bench, tmp_path, monkeypatch):
    for model in (bench.clip, bench.llava):
        model.kept = Kept(Folder(tmp_path / type(model).__name__, LABEL))
    trained(bench, "uoisc")
    looks = []
    monkeypatch.setattr(bench.clip, "_see", lambda x: pytest.fail("CLIP looks at the source again"))
    hidden = bench.llava.hidden
    monkeypatch.setattr(bench.llava, "hidden", lambda x, *rest: looks.append(x.requires_grad) or hidden(x, *rest))
    trained(bench, "no_alignment")
    assert looks and all(looks), "LLaVA looks at reconstructions alone"
