"""Checkpoints as others publish them, through the public functions: tiny ones of random weights in the real formats."""

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from uoisc.base.config import ROOT
from uoisc.base.errors import CheckpointError, ConfigError
from uoisc.base.settings import Pretrained
from uoisc.frozen.clip import MEAN, STD, open_clip
from uoisc.frozen.clip_files import build_clip, load_clip
from uoisc.frozen.llava_files import load_llava
from uoisc.frozen.pretrained import open_pretrained, open_readers
from uoisc.frozen.weights import UNPINNED
from uoisc.losses import intent_loss
from uoisc.stages.pinning import located

TOWERS = ("clip", "siglip")
QUERIES = ["what is it", "how many are there in the picture", "where"]
# photographs beside the checkout, where there are any
PHOTOS = sorted((tiny.SAMPLES / "val2014").glob("*.jpg"))
STEP = 1 / 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A CLIP and both layouts of LLaVA on disk."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def checkpoints(folder) -> dict:
    made = {tower: tiny.llava_checkpoint(folder / f"llava_{tower}", tower) for tower in TOWERS}
    return made | {"openclip": tiny.clip_checkpoint(folder / "openclip")}


@pytest.fixture(scope="module")
def llavas(checkpoints) -> dict:
    return {tower: load_llava(checkpoints[tower].name) for tower in TOWERS}


def refused(match: str, call, *args, **kwargs) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image of smooth waves, hard edges and noise, (height, width, 3) bytes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 17.0
    image = 127 + 100 * np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=-1)
    image[height // 3 : height // 2, width // 4 :] = rng.choice([0, 255], (1, 1, 3))
    image[height // 2 :, : width // 2] += rng.normal(0, 60, (height - height // 2, width // 2, 3))
    return image.clip(0, 255).astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


# --- CLIP ---


def test_everything_opens_by_its_settings(checkpoints):
    settings = Pretrained(checkpoints["openclip"], checkpoints["siglip"], checkpoints["clip"])
    clip, judges = open_pretrained(settings, (0, 2), tiny.IMAGE)
    x = torch.rand(2, 3, tiny.IMAGE, tiny.IMAGE)
    assert clip.see(x).taps.shape == (2, 2, 36, tiny.CLIP.width) and clip.grid == 6
    assert list(judges) == ["llava", "llava_independent"]
    for judge in judges.values():
        assert len(judge.answer(x, QUERIES[:2])) == 2 and judge.suffix == tiny.SUFFIX
    assert list(open_pretrained(settings, (0,), tiny.IMAGE, judges=("llava",))[1]) == ["llava"]


def test_folders_are_named_from_the_projects_top_wherever_one_runs(checkpoints, monkeypatch, tmp_path):
    """Notebooks run in their own folder, which is no place for `data/generated/clip`."""
    settings = Pretrained(checkpoints["openclip"], checkpoints["siglip"], checkpoints["clip"])
    given = (settings.clip, settings.llava, settings.llava_independent)
    clip, *judges = (replace(one, name=os.path.relpath(one.name, ROOT)) for one in given)
    monkeypatch.chdir(tmp_path)
    opened, both = open_pretrained(Pretrained(clip, *judges), (0,), tiny.IMAGE)
    assert opened.grid == 6 and len(both) == 2
    assert open_readers(Pretrained(clip, *judges))[1] == []
    assert [located(checkpoint).files is not None for checkpoint in (clip, *judges)] == [True] * 3


@pytest.mark.parametrize(("key", "value"), [("patch_size", 32), ("layers", 12)])
def test_what_params_say_of_the_clip_must_be_so(checkpoints, key, value):
    settings = Pretrained(replace(checkpoints["openclip"], **{key: value}), checkpoints["siglip"], checkpoints["clip"])
    refused(rf"foundation.clip.{key} = {value}: .* has \d+", open_pretrained, settings, (0,), tiny.IMAGE, judges=())


def test_positions_are_interpolated_as_pillow_resizes_an_image(checkpoints, folder):
    """22 x 22 tokens of 14 x 14 in the paper's setting, 6 x 6 of 4 x 4 here; the class token's position stays."""
    native = load_file(folder / "openclip" / "open_clip_model.safetensors")["visual.positional_embedding"]
    positions = load_clip(checkpoints["openclip"].name, None, (0,), tiny.IMAGE).model.visual.positional_embedding
    assert native.shape[0] == 17 and positions.shape[0] == 37
    assert torch.equal(positions[0], native[0])
    for channel in (0, 7, 63):
        grid = Image.fromarray(native[1:, channel].reshape(4, 4).numpy(), mode="F").resize((6, 6), Image.BICUBIC)
        # both in float32, values of the order of .1
        np.testing.assert_allclose(positions[1:, channel].reshape(6, 6).numpy(), np.asarray(grid), atol=1e-6)


def test_a_folders_configuration_is_taken_as_it_is(tmp_path):
    """Activation and normalisation: another one gives other features."""
    x, seen = torch.rand(1, 3, tiny.NATIVE, tiny.NATIVE), {}
    for quick in (True, False):
        tiny.clip_checkpoint(tmp_path / str(quick), quick)
        clip = load_clip(str(tmp_path / str(quick)), "", (2,))
        theirs = open_clip.create_model(f"local-dir:{tmp_path / str(quick)}").eval()
        seen[quick] = clip.see(x).tokens
        expected = theirs.visual.forward_intermediates((x - clip.mean) / clip.std, indices=1, output_fmt="NLC")
        last = expected["image_intermediates"][0]
        # one matrix product more or less rounds in the seventh digit
        torch.testing.assert_close(clip.see(x).taps[:, 0], last, rtol=1e-4, atol=1e-5)
    assert (seen[True] - seen[False]).abs().max() > 1e-3
    shown = {"preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.25, 0.5]}}
    edit(tmp_path / "True" / "open_clip_config.json", lambda document: document.update(shown))
    other = load_clip(str(tmp_path / "True"), "", (2,))
    assert other.mean.flatten().tolist() == [0.5, 0.5, 0.5] and other.std.flatten().tolist() == [0.5, 0.25, 0.5]
    assert (other.see(x).tokens - seen[True]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "tag", "right"),
    [
        ("ViT-B-16", "openai", "ViT-B-16-quickgelu"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "ViT-B-16"),
        ("ViT-B-16", "dfn2b", "ViT-B-16-quickgelu"),
    ],
)
def test_the_wrong_activation_is_refused_before_anything_is_fetched(name, tag, right):
    refused(rf"foundation.clip.name = {name}: .* quick GELU.*; use {right}$", load_clip, name, tag, (0,))


@pytest.fixture
def toy(monkeypatch):
    """Two open_clip names for the tiny architecture, with and without the quick GELU."""
    fields = tiny.clip_fields(tiny.CLIP, tiny.NATIVE)
    config = {"embed_dim": fields["embed_dim"], "vision_cfg": fields["vision"], "text_cfg": fields["text"]}
    names = {"toy": config, "toy-quickgelu": config | {"quick_gelu": True}}
    real = open_clip.get_model_config
    known = lambda name: json.loads(json.dumps(names[name])) if name in names else real(name)  # noqa: E731
    monkeypatch.setattr(open_clip, "get_model_config", known)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda _: open_clip.SimpleTokenizer(context_length=16))
    model = build_clip(**fields)
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("file", ["w.safetensors", "w.pt", "w.bin", "wrapped.pt"])
def test_weights_of_every_kind_of_file(toy, tmp_path, file):
    path, x = tmp_path / file, torch.rand(1, 3, tiny.NATIVE, tiny.NATIVE)
    if file == "w.safetensors":
        save_file(toy, path)
    else:
        wrapped = {"state_dict": {f"module.{key}": value for key, value in toy.items()}, "epoch": 1}
        torch.save(wrapped if file == "wrapped.pt" else toy, path)
    clip = load_clip("toy", str(path), (1,))
    assert torch.equal(clip.model.visual.proj, toy["visual.proj"])
    assert clip.see(x).tokens.isfinite().all()
    assert clip.mean.flatten().tolist() == pytest.approx(MEAN) and clip.std.flatten().tolist() == pytest.approx(STD)


def test_openais_own_state_dict_wants_the_quick_gelu(toy, tmp_path):
    """Its files hold three numbers beside the weights, in half precision; no tag tells their origin."""
    path = tmp_path / "w.pt"
    numbers = {"input_resolution": 64, "context_length": 16, "vocab_size": 49408}
    beside = {key: torch.tensor(number) for key, number in numbers.items()}
    torch.save({key: value.half() for key, value in toy.items()} | beside, path)
    refused("foundation.clip.name = toy: .*; use toy-quickgelu", load_clip, "toy", str(path), (1,))
    clip = load_clip("toy-quickgelu", str(path), (1,))
    assert clip.model.visual.proj.dtype == torch.float32
    assert torch.equal(clip.model.visual.proj, toy["visual.proj"].half().float())


def test_the_hubs_cache_tells_where_weights_come_from(tmp_path):
    inside = tmp_path / "models--timm--vit_base_patch16_clip_224.openai" / "snapshots" / "0"
    inside.mkdir(parents=True)
    (inside / "open_clip_model.safetensors").write_bytes(b"")
    refused("use ViT-B-16-quickgelu", load_clip, "ViT-B-16", str(inside / "open_clip_model.safetensors"), (0,))


def test_files_that_hold_code_are_refused(toy, tmp_path):
    with zipfile.ZipFile(tmp_path / "ViT-B-16.pt", "w") as archive:
        archive.writestr("archive/constants.pkl", b"")
    script = str(tmp_path / "ViT-B-16.pt")
    refused("TorchScript archive, which holds code: take the safetensors", load_clip, "toy", script, (0,))
    torch.save({"state_dict": Path("/")}, tmp_path / "pickle.pt")
    refused("cannot be loaded .* name a checkpoint", load_clip, "toy", str(tmp_path / "pickle.pt"), (0,))


def test_weights_of_another_model_and_unknown_names(toy, tmp_path):
    other = str(tmp_path / "w.safetensors")
    save_file({key: value for key, value in toy.items() if "resblocks.2" not in key}, other)
    refused("cannot be loaded", load_clip, "toy", other, (0,))
    refused("neither a file nor one of its tags .*openai", load_clip, "ViT-B-16", "opneai", (0,))
    refused("open_clip has no model 'ViT-B-17'", load_clip, "ViT-B-17", "openai", (0,))
    refused("image encoder is no vision transformer|cannot be loaded", load_clip, "RN50", other, (0,))


@pytest.mark.parametrize(
    "state",
    [[1, 2], {"state_dict": 5}, torch.zeros(2), {"visual.proj": 1}, {1: 2}],
    ids=["list", "number", "tensor", "leaf", "keys"],
)
def test_torch_files_that_hold_no_state_dict(toy, tmp_path, state):
    torch.save(state, tmp_path / "w.pt")
    refused("cannot be loaded .* name a checkpoint", load_clip, "toy", str(tmp_path / "w.pt"), (0,))


@pytest.mark.parametrize("text", ["[]", "{", '{"model_cfg": 5}', None])
def test_a_clip_folder_with_a_broken_configuration(checkpoints, tmp_path, text):
    copied, name = copy(checkpoints["openclip"], tmp_path), "open_clip_config.json"
    if text is None:
        edit(copied / name, lambda shown: shown.update(preprocess_cfg={"mean": [0.5, 0.5], "std": [0.5, 0.5]}))
    else:
        (copied / name).write_text(text)
    refused("cannot be loaded .* name a checkpoint", load_clip, str(copied), None, (0,))


def test_a_tag_that_is_not_here_says_what_fetches_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused(
        r"open_clip_model.safetensors of timm/vit_base_patch16_clip_224.openai is not in the local cache and "
        r"HF_HUB_OFFLINE .*run `HF_HUB_OFFLINE=0 hf download timm/vit_base_patch16_clip_224.openai "
        r"open_clip_model.safetensors`",
        load_clip, "ViT-B-16-quickgelu", "openai", (0,),
    )  # fmt: skip


def test_digests(checkpoints, folder):
    good, bad = checkpoints["openclip"].sha256, "0" * 64
    for digest in (good, good.upper(), UNPINNED):
        load_clip(checkpoints["openclip"].name, "", (0,), None, digest)
    refused(
        f"open_clip_model.safetensors has sha256 {good[:12]}..., params.yaml wants 000000000000...: ",
        load_clip, checkpoints["openclip"].name, "", (0,), None, bad,
    )  # fmt: skip
    llava = checkpoints["clip"]
    found = llava.sha256["model.safetensors"][:12]
    load_llava(llava.name, "", llava.sha256)
    load_llava(llava.name, "", {"model.safetensors": UNPINNED})
    refused(f"has sha256 {found}..., params.yaml wants 0000", load_llava, llava.name, "", {"model.safetensors": bad})
    refused("params.yaml gives no sha256 for it, only for other", load_llava, llava.name, "", {"other": bad})


# --- LLaVA ---


@pytest.mark.parametrize("tower", TOWERS)
def test_the_models_are_what_was_saved(llavas, tower):
    made = tiny.layout_model(tower)
    for (name, ours), (_, theirs) in zip(
        llavas[tower].model.state_dict().items(), made.state_dict().items(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert not any(p.requires_grad for p in llavas[tower].parameters()) and not llavas[tower].train().training


@pytest.mark.parametrize("tower", TOWERS)
def test_tokens_and_pixels_are_the_processors_own(llavas, tower):
    """As the processor makes them of image and text: template, <s> where the tokenizer writes one, image tokens."""
    llava, image = llavas[tower], noise(71, 95)
    ids, mask = llava.tokenize(QUERIES)
    theirs = llava.processor(images=[image] * 3, text=llava.prompts(QUERIES), padding=True, return_tensors="pt")
    assert torch.equal(ids, theirs["input_ids"]) and torch.equal(mask, theirs["attention_mask"].bool())
    assert ((ids == llava.model.config.image_token_id).sum(1) == 16).all()
    assert mask[:, -1].all() and not mask.all()
    begin = llava.processor.tokenizer.bos_token_id
    assert (begin is not None) == (tower == "clip")
    assert begin is None or ((ids == begin).sum(1) == 1).all()
    hidden = llava.hidden(tensor(image), ids[:1], mask[:1])
    ours = llava.model.model(**{k: theirs[k][:1] for k in theirs}, output_hidden_states=True).hidden_states
    # pixels differ by half a step of 1/255; another layer, class token or mask would change states of the order of 1
    torch.testing.assert_close(hidden[-1][mask[:1]], ours[-1][mask[:1]], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("tower", TOWERS)
def test_answers_are_those_of_greedy_decoding(llavas, tower):
    llava, x = llavas[tower], torch.rand(3, 3, 40, 52)
    together = llava.answer(x, QUERIES)
    for row, query in enumerate(QUERIES):  # without padding, by the model's own forward pass
        ids, mask = llava.tokenize([query])
        for _ in range(20):
            with torch.no_grad():
                out = llava.model(input_ids=ids, pixel_values=llava.pixels(x[[row]]))
            ids = torch.cat([ids, out.logits[:, -1].argmax(-1, keepdim=True)], dim=1)
            if ids[0, -1] == llava.processor.tokenizer.eos_token_id:
                break
        said = llava.processor.tokenizer.decode(ids[0, mask.shape[1] :], skip_special_tokens=True)
        assert together[row] == said.strip()


def difference(llava, image: np.ndarray) -> float:
    """Largest difference from the processor's own, before normalisation."""
    theirs = llava.processor.image_processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    ours = llava.pixels(tensor(image))
    assert ours.shape == theirs.shape
    return ((ours - theirs) * llava.std).abs().max().item()


@pytest.fixture(scope="module")
def full_size(llavas) -> dict:
    """Both layouts with the sizes of the published ones: shortest edge 336 and its centre, 384 x 384."""
    from transformers import CLIPImageProcessor, SiglipImageProcessor

    clip = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    siglip = SiglipImageProcessor(size={"height": 384, "width": 384})
    return {"clip": resized(llavas["clip"], clip), "siglip": resized(llavas["siglip"], siglip)}


def resized(llava, image_processor):
    """The same LLaVA with another image processor; its tower never runs here."""
    from copy import copy

    other = copy(llava)
    other.processor = copy(llava.processor)
    other.processor.image_processor = image_processor
    size = image_processor.crop_size if image_processor.do_center_crop else image_processor.size
    other.edge, other.size = image_processor.size.shortest_edge, (size.height, size.width)
    return other


SIZES = [(480, 640), (640, 427), (352, 352), (333, 500), (200, 150), (336, 336), (384, 384), (1001, 333)]


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("size", SIZES)
def test_differentiable_preparation_is_the_processors_of_generated_images(full_size, tower, size):
    """The processor rounds twice, after rows and after columns; the bound is two steps of 1/255."""
    assert difference(full_size[tower], noise(*size)) <= 2 * STEP


@pytest.mark.skipif(not PHOTOS, reason="the sample photos are not here")
@pytest.mark.parametrize("tower", TOWERS)
def test_differentiable_preparation_is_the_processors_of_photos(full_size, tower):
    """Measured over the 42 samples: 1.10 steps of 1/255 with the CLIP tower's processor, 1.09 with SigLIP's."""
    worst = max(difference(full_size[tower], np.asarray(Image.open(photo).convert("RGB"))) for photo in PHOTOS)
    assert worst <= 2 * STEP


@pytest.mark.parametrize("tower", TOWERS)
def test_hard_edges_stay_in_range(full_size, tower):
    """A bicubic filter overshoots; the processor cuts after each direction, and so must we."""
    board = (np.indices((90, 70)).sum(0) // 7 % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=-1)
    assert difference(full_size[tower], board) <= 2 * STEP


@pytest.mark.parametrize("tower", TOWERS)
def test_gradient_reaches_the_image(checkpoints, tower):
    """Through resizing, tower and language model, in float64.

    transformers' norms compute in float32 all the same: a central difference of step 1e-3 then errs by some 1e-4.
    """
    llava = load_llava(checkpoints[tower].name).double()
    x = torch.rand(2, 3, 72, 80, dtype=torch.float64)
    x_hat = (0.8 * x + 0.1).requires_grad_(True)  # within range, where nothing is cut off
    value = lambda image: intent_loss_double(llava, x, image)  # noqa: E731
    (gradient,) = torch.autograd.grad(value(x_hat), x_hat)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    direction = torch.randn_like(x) * gradient.abs() + gradient
    direction, step = direction / direction.norm(), 1e-3
    with torch.no_grad():
        change = (value(x_hat + step * direction) - value(x_hat - step * direction)) / (2 * step)
    assert change.item() == pytest.approx((gradient * direction).sum().item(), rel=2e-3)


def intent_loss_double(llava, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """The intent loss without its casts to float32."""
    ids, mask = llava.tokenize(QUERIES[:2])
    source, ours = llava.hidden(x, ids, mask), llava.hidden(x_hat, ids, mask)
    counts = llava.after_image(ids, mask)
    distance = [1 - torch.cosine_similarity(a, b, dim=-1) for a, b in zip(source[1:], ours[1:], strict=True)]
    return sum((d * counts).sum() / counts.sum() for d in distance)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_intent_loss_works_on_them(llavas, tower):
    x = torch.rand(2, 3, 48, 48)
    x_hat = torch.rand(2, 3, 48, 48, requires_grad=True)
    loss = intent_loss(llavas[tower], x, x_hat, QUERIES[:2])
    loss.backward()
    assert loss.item() > 1e-3 and x_hat.grad.abs().sum() > 0
    assert intent_loss(llavas[tower], x, x, QUERIES[:2]).item() == pytest.approx(0, abs=1e-5)


@pytest.fixture
def copied(checkpoints, tmp_path) -> Path:
    """A copy of the LLaVA with a CLIP tower, to be changed."""
    return copy(checkpoints["clip"], tmp_path)


def copy(checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint.name, tmp_path / "copy"))


def edit(file: Path, change) -> None:
    """Changes a JSON document."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def save_weights(state: dict, file: Path) -> None:
    save_file(state, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(num_additional_image_tokens=0),
        lambda d: d.update(vision_feature_select_strategy="full"),
        lambda d: d.pop("patch_size"),
    ],
)
def test_a_processor_that_miscounts_image_tokens_is_refused(copied, change):
    edit(copied / "processor_config.json", change)
    refused("its vision tower gives 16: take a revision", load_llava, str(copied))


def test_missing_weights_are_refused(copied):
    """transformers itself fills them with random numbers and warns."""
    state = load_file(copied / "model.safetensors")
    state.pop(next(key for key in state if "linear_1.weight" in key))
    save_weights(state, copied / "model.safetensors")
    refused("lacks weights .*linear_1.weight", load_llava, str(copied))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.clear(),
        lambda d: d.pop("text_config"),
        lambda d: d.update(vision_config={}),
        lambda d: d.update(model_type="qwen2_vl"),
        lambda d: d.update(vision_feature_layer=-99),
    ],
)
def test_a_config_that_is_not_a_llavas_is_refused_before_a_model_is_built(copied, monkeypatch, change):
    """transformers fills what lacks with the values of its largest model: 28 GB, for nothing."""
    build = "transformers.LlavaForConditionalGeneration.from_pretrained"
    monkeypatch.setattr(build, lambda *_, **__: pytest.fail("was built"))
    edit(copied / "config.json", change)
    refused("its config.json", load_llava, str(copied))


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        ("config.json", "[]", "its config.json"),
        ("config.json", None, "cannot be loaded .*config.json"),
        ("chat_template.jinja", None, "cannot write a prompt .* fetch it again"),
        ("chat_template.jinja", "{% for %}", "cannot write a prompt .* fetch it again"),
        ("chat_template.jinja", "what is it", "its chat template leaves the image out"),
        ("tokenizer_config.json", None, "fetch it again|cannot be loaded"),
        ("tokenizer.json", "{", "cannot be loaded"),
    ],
)
def test_damaged_parts_of_a_llava_are_one_line(copied, file, text, match):
    if text is None:
        (copied / file).unlink()
    else:
        (copied / file).write_text(text)
    refused(match, load_llava, str(copied))


def test_a_norm_that_nothing_reads_may_be_missing(checkpoints, tmp_path):
    """Towers that were cut before their last layer come without the norm behind it."""
    copied = copy(checkpoints["siglip"], tmp_path)
    state = load_file(copied / "model.safetensors")
    kept = {name: value for name, value in state.items() if ".post_layernorm." not in name}
    assert len(kept) == len(state) - 2
    save_weights(kept, copied / "model.safetensors")
    x, whole = torch.rand(1, 3, 58, 58), load_llava(checkpoints["siglip"].name)
    assert load_llava(str(copied)).answer(x, QUERIES[:1]) == whole.answer(x, QUERIES[:1])


def test_several_weights_files_by_their_index(copied):
    """As LLaVA-1.5's are published."""
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    names, files = sorted(state), {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{i}-of-00002.safetensors"
        save_weights({name: state[name] for name in part}, copied / file)
        files |= dict.fromkeys(part, file)
    (copied / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    digests = {file: tiny.sha256(copied / file) for file in set(files.values())}
    llava = load_llava(str(copied), "", digests)
    for name, value in tiny.layout_model("clip").state_dict().items():
        assert torch.equal(llava.model.state_dict()[name], value), name
    first, last = sorted(digests)
    refused(f"params.yaml gives no sha256 for it, only for {first}", load_llava, str(copied), "", {first: UNPINNED})
    (copied / last).unlink()
    refused(f"{last} is missing", load_llava, str(copied), "", digests)


# as published: the template of llava-interleave in full, its role words and its mark of what the assistant says
PUBLISHED_TEMPLATE = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + ' '}}"
    "{% for c in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ '\\n' + c['text'] }}{% endgeneration %}{% else %}{{ '\\n' + c['text'] }}{% endif %}{% endfor %}"
    "{{'<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def as_published(config: dict) -> None:
    for part in (config, config["text_config"], config["vision_config"]):
        part["torch_dtype"] = part.pop("dtype", "float32")
    for key in ("image_seq_length", "multimodal_projector_bias"):
        config.pop(key)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_layout_of_the_years_of_publication(checkpoints, llavas, tmp_path, tower):
    """What lies on the hub at the revisions of `paper`: other files, other names of the tower's weights.

    Settings as there: `torch_dtype`, no `image_seq_length`, `do_convert_rgb` null, the template in chat_template.json.
    """
    copied = copy(checkpoints[tower], tmp_path)
    now = json.loads((copied / "processor_config.json").read_text())
    image = now.pop("image_processor") | {"processor_class": "LlavaProcessor"}
    if tower == "siglip":
        image["do_convert_rgb"] = None
    (copied / "preprocessor_config.json").write_text(json.dumps(image))
    (copied / "processor_config.json").write_text(json.dumps(now))
    (copied / "chat_template.jinja").unlink()
    template = PUBLISHED_TEMPLATE if tower == "siglip" else tiny.TEMPLATES[tower]
    (copied / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    edit(copied / "config.json", as_published)
    state = load_file(copied / "model.safetensors")
    old = {name.replace("vision_tower.", "vision_tower.vision_model."): value for name, value in state.items()}
    assert old.keys() != state.keys()
    save_weights(old, copied / "model.safetensors")
    llava, x = load_llava(str(copied)), torch.rand(2, 3, 50, 60)
    for name, value in llavas[tower].model.state_dict().items():
        assert torch.equal(llava.model.state_dict()[name], value), name
    assert llava.prompts(QUERIES) == llavas[tower].prompts(QUERIES)
    assert torch.equal(llava.tokenize(QUERIES)[0], llavas[tower].tokenize(QUERIES)[0])
    assert torch.equal(llava.pixels(x), llavas[tower].pixels(x))
    assert llava.answer(x, QUERIES[:2]) == llavas[tower].answer(x, QUERIES[:2])


@pytest.mark.parametrize("tower", TOWERS)
def test_a_suffix_follows_the_question_on_a_line_of_its_own(checkpoints, llavas, tower):
    """In the one place where a question becomes a prompt, so that answers, losses and tokens' counts have it."""
    bare, asked = llavas[tower], load_llava(checkpoints[tower].name, suffix=tiny.SUFFIX)
    assert asked.prompts(QUERIES) == [
        prompt.replace(query, f"{query}\n{tiny.SUFFIX}")
        for prompt, query in zip(bare.prompts(QUERIES), QUERIES, strict=True)
    ]
    x, x_hat = torch.rand(2, 3, 50, 60), torch.rand(2, 3, 50, 60)
    losses = [intent_loss(llava, x, x_hat, QUERIES[:2]).item() for llava in (bare, asked)]
    assert losses[0] != losses[1] and intent_loss(asked, x, x, QUERIES[:2]).item() == pytest.approx(0, abs=1e-5)
    longer = asked.tokenize(["what"])[0].shape[1] - bare.tokenize(["what"])[0].shape[1]
    assert bare.reader.room - asked.reader.room == longer > 0
    ids, mask = asked.tokenize(QUERIES[:1])
    assert asked.after_image(ids, mask).sum() == bare.after_image(*bare.tokenize(QUERIES[:1])).sum() + longer


@pytest.mark.parametrize("tower", TOWERS)
def test_a_files_image_is_prepared_by_the_judges_own_processor(llavas, tower, monkeypatch):
    """Each by itself, whatever its shape."""
    llava, images = llavas[tower], [noise(50, 90), noise(80, 60, seed=1), noise(58, 58, seed=2)]
    alone = [llava.answer(tensor(image), [query])[0] for image, query in zip(images, QUERIES, strict=True)]
    assert llava.answer_files(iter(images), QUERIES) == alone
    seen, generate = [], llava.model.generate

    def watched(**inputs):
        seen.append(inputs["pixel_values"])
        return generate(**inputs)

    monkeypatch.setattr(llava.model, "generate", watched)
    llava.answer_files(iter(images), QUERIES)
    theirs = llava.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    assert torch.equal(seen[0], theirs)


def test_a_suffix_that_is_a_command_to_the_model_is_one_line(checkpoints):
    judge = replace(checkpoints["siglip"], suffix="Answer <image>")
    settings = Pretrained(checkpoints["openclip"], judge, checkpoints["clip"])
    with pytest.raises(ConfigError, match=r"^foundation\.llava\.suffix: .* holds '<image>', a command to a model"):
        open_pretrained(settings, (0,), tiny.IMAGE)


def test_importers_count_the_suffix_too(checkpoints):
    settings = [
        Pretrained(checkpoints["openclip"], replace(checkpoints["siglip"], suffix=suffix), checkpoints["clip"])
        for suffix in ("", tiny.SUFFIX)
    ]
    (_, bare, _), (_, asked, _) = (open_readers(one)[0] for one in settings)
    assert asked.room < bare.room


@pytest.mark.parametrize("tower", TOWERS)
def test_bfloat16_as_on_a_gpu(checkpoints, llavas, tower):
    """Weights alone: images are prepared in float32, and the gradient's direction stays."""
    llava = load_llava(checkpoints[tower].name)
    llava.model.to(torch.bfloat16)
    x, x_hat = torch.rand(2, 3, 50, 60), torch.rand(2, 3, 50, 60, requires_grad=True)
    assert llava.pixels(x).dtype == torch.float32 and len(llava.answer(x, QUERIES[:2])) == 2
    low, high = (torch.autograd.grad(intent_loss(m, x, x_hat, QUERIES[:2]), x_hat)[0] for m in (llava, llavas[tower]))
    # eight bits of mantissa through seven layers of random weights
    assert torch.cosine_similarity(low.flatten(), high.flatten(), dim=0) > 0.9


def test_a_hub_name_that_is_not_here_says_what_fetches_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused(
        r"^someone/some-llava is not in the local cache and HF_HUB_OFFLINE forbids to fetch it: run "
        r"`HF_HUB_OFFLINE=0 hf download someone/some-llava .*--revision 0123456789abcdef`$",
        load_llava, "someone/some-llava", "0123456789abcdef", {"model.safetensors": UNPINNED},
    )  # fmt: skip


def test_a_hub_name_in_the_cache_is_opened_at_its_revision(checkpoints, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    revision = "a" * 40
    shutil.copytree(checkpoints["siglip"].name, tmp_path / "models--someone--some-llava" / "snapshots" / revision)
    llava = load_llava("someone/some-llava", revision, checkpoints["siglip"].sha256)
    assert llava.image_tokens == 16
    refused("is not in the local cache", load_llava, "someone/some-llava", "b" * 40)
    refused("has sha256", load_llava, "someone/some-llava", revision, {"model.safetensors": "0" * 64})
