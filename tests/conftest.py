"""What every test starts from: fixed seeds, one thread, no model hub, and no GPU but in `pytest -m gpu`."""

import os
import random
import shutil
import sys
from pathlib import Path

# before the first `import torch`, also for the processes and kernels that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if not {"gpu", "-mgpu"} & set(sys.argv):  # as in `-m gpu`
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
COPIES = "tests/notebooks/"
LONGEST = [ROOT / "tests/test_paper_smoke.py", ROOT / COPIES]  # to run: minutes each
LAST = ROOT / COPIES / "07_figures_and_tables.ipynb"  # of the copies: before them it would make what they make again

# the same examples on every machine and no time limit an example: a busy machine fails nothing
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def reproducible():
    """Seed the three generators anew for every test, so that none depends on which tests ran before it; nor on what the
    tiny models remember."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if "tiny" in sys.modules:
        sys.modules["tiny"].forget()


@pytest.fixture(scope="session")
def browser():
    """A Chromium without a window, where Debian's or another is installed with its driver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    places = [("chromium", "chromium-browser", "google-chrome"), ("chromedriver", "chromium-driver")]
    chrome, driver = (next(filter(None, map(shutil.which, names)), None) for names in places)
    if not chrome or not driver:
        pytest.skip("no Chromium with its driver here: on Debian `apt install chromium chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = chrome
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1600"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as opened:
        yield opened


def pytest_collection_modifyitems(items):
    """What takes longest starts first."""
    items.sort(key=lambda item: (not any(item.path.is_relative_to(path) for path in LONGEST), item.path == LAST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n`: a file's tests stay together, and so do the copies of notebooks, which build on one another."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return COPIES if nodeid.startswith(COPIES) else super()._split_scope(nodeid)

    return Together(config, log)
