"""The frozen CLIP: what it taps, what it finds relevant, what it refuses."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from uoisc.base.errors import CheckpointError, QueryError
from uoisc.frozen.clip import FrozenCLIP, PatchConv, SelfAttention, ValueValue, open_clip, speed_up
from uoisc.frozen.clip_files import build_clip, load_clip, save_clip
from uoisc.frozen.foundation import clip_fields


def test_taps_are_the_blocks_outputs_without_the_class_token():
    clip, x, caught = tiny.clip(), tiny.images(2), {}
    blocks = clip.model.visual.transformer.resblocks
    handles = [b.register_forward_hook(lambda _, __, out, i=i: caught.update({i: out})) for i, b in enumerate(blocks)]
    seen = clip.see(x)
    clip.model.encode_image((x - clip.mean) / clip.std)  # open_clip's own way through the same blocks
    for handle in handles:
        handle.remove()
    assert clip.taps == (0, 2)
    for m, block in enumerate(clip.taps):
        # one matrix product more or less rounds in the seventh digit
        torch.testing.assert_close(seen.taps[:, m], caught[block][:, 1:], rtol=1e-5, atol=1e-5)


def test_images_are_moved_to_the_weights():
    """Weights that hold no numbers stand for those of a GPU."""
    assert copy.deepcopy(tiny.clip()).to("meta").see(tiny.images(1)).taps.is_meta


def test_token_embeddings_are_the_last_block_projected():
    clip, x = tiny.clip(), tiny.images(2)
    visual, caught = clip.model.visual, []
    handle = visual.transformer.resblocks[-1].register_forward_hook(lambda _, __, out: caught.append(out))
    tokens = clip.see(x).tokens
    handle.remove()
    torch.testing.assert_close(tokens, visual.ln_post(caught[0][:, 1:]) @ visual.proj)
    assert tokens.shape == (2, clip.grid**2, clip.text_width) and clip.grid == 6


def test_value_value_attention_is_that_of_clip_surgery():
    """softmax(v_i v_j / sqrt(c)) over all tokens of the last block, head by head, without its MLP; taps stay."""
    plain, x = tiny.clip(), tiny.images(2)
    clip = FrozenCLIP(plain.model, plain.tokenizer, plain.taps, attention=ValueValue)
    visual, caught = clip.model.visual, []
    block = visual.transformer.resblocks[-1]
    handle = block.register_forward_hook(lambda _, given, __: caught.append(given[0]))
    seen = clip.see(x)
    handle.remove()
    came = caught[0].double().numpy()  # (B, 1 + N, d), the class token first
    d, heads = came.shape[-1], block.attn.num_heads
    weight, bias = (p.double().numpy()[2 * d :] for p in (block.attn.in_proj_weight, block.attn.in_proj_bias))
    out_weight, out_bias = (p.double().numpy() for p in (block.attn.out_proj.weight, block.attn.out_proj.bias))

    def norm(module, vector: np.ndarray) -> np.ndarray:
        scaled = (vector - vector.mean()) / np.sqrt(vector.var() + module.eps)
        return scaled * module.weight.double().numpy() + module.bias.double().numpy()

    for b in range(2):
        values = [weight @ norm(block.ln_1, token) + bias for token in came[b]]
        for n in (1, 17, 36):
            gathered = []
            for part in np.split(np.arange(d), heads):
                scores = np.exp([values[n][part] @ value[part] / np.sqrt(len(part)) for value in values])
                gathered.append(sum(s * value[part] for s, value in zip(scores / scores.sum(), values, strict=True)))
            token = came[b, n] + out_weight @ np.concatenate(gathered) + out_bias
            expected = norm(visual.ln_post, token) @ visual.proj.double().numpy()
            # float32 through three matrix products
            np.testing.assert_allclose(seen.tokens[b, n - 1].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(seen.taps, plain.see(x).taps) and not torch.allclose(seen.tokens, plain.see(x).tokens)


def test_one_block_has_no_value_value_attention():
    fields = clip_fields(replace(tiny.CLIP, layers=1), tiny.IMAGE)
    with pytest.raises(CheckpointError, match="relevance_attention: a CLIP of one block has query_key alone"):
        FrozenCLIP(build_clip(**fields), None, (0,), attention=ValueValue)


def test_text_is_open_clips_and_of_unit_norm():
    clip, queries = tiny.clip(), tiny.queries(4)
    expected = clip.model.encode_text(clip.tokenizer(queries))
    text = clip.text(queries)
    torch.testing.assert_close(text, expected / expected.norm(dim=-1, keepdim=True))


def test_relevance_is_the_cosine_of_token_and_query():
    tokens, text = torch.randn(2, 5, 4), torch.randn(2, 4)
    relevance = FrozenCLIP.relevance(tokens, text)
    for b in range(2):
        for n in range(5):
            u, v = tokens[b, n].double(), text[b].double()
            assert relevance[b, n].item() == pytest.approx((u @ v / u.norm() / v.norm()).item(), abs=1e-6)


def test_frozen_but_open_to_the_images_gradient():
    clip, x = tiny.clip(), tiny.images(1).requires_grad_(True)
    assert not any(p.requires_grad for p in clip.parameters())
    assert not clip.train().training
    clip.see(x).taps.square().sum().backward()
    assert (x.grad.abs().amax(dim=(0, 1)) > 0).all()


def faster(module: nn.Module) -> nn.Module:
    """A copy with the faster equivalents swapped in."""
    module = copy.deepcopy(module)
    speed_up(module)
    return module


@pytest.mark.parametrize(("height", "width"), [(32, 32), (35, 41)])
def test_patch_convolution_is_the_convolution(height, width):
    parts = nn.Sequential(nn.Conv2d(3, 5, 8, stride=8))
    x = torch.randn(2, 3, height, width, requires_grad=True)
    swapped = faster(parts)
    assert type(swapped[0]) is PatchConv
    assert_same_function(swapped, parts, x, lambda module: module(x))


@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_is_torchs(masked):
    parts = nn.ModuleList([nn.MultiheadAttention(12, 3, batch_first=True)]).eval()
    x = torch.randn(2, 5, 12, requires_grad=True)
    mask = torch.full((5, 5), float("-inf")).triu(1) if masked else None
    swapped = faster(parts)
    assert type(swapped[0]) is SelfAttention
    assert_same_function(swapped, parts, x, lambda m: m[0](x, x, x, need_weights=False, attn_mask=mask)[0])


def assert_same_function(swapped: nn.Module, original: nn.Module, x: torch.Tensor, call) -> None:
    """Equal values and gradients, up to sums of some hundred float32 products in another order."""
    outs = [call(module) for module in (swapped, original)]
    torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-5)
    pull = torch.randn_like(outs[0])
    gradients = [
        torch.autograd.grad((out * pull).sum(), (x, *module.parameters()))
        for out, module in zip(outs, (swapped, original), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_a_clip_is_the_same_function_with_faster_parts():
    plain, queries, x = tiny.clip_model().eval(), tiny.queries(3), tiny.images(3)
    clip = tiny.clip()
    assert sum(isinstance(m, SelfAttention) for m in clip.model.modules()) == tiny.CLIP.layers + tiny.CLIP.text_layers
    pixels, ids = (x - clip.mean) / clip.std, clip.tokenize(queries)
    torch.testing.assert_close(clip.model.encode_image(pixels), plain.encode_image(pixels), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(clip.model.encode_text(ids), plain.encode_text(ids), rtol=1e-4, atol=1e-5)


def test_saved_and_loaded_clip_is_the_same(tmp_path):
    model, x, queries = tiny.clip_model(seed=3), tiny.images(2), tiny.queries(2)
    save_clip(model, tmp_path / "clip", **clip_fields(tiny.CLIP, tiny.IMAGE))
    loaded = load_clip(str(tmp_path / "clip"), None, (1,))
    direct = FrozenCLIP(model, open_clip.SimpleTokenizer(context_length=tiny.CLIP.context_length), (1,))
    assert torch.equal(loaded.see(x).taps, direct.see(x).taps)
    assert torch.equal(loaded.text(queries), direct.text(queries))


def test_no_checkpoint_and_no_such_block(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be loaded .* run the foundation stage") as caught:
        load_clip(str(tmp_path / "clip"), None, (0,))
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="this CLIP has blocks 0 to 2"):
        FrozenCLIP(tiny.clip_model(), None, (0, 3))


@pytest.mark.parametrize("query", ["", "   "])
def test_an_empty_query(query):
    with pytest.raises(QueryError, match="the query is empty"):
        tiny.clip().text(["where is the lion", query])


def test_a_query_that_would_be_cut():
    fits, cut = "cat " * 14, "cat " * 15  # one token a word, begin and end: 16 in all
    assert tiny.clip().tokenize([fits]).shape == (1, 16)
    with pytest.raises(QueryError, match="too long: CLIP reads 14 tokens at most") as caught:
        tiny.clip().tokenize([fits, cut])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("query", ["<end_of_text>", "where \ud800 is it", "\0", "\u200b", "<end_of\ufffc_text> is it"])
def test_a_query_that_would_not_be_read_as_text(query):
    with pytest.raises(QueryError, match="the query .* holds"):
        tiny.clip().tokenize(["where is the lion", query])


def test_a_text_in_the_place_of_a_list_of_queries():
    with pytest.raises(QueryError, match="wants a list of texts"):
        tiny.clip().text("where is the lion")


def test_a_query_is_read_the_same_however_it_is_typed():
    typed, plain = tiny.clip().tokenize(["  cafe\u0301\n on  the left ", "caf\xe9 on the left"])
    assert torch.equal(typed, plain)
