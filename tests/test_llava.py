"""The frozen LLaVA: its own chat template and normalisation, its answers, and how the stand-in is put together."""

import copy

import numpy as np
import pytest
import tiny
import torch

from uoisc.base.errors import CheckpointError, QueryError
from uoisc.data.sights import COLOURS
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.clip_files import build_clip
from uoisc.frozen.foundation import clip_fields
from uoisc.frozen.foundation_llava import Packer, build_llava, build_processor, copy_tower, prototypes, start_from_tower
from uoisc.frozen.llava import MAX_ANSWER_TOKENS
from uoisc.frozen.llava_files import load_llava, save_llava

QUERIES = ["how many animals are there", "where is the " + tiny.entries()[0].name, "what is at the upper left"]


def test_prompts_come_from_the_chat_template():
    llava = tiny.llava()
    assert llava.prompts(QUERIES[:1]) == ["USER: <image>\nhow many animals are there ASSISTANT:"]
    other = copy.copy(llava)  # another template alone: the prompts must follow it
    other.processor = copy.copy(llava.processor)
    other.processor.chat_template = "<image> {{ messages[0]['content'][1]['text'] }} says:"
    assert other.prompts(QUERIES[:1]) == ["<image> how many animals are there says:"]


def test_tokens_are_the_processors_own():
    """Placeholders expanded and padded on the left, as the processor does it given image and text."""
    from PIL import Image

    llava, grey = tiny.llava(), Image.new("RGB", (tiny.IMAGE, tiny.IMAGE))
    ids, mask = llava.tokenize(QUERIES)
    theirs = llava.processor(
        images=[grey] * 3, text=llava.prompts(QUERIES), padding=True, return_tensors="pt", add_special_tokens=False
    )
    assert torch.equal(ids, theirs["input_ids"]) and torch.equal(mask, theirs["attention_mask"].bool())
    assert ((ids == llava.model.config.image_token_id).sum(1) == 9).all()
    assert mask[:, -1].all() and not mask.all()
    assert not (ids == llava.processor.tokenizer.unk_token_id).any()


def test_pixels_are_the_processors_own():
    llava = tiny.llava()
    image = np.random.default_rng(0).integers(0, 256, (tiny.IMAGE, tiny.IMAGE, 3), dtype=np.uint8)
    theirs = llava.processor.image_processor(image, return_tensors="pt")["pixel_values"]
    ours = llava.pixels(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    assert ours.shape == theirs.shape
    # the same three steps in float32: values up to 2.7 may differ in the seventh digit
    assert (ours - theirs).abs().max() < 1e-6


def test_another_image_size_is_resized_within_range():
    big = torch.rand(1, 3, 150, 120).round()  # hard edges: a bicubic filter overshoots
    llava = tiny.llava()
    out = llava.pixels(big) * llava.std + llava.mean
    assert out.shape[-2:] == llava.size == (tiny.IMAGE, tiny.IMAGE)
    assert out.min() > -1e-6 and out.max() < 1 + 1e-6


def greedy(llava, x: torch.Tensor, query: str) -> str:
    """One token after the other by the plain forward pass: no padding, no cache."""
    ids, _ = llava.tokenize([query])
    start = ids.shape[1]
    while ids.shape[1] - start < MAX_ANSWER_TOKENS and ids[0, -1] != llava.processor.tokenizer.eos_token_id:
        with torch.no_grad():
            out = llava.model(input_ids=ids, pixel_values=llava.pixels(x))
        ids = torch.cat([ids, out.logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return llava.processor.tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()


def test_answers_are_greedy():
    llava, x = tiny.llava(), tiny.images(3, seed=1)
    expected = [greedy(llava, x[[b]], query) for b, query in enumerate(QUERIES)]
    assert llava.answer(x, QUERIES) == expected
    assert llava.answer(x, QUERIES, batch_size=2) == expected
    assert len(set(expected)) > 1


def test_an_answer_stops_at_its_end_token():
    """The end token's row of the output matrix is made the winner: the answer is empty, not 20 words."""
    llava = copy.deepcopy(tiny.llava())
    with torch.no_grad():
        head = llava.model.lm_head.weight
        states = llava.hidden(tiny.images(1), *llava.tokenize(QUERIES[:1]))
        head[llava.processor.tokenizer.eos_token_id] = 10 * states[-1][0, -1]
    assert llava.answer(tiny.images(1), QUERIES[:1]) == [""]
    assert tiny.llava().answer(tiny.images(1), QUERIES[:1]) != [""]


def test_answered_tokens_label_answer_and_end_alone():
    llava, answers = tiny.llava(), ["2", "upper left", "no"]
    ids, mask, labels = llava.tokenize_answered(QUERIES, answers)
    tokenizer = llava.processor.tokenizer
    for row, kept, label, answer in zip(ids, mask, labels, answers, strict=True):
        learnt = label[label != -100]
        assert tokenizer.decode(learnt[:-1]) == answer and learnt[-1] == tokenizer.eos_token_id
        assert torch.equal(row[label != -100], learnt) and kept[label != -100].all()
    assert torch.equal(ids[:, : llava.tokenize(QUERIES)[0].shape[1]], llava.tokenize(QUERIES)[0])


def test_every_query_and_answer_of_the_benchmark_is_known():
    """No word is unknown to the stand-in's tokenizer, and each answer is one token; a denial, four."""
    from uoisc.data.question_types import answer_texts

    tokenizer = tiny.processor().tokenizer
    for text in tiny.query_texts(tiny.world()):
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"], text
    for text in answer_texts(tiny.world()):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) == (4 if text.startswith("there is no") else 1) and tokenizer.decode(ids) == text


def test_words_start_as_the_mean_of_the_tiles_that_show_them():
    world = tiny.world()
    scenes = world.sample(np.random.default_rng(0), 60, world.pool())
    tokens = torch.randn(60 * 9, 8, generator=torch.Generator().manual_seed(0))
    words, entries = prototypes(tokens, scenes, world), {entry.name: entry for entry in tiny.entries()}
    shown = [world.names[o] if o >= 0 else None for o in scenes.objects.ravel()]
    colours = [list(COLOURS)[colour] for colour in scenes.colours.ravel()]
    for word, holds in {
        "horse": lambda name, *_: name == "horse",
        "animal": lambda name, *_: name and entries[name].category == "animal",
        "animals": lambda name, *_: name and entries[name].category == "animal",
        "red": lambda _, colour, __: colour == "red",
        "upper right": lambda _, __, tile: tile % 9 == 2,
    }.items():
        own = [bool(holds(*what)) for what in zip(shown, colours, range(len(shown)), strict=True)]
        mean = tokens[torch.tensor(own)].mean(0)
        torch.testing.assert_close(words[word], mean / mean.norm())


def test_a_judge_starts_from_a_clip_by_copying_what_its_words_look_at():
    processor = build_processor(tiny.world(), tiny.TOWER, tiny.IMAGE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_llava(tiny.LLAVA, tiny.TOWER, len(processor.tokenizer), tiny.IMAGE)
        tower = FrozenCLIP(build_clip(**clip_fields(tiny.TOWER, tiny.IMAGE)), tiny.clip().tokenizer, (1,))
        start_from_tower(model, processor.tokenizer, tower, tiny.world())
        x = torch.randn(5, tiny.LLAVA.width)
    ids, width = processor.tokenizer.convert_tokens_to_ids(["horse", "animals", "upper left"]), tiny.TOWER.embed_dim
    embedded, read = model.get_input_embeddings().weight[ids], model.lm_head.weight[ids]
    torch.testing.assert_close(read.norm(dim=1), torch.ones(3))
    assert torch.equal(embedded[:, :width], read[:, :width]) and (embedded[:, width] == 1).all()
    for layer in model.model.language_model.layers:
        copied = layer.self_attn.o_proj(layer.self_attn.v_proj(x))
        torch.testing.assert_close(copied, x / tiny.LLAVA.width**0.5, rtol=1e-4, atol=1e-5)


def test_packed_questions_are_blind_to_each_other():
    """Logits over each answer in a packed sequence equal those of its question asked alone."""
    llava, world, rng = tiny.llava(), tiny.world(), np.random.default_rng(0)
    scenes = world.sample(rng, 2, world.pool())
    asked, x = world.ask_each(rng, scenes, 3), world.render(scenes)
    ids, positions, mask, labels = Packer(llava)(asked, 3)
    with torch.no_grad():
        packed = llava.model(
            input_ids=ids, pixel_values=llava.pixels(x), attention_mask=mask, position_ids=positions
        ).logits  # fmt: skip
    for row in range(2):
        places = (labels[row] != -100).nonzero()[:, 0] - 1  # what predicts a label stands before it
        alone = []
        for query in asked[3 * row : 3 * row + 3]:
            single, kept, label = llava.tokenize_answered([query.text], [query.truth])
            with torch.no_grad():
                logits = llava.model(input_ids=single, pixel_values=llava.pixels(x[[row]]), attention_mask=kept.long())
            alone.append(logits.logits[0, (label[0] != -100).nonzero()[:, 0] - 1])
        # other sums of attention: logits of the order of 1 agree to five digits
        torch.testing.assert_close(packed[row, places], torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_copied_tower_is_the_same_function():
    """transformers' CLIP tower with open_clip's weights: every block's tokens, and the class token's norm."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    clip, x = tiny.clip(), tiny.images(2)
    visual = clip.model.visual
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=2, image_size=tiny.IMAGE,
            patch_size=16, hidden_act="gelu",
        )
    ).eval()  # fmt: skip
    copy_tower(visual, getattr(tower, "vision_model", tower))
    pixels = (x - clip.mean) / clip.std
    with torch.no_grad():
        theirs = tower(pixel_values=pixels, output_hidden_states=True)
        ours = visual.forward_intermediates(pixels, indices=3, output_fmt="NLC", intermediates_only=True)
    for block, hidden in enumerate(ours["image_intermediates"], start=1):
        torch.testing.assert_close(theirs.hidden_states[block][:, 1:], hidden, rtol=1e-4, atol=1e-5)


def test_saved_and_loaded_llava_answers_alike(tmp_path):
    llava, x = tiny.llava(), tiny.images(3)
    save_llava(tiny.llava_model(), tiny.processor(), tmp_path / "llava")
    loaded = load_llava(str(tmp_path / "llava"))
    assert loaded.answer(x, QUERIES) == llava.answer(x, QUERIES)
    assert torch.equal(loaded.pixels(x), llava.pixels(x)) and loaded.prompts(QUERIES) == llava.prompts(QUERIES)
    assert not loaded.train().training and not any(p.requires_grad for p in loaded.parameters())


def test_no_checkpoint(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("llava", "empty"):
        with pytest.raises(CheckpointError, match="cannot be loaded .* run the foundation stage") as caught:
            load_llava(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_query_that_holds_the_images_placeholder_is_refused():
    llava = tiny.llava()
    with pytest.raises(QueryError, match=f"holds '{llava.processor.image_token}'"):
        llava.answer(tiny.images(1), [f"what is {llava.processor.image_token} here"])


@pytest.mark.parametrize("query", ["</s>", "<unk>", "where \ud800 is it", "\0", " ", "a\u202eb"])
def test_a_query_that_would_not_be_read_as_text(query):
    with pytest.raises(QueryError, match="the query (.* holds|is empty)"):
        tiny.llava().tokenize(["where is the lion", query])


def test_a_query_that_leaves_no_room_for_its_answer():
    llava = tiny.llava()
    fits, cut = (" ".join(["x"] * (llava.reader.room + more)) for more in (0, 1))
    context = llava.model.config.text_config.max_position_embeddings
    assert llava.tokenize([fits])[0].shape[1] + MAX_ANSWER_TOKENS == context == 256
    with pytest.raises(QueryError, match=f"too long: the judge reads {llava.reader.room} tokens at most"):
        llava.tokenize([cut])


def test_truncated_weights_are_one_line(tmp_path):
    save_llava(tiny.llava_model(), tiny.processor(), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        load_llava(str(tmp_path))
    assert "\n" not in str(caught.value)
