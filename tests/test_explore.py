"""Notebook 11: its controls from code, and in a JupyterLab as a reader opens it."""

import math
import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import numpy as np
import pytest
import tiny
import torch
from test_bitstream import model

from uoisc.base.config import PARAMS, document
from uoisc.base.settings import JUDGES
from uoisc.explore import sending
from uoisc.explore.page import LOOKED_AT, SCENES, chosen
from uoisc.explore.widgets import Explorer
from uoisc.frozen.llava import FrozenLlava
from uoisc.judge.evaluation import evaluation_questions
from uoisc.stages.publish import open_published

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return Explorer(open_published(document(PARAMS)["published"]))


def test_each_control_changes_what_is_shown(explorer):
    seen = [explorer.received.value]
    explorer.bits.value = 0
    seen.append(explorer.received.value)
    explorer.noise.value = 0
    seen.append(explorer.received.value)
    assert "arrived wrong" in explorer.said.value
    explorer.noise.value = len(explorer.noise.options) - 1
    explorer.scene.value = 1
    seen.append(explorer.received.value)
    explorer.method.value = "uoisc"
    seen.append(explorer.received.value)
    assert len({*seen}) == len(seen)
    assert explorer.keep.disabled  # UO-ISC sends another message for another query
    assert [int(bits) for bits, _ in explorer.bits.options] == sorted(int(bits) for bits, _ in explorer.bits.options)


def test_a_second_query_adds_to_the_first(explorer):
    explorer.method.value = "dial"
    explorer.query.value = "is there a lion"
    explorer.keep.value = True
    explorer.query.value = "how many animals are there"
    assert "adds to what the receiver has" in explorer.said.value and explorer.noise.disabled
    explorer.scene.value = 2
    assert not explorer.noise.disabled
    assert not explorer.keep.value and "in all" in explorer.said.value


def test_what_cannot_be_is_said_and_leaves_the_rest(explorer):
    explorer.query.value = ""
    assert "query is empty" in explorer.said.value
    explorer.keep.value = True
    assert explorer.before is None, "the receiver keeps no message of another query than the one that failed"
    explorer.keep.value = False
    explorer.query.value = "where is the <zebrafinch>"
    assert "never read" in explorer.said.value and "<zebra" not in explorer.said.value
    explorer._take_upload()  # nothing was uploaded: a click on the button alone
    explorer.upload.value = (uploaded(b"bad"),)
    assert "cannot be read" in explorer.said.value or "no image" in explorer.said.value
    explorer.upload.value = (uploaded((ROOT / "data" / "sample.png").read_bytes()),)
    explorer.query.value = "where is the lion"
    assert "match" in explorer.said.value


def uploaded(data: bytes) -> dict:
    """A file as the upload button hands it on."""
    return {"name": "x.png", "type": "", "size": len(data), "content": data, "last_modified": datetime.now(UTC)}


def test_scenes_are_chosen_by_their_types_of_question(explorer):
    assert {split: len(rows) for split, rows in chosen(explorer.study).items()} == {"unseen": 4, "seen": 2}


class Says(FrozenLlava):
    """A judge that is right about all but one of the two questions of some rows of a split."""

    def __init__(self, wrong: set[int]):
        torch.nn.Module.__init__(self)
        self.wrong = wrong
        asked = [evaluation_questions(tiny.study(), split, LOOKED_AT) for split in SCENES]
        sets = [found for one in asked for found in enumerate((one.queries, one.others))]
        self.known = {tuple(query.text for query in queries): (place, queries) for place, queries in sets}

    def answer(self, x: torch.Tensor, queries: list[str], batch_size: int = 256) -> list[str]:
        place, found = self.known[tuple(queries)]
        wrong = {row for row in self.wrong if row // 2 % 2 == place}
        return ["unknown" if row in wrong else query.truth for row, query in enumerate(found)]


def test_scenes_are_those_that_both_judges_answer_rightly_and_types_do_not_repeat(monkeypatch):
    asked = evaluation_questions(tiny.study(), "unseen", LOOKED_AT)
    types = [{query.type, other.type} for query, other in zip(asked.queries, asked.others, strict=True)]
    first = next(row for row, own in enumerate(types) if len(own) == 2)
    alike = next(row for row in range(first + 1, len(types)) if len(types[row]) == 2 and types[row] & types[first])
    wrong = {*range(alike)} - {first}
    judges = dict(zip(JUDGES, (Says({row for row in wrong if row % 2 == k}) for k in (0, 1)), strict=True))
    monkeypatch.setitem(SCENES, "unseen", 3)
    found = chosen(replace(tiny.study(), judges=judges))["unseen"]
    assert found[0] == first and not {*found} & wrong
    fresh = [row for row in found if not types[row] & types[first]]
    assert found[1:] == fresh and not types[fresh[0]] & types[fresh[1]]


@torch.no_grad()
def test_bits_of_a_map_lie_where_their_tokens_do_and_answers_that_differ_do_not_match():
    shared, x, query = model("dial"), tiny.images(1), tiny.queries(1)[0]
    sent = sending.send(shared, x, query)
    units = sent.message.mask.sum((1, 3))[0].tolist()
    side, each = shared.tables.shape.side, math.log2(shared.tables.shape.codes)
    for row, column in np.ndindex(side, side):
        assert sent.token_bits[row, column] == units[row * side + column] * each
    assert not np.array_equal(sent.token_bits, sent.token_bits.T)
    heard = sending.receive(tiny.study(), sent, query, {name: "?" for name in JUDGES})
    assert heard.matches == {name: False for name in JUDGES}
    assert sending.receive(tiny.study(), sent, query, heard.answers).matches == {name: True for name in JUDGES}


def test_papermill_runs_the_notebook_without_anyone_touching_it(tmp_path):
    import papermill

    source = ROOT / "notebooks" / "11_explore.ipynb"
    given = {"profile": document(PARAMS)["published"]}
    ran = papermill.execute_notebook(source, tmp_path / "11.ipynb", given, cwd=str(ROOT), progress_bar=False)
    told = "".join(out.get("text", "") for cell in ran.cells for out in cell.get("outputs", []))
    assert "more bits, larger files: True" in told and "lies on the first: True" in told


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab with a copy of the notebook, nothing run yet; its address."""
    notebook = nbformat.read(ROOT / "notebooks" / "11_explore.ipynb", as_version=4)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, tmp_path / "11_explore.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(tmp_path / name) for name in ("SETTINGS", "WORKSPACES")}
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token="]
    options += [f"--ServerApp.root_dir={tmp_path}", "--LabApp.expose_app_in_browser=True"]
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], env=os.environ | own, stdout=log, stderr=log
    )
    yield f"http://127.0.0.1:{port}/lab/tree/11_explore.ipynb"
    server.terminate()
    server.wait(30)
    log.close()


def test_in_jupyterlab_the_slider_changes_the_picture(browser, lab):
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    def opened(page) -> bool:
        page.get(lab)
        return bool(page.execute_script("return window.jupyterapp !== undefined"))

    def wait(what, seconds: int = 240):
        return WebDriverWait(browser, seconds, ignored_exceptions=[WebDriverException]).until(what)

    def pictures(page) -> list[str]:
        shown = page.find_elements("css selector", ".widget-image")
        script = "return arguments[0].complete && arguments[0].naturalWidth ? arguments[0].src : ''"
        return [page.execute_script(script, one) for one in shown]

    wait(opened, 60)
    ready = "return window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    wait(lambda page: page.execute_script(ready))
    browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    # the last cell has run, and the widgets show what it has left
    wait(lambda page: "the second message lies on the first: True" in page.find_element("tag name", "body").text)
    before = wait(lambda page: all(found := pictures(page)) and len(found) == 3 and found)
    handle = browser.find_elements("css selector", ".noUi-handle")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
    handle.send_keys(Keys.ARROW_RIGHT)
    wait(lambda page: all(after := pictures(page)) and after[2] != before[2], 60)
    assert not [line for line in browser.get_log("browser") if "uoisc" in line["message"]]
