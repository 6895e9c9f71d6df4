"""The user-intent relevance loss and its alternative, token by token."""

import math

import numpy as np
import pytest
import tiny
import torch

from uoisc.frozen.llava import FrozenLlava
from uoisc.losses import answer_loss, intent_loss

QUERIES = ["where is the " + tiny.entries()[0].name, "how many animals are there", "what is at the upper left"]
DEPTHS = (1, 2, 3, 4)  # quarters of four layers


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Three scenes, and the same ones with noise."""
    x = tiny.images(3)
    return x, (x + 0.2 * torch.randn_like(x)).clamp(0, 1)


def states_by_hook(llava: FrozenLlava, x: torch.Tensor, query: str) -> list[np.ndarray]:
    """One image and query: what the layers put out, the final norm for the last, the tokens behind the image alone."""
    caught, language = {}, llava.model.model.language_model
    parts = {**dict(enumerate(language.layers[:-1], start=1)), len(language.layers): language.norm}

    def catch(depth):
        return lambda _, __, out: caught.__setitem__(depth, out[0] if isinstance(out, tuple) else out)

    handles = [part.register_forward_hook(catch(depth)) for depth, part in parts.items()]
    ids, mask = llava.tokenize([query])  # alone: no padding
    with torch.no_grad():
        llava.model(input_ids=ids, attention_mask=mask.long(), pixel_values=llava.pixels(x))
    for handle in handles:
        handle.remove()
    behind = max(i for i, token in enumerate(ids[0].tolist()) if token == llava.model.config.image_token_id) + 1
    return [caught[depth][0, behind:].double().numpy() for depth in DEPTHS]


def intent_by_hand(llava: FrozenLlava, x: torch.Tensor, x_hat: torch.Tensor) -> float:
    """sum over depths of the mean over tokens of 1 - cos."""
    terms = {depth: [] for depth in DEPTHS}
    for b, query in enumerate(QUERIES):
        source, ours = (states_by_hook(llava, image[b : b + 1], query) for image in (x, x_hat))
        for depth, h, g in zip(DEPTHS, source, ours, strict=True):
            for u, v in zip(h, g, strict=True):
                terms[depth].append(1 - u @ v / math.sqrt(u @ u) / math.sqrt(v @ v))
    return sum(sum(values) / len(values) for values in terms.values())


def test_intent_is_the_sum_over_depths_of_the_mean_token_distance(pair):
    expected = intent_by_hand(tiny.llava(), *pair)
    assert expected > 0.01
    # cosines near 1 in float32: each is off by some 1e-7, the loss is of the order of .1
    assert intent_loss(tiny.llava(), *pair, QUERIES).item() == pytest.approx(expected, rel=1e-3)


def test_intent_is_zero_for_the_source_itself(pair):
    x, x_hat = pair
    assert intent_loss(tiny.llava(), x, x, QUERIES).item() == pytest.approx(0, abs=1e-5)
    assert intent_loss(tiny.llava(), x, x_hat, QUERIES).item() > 1e-2


def test_the_query_matters(pair):
    other = [*QUERIES[:2], "what is at the lower right"]
    loss, of_other = (intent_loss(tiny.llava(), *pair, asked).item() for asked in (QUERIES, other))
    assert abs(loss - of_other) > 1e-3 * loss


def test_only_tokens_behind_the_image_count():
    llava = tiny.llava()
    ids, mask = llava.tokenize(QUERIES)
    counts = llava.after_image(ids, mask)
    image = llava.model.config.image_token_id
    for row, kept, counted in zip(ids.tolist(), mask.tolist(), counts.tolist(), strict=True):
        last = max(i for i, token in enumerate(row) if token == image)
        assert counted == [i > last for i in range(len(row))]
        assert all(kept[last:])
    assert (ids[~counts] == image).any() and not (ids[counts] == image).any()


@pytest.mark.parametrize("loss", ["intent", "answer"])
def test_gradient_agrees_with_finite_differences(pair, loss):
    """Along the gradient itself, where the change is largest."""
    x, x_hat = pair
    x_hat.requires_grad_(True)

    def value(image: torch.Tensor) -> torch.Tensor:
        if loss == "intent":
            return intent_loss(tiny.llava(), x, image, QUERIES)
        return answer_loss(tiny.llava(), image, QUERIES, ["yes", "2", "red"])

    (gradient,) = torch.autograd.grad(value(x_hat), x_hat)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    direction = gradient / gradient.norm()
    # A central difference of step h errs by O(h^2) and by rounding of 1e-7 / h: 3 % leaves room for both at h = .02.
    step = 0.02
    with torch.no_grad():
        change = (value(x_hat + step * direction) - value(x_hat - step * direction)) / (2 * step)
    assert change.item() == pytest.approx(gradient.norm().item(), rel=0.03)


def test_no_gradient_reaches_the_source(pair):
    x, x_hat = (image.requires_grad_(True) for image in pair)
    intent_loss(tiny.llava(), x, x_hat, QUERIES).backward()
    assert x.grad is None and x_hat.grad.abs().sum() > 0


def test_answer_loss_is_the_cross_entropy_of_answer_and_end(pair):
    """-log p of each answer token and of the end token, the mean over all of them."""
    llava, (_, x_hat) = tiny.llava(), pair
    answers, costs = ["yes", "2", tiny.entries()[0].name], []
    for b, (query, answer) in enumerate(zip(QUERIES, answers, strict=True)):
        tokens = llava.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids, _ = llava.tokenize([query])
        for token in [*tokens, llava.processor.tokenizer.eos_token_id]:
            with torch.no_grad():
                out = llava.model(input_ids=ids, pixel_values=llava.pixels(x_hat[b : b + 1]))
            scores = out.logits[0, -1].double().numpy()
            costs.append(math.log(np.exp(scores).sum()) - scores[token])
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    # float32 logits of the order of 1, behind padding here and without it above
    assert answer_loss(llava, x_hat, QUERIES, answers).item() == pytest.approx(np.mean(costs), rel=1e-4)
