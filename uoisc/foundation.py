"""Trains the small stand-ins for CLIP and LLaVA on the embedded benchmark.

The real ones saw all kinds of objects in internet-scale pre-training; so the stand-ins see all objects here,
the held-out ones too. Codecs never do. Source: ours.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from uoisc.clip import MEAN, STD, FrozenCLIP, build_clip
from uoisc.scenes import COLOURS, GRID, PLACES, TILES, World, answer_texts, article, query_texts
from uoisc.objects import plural
