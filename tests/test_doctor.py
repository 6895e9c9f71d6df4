"""What the doctor finds of a profile's packages, weights, data and machine, and what pins them in params.yaml."""

import re
import shutil
from collections import namedtuple
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import tiny
from typer.testing import CliRunner

from uoisc import cli
from uoisc.base.config import ROOT, load_params
from uoisc.base.documents import parse_yaml
from uoisc.base.settings import ClipCheckpoint, LlavaCheckpoint, Manifest, Pretrained, Vqav2
from uoisc.frozen.weights import UNPINNED, digest, parameters
from uoisc.stages import doctor
from uoisc.stages.pinning import located

Disk = namedtuple("Disk", "total used free")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Pretrained:
    folder = tmp_path_factory.mktemp("checkpoints")
    return Pretrained(
        tiny.clip_checkpoint(folder / "clip"),
        tiny.llava_checkpoint(folder / "llava", "siglip"),
        tiny.llava_checkpoint(folder / "llava_independent", "clip"),
    )


@pytest.fixture
def vqa(tmp_path) -> Path:
    """The official names, each file with something in it."""
    folder = tmp_path / "vqa"
    for part, files in doctor.ARCHIVES.items():
        for name, _, _ in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".json"):
                (folder / name).write_text("{}")
        (folder / f"{part}2014").mkdir()
        (folder / f"{part}2014" / f"COCO_{part}2014_000000000001.jpg").write_bytes(b"jpg")
    return folder


def settings(folder) -> Vqav2:
    return Vqav2(
        image_size=352, folder=str(folder), held_out="animal", validation="human", questions=9, unusable=0.1, loaders=0
    )


def paper(checkpoints: Pretrained, folder: Path):
    """The paper's profile with other models and another folder of the data."""
    params = load_params("paper")
    codec = replace(params.codec, taps=(0, 2))
    return replace(params, data=settings(folder), foundation=checkpoints, codec=codec)


def states(findings) -> list[tuple[str, str]]:
    return [(f.state, f.subject) for f in findings]


@pytest.mark.parametrize("profile", ["small", "smoke"])
def test_the_profiles_of_drawings_are_well(profile):
    result = CliRunner().invoke(cli.app, ["doctor", "--profile", profile])
    assert result.exit_code == 0, result.stdout
    lines = result.stdout.strip().splitlines()
    assert lines[-1] == f"profile {profile}: all is here"
    assert all(line.startswith("present ") for line in lines[:-1])


def test_the_papers_profile_names_every_missing_thing_and_its_cure(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    result = CliRunner().invoke(cli.app, ["doctor", "--profile", "paper"])
    assert result.exit_code == 2
    *lines, summary = result.stdout.strip().splitlines()
    assert re.fullmatch(r"profile paper: \d+ of \d+ things are missing or wrong", summary)
    missing = [line for line in lines if line.startswith("missing ")]
    assert len([line for line in missing if "weights: " in line and "HF_HUB_OFFLINE=0 hf download" in line]) == 3
    assert len([line for line in missing if "data: " in line and "curl -LO" in line and "unzip" in line]) == 8
    assert any("1090956dd1c79bc93ae98dcf395590369435ec91" in line for line in missing)
    assert str(tmp_path) not in result.stdout and str(ROOT) not in result.stdout


def test_all_there_is_well(checkpoints, vqa, monkeypatch):
    monkeypatch.setattr(doctor, "gpu", lambda params: [])
    monkeypatch.setattr(doctor, "IMAGES", {"train": 1, "val": 1})
    findings = doctor.examine(paper(checkpoints, vqa))
    assert {f.state for f in findings} == {doctor.FINE}
    assert doctor.verdict("paper", findings) == ("profile paper: all is here", True)
    text = "\n".join(map(str, findings))
    assert str(vqa.parent) not in text and "siglip" not in text and "million parameters" in text


def test_a_missing_folder(checkpoints, vqa):
    gone = replace(checkpoints, llava=LlavaCheckpoint("nowhere", "", {"model.safetensors": UNPINNED}, ""))
    shutil.rmtree(vqa)
    findings = doctor.examine(paper(gone, vqa))
    assert (doctor.WRONG, "weights: llava") in states(findings)
    assert states(findings).count((doctor.MISSING, "data: train")) == 4
    assert not doctor.verdict("paper", findings)[1]


def test_a_wrong_digest_and_a_broken_file(checkpoints, tmp_path):
    wrong = replace(checkpoints.clip, sha256="0" * 64)
    finding = doctor.model("clip", wrong)
    assert finding.state == doctor.WRONG and "params.yaml wants 000000000000..." in finding.note
    copied = tmp_path / "copy"
    shutil.copytree(checkpoints.llava.name, copied)
    (copied / "model.safetensors").write_bytes(b"\xff" * 100)
    broken = LlavaCheckpoint(str(copied), "", {"model.safetensors": UNPINNED}, "")
    finding = doctor.model("llava", broken)
    assert finding.state == doctor.WRONG and "is no safetensors file" in finding.note
    (copied / "model.safetensors").unlink()
    assert "is missing" in doctor.model("llava", broken).note


@pytest.mark.parametrize(
    ("name", "file", "says"),
    [
        ("llava", "config.json", "lacks config.json"),
        ("llava", "tokenizer.json", "lacks tokenizer.json or tokenizer.model"),
        ("llava", "processor_config.json", "lacks processor_config.json or preprocessor_config.json"),
        ("clip", "open_clip_config.json", "lacks open_clip_config.json"),
    ],
)
def test_weights_alone_are_no_model(checkpoints, tmp_path, name, file, says):
    checkpoint, copied = getattr(checkpoints, name), tmp_path / "copy"
    shutil.copytree(checkpoint.name, copied)
    assert doctor.model(name, replace(checkpoint, name=str(copied))).state == doctor.FINE
    (copied / file).unlink()
    finding = doctor.model(name, replace(checkpoint, name=str(copied)))
    assert finding.state == doctor.WRONG and finding.note.endswith(says)


def test_a_file_in_the_place_of_a_folder_and_the_other_way_round(vqa):
    shutil.rmtree(vqa / "train2014")
    (vqa / "train2014").write_text("not unpacked")
    (vqa / "v2_mscoco_val2014_annotations.json").unlink()
    (vqa / "v2_mscoco_val2014_annotations.json").mkdir()
    missing = [f.note for f in doctor.vqav2(settings(vqa)) if f.state == doctor.MISSING]
    assert [note.rsplit("/", 1)[1] for note in missing] == ["train2014", "v2_mscoco_val2014_annotations.json"]


def test_instances_are_found_where_cocos_archive_unpacks_them(vqa):
    (vqa / "annotations").mkdir()
    for part in ("train", "val"):
        (vqa / f"instances_{part}2014.json").rename(vqa / "annotations" / f"instances_{part}2014.json")
    assert doctor.MISSING not in [f.state for f in doctor.vqav2(settings(vqa))]


def test_the_wrong_activation_and_an_unknown_tag():
    for checkpoint, says in (
        (ClipCheckpoint("ViT-B-16", "openai", UNPINNED, 16, 12, "query_key"), "use ViT-B-16-quickgelu"),
        (ClipCheckpoint("ViT-B-16", "opneai", UNPINNED, 16, 12, "query_key"), "open_clip has no model"),
    ):
        finding = doctor.model("clip", checkpoint)
        assert finding.state == doctor.WRONG and says in finding.note


def test_too_little_disk(checkpoints, vqa, monkeypatch):
    monkeypatch.setattr(doctor.devices, "native_bfloat16", lambda kind: True)
    shutil.rmtree(vqa)
    params = paper(checkpoints, vqa)
    for free, state in ((5e9, doctor.WRONG), (500e9, doctor.FINE)):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free: Disk(1e12, 0, free))
        (finding,) = [f for f in doctor.examine(params) if f.subject.startswith("disk")]
        # 40.4 GB of images and archives, 1.9 GB of questions, annotations and instances, 2 GB of the stages' own,
        # and the judge's states of each question
        wanted = 27.1 + 13.3 + 0.1 + 0.4 + 0.1 + 0.2 + 1.1 + 2 + params.data.questions * 330e3 / 1e9
        assert finding.state == state
        assert finding.note == f"{free / 1e9:.1f} GB, {wanted:.1f} GB wanted (estimated)"


def test_what_is_kept_of_source_images_counts(monkeypatch):
    """As much again where the machine computes in float32."""
    small, paper = load_params("small"), load_params("paper")
    for native, times in ((True, 1), (False, 2)):
        monkeypatch.setattr(doctor.devices, "native_bfloat16", lambda kind, native=native: native)
        assert doctor.source_work(small) == pytest.approx(times * 1.55e9, rel=0.1)  # 1,240 steps of 1.25 MB each
        assert doctor.source_work(paper) == pytest.approx(times * 6.6e9, rel=0.01)
    assert doctor.source_work(replace(small, kept="nothing")) == 0


def test_of_a_manifest_as_much_is_kept_as_it_has_lines(tmp_path, monkeypatch):
    """They are seen again and again; one that is not here yet may be new at every step."""
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    data = Manifest(image_size=352, file="own.jsonl", held_out="a", validation="b", unusable=0.1, loaders=0)
    params = replace(load_params("paper"), data=data)
    training, dial = params.training, params.codec.dial
    unknown = doctor.source_work(params)
    steps = max(training.phase1_steps, dial.steps) + training.phase2_steps
    for lines in (10, 20):
        (tmp_path / "own.jsonl").write_text("{}\n" * lines)
        assert doctor.source_work(params) == pytest.approx(unknown * lines / (steps * training.batch_size))


def test_too_little_memory(checkpoints, vqa, monkeypatch):
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}[name])
    assert doctor.memory(paper(checkpoints, vqa)).state == doctor.WRONG
    assert doctor.memory(load_params("small")).state == doctor.WRONG


def test_gpu_memory_wanted_and_found(checkpoints, vqa, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (none,) = doctor.gpu(paper(checkpoints, vqa))
    assert none.state == doctor.MISSING and "GB wanted" in none.note
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_parameters", lambda checkpoint: 1e6)  # a CPU does
        assert doctor.gpu(load_params("paper_smoke"))[0].state == doctor.WARNING
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for size, state in ((8e9, doctor.WRONG), (1e12, doctor.FINE)):
        device = namedtuple("Device", "total_memory")(size)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, device=device: device)
        assert doctor.gpu(paper(checkpoints, vqa))[0].state == state
    assert doctor.gpu(load_params("small"))[0].note == "not needed"


def test_packages_that_are_missing_or_old(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "einops":
            raise metadata.PackageNotFoundError(name)
        return "4.0" if name == "transformers" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {f.subject: f for f in doctor.packages()}
    assert found["einops"].state == doctor.MISSING and found["transformers"].state == doctor.WRONG
    assert set(found) == {"einops", "transformers"} and found["einops"].command == "make setup"


def test_parts_of_the_data_set(vqa):
    shutil.rmtree(vqa / "train2014")
    (vqa / "v2_mscoco_val2014_annotations.json").write_text("")
    found = doctor.vqav2(settings(vqa))
    missing = [f for f in found if f.state == doctor.MISSING]
    assert [f.subject for f in missing] == ["data: train", "data: val"]
    assert "train2014.zip" in missing[0].command and "v2_Annotations_Val" in missing[1].command
    (partial,) = [f for f in found if "of 40,504 images" in f.note]
    assert partial.state == doctor.WARNING and "1 of" in partial.note
    for path in vqa.glob("*train*"):
        path.unlink()
    alone = doctor.vqav2(settings(vqa))
    assert (alone[0].state, alone[0].subject) == (doctor.WARNING, "data: train")
    assert "split by photographs" in alone[0].note


def test_a_manifest(tmp_path):
    file = tmp_path / "mine.jsonl"
    data = Manifest(image_size=352, file=str(file), held_out="a", validation="b", unusable=0.1, loaders=0)
    params = replace(load_params("paper"), data=data)
    assert doctor.data(params)[0].state == doctor.MISSING
    file.write_text("")
    assert doctor.data(params)[0].state == doctor.FINE and str(tmp_path) not in str(doctor.data(params)[0])


def test_a_headers_parameters_are_the_models(checkpoints):
    file = Path(checkpoints.llava_independent.name) / "model.safetensors"
    count = sum(p.numel() for p in tiny.layout_model("clip").parameters())
    assert parameters(file) == count


# --- pinning ---


@pytest.fixture
def unpinned(checkpoints, tmp_path, monkeypatch):
    """The paper's profile with a CLIP folder, a LLaVA of the hub's cache, both unpinned, and a pinned folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--some-llava"
    shutil.copytree(checkpoints.llava.name, repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    llava = LlavaCheckpoint("someone/some-llava", UNPINNED, {"model.safetensors": UNPINNED}, "")
    models = replace(checkpoints, clip=replace(checkpoints.clip, sha256=UNPINNED), llava=llava)
    return paper(models, tmp_path)


@pytest.mark.parametrize("name", ["clip", "llava"])
def test_unpinned_is_a_warning_with_what_pins_it(unpinned, checkpoints, name):
    """Pasted, it is what the doctor wants."""
    open_one, pinned = getattr(unpinned.foundation, name), getattr(checkpoints, name)
    finding = doctor.model(name, open_one)
    assert finding.state == doctor.WARNING and UNPINNED in finding.note
    assert doctor.verdict("paper", [finding]) == ("profile paper: all is here, 1 warning", True)
    pasted = parse_yaml(finding.command.removeprefix("write into params.yaml "), "")
    assert pasted["sha256"] == pinned.sha256 and pasted.get("revision", "a" * 40) == "a" * 40
    assert doctor.model(name, replace(open_one, **pasted)).state == doctor.FINE


def test_what_is_not_here_cannot_be_pinned(unpinned):
    finding = doctor.model("llava", replace(unpinned.foundation.llava, name="someone/other"))
    assert finding.state == doctor.MISSING and "someone/other at unpinned" in finding.note
    assert finding.command.startswith("HF_HUB_OFFLINE=0 hf download")


def test_without_a_home_folder_models_are_missing_and_nothing_breaks(monkeypatch):
    """HOME unset and no entry in passwd: where a hub's cache would lie, nobody knows."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/.cache/huggingface/hub")

    def gone(*_):
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr("pwd.getpwuid", gone)
    params = load_params("paper")
    assert [f.state for f in doctor.models(params)][1:] == [doctor.MISSING] * 3
    assert doctor.memory(params).note and doctor.disk(doctor.models(params))


def test_the_papers_profile_is_pinned():
    """Revisions and digests of the right form; which are right, only the files themselves can say."""
    foundation = load_params("paper").foundation
    assert re.fullmatch(r"[0-9a-f]{64}", foundation.clip.sha256)
    for model in (foundation.llava, foundation.llava_independent):
        assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
        assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in model.sha256.values())


def test_a_file_that_changes_is_digested_anew(tmp_path):
    file = tmp_path / "w"
    file.write_bytes(b"1")
    first = digest(file)
    file.write_bytes(b"22")
    assert digest(file) == tiny.sha256(file) != first
    assert located(LlavaCheckpoint(str(tmp_path), "", {}, "")).files == [tmp_path / "model.safetensors"]
