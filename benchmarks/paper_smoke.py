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

import torch

from benchmarks.tiny_models import CLIP, clip_checkpoint, layout_model, layout_processor
from benchmarks.tiny_vqav2 import write_vqav2
from uoisc.base.folders import written_folder
from uoisc.frozen.llava_files import save_llava

FOLDER = Path("data/generated")
LEGIBLE = 2.5  # times the scores of words
# in the first channel, which no block writes to: what words leave there, and how much of it ends an answer behind them
WORD, END = 0.5, 24.0
IMAGES = 48  # of each part; two in eight show an animal


def main() -> None:
    """Writes the folder, whole or not at all."""
    with written_folder(FOLDER) as folder:
        write_vqav2(folder / "vqav2", IMAGES)
        clip_checkpoint(folder / "clip", sizes=replace(CLIP, layers=4))
        judge(folder / "llava", "siglip", 0)
        judge(folder / "llava_independent", "clip", 1)
    print(f"generated: {FOLDER}")


def judge(folder: Path, tower: str, seed: int) -> None:
    """Writes a LLaVA of random weights whose answers are words, most of them one, as trained judges answer."""
    model, processor = layout_model(tower, seed), layout_processor(tower)
    known, end = processor.tokenizer.get_vocab(), processor.tokenizer.eos_token_id
    words = [known[text] for text in known if text.strip("Ġ").isascii() and text.strip("Ġ").isalpha()]
    embedded, head = model.get_input_embeddings().weight, model.lm_head.weight
    with torch.no_grad():
        head[words] *= LEGIBLE
        for block in model.model.language_model.layers:
            block.self_attn.o_proj.weight[0] = block.mlp.down_proj.weight[0] = 0
        embedded[:, 0] = head[:, 0] = head[end] = 0
        embedded[words, 0], head[end, 0] = WORD, END
    save_llava(model, processor, folder)


if __name__ == "__main__":
    main()
