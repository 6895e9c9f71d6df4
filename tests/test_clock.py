"""The stopwatch adds up within a round, leaves the warm-up out, and compares what one round has timed."""

from itertools import count

import pytest

from benchmarks.clock import WARM_UP, Clock

WARM_UP_ROUNDS = [{"a": 1e6, "b": 1e-6}] * WARM_UP


def ticking() -> Clock:
    """A clock on which a second passes whenever it is looked at."""
    return Clock(now=count().__next__)


def test_stretches_of_a_name_add_up_within_a_round_and_not_beyond():
    clock = ticking()
    for stretches in (1, 3):
        clock.start_round()
        for _ in range(stretches):
            with clock("a"):
                pass
    assert [dict(r) for r in clock.rounds] == [{"a": 1}, {"a": 3}]


def test_a_whole_counts_what_is_timed_within_it():
    clock = ticking()
    clock.start_round()
    with clock("whole"), clock("part"):
        pass
    assert clock.rounds == [{"part": 1, "whole": 3}]


def test_the_median_is_of_the_rounds_after_the_warm_up_and_nought_where_nothing_ran():
    clock = Clock(rounds=[*WARM_UP_ROUNDS, {"a": 3.0}, {"a": 1.0}, {"a": 2.0}])
    assert clock.median("a") == 2.0 and clock.median("c") == 0.0


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    """A busy round is slow on both sides: medians of each side alone would say 10 / 2."""
    rounds = [{"a": 1.0, "b": 2.0}, {"a": 10.0, "b": 20.0}, {"a": 30.0, "b": 1.0}]
    assert Clock(rounds=[*WARM_UP_ROUNDS, *rounds]).ratio("a", "b") == 0.5


class Owner:
    """Something with a method."""

    def double(self, value: int) -> int:
        return 2 * value


def test_calls_of_a_method_are_timed_within_the_block_alone_and_answer_as_before():
    clock, owner = ticking(), Owner()
    clock.start_round()
    with clock.on(owner, "double", "twice"):
        assert owner.double(2) + owner.double(value=3) == 10
    assert owner.double(4) == 8 and clock.rounds == [{"twice": 2}]


def test_a_method_is_itself_again_after_an_error():
    clock, owner = ticking(), Owner()
    clock.start_round()
    with pytest.raises(TypeError), clock.on(owner, "double", "twice"):
        owner.double()
    assert vars(owner) == {}
