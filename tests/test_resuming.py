"""An interrupted run goes on as if nothing had happened: the same bytes at the end, whatever stopped it and when."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from uoisc.base import resuming, storage
from uoisc.base.config import Paths
from uoisc.base.errors import CheckpointError, ProcessError
from uoisc.base.resuming import Keeper, alone, run_label
from uoisc.stages import train_models
from uoisc.training import Bench, Log, train_phase1, train_phase2
from uoisc.variants import variant

PARAMS = replace(
    tiny.PARAMS, training=replace(tiny.PARAMS.training, phase1_steps=6, phase2_steps=4, intent_step=2, save_every=2)
)
TRAIN = {1: train_phase1, 2: train_phase2}


def test_killed_at_twenty_random_points_over_both_phases(tmp_path):
    """SIGKILL, whenever it falls: in a step, in a save, between phases. Weights and logs come out the same bytes."""
    script = Path(__file__).with_name("kill_and_resume.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(script), "uoisc", "low", "20", str(tmp_path)],
        capture_output=True, text=True, env=environment, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["same"] and told["killed"] >= 20
    assert told["resumed_from"].get("phase1", 0) >= 3 and told["resumed_from"].get("phase2", 0) >= 3, told
    assert [name for name in told["files"] if name.endswith("phase2/uoisc/low.safetensors")]


def begin(phase: int, keeper: Keeper | None = None, stop_at: int | None = None, number: int = signal.SIGINT):
    """A codec trained through one phase from the same start; a signal comes at the start of step `stop_at`."""
    codec, log = tiny.codec("uoisc"), Log(every=2)
    torch.manual_seed(phase)

    def progress(steps: range, label: str):
        for step in steps:
            if step == stop_at:
                os.kill(os.getpid(), number)
            yield step

    bench = Bench(PARAMS, tiny.world(), tiny.clip(), tiny.llava())
    TRAIN[phase](codec, variant("uoisc"), bench, log, progress, keeper)
    return codec.own_state(), log.rows


def kept_at(path: Path, **names) -> Keeper:
    return Keeper(path, run_label(PARAMS, **names), PARAMS.training.save_every)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("phase", [1, 2])
def test_a_stopped_phase_saves_and_goes_on(tmp_path, phase, number):
    whole, rows = begin(phase)
    keeper = kept_at(tmp_path / "phase.safetensors")
    with pytest.raises(KeyboardInterrupt):
        begin(phase, keeper, stop_at=2, number=number)
    assert storage.read_tensors(keeper.path, "")[1]["step"] == 3, "the step in which the signal came is finished"
    state, log = begin(phase, keeper)
    assert log == rows and state.keys() == whole.keys()
    assert all(torch.equal(state[key], whole[key]) for key in whole)
    again, log = begin(phase, keeper)
    assert log == rows and all(torch.equal(again[key], whole[key]) for key in whole), "complete: nothing is trained"


def test_signals_are_as_before_afterwards(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        begin(1, kept_at(tmp_path / "phase.safetensors"), stop_at=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.fixture
def interrupted(tmp_path) -> Path:
    """What a run that was stopped in its third step left."""
    path = tmp_path / "phase.safetensors"
    with pytest.raises(KeyboardInterrupt):
        begin(1, kept_at(path), stop_at=2)
    return path


def refused(path: Path, match: str, keeper: Keeper | None = None) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        begin(1, keeper or kept_at(path))
    assert "\n" not in str(caught.value) and "delete it to begin this model anew" in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_file(interrupted, share):
    whole = interrupted.read_bytes()
    interrupted.write_bytes(whole[: int(share * len(whole))])
    refused(interrupted, "truncated")
    assert interrupted.stat().st_size == int(share * len(whole)), "it is left for whoever wants to look"


def test_a_flipped_bit(interrupted):
    whole = bytearray(interrupted.read_bytes())
    whole[-1000] ^= 1
    interrupted.write_bytes(whole)
    refused(interrupted, "damaged")


def test_of_other_parameters_or_of_another_model(interrupted):
    slower = replace(PARAMS, training=replace(PARAMS.training, learning_rate=1e-4))
    refused(interrupted, "an interrupted run of other parameters", Keeper(interrupted, run_label(slower), 2))
    refused(interrupted, "an interrupted run of other parameters", kept_at(interrupted, variant="adaptive"))


def test_of_other_code(interrupted, monkeypatch):
    monkeypatch.setattr(resuming, "code_digest", lambda: "of losses that were edited since")
    refused(interrupted, "an interrupted run of other parameters, code or foundation", kept_at(interrupted))
    files = {"losses.py", "data/scenes.py", "frozen/clip.py", "importers/sources.py", "base/devices.py"}
    assert files <= {
        file.relative_to(storage.PACKAGE).as_posix() for c in storage.CODE for file in storage.PACKAGE.glob(c)
    }


def test_a_file_of_the_right_name_that_fits_no_codec(interrupted):
    storage.save_tensors({"codec.a": torch.ones(1)}, interrupted, {"run": run_label(PARAMS), "step": 1, "values": {}})
    refused(interrupted, "does not fit this program")


def test_a_full_disk_stops_with_one_line_and_keeps_the_last_good_file(interrupted, monkeypatch):
    before = interrupted.read_bytes()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(CheckpointError, match="cannot be written .No space left on device.; make room") as caught:
        begin(1, kept_at(interrupted))
    assert "\n" not in str(caught.value)
    assert interrupted.read_bytes() == before and len(list(interrupted.parent.iterdir())) == 1


def test_a_folder_that_takes_no_file(tmp_path):
    """As a read-only one, which a superuser could not tell from another: its place is a file."""
    (tmp_path / "folder").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written .(Not a directory|File exists)."):
        begin(1, kept_at(tmp_path / "folder" / "phase.safetensors"))


def test_two_processes_do_not_train_one_model(tmp_path, monkeypatch):
    """Their saves would meet. Other models are free, and so is this one once the first has ended."""
    place = Paths(*(tmp_path / name for name in ("source", "foundation", "codecs", "tables", "results")))
    monkeypatch.setattr(train_models, "paths", lambda profile: place)
    monkeypatch.setattr(train_models, "open_study", lambda profile, judges: replace(tiny.study(), params=PARAMS))
    with alone(place.lock("uoisc", "low")):
        with pytest.raises(ProcessError, match="uoisc at low is being trained by another process: wait for it"):
            train_models.train_model("tiny", "uoisc", "low", (1,))
        assert not place.codecs.exists()
        assert train_models.train_model("tiny", "uoisc", "high", (1,)).exists()
    assert train_models.train_model("tiny", "uoisc", "low", (1,)).exists()


def test_a_lock_in_a_folder_that_takes_no_file(tmp_path):
    (tmp_path / "folder").write_text("")
    refused = pytest.raises(CheckpointError, match="cannot be written .(Not a directory|File exists).")
    with refused, alone(tmp_path / "folder" / "uoisc" / "low.lock"):
        pytest.fail("was taken")


def test_accumulated_micro_batches_are_one_batch():
    """Two of two in the place of one of four: the same step but for rounding, as no term is a mean of unequal parts."""
    halves = replace(PARAMS, training=replace(PARAMS.training, accumulation=2, phase1_steps=2, intent_step=2))
    wholes = replace(halves, training=replace(halves.training, accumulation=1))
    rows = []
    for params in (halves, wholes):
        codec, log = tiny.codec("uoisc"), Log(every=1)
        bench = Bench(params, tiny.world(), tiny.clip(), tiny.llava())
        train_phase1(codec, variant("uoisc"), bench, log, lambda steps, label: steps)
        rows.append(log.rows[0])
    assert rows[0] == pytest.approx(rows[1], rel=0.01)
