"""The rival: encoders learned from scratch, with CLIP's call."""

import pytest
import tiny
import torch
from einops import rearrange

from uoisc.base.errors import QueryError
from uoisc.baselines import ScratchEncoders

QUERIES = ["where is the hammer", "how many food items are there"]


def encoders(taps: int = 2) -> ScratchEncoders:
    clip = tiny.clip()
    return ScratchEncoders(clip.tokenizer, clip.model.vocab_size, taps, clip.width, clip.text_width, halvings=4).eval()


def test_scratch_encoders_give_what_clip_gives():
    ours, clip, x = encoders(), tiny.clip(), tiny.images(2)
    seen, theirs = ours.see(x), clip.see(x)
    assert seen.taps.shape == theirs.taps.shape and seen.tokens.shape == theirs.tokens.shape
    assert ours.text(QUERIES).shape == clip.text(QUERIES).shape
    assert (ours.width, ours.text_width) == (clip.width, clip.text_width)
    assert all(parameter.requires_grad for parameter in ours.parameters())


def test_each_token_looks_at_its_own_part_of_the_image():
    """What moves a token lies, on average, lower for a lower token and further right for one further right."""
    x, centres = tiny.images(1).requires_grad_(True), torch.zeros(36, 2)
    taps = encoders(taps=1).see(x).taps
    for token in range(36):
        (gradient,) = torch.autograd.grad(taps[0, 0, token].square().sum(), x, retain_graph=True)
        patches = rearrange(gradient[0].abs(), "c (r h) (s w) -> (c h w) r s", r=6, s=6).sum(0)
        share = patches / patches.sum()
        centres[token] = torch.stack([share.sum(1) @ torch.arange(6.0), share.sum(0) @ torch.arange(6.0)])
    centres = centres.reshape(6, 6, 2)
    # columns of one row may trade places by what is drawn there; the mean over the other side may not
    assert (centres[..., 0].mean(1).diff() > 0).all() and (centres[..., 1].mean(0).diff() > 0).all()


def test_padding_does_not_count():
    """A query is embedded alike whatever stands beside it, and as the mean of its own words' states."""
    ours = encoders()
    alone, beside = ours.text(QUERIES[:1]), ours.text(QUERIES)[:1]
    torch.testing.assert_close(alone, beside)
    ids = ours.text.tokenize(QUERIES[:1])
    words = ids[ids != 0][None]
    torch.testing.assert_close(alone, ours.text.language(ours.text.embedding(words)).mean(1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours.text(QUERIES)[0], ours.text(QUERIES)[1])


def test_the_rival_refuses_what_clip_refuses():
    with pytest.raises(QueryError, match="the query is empty"):
        encoders().text([""])
    with pytest.raises(QueryError, match="too long"):
        encoders().text(["cat " * 15])
