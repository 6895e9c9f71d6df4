"""The benchmark runs the real loops, and what it times of a step adds up."""

from dataclasses import replace

import pytest
import tiny

from benchmarks import step as benchmark
from benchmarks.clock import WARM_UP
from uoisc.base.config import load_params
from uoisc.training import Bench, train_phase1, train_phase2


@pytest.fixture
def bench(monkeypatch) -> Bench:
    monkeypatch.setattr(benchmark, "RATE", "low")
    steps = WARM_UP + 2
    training = replace(tiny.PARAMS.training, phase1_steps=steps, phase2_steps=steps)
    return Bench(replace(tiny.PARAMS, training=training), tiny.world(), tiny.clip(), tiny.llava())


@pytest.mark.parametrize(("phase", "train"), [(1, train_phase1), (2, train_phase2)])
def test_a_phase_is_timed_whole_and_in_parts(bench, phase, train):
    clock = benchmark.time_phase(bench, phase, train)
    assert len(clock.rounds) == WARM_UP + 2
    parts = set(benchmark.PARTS) - ({"critic"} if phase == 1 else set())
    for seconds in clock.rounds:
        assert set(seconds) == {"whole", *parts} and min(seconds.values()) > 0


def test_the_table_of_steps_has_a_line_a_phase(bench, capsys):
    benchmark.print_steps(bench)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["phase", "1"], ["phase", "2"]]


def test_what_is_timed_of_the_profile_is_possible():
    """Settings of single variants are not in the way, as `make bench` takes it from params.yaml."""
    assert benchmark.timed(load_params(benchmark.PROFILE)).training.phase1_steps == benchmark.STEPS


def test_the_quantisers_are_compared(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "ROUNDS", WARM_UP + 1)
    benchmark.print_quantizers()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * len(benchmark.QUANTIZERS)
