"""The rivals: encoders learned from scratch with CLIP's call, and JPEG 2000 with its real bytes."""

import io

import numpy as np
import pytest
import tiny
import torch
from einops import rearrange
from PIL import Image

from uoisc.baselines import ScratchEncoders, jpeg2000
from uoisc.errors import QueryError

QUERIES = ["where is the hammer", "how many food items are there"]


def encoders(taps: int = 2) -> ScratchEncoders:
    clip = tiny.clip()
    return ScratchEncoders(clip.tokenizer, clip.model.vocab_size, taps, clip.width, clip.text_width, halvings=4).eval()


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """(96, 96, 3) uint8."""
    return (tiny.images(1)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


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
    ids = ours.tokenize(QUERIES[:1])
    words = ids[ids != 0][None]
    torch.testing.assert_close(alone, ours.language(ours.embedding(words)).mean(1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours.text(QUERIES)[0], ours.text(QUERIES)[1])


def test_the_rival_refuses_what_clip_refuses():
    with pytest.raises(QueryError, match="the query is empty"):
        encoders().text([""])
    with pytest.raises(QueryError, match="too long"):
        encoders().text(["cat " * 15])


def test_jpeg2000_says_its_real_size_and_nears_the_budget(scene):
    for budget in (1500, 4000):
        decoded, size = jpeg2000(scene, budget)
        assert decoded.shape == scene.shape and decoded.dtype == np.uint8
        # rate control works in whole coding passes: it stays below and within a fifth
        assert 0.8 * budget <= size <= budget
    errors = [np.abs(jpeg2000(scene, budget)[0].astype(int) - scene).mean() for budget in (500, 1500, 4000)]
    assert errors == sorted(errors, reverse=True)


def test_jpeg2000_size_is_that_of_the_file(scene):
    """What is counted decodes to what is shown: the encoder run by hand at the same ratio."""
    decoded, size = jpeg2000(scene, 2000)
    buffer = io.BytesIO()
    Image.fromarray(scene).save(
        buffer, "JPEG2000", quality_mode="rates", quality_layers=[scene.nbytes / 2000], irreversible=True, no_jp2=True
    )
    assert size == len(buffer.getvalue())
    assert np.array_equal(decoded, np.array(Image.open(buffer)))


def test_jpeg2000_cannot_go_below_its_headers(scene):
    """At this study's rates the header alone is over the budget: the smallest codestream comes back, honestly."""
    decoded, size = jpeg2000(scene, 18)
    assert size > 18 and decoded.shape == scene.shape
    assert size < 300
