"""Nothing raw reaches a terminal, and bars reach nothing else."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import uoisc
from uoisc.base import terminal
from uoisc.base.config import ROOT
from uoisc.base.terminal import bar, printable, say, show

HOSTILE = ["\x1b[31mred", "a\rb", "a\nb", "\x07", "\x9b31m", "\u202egnp.exe", "\u200b", "\udcff", "\u2028", "\x00"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_steers_a_terminal_is_escaped(text):
    shown = printable(text)
    assert shown.isprintable() and "\\" in shown
    shown.encode("utf-8")


def test_what_can_be_seen_stays():
    text = "Löwe  im Zoo, 狮子 (2).png"
    assert printable(text) == text


@pytest.fixture
def terminal_like(monkeypatch):
    """A standard error that says that it is a terminal."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(terminal, "on_terminal", lambda: stream.isatty())
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.delenv(terminal.QUIET, raising=False)
    return stream


def test_bars_are_drawn_on_a_terminal_and_not_under_quiet(terminal_like, monkeypatch):
    assert list(bar(range(3), file=terminal_like)) == [0, 1, 2] and "3/3" in terminal_like.getvalue()
    drawn = len(terminal_like.getvalue())
    for name in (terminal.QUIET, "TQDM_DISABLE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert list(bar(range(3), file=terminal_like)) == [0, 1, 2] and len(terminal_like.getvalue()) == drawn


def test_no_bar_is_drawn_off_a_terminal_unless_asked_for(terminal_like, monkeypatch):
    terminal_like.isatty = lambda: False
    assert list(bar(range(3), file=terminal_like)) == [0, 1, 2] and terminal_like.getvalue() == ""
    monkeypatch.setenv(terminal.BARS, "1")
    assert list(bar(range(3), file=terminal_like)) == [0, 1, 2] and "3/3" in terminal_like.getvalue()


def test_no_module_draws_a_bar_of_its_own():
    """One place decides: nothing else of the package imports tqdm."""
    package = Path(uoisc.__file__).parent
    drawing = re.compile(r"^\s*(import|from) tqdm", re.MULTILINE)
    found = {path.name for path in package.rglob("*.py") if drawing.search(path.read_text(encoding="utf-8"))}
    assert found == {"terminal.py"}


def test_quiet_keeps_results(capsys, monkeypatch):
    monkeypatch.setenv(terminal.QUIET, "1")
    say("good to know")
    show("a result \x1b[31m\nof two lines")
    assert capsys.readouterr().out == "a result \\x1b[31m\nof two lines\n"


def test_nothing_is_printed_where_the_stream_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert show("a result") is None


def test_a_warning_is_one_line_without_the_code_that_it_comes_from():
    code = """import warnings; from uoisc.base.terminal import warn_in_a_line; warn_in_a_line()
warnings.warn("Image size (110250000 pixels)\\nexceeds \\x1b[31m")"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == "warning: Image size (110250000 pixels) exceeds \\x1b[31m\n"
