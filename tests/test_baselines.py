"""The rival: encoders learned from scratch, with CLIP's call."""

import pytest
import tiny
import torch
from einops import rearrange

from uoisc.base.errors import QueryError
from uoisc.baselines import HASHES, POSITIONS, ScratchEncoders, hashes, words_of

QUERIES = ["where is the hammer", "how many food items are there"]


def encoders(taps: int = 2) -> ScratchEncoders:
    clip = tiny.clip()
    return ScratchEncoders(taps, clip.width, clip.text_width, halvings=4).eval()


def test_scratch_encoders_give_what_clip_gives():
    ours, clip, x = encoders(), tiny.clip(), tiny.images(2)
    seen, theirs = ours.see(x), clip.see(x)
    assert seen.taps.shape == theirs.taps.shape and seen.tokens.shape == theirs.tokens.shape
    assert ours.text(QUERIES).shape == clip.text(QUERIES).shape
    assert (ours.width, ours.text_width) == (clip.width, clip.text_width)
    assert all(parameter.requires_grad for parameter in ours.parameters())


@pytest.mark.parametrize("halvings", [1, 2, 5])
def test_tokens_of_any_size_have_the_same_width(halvings):
    side = 3 * 2**halvings
    rival = ScratchEncoders(2, 192, 128, halvings).eval()
    assert rival.see(torch.rand(1, 3, side, side)).taps.shape == (1, 2, 9, 192)


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
    rows = torch.tensor([hashes(word) for word in QUERIES[0].split()])  # (L, 2)
    words = ours.text.embedding(rows).sum(1) + ours.text.positions[: len(rows)]
    torch.testing.assert_close(alone, ours.text.language(words[None]).mean(1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours.text(QUERIES)[0], ours.text(QUERIES)[1])


def test_every_word_that_can_be_asked_about_has_rows_of_its_own():
    words = {word for query in tiny.query_texts(tiny.all_names()) for word in words_of(query)}
    assert len({frozenset(hashes(word)) for word in words}) == len(words) > 250
    assert all(0 <= row < HASHES for word in words for row in hashes(word))
    assert words_of("Where's the 2nd \U0001f981?") == ["where", "'", "s", "the", "2nd", "\U0001f981", "?"]


def test_the_order_of_words_counts_once_it_is_learnt():
    text = encoders().text
    queries = ["more animals than plants", "more plants than animals"]
    torch.testing.assert_close(*text(queries))
    torch.nn.init.normal_(text.positions)
    assert not torch.allclose(*text(queries), atol=0.01)
    assert text(["cat " * (POSITIONS + 9)]).isfinite().all()


def test_the_rival_refuses_what_is_no_query():
    with pytest.raises(QueryError, match="the query is empty"):
        encoders().text([""])
