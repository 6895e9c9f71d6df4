"""Models that come with the code: small enough for git, opened where a profile has trained none.

    data/PROFILE/{foundation, codecs, tables} --pack--> data/PROFILE/published     stages/publish.py, after a full run
    data/PROFILE/published --unpacked--> build/published/PROFILE-DIGEST            once on a machine, in a second

A matrix is kept in 8 bits a weight, with a scale for each row; the rest, and counts, in 16. Of CLIP's 49,408 word
pieces those are kept that a question of the catalogue holds. Unpacked, the files are of the usual formats, and the
digests in their labels are of the unpacked models: to what opens them nothing is special.

Source: ours; rows of 8 bits as in LLM.int8() (Dettmers et al., 2022).
"""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from uoisc.base.config import Paths, paths
from uoisc.base.errors import CheckpointError
from uoisc.base.folders import ROOT, check_writable, is_there, share, written_folder
from uoisc.base.storage import digest_of, read_label, read_tensors, save_tensors
from uoisc.frozen.weights import folder_digest

WEIGHTS = ".safetensors"
SCALE, ROWS, HEIGHT = " scale", " rows", " height"  # end names of what goes with a tensor; no parameter has spaces
SMALLEST = 2048  # weights of a matrix that is worth 8 bits
LEVELS = 127
PARTS = ("foundation", "codecs", "tables")  # in the order in which their labels name one another
REMEDY = "restore it, e.g. `git checkout -- data`"


def pack(tensors: dict[str, Tensor], rows: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Tensors in 8 and 16 bits; of those that `rows` names, these rows alone, the others being 0 when unpacked."""
    packed = {}
    for name, tensor in tensors.items():
        if rows and name in rows:
            packed |= {name + ROWS: rows[name], name + HEIGHT: torch.tensor(len(tensor))}
            tensor = tensor[rows[name]]
        if tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel() >= SMALLEST:
            scale = tensor.flatten(1).abs().amax(1).clamp(min=1e-12) / LEVELS
            packed[name + SCALE] = scale
            tensor = (tensor / _beside(scale, tensor)).round().to(torch.int8)
        if tensor.dtype == torch.int32 and tensor.numel() and tensor.min() >= 0 and tensor.max() < 1 << 16:
            tensor = tensor.to(torch.uint16)
        packed[name] = tensor.half() if tensor.is_floating_point() else tensor
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `pack` was given, as near as 8 bits come; float32."""
    tensors = {}
    for name, tensor in packed.items():
        if name.endswith((SCALE, ROWS, HEIGHT)):
            continue
        if (scale := packed.get(name + SCALE)) is not None:
            tensor = tensor.float() * _beside(scale, tensor)
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        tensor = tensor.int() if tensor.dtype == torch.uint16 else tensor
        if (rows := packed.get(name + ROWS)) is not None:
            whole = tensor.new_zeros((int(packed[name + HEIGHT]), *tensor.shape[1:]))
            whole[rows] = tensor
            tensor = whole
        tensors[name] = tensor
    return tensors


def is_packed(profile: str) -> bool:
    """Whether a profile's models come with the code."""
    return is_there(paths(profile).published, CheckpointError)


def lie(folder: Path, profile: str) -> Paths:
    """A profile's files where they lie in another folder than data/PROFILE."""
    return replace(paths(profile), **{part: folder / part for part in ("source", *PARTS)})


def pack_model(folder: Path, target: Path, rows: dict[str, Tensor] | None = None) -> None:
    """Packs a model's folder in the format of open_clip or transformers: its weights, of the tensors in `rows` these
    rows alone (`pack`); the other files are copied."""
    label = {"was": folder_digest(folder)}
    target.mkdir(parents=True)
    for file in sorted(folder.iterdir()):
        if file.suffix == WEIGHTS:
            save_tensors(pack(load_file(file), rows), target / file.name, label)
        else:
            shutil.copyfile(file, target / file.name)


def pack_file(file: Path, target: Path) -> None:
    """Packs a file of `save_tensors` with its label."""
    was = read_label(file, REMEDY)["sha256"]
    tensors, label = read_tensors(file, REMEDY)
    save_tensors(pack(tensors), target, {"of": label, "was": was})


def unpacked(profile: str) -> Paths:
    """Where a profile's published models lie in the usual formats; unpacks them where they are not yet.

    Raises CheckpointError for a damaged file, DataError where nothing can be written.
    """
    packed = paths(profile).published
    models = digest_of([folder_digest(packed / part) for part in PARTS])[:12]
    where = ROOT / "build" / "published" / f"{profile}-{models}"
    if not is_there(where, CheckpointError):
        check_writable(where.parent)
        with FileLock(where.with_suffix(".lock")):
            if not where.exists():
                with written_folder(where) as aside:
                    _unpack_files(packed, aside)
    return lie(where, profile)


def _unpack_files(packed: Path, target: Path) -> None:
    """Unpacks all files. What a label says that its file was made from becomes the unpacked model's digest."""
    found: dict[str, str] = {}  # digests before packing, and of what is unpacked
    for folder in sorted((packed / PARTS[0]).glob("*")):  # none where the models are others' own
        made = target / folder.relative_to(packed)
        made.mkdir(parents=True)
        for file in sorted(folder.iterdir()):
            if file.suffix == WEIGHTS:
                tensors, label = read_tensors(file, REMEDY)
                save_file(unpack(tensors), made / file.name, {"format": "pt"})
                share(made / file.name)
            else:
                shutil.copyfile(file, made / file.name)
        found[label["was"]] = folder_digest(made)
    for file in [file for part in PARTS[1:] for file in sorted((packed / part).rglob(f"*{WEIGHTS}"))]:
        tensors, label = read_tensors(file, REMEDY)
        own = label["of"]
        made = target / file.relative_to(packed)
        own["made_from"] = {name: found.get(digest, digest) for name, digest in own["made_from"].items()}
        save_tensors(unpack(tensors), made, own)
        found[label["was"]] = read_label(made, REMEDY)["sha256"]


def _beside(scale: Tensor, tensor: Tensor) -> Tensor:
    """A number for each row, to multiply a tensor with."""
    return scale.view(-1, *[1] * (tensor.dim() - 1))
