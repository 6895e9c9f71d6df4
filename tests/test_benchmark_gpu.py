"""The script for a GPU: every part is bounded, what one printed is kept, and one that fails stops no other."""

import time

from benchmarks.gpu import END, Part, Session, plan


def test_parts_run_are_stopped_and_are_left_out_in_time(tmp_path, capsys):
    session = Session(tmp_path / "out", END + 7)
    start = time.monotonic()
    beside = Part("beside", ("-c", "print('here'); raise SystemExit(3)"), 60)
    session.group([beside, Part("too long", ("-c", "import time; print('begun', flush=True); time.sleep(60)"), 5)])
    session.group([Part("late", ("-c", "print('never')"), 60)])
    assert time.monotonic() - start < 30
    ended = {name: how for name, _, how in session.rows}
    assert ended == {"beside": "exit code 3", "too long": "stopped after 5 s", "late": "no time left"}
    session.show()
    shown = capsys.readouterr().out
    assert "== beside\nhere" in shown and "begun" in shown and "never" not in shown


def test_all_parts_together_fit_what_is_lent():
    parts = [part for group in plan("small") for part in group]
    assert len({part.name for part in parts}) == len(parts) == 6
    assert all("small" in " ".join(part.command) for part in parts if part.name not in ("tests", "full size"))
