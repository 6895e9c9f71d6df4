"""The losses of both phases: reconstruction, perceptual, user-intent relevance, adversarial (VQ: quantization.py)."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from uoisc.base.distributed import mean_over
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.llava import FrozenLlava


def pixel_loss(
    x: Float[Tensor, "B 3 H W"], x_hat: Float[Tensor, "B 3 H W"], weight: Float[Tensor, "B 1 H W"] | None = None
) -> Float[Tensor, ""]:
    """Mean absolute error over pixels and channels, weighted where a weight of mean 1 is given."""
    error = (x - x_hat).abs()
    return error.mean() if weight is None else (weight * error).mean()


def token_weight(share: Float[Tensor, "B N"], emphasis: float) -> Float[Tensor, "B N"]:
    """Weights of mean 1 per image; a token of share 1 counts `emphasis` times one of 0. Source: ours."""
    weight = 1 + (emphasis - 1) * share
    return weight / weight.mean(dim=1, keepdim=True)


def pixel_weight(share: Float[Tensor, "B N"], emphasis: float, image_size: int) -> Float[Tensor, "B 1 H W"]:
    """`token_weight` for each token's pixels."""
    grid = int(share.shape[1] ** 0.5)
    side = image_size // grid
    return repeat(token_weight(share, emphasis), "b (h w) -> b 1 (h i) (w j)", h=grid, i=side, j=side)


def perceptual_loss(
    clip: FrozenCLIP,
    x: Float[Tensor, "B 3 H W"],
    x_hat: Float[Tensor, "B 3 H W"],
    weight: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, ""]:
    """L1 distance of the layer-normalised features of CLIP's early blocks; tokens are weighted where a weight of mean 1
    is given.

    Deviation: the authors' code takes VGG-16 (relu1_2, 2_2, 3_3); its weights cannot be had offline.
    """
    distance = (clip.early(x).detach().float() - clip.early(x_hat).float()).abs()  # (B, 2, N, d)
    return distance.mean() if weight is None else (weight[:, None, :, None] * distance).mean()


def intent_loss(
    llava: FrozenLlava, x: Float[Tensor, "B 3 H W"], x_hat: Float[Tensor, "B 3 H W"], queries: list[str]
) -> Float[Tensor, ""]:
    """User-intent relevance: sum over four depths of the mean over tokens of 1 - cos(H_l(x, q), H_l(x_hat, q)).

    Depths are quarters of the language model (authors' code: 6, 12, 18 and last of 24); the stand-in's four blocks
    give all four. Deviation (ours): only tokens behind the image count, as those before it cannot depend on both.
    """
    ids, mask = llava.tokenize(queries, "right" if llava.native else "left")
    behind = llava.after_image(ids, mask)
    with torch.no_grad():
        source = states_behind_image(llava, x, ids, mask, behind)
    loss = x_hat.new_zeros(())
    for before, after in zip(source, states_behind_image(llava, x_hat, ids, mask, behind), strict=True):
        distance = 1 - F.cosine_similarity(before.float(), after.float(), dim=-1)  # a token each
        distances = torch.zeros(behind.shape, device=distance.device).masked_scatter(behind, distance)
        loss = loss + mean_over(distances.sum(), behind.sum())
    return loss


def states_behind_image(
    llava: FrozenLlava, x: Float[Tensor, "B 3 H W"], ids: Tensor, mask: Tensor, behind: Bool[Tensor, "B L"]
) -> tuple[Float[Tensor, "T w"], ...]:
    """LLaVA's hidden states at each depth of the T tokens that stand `behind` the images, row after row.

    Where it computes in its own precision padding stands on the right, so that fused attention, without a mask, serves.
    """
    layers = llava.model.config.get_text_config().num_hidden_layers
    depths = sorted({max(1, round(layers * quarter / 4)) for quarter in (1, 2, 3, 4)})

    def look() -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, enabled=False) if llava.native else nullcontext():
            hidden = llava.hidden(x, ids, None if llava.native else mask, depths)
        return tuple(hidden[depth][behind] for depth in depths)

    return llava.kept.of(x, "states", look, behind.sum(1).tolist())


def answer_loss(
    llava: FrozenLlava, x_hat: Float[Tensor, "B 3 H W"], queries: list[str], answers: list[str]
) -> Float[Tensor, ""]:
    """Cross-entropy of given answers where LLaVA looks at x_hat, in nats per token, the end of an answer among them."""
    ids, mask, labels = llava.tokenize_answered(queries, answers)
    logits = llava.model(
        input_ids=ids, attention_mask=mask.long(), pixel_values=llava.pixels(x_hat), use_cache=False
    ).logits  # (B, L, vocabulary)
    targets = labels[:, 1:].flatten()
    nats = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets, ignore_index=-100, reduction="sum")
    return mean_over(nats, (targets != -100).sum())


def source_answer_loss(
    llava: FrozenLlava, x: Float[Tensor, "B 3 H W"], x_hat: Float[Tensor, "B 3 H W"], queries: list[str]
) -> Float[Tensor, ""]:
    """The alternative to `intent_loss` (ours): cross-entropy, given x_hat, of what LLaVA answers about x."""
    with torch.autocast(x.device.type, enabled=False):  # the answers are those that a judge gives
        answers = llava.answer(x, queries)
    return answer_loss(llava, x_hat, queries, answers)


def critic_loss(real_scores: Float[Tensor, "B 1 h w"], fake_scores: Float[Tensor, "B 1 h w"]) -> Float[Tensor, ""]:
    """Wasserstein critic: E[fake] - E[real], to be minimised by the critic."""
    return fake_scores.mean() - real_scores.mean()


def adversarial_loss(fake_scores: Float[Tensor, "B 1 h w"]) -> Float[Tensor, ""]:
    """-E[critic(x_hat)], to be minimised by the codec."""
    return -fake_scores.mean()
