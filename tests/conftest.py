"""What every test starts from: fixed seeds, one thread, no model hub, and no GPU but in `pytest -m gpu`."""

import os
import random
import sys

# before the first `import torch`, also for the processes and kernels that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "gpu" not in sys.argv:  # as in `-m gpu`
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

# the same examples on every machine and no time limit an example: a busy machine fails nothing
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def reproducible():
    """Seed the three generators anew for every test, so that none depends on which tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
