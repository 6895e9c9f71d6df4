"""Runs every stage of the study, and every command that a user has, where tensors cross from a device to another or to
numpy; writes report.json: what went wrong in each part, "" where nothing did. Run by test_gpu.py in a folder of
`workplace.make`, in one process, as imports take longest:

    python tests/every_border.py FOLDER_OF_THE_PROJECT
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import torch  # noqa: E402

from uoisc.base.config import load_params, paths  # noqa: E402
from uoisc.base.distributed import device  # noqa: E402

PROFILE = "tiny"
NOTEBOOKS = {"01_data": "", "02_foundation": "", "03_phase1": "uoisc", "04_phase2": "uoisc"}
NOTEBOOKS |= {"05_ablations": "adaptive+query_aware", "05_ablations, dials": "dial+dial_scratch_text"}
NOTEBOOKS |= {"06_evaluation": "", "08_rate": "", "09_channel": "", "10_standard_codecs": ""}
SNRS = (5, 10, 20)


def fewer() -> None:
    """Shortens what is asked and measured: the borders are the same."""
    from uoisc.frozen import llava
    from uoisc.stages import codec_curves, link_jobs

    llava.MAX_ANSWER_TOKENS = 3
    link_jobs.NOISY[:] = [air for air in link_jobs.NOISY if air.es_n0_db in SNRS]
    codec_curves.POINTS = 2
    codec_curves.CURVES[:] = [curve for curve in codec_curves.CURVES if curve[0].startswith("avif")]


def notebook(project: Path, name: str, variant: str) -> None:
    """A notebook's code cells, one after the other, for the tiny profile; a figure goes nowhere."""
    cells = json.loads((project / f"notebooks/{name.split(',')[0]}.ipynb").read_text())["cells"]
    space: dict = {}
    for cell in cells:
        code = "".join(cell["source"]).replace("%matplotlib inline", "")
        if cell["cell_type"] != "code" or "need(" in code:
            continue
        if "parameters" in cell["metadata"].get("tags", []):
            code += f"\nprofile, variant, remake = {PROFILE!r}, {variant!r}, True"
        exec(compile(code, name, "exec"), space)


def resumed() -> None:
    """Both phases, stopped in the middle of each, end with the bytes of the model that was never stopped."""
    from uoisc.stages import train_models

    name, rate = "uoisc", "tight"
    own, stops = train_models.steps_bar, [1, 1]
    whole = {p: paths(PROFILE).codec(p, name, rate).read_bytes() for p in (1, 2)}

    def stopping(model: str, steps: range, label: str):
        for step in own(model, steps, label):
            if stops and step == stops[0]:
                stops.pop(0)
                os.kill(os.getpid(), signal.SIGINT)  # heard at the end of this step
            yield step

    train_models.steps_bar = stopping
    for _ in range(2):
        try:
            train_models.train_model(PROFILE, name, rate, (1, 2))
            raise AssertionError("was not stopped")
        except KeyboardInterrupt:
            pass
    train_models.train_model(PROFILE, name, rate, (1, 2))
    train_models.steps_bar = own
    again = {p: paths(PROFILE).codec(p, name, rate).read_bytes() for p in (1, 2)}
    assert again == whole, f"other bytes after phase {[p for p in again if again[p] != whole[p]]}"


def transfer() -> None:
    """encode, decode and ask; both forms of a file, receivers that read the query and those that do not."""
    from uoisc.data.images import image_bytes
    from uoisc.link import transfer as commands
    from uoisc.stages import asking

    Path("one.png").write_bytes(image_bytes(torch.rand(1, 3, 60, 80), ".png"))
    for variant, query, read in (("dial", "where is the lion", True), ("uoisc", "what is there", False)):
        for compact in (False, True):
            files = commands.Files(["one.png"], "one.uoi", force=True)
            commands.encode(files, query, PROFILE, variant, None, compact)
            back = commands.Files(["one.uoi"], "back.png", force=True)
            commands.decode(back, PROFILE, variant if compact else None, None, query if read else None)
        asking.ask("one.png", query, PROFILE, variant, None, "asked.png", True)


def bench() -> None:
    """What `make bench` runs."""
    from benchmarks import codec, step

    step.RATE = "tight"
    models = step.random_bench(load_params(PROFILE))
    step.print_steps(models)
    codec.print_codecs(models, "tight", rounds=3)


def validated() -> None:
    """`uoisc validate`."""
    from uoisc.stages.validation import validate

    print(validate(PROFILE, "uoisc_joint_attention", "tight"))


def seen() -> None:
    """Models lie where they should."""
    from uoisc.study import open_study

    study = open_study(PROFILE)
    places = {p.device.type for m in (study.clip, *study.judges.values()) for p in m.parameters()}
    assert places == {device().type}, places


def main(project: Path) -> None:
    """Every part, whatever became of those before it."""
    fewer()
    parts = {name: (lambda n=name, v=variant: notebook(project, n, v)) for name, variant in NOTEBOOKS.items()}
    parts |= {"where models are": seen, "resumed": resumed, "transfer": transfer, "bench": bench, "validate": validated}
    report = {}
    for name, part in parts.items():
        print(f"== {name}", flush=True)
        try:
            part()
            report[name] = ""
        except BaseException:
            report[name] = traceback.format_exc()[-3000:]
            print(report[name], flush=True)
        Path("report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
