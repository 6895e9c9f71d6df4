"""The LLaVA in its own precision: fused norms and gates, padding on the right, frozen weights cast once."""

from functools import partial

import jaxtyping
import pytest
import tiny
import torch
from torch import nn

from uoisc.frozen.clip import FrozenLinear, speed_up
from uoisc.frozen.llava import FrozenLlava
from uoisc.frozen.native import GatedMLP, Norm, compile_blocks, lighten
from uoisc.losses import intent_loss

QUERIES = ["where is the lion", "how many animals are there in it", "what"]
TOWERS = ("clip", "siglip")


@pytest.fixture(params=TOWERS)
def layout(request):
    return partial(tiny.layout_model, request.param), tiny.layout_processor(request.param)


def test_lighter_modules_give_the_same_states_and_gradients(layout):
    model, light = layout[0]().model.language_model, layout[0]().model.language_model
    lighten(light)
    kinds = {type(module) for module in light.modules()}
    assert {Norm, GatedMLP} <= kinds and model.state_dict().keys() == light.state_dict().keys()
    x = torch.randn(2, 7, 64)
    gradients = []
    for one in (model, light):
        inputs = x.clone().requires_grad_(True)
        out = one(inputs_embeds=inputs).last_hidden_state
        out.square().sum().backward()
        gradients.append((out.detach(), inputs.grad))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_padding_on_the_right_without_a_mask_is_the_same_loss(layout, monkeypatch):
    """In float32, so that rounding hides nothing; the queries are of three lengths."""
    llava = FrozenLlava(layout[0](), layout[1])
    x, x_hat = torch.rand(3, 3, 50, 60), torch.rand(3, 3, 50, 60, requires_grad=True)
    masked = intent_loss(llava, x, x_hat, QUERIES)
    (slope,) = torch.autograd.grad(masked, x_hat)
    attended = []
    hidden = llava.hidden
    monkeypatch.setattr(
        llava, "hidden", lambda x, ids, mask, *rest: attended.append(mask) or hidden(x, ids, mask, *rest)
    )
    monkeypatch.setattr(llava, "native", True)
    fused = intent_loss(llava, x, x_hat, QUERIES)
    assert attended == [None, None]
    torch.testing.assert_close(fused, masked, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(fused, x_hat)[0], slope, rtol=1e-3, atol=1e-7)


def test_in_its_own_precision_autocast_widens_nothing(layout):
    llava = FrozenLlava(layout[0]().to(torch.bfloat16), layout[1])
    assert llava.native and any(isinstance(module, Norm) for module in llava.model.modules())
    ids, _ = llava.tokenize(QUERIES, "right")
    with torch.autocast("cpu", torch.bfloat16):
        loss = intent_loss(llava, torch.rand(3, 3, 50, 60), torch.rand(3, 3, 50, 60, requires_grad=True), QUERIES)
    with torch.no_grad():
        states = llava.hidden(torch.rand(3, 3, 50, 60), ids, None, [1, 4])
    assert loss.dtype == torch.float32 and {s.dtype for s in states if s is not None} == {torch.bfloat16}
    assert [s is not None for s in states] == [False, True, False, False, True], "no further states are held"


def test_a_stand_in_stays_as_it_was():
    llava = FrozenLlava(tiny.llava_model(), tiny.processor())
    assert not llava.native and not any(isinstance(module, Norm) for module in llava.model.modules())


def test_frozen_weights_are_cast_once_and_anew_when_they_change(monkeypatch):
    model, x = nn.Sequential(nn.Linear(8, 8)).requires_grad_(False), torch.randn(3, 8)
    plain = nn.Linear(8, 8)
    plain.load_state_dict(model[0].state_dict())
    speed_up(model)
    assert type(model[0]) is FrozenLinear
    for change in (0.0, 1.0):
        with torch.no_grad():
            model[0].weight += change
            plain.weight += change
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(x), plain(x))
            once = model[0].casts["weight"][1]
            model(x)
        assert model[0].casts["weight"][1] is once and once.dtype == torch.bfloat16
        assert torch.equal(model(x), plain(x)), "outside autocast in float32"


def test_every_block_is_compiled(layout, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    compile_blocks(layout[0]().model)
    assert len(compiled) == 3 + 4, "the tower's and the language model's"


def test_blocks_are_compiled_whole(layout, monkeypatch):
    """A break at each linear map once made a compiled step slower than a plain one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checks of tests, which nothing can trace
    model = FrozenLlava(layout[0]().to(torch.bfloat16), layout[1]).model.model.language_model
    x = torch.randn(1, 5, 64, dtype=torch.bfloat16, requires_grad=True)
    rotary = model.rotary_emb(x, torch.arange(5)[None])
    plain, compiled = (
        block(x, position_embeddings=rotary)
        for block in (model.layers[0], torch.compile(model.layers[0], fullgraph=True, backend="eager"))
    )
    assert torch.equal(compiled, plain)
    compiled.sum().backward()
