"""The project page in a browser: its controls change pictures, numbers and answers to what the models gave."""

import json
import re
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from uoisc.base.settings import JUDGES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "index.html"
TEXT = PAGE.read_text(encoding="utf-8")
LARGEST = 3_000_000  # bytes


def kept(name: str):
    """What the page keeps under that id."""
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', TEXT, re.DOTALL)[1])


DATA, PICTURES = kept("data"), kept("pictures")
QUIET = len(DATA["es_n0_db"]) - 1  # the place of the noise slider without noise
TALKS = next(place for place, one in enumerate(DATA["methods"]) if one["name"] == DATA["dial"])
STATES = [  # (scene, question, method, bits, noise): every method, both ends of each slider, conversations
    *((method % len(DATA["scenes"]), method % 2, method, 0, QUIET - method) for method in range(len(DATA["methods"]))),
    *((1, 1, place, len(one["bits"]) - 1, 0) for place, one in enumerate(DATA["methods"])),
    *((0, 2, TALKS, bits, QUIET) for bits in range(len(DATA["methods"][TALKS]["bits"]))),
    (2, 2, 0, 0, QUIET),
]


def test_the_page_is_one_file_that_fetches_nothing():
    assert len(TEXT.encode()) <= LARGEST
    own = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]*", "data:", TEXT)
    assert set(re.findall(r'src="([^"]*)"', own)) == {"data:"}
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", own)
    assert "<!--" not in own  # every place of the template is filled


def test_its_claims_are_the_papers():
    table = pd.read_csv(ROOT / "paper" / "tables" / "claims.csv", dtype=str)
    rows = re.findall(r"<td>(.*?)</td>", TEXT)
    assert rows[::6] == table["statement"].tolist() and rows[5::6] == table["verdict"].tolist()


def test_scenes_are_of_both_splits_and_their_pictures_differ():
    assert len({scene["picture"] for scene in DATA["scenes"]}) == len(DATA["scenes"])
    assert [scene["split"] for scene in DATA["scenes"]] == ["unseen objects"] * 4 + ["seen objects"] * 2


def test_without_noise_judges_answer_as_in_the_published_run():
    """`answers.parquet` is of the models before they were rounded, which turns a few answers about poor pictures."""
    keys = ["split", "query", "truth", "variant", "bits", "judge"]
    run = pd.read_parquet(ROOT / "results" / "answers.parquet").drop_duplicates(keys).set_index(keys).sort_index()
    same = []
    for scene, method in product(DATA["scenes"], DATA["methods"]):
        split, asked = scene["split"].removesuffix(" objects"), scene["questions"][0]
        for bits, rows in zip(method["bits"], scene["sent"][method["name"]], strict=True):
            received = zip(JUDGES, asked["answers"], rows[0]["received"][-1]["answers"], strict=True)
            for judge, source, answer in received:
                published = run.loc[(split, asked["text"], asked["truth"], method["name"], bits, judge)]
                assert source == published["answer_source"]
                same.append(answer == published["answer_hat"])
    assert len(same) > 100 and sum(same) / len(same) > 0.9


@pytest.fixture
def page(browser):
    from selenium.webdriver.support import ui

    browser.get("about:blank")
    browser.get_log("browser")  # what the page before this one left, if another test had opened one
    browser.get(PAGE.as_uri())
    ui.WebDriverWait(browser, 20).until(lambda opened: element(opened, "summary").text)
    yield browser
    assert browser.get_log("browser") == []


def element(page, name: str):
    return page.find_element("id", name)


def slide(page, name: str, place: int) -> None:
    """By the keyboard alone."""
    from selenium.webdriver.common.keys import Keys

    slider = element(page, name)
    if slider.is_enabled():
        slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * place)
    assert int(slider.get_property("value")) == place


def choose(page, name: str, place: int) -> None:
    """A radio button, by the keyboard: arrows go round, and keep the focus."""
    from selenium.webdriver.common.keys import Keys

    buttons = page.find_elements("name", name)
    (now,) = [button for button in buttons if button.is_selected()]
    page.execute_script("arguments[0].focus()", now)
    for _ in range((place - buttons.index(now)) % len(buttons)):
        page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert buttons[place].is_selected() and page.switch_to.active_element == buttons[place]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_controls_show_what_the_models_gave(page, state):
    from selenium.webdriver.support.select import Select

    scene, question, method, bits, noise = state
    choose(page, "scene", scene)
    Select(element(page, "method")).select_by_index(method)
    slide(page, "bits", bits)
    choose(page, "question", question)
    slide(page, "noise", noise)
    about, how = DATA["scenes"][scene], DATA["methods"][method]
    rows = about["sent"][how["name"]][bits]
    entry = rows[min(question, len(rows) - 1)]
    got = entry["received"][noise if len(entry["received"]) > 1 else 0]
    asked = about["questions"][min(question, 1)]
    assert element(page, "source").get_property("src") == PICTURES[about["picture"]]
    assert element(page, "received").get_property("src") == PICTURES[got["picture"]]
    assert asked["text"] in element(page, "truth").text and asked["truth"] in element(page, "truth").text
    cells = [cell.text for cell in element(page, "answers").find_elements("tag name", "td")]
    said = ["match" if match else "no match" for match in got["matches"]]
    assert cells == [text for row in zip(asked["answers"], got["answers"], said, strict=True) for text in row]
    tokens = [int(cell.text) for cell in element(page, "tokens").find_elements("tag name", "td")]
    assert tokens == entry["tokens"] and sum(tokens) <= how["bits"][bits]
    assert f"{entry['bytes']} bytes as a file, of which {entry['payload']} payload" in element(page, "bytes").text
    for place, name in zip(entry["files"], DATA["formats"], strict=True):
        assert re.search(rf"{name}.*: {about['files'][place]['bytes']} bytes", element(page, "files").text)
    db = DATA["es_n0_db"][noise]
    silent = (
        "no noise (a conversation is not sent over it)" if question == 2 and how["name"] == DATA["dial"] else "no noise"
    )
    assert element(page, "noise-said").text == (silent if db is None else f"{db:g} dB")
    assert element(page, "noise").get_attribute("aria-valuetext") == element(page, "noise-said").text


def test_a_link_opens_what_it_says_and_a_broken_one_the_first_scene(page):
    page.get("about:blank")
    page.get(PAGE.as_uri() + "#scene=3&question=1&method=0&bits=1&noise=2")
    assert page.find_elements("name", "scene")[3].is_selected()
    assert element(page, "bits-said").text == f"{DATA['methods'][0]['bits'][1]:g} bits"
    page.get("about:blank")
    page.get(PAGE.as_uri() + "#scene=99&question=-1&method=x&bits=&other=1")
    assert page.find_elements("name", "scene")[0].is_selected()


@pytest.mark.parametrize("wide", [320, 1200])
def test_nothing_is_wider_than_the_screen(page, wide):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": wide, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= wide
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_and_picture_has_a_name(page):
    for one in page.find_elements("css selector", "input, select"):
        assert one.accessible_name, one.get_attribute("outerHTML")
    for one in page.find_elements("tag name", "img"):
        assert one.get_attribute("alt") or one.get_attribute("id") == "under"
    assert element(page, "summary").aria_role == "status"


def test_dark_mode_is_readable(page):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    ink, ground = page.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in (ink, ground))
    assert light - dark > 150
