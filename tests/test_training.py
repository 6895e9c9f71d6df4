"""Both phases on tiny models: held against a golden log, the same again for the same seed, stopped by NaN.

The golden log is made by `UOISC_REGENERATE_GOLDEN=1 pytest tests/test_training.py`; look at its diff.
"""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from uoisc import training
from uoisc.base.checkpoint import load_codec
from uoisc.base.config import Paths
from uoisc.base.distributed import accelerator
from uoisc.base.settings import Emphasis
from uoisc.codec import Codec, Output
from uoisc.critic import PatchCritic
from uoisc.frozen.kept import Kept
from uoisc.frozen.llava import FrozenLlava
from uoisc.losses import answer_loss, perceptual_loss, token_weight
from uoisc.message import Message
from uoisc.relevance import relevance_loss
from uoisc.stages import train_models
from uoisc.training import Bench, DivergedError, Log, codec_terms, train_phase1, train_phase2
from uoisc.variants import variant

GOLDEN = Path(__file__).parent / "golden" / "training.json"
# Convolutions and attention run in bfloat16 (a rounding is .4 %), processors sum in other orders, and a rounding may
# tip a vector into another code. With oneDNN and ATen held to AVX2 and to SSE4.1 in place of AVX-512 no term moved by
# more than .4 % or 7e-6. A flipped sign, a missing term or a wrong weight moves them by far more than this.
TOLERANCE = dict(rel=0.03, abs=2e-5)


class Forbidden(FrozenLlava):
    """A LLaVA that must not be asked."""

    kept = Kept()

    def __init__(self):
        torch.nn.Module.__init__(self)

    def __getattr__(self, name: str):
        raise AssertionError(f"llava.{name} was used")


def bench(llava: FrozenLlava | None = None, params=tiny.PARAMS) -> Bench:
    return Bench(params, tiny.world(), tiny.clip(), llava or tiny.llava())


def run(name: str, phases=(1, 2), made: Bench | None = None, **changed) -> tuple[Codec, Log]:
    """A codec trained from the same start, and its log; `changed` are parts of its variant."""
    codec, log = tiny.codec(name), Log(every=1)
    for phase in phases:
        torch.manual_seed(phase)
        train = {1: train_phase1, 2: train_phase2}[phase]
        train(codec, replace(variant(name), **changed), made or bench(), log, lambda steps, label: steps)
    return codec, log


def test_a_phase_of_ten_steps_is_trained_as_any_other():
    """Of a rise of one step torch's schedule divides by zero."""
    ten = replace(tiny.PARAMS, training=replace(tiny.PARAMS.training, phase1_steps=10))
    rates = [row["lr"] for row in run("no_llava", (1,), bench(params=ten))[1].rows]
    assert len(rates) == 10 and 0 < max(rates) <= ten.training.learning_rate and rates[-1] < rates[1]


@pytest.fixture(scope="module")
def logs() -> dict[str, list[dict]]:
    torch.set_num_threads(1)
    found = {name: run(name)[1].rows for name in ("uoisc", "adaptive")}
    if os.environ.get("UOISC_REGENERATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        rounded = {n: [{k: float(f"{v:.6g}") for k, v in row.items()} for row in rows] for n, rows in found.items()}
        GOLDEN.write_text(json.dumps(rounded, indent=1) + "\n")
    return found


@pytest.mark.parametrize("name", ["uoisc", "adaptive"])
def test_losses_follow_the_golden_log(logs, name):
    golden = json.loads(GOLDEN.read_text())[name]
    assert [list(row) for row in logs[name]] == [list(row) for row in golden]
    for ours, theirs in zip(logs[name], golden, strict=True):
        assert ours == pytest.approx(theirs, **TOLERANCE), (ours["phase"], ours["step"])


def test_where_pixels_weigh_nothing_tokens_still_weigh_in_the_perceptual_term():
    """As in the profile `paper`: else `uniform` would be `no_alignment`."""
    first = {}
    for name, emphasis in (("no_alignment", 30.0), ("uniform", 1.0), ("uniform", 30.0)):
        weights = replace(tiny.WEIGHTS, pixel=0.0)
        changed = replace(tiny.PARAMS.training, weights=weights, emphasis=Emphasis(pixel=30.0, perceptual=emphasis))
        made = bench(params=replace(tiny.PARAMS, training=changed))
        first[name, emphasis] = run(name, (1,), made)[1].rows[0]
    assert first["uniform", 1.0] == first["no_alignment", 30.0]
    assert first["uniform", 30.0]["perceptual"] != first["no_alignment", 30.0]["perceptual"]


def test_what_is_selected_weighs_in_pixels_and_tokens_each_by_its_own_emphasis():
    """By hand, for an error in one token's pixels; and the weight of the term that trains the ranking of tokens."""
    emphasis = Emphasis(pixel=8.0, perceptual=3.0)
    made = bench(params=replace(tiny.PARAMS, training=replace(tiny.PARAMS.training, emphasis=emphasis)))
    batch = next(made.batches(1))
    grid, size = made.clip.grid, len(batch.queries)
    x_hat, share = batch.images.clone(), torch.zeros(size, grid**2)
    x_hat[:, :, : tiny.IMAGE // grid, : tiny.IMAGE // grid] += 0.5
    share[:, 0] = 1.0
    message = Message(torch.zeros(size, 2, grid**2, 2, dtype=torch.long), None)
    relevance = torch.randn(size, grid**2)
    out = Output(x_hat, message, torch.zeros(()), relevance, share)
    plain, weighted, dial = (
        codec_terms(made, variant(name), batch, out, intent=False) for name in ("no_alignment", "uniform", "dial")
    )
    error = 0.5 * tiny.WEIGHTS.pixel / grid**2
    assert plain["pixel"].item() == pytest.approx(error)
    assert weighted["pixel"].item() == pytest.approx(error * 8 / ((8 + grid**2 - 1) / grid**2))
    tokens = token_weight(share, 3.0)
    perceptual = tiny.WEIGHTS.perceptual * perceptual_loss(made.clip, batch.images, x_hat, tokens)
    assert weighted["perceptual"].item() == pytest.approx(perceptual.item()) and plain["perceptual"] < perceptual
    nats = relevance_loss(relevance, made.source.regions(batch.queries, grid)).item()
    assert dial["relevance"].item() == pytest.approx(tiny.PARAMS.codec.dial.relevance * nats) and nats > 0
    assert "relevance" not in weighted


@pytest.mark.parametrize("whose", ["codec", "critic"])
@pytest.mark.parametrize(("slope", "moved"), [(3.0, 0.5), (0.2, 0.2)])
def test_a_gradient_is_clipped_to_norm_1(whose, slope, moved):
    """Of four weights with that slope each: of norm 6 and .4."""
    module = PatchCritic(4)
    optimiser, weight = torch.optim.SGD(module.parameters(), lr=1.0), next(module.parameters())
    before, loss = weight.detach().clone(), slope * weight.flatten()[:4].sum()
    if whose == "codec":
        launched = accelerator(1)
        _, optimiser = launched.prepare(module, optimiser)
        norm = training.update(launched, optimiser, loss, [*module.parameters()])
        assert norm.item() == pytest.approx(2 * slope)
    else:
        training.update_critic(optimiser, loss, module)
    found = (before - weight).flatten()
    assert found[:4].tolist() == pytest.approx([moved] * 4, rel=1e-4) and not found[4:].any()


def test_optimisers_of_both_phases(monkeypatch):
    found = []
    monkeypatch.setattr(training, "run_phase", lambda phase, steps, running, *_: found.append(running))
    run("no_llava")
    cfg, own = tiny.PARAMS.training, training.trained(found[0].codec)
    (first,), (second,), (critic,) = (
        optimiser.param_groups for optimiser in (found[0].optimiser, found[1].optimiser, found[1].critic_optimiser)
    )
    assert isinstance(found[0].optimiser, torch.optim.AdamW) and isinstance(found[1].optimiser, torch.optim.AdamW)
    assert len(first["params"]) == len(second["params"]) == len(own)
    assert (first["betas"][1], first["weight_decay"], first["max_lr"]) == (0.99, 0.01, cfg.learning_rate)
    assert 0.85 <= first["betas"][0] <= 0.95, "as the schedule moves it"
    assert (second["betas"], second["weight_decay"], second["lr"]) == ((0.5, 0.99), 0.01, cfg.phase2_learning_rate)
    assert (critic["betas"], critic["weight_decay"], critic["lr"]) == ((0.5, 0.999), 0, cfg.critic_learning_rate)
    assert len(critic["params"]) == len([*found[1].critic.parameters()])


@pytest.mark.parametrize(("name", "steps"), [("dial_uniform", 4), ("no_llava", 3)])
def test_a_dial_trains_its_own_number_of_steps(name, steps):
    codec = replace(tiny.PARAMS.codec, dial=replace(tiny.PARAMS.codec.dial, steps=4))
    log = run(name, (1,), bench(params=replace(tiny.PARAMS, codec=codec)))[1]
    assert len(log.rows) == steps


def test_terms_of_the_log(logs):
    phase1, phase2 = ([row for row in logs["uoisc"] if row["phase"] == p] for p in (1, 2))
    shared, own = {"phase", "step", "lr", "loss", "pixel", "perceptual", "vq", "gradient_norm"}, {"intent"}
    warmup = tiny.PARAMS.training.intent_step
    assert [row.keys() for row in phase1] == [shared] * warmup + [shared | own] * (len(phase1) - warmup)
    assert all(row.keys() == shared | own | {"adversarial", "critic", "gradient_penalty"} for row in phase2)
    for row in phase1 + phase2:
        terms = sum(row.get(k, 0.0) for k in ("pixel", "perceptual", "vq", "intent", "adversarial"))
        assert row["loss"] == pytest.approx(terms, rel=1e-4)
    assert [row["step"] for row in phase1 + phase2] == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("name", ["uoisc", "query_aware"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name):
    (first, log), (second, again) = run(name), run(name)
    start, trained, repeated = (codec.own_state() for codec in (tiny.codec(name), first, second))
    assert all(torch.equal(trained[key], repeated[key]) for key in trained)
    assert any(not torch.equal(trained[key], start[key]) for key in trained)
    assert log.rows == again.rows
    assert not first.training


def test_frozen_models_stay_as_they_are():
    before = {k: v.clone() for model in (tiny.clip(), tiny.llava()) for k, v in model.state_dict().items()}
    run("uoisc")
    after = {k: v for model in (tiny.clip(), tiny.llava()) for k, v in model.state_dict().items()}
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_phase_1_learns():
    """Sixty steps on the tiny world: the pixel term falls below three quarters of where it began."""
    longer = replace(tiny.PARAMS.training, phase1_steps=60, intent_step=60, learning_rate=5e-3)
    codec = replace(tiny.PARAMS.codec, dial=replace(tiny.PARAMS.codec.dial, steps=60))
    _, log = run("no_llava", (1,), bench(Forbidden(), replace(tiny.PARAMS, training=longer, codec=codec)))
    pixel = [row["pixel"] for row in log.rows]
    assert np.mean(pixel[-5:]) < 0.75 * np.mean(pixel[:5])


@pytest.mark.parametrize("name", ["no_llava", "no_alignment_no_llava"])
def test_a_variant_without_intent_loss_never_asks_llava_and_another_does(name):
    codec, log = run(name, made=bench(Forbidden()))
    assert len(log.rows) == 5 and not any("intent" in row for row in log.rows)
    with pytest.raises(AssertionError, match=r"llava\.\w+ was used"):
        run("uoisc", made=bench(Forbidden()))


def test_no_held_out_object_is_ever_rendered(monkeypatch):
    world, rendered = copy.copy(tiny.world()), []
    monkeypatch.setattr(
        world, "render", lambda scenes: rendered.append(scenes) or tiny.world().render(scenes), raising=False
    )
    asked = []
    made = replace(bench(), source=world)
    monkeypatch.setattr(training, "pixel_loss", lambda *images: asked.append(1) or (images[0] - images[1]).abs().mean())
    run("uoisc", made=made)
    held_out = {n for n, e in enumerate(tiny.entries()) if e.category == tiny.PARAMS.data.held_out}
    shown = {int(o) for scenes in rendered for o in scenes.objects.flatten() if o >= 0}
    assert len(rendered) == len(asked) == 5 and len(shown) > 20 and not shown & held_out


@pytest.mark.parametrize(
    ("term", "part", "phases", "where"),
    [
        ("pixel", "pixel_loss", (1,), "phase 1, step 0"),
        ("adversarial", "adversarial_loss", (2,), "phase 2, step 0"),
        ("critic", "critic_loss", (2,), "phase 2, step 0"),
    ],
)
def test_nan_stops_with_the_terms_name(monkeypatch, term, part, phases, where):
    monkeypatch.setattr(training, part, lambda *a, **k: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(DivergedError, match=f"^{where}: {term} is nan; lower training.learning_rate") as caught:
        run("uoisc", phases)
    assert "\n" not in str(caught.value)


def test_a_variants_intent_loss_that_is_nan_stops_with_its_name():
    with pytest.raises(DivergedError, match="^phase 1, step 1: intent is nan; lower training.learning_rate"):
        run("uoisc", (1,), intent=lambda *_: torch.tensor(float("nan"), requires_grad=True))


@pytest.mark.parametrize("name", ["uoisc_answer", "query_aware"])
def test_the_answer_loss_trains_both_phases_on_the_sources_own_answers(name, monkeypatch):
    """Its first value is that of the untrained codec's reconstruction, by hand; no hidden state is compared."""
    monkeypatch.setattr(FrozenLlava, "hidden", lambda *_: pytest.fail("hidden states were compared"))
    start = replace(tiny.PARAMS, training=replace(tiny.PARAMS.training, intent_step=0, rounding_step=0))
    _, log = run(name, made=bench(params=start))
    assert len(log.rows) == 5 and all(row["intent"] > 0 for row in log.rows)
    batch = next(bench().batches(1))
    answers = tiny.llava().answer(batch.images, batch.texts)
    codec = tiny.codec(name).train()
    with torch.no_grad():
        x_hat = codec(batch.images, batch.texts).x_hat
        expected = answer_loss(tiny.llava(), x_hat, batch.texts, answers).item()
    # phase 1 runs the loss in bfloat16: a rounding is .4 %
    assert log.rows[0]["intent"] == pytest.approx(tiny.WEIGHTS.intent * expected, rel=0.03)


def test_the_last_steps_of_a_phase_are_logged_whatever_their_number():
    codec, log = tiny.codec("no_llava"), Log(every=2)
    train_phase1(codec, variant("no_llava"), bench(), log, lambda steps, label: steps)
    assert tiny.PARAMS.training.phase1_steps == 3 and [row["step"] for row in log.rows] == [2, 3]


def test_log_keeps_the_mean_since_the_row_before():
    log = Log(every=2)
    for step, value in enumerate([1.0, 3.0, 5.0, 6.0, 9.0]):
        assert log.add(1, step, 0.1, {"loss": torch.tensor(value)}, last=step == 4) == {"loss": value}
    assert [(row["step"], row["loss"]) for row in log.rows] == [(2, 2.0), (4, 5.5), (5, 9.0)]
    log.add(2, 0, 0.1, {"loss": 1.0})
    log.add(2, 1, 0.1, {"loss": 2.0})
    assert log.rows[3:] == [{"phase": 2, "step": 2, "lr": 0.1, "loss": 1.5}]


def test_phase_2_goes_on_from_a_checkpoint_as_if_there_had_been_no_stop(monkeypatch, tmp_path):
    """`uoisc` trains its phases in two stages, the ablations in one: nothing else may differ."""

    class Stored(tiny.TinyStudy):
        """A study whose codecs are on disk."""

        def codec(self, name: str, rate: str, phase: int = 2) -> Codec:
            path = train_models.paths("tiny").codec(phase, name, rate)
            return load_codec(self.build(name, rate), path, name, rate, self.params)

    study = Stored(**vars(tiny.study()))
    monkeypatch.setattr(train_models, "open_study", lambda profile, judges: study)
    saved = []
    for folder, stages in (("one", [(1, 2)]), ("two", [(1,), (2,)])):
        place = Paths(tmp_path, tmp_path, tmp_path / folder / "codecs", tmp_path, tmp_path)
        monkeypatch.setattr(train_models, "paths", lambda _, place=place: place)
        for phases in stages:
            path = train_models.train_model("tiny", "uoisc", "low", phases)
        saved.append((path.read_bytes(), path.with_suffix(".csv").read_text()))
    assert saved[0] == saved[1]
    header, *rows = saved[0][1].splitlines()
    assert header.startswith("phase,step,lr,loss,pixel") and len(rows) == tiny.PARAMS.training.phase2_steps
