"""Every place where tensors cross to or from a GPU: `pytest -m gpu tests/test_gpu.py`, which `make test` runs where one
is. All other tests hold the CPU's numbers and see no GPU."""

import json
import os
from dataclasses import replace
from pathlib import Path

import every_border
import pytest
import tiny
import torch
import workplace

from uoisc.base import devices
from uoisc.base.config import DIAL, ROOT
from uoisc.stages import machine

PARTS = [*every_border.NOTEBOOKS, "where models are", "resumed", "transfer", "bench", "validate"]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU, or not asked for by `pytest -m gpu`"),
]


def parameters():
    """The tests' own, at the rates that the channel stage sends."""
    low, high = tiny.PARAMS.codec.rates.values()
    own = tiny.PARAMS.evaluation
    fixed = dict.fromkeys(("adaptive", "query_aware"), ("tight",))
    variants = {"uoisc": ("tight", "middle"), **fixed, **dict.fromkeys(("dial", "dial_scratch_text"), (DIAL,))}
    return replace(
        tiny.PARAMS,
        data=replace(tiny.PARAMS.data, objects=258),
        codec=replace(tiny.PARAMS.codec, rates={"tight": low, "middle": high}),
        variants=variants,
        evaluation=replace(own, queries=12, batch_size=64, beyond=replace(own.beyond, rates=("tight",))),
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict[str, str]:
    place = workplace.make(tmp_path_factory.mktemp("gpu") / "place", parameters())
    path = os.pathsep.join(map(str, (place, ROOT, ROOT / "tests", os.environ.get("PYTHONPATH", ""))))
    done = workplace.run(
        place, str(Path(every_border.__file__)), str(ROOT), check=False, PYTHONPATH=path, UOISC_BARS="0"
    )
    print(done.stdout[-2000:], done.stderr[-4000:])
    return json.loads((place / "report.json").read_text())


@pytest.mark.parametrize("part", PARTS)
def test_runs_on_the_gpu(report, part):
    assert not report[part]


def test_a_gpu_is_named_with_its_precision():
    said = machine.described()
    assert said["device"].startswith("cuda (") and said["precision"] in ("bfloat16", "float32")
    assert 1 <= devices.side_by_side(devices.AUTO) <= devices.GPU_QUEUE
