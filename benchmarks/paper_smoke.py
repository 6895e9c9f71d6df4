"""Makes what the profile `paper_smoke` reads: `python -m benchmarks.paper_smoke`, by `make` where it is absent.

    data/generated/vqav2              VQA v2's official files (tiny_vqav2.py)
    data/generated/clip               a CLIP in open_clip's format, as deep as the paper's setting has taps
    data/generated/llava              a LLaVA-interleave, `save_pretrained` with processor and chat template
    data/generated/llava_independent  a LLaVA-1.5 likewise

Random weights, generated pictures: what is measured with them means nothing, but every line that the paper's own
setting runs is run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.tiny_models import CLIP, clip_checkpoint, llava_checkpoint
from benchmarks.tiny_vqav2 import write_vqav2
from uoisc.base.folders import written_folder

FOLDER = Path("data/generated")
IMAGES = 48  # of each part; two in eight show an animal


def main() -> None:
    """Writes the folder, whole or not at all."""
    with written_folder(FOLDER) as folder:
        write_vqav2(folder / "vqav2", IMAGES)
        clip_checkpoint(folder / "clip", sizes=replace(CLIP, layers=4))
        llava_checkpoint(folder / "llava", "siglip")
        llava_checkpoint(folder / "llava_independent", "clip", seed=1)
    print(f"generated: {FOLDER}")


if __name__ == "__main__":
    main()
