"""Trains the small stand-ins for CLIP and LLaVA on the embedded benchmark.

The real ones saw all kinds of objects in internet-scale pre-training; so the stand-ins see all objects here,
the held-out ones too. Codecs never do. Source: ours.
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import compress

import numpy as np
import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from uoisc.base.devices import precision
from uoisc.base.distributed import device
from uoisc.base.processes import one_ahead
from uoisc.base.settings import GRID, HEAD_WIDTH, Clip, Llava
from uoisc.data.question_types import (
    CATEGORY_SLOTS,
    OBJECT_SLOTS,
    Vocabulary,
    Words,
    fill_about,
    templates_of,
    templates_with,
)
from uoisc.data.scenes import AT_ONCE, Scenes, World, token_tiles
from uoisc.data.sights import COLOURS, PLACES, TILES, one_of
from uoisc.data.styles import PLAIN
from uoisc.frozen.clip import FrozenCLIP, open_clip
from uoisc.frozen.clip_files import build_clip

Progress = Callable[[range, str], object]  # wraps a range of steps, as tqdm does

# Fixed and small: at CLIP's own scale (up to 100) place and colour hide in directions too faint for a judge to read.
ATTRIBUTE_SCALE = 10.0
OBJECT_SCALE = 20.0  # enough for one of 258 to get .99 of the weight


def clip_fields(cfg: Clip, image_size: int) -> dict:
    """The stand-in's open_clip configuration."""
    vision = {"image_size": image_size, "patch_size": cfg.patch_size, "width": cfg.width, "layers": cfg.layers}
    text = {"context_length": cfg.context_length, "width": cfg.text_width, "layers": cfg.text_layers}
    heads = {"vision": {"head_width": HEAD_WIDTH}, "text": {"heads": cfg.text_width // HEAD_WIDTH}}
    return {"embed_dim": cfg.embed_dim, "vision": vision | heads["vision"], "text": text | heads["text"]}


def region_embeddings(tokens: Float[Tensor, "B N e"]) -> Float[Tensor, "B 9 e"]:
    """Unit-norm embeddings of the nine tiles: each the mean of its tokens' unit-norm embeddings."""
    side = int(tokens.shape[1] ** 0.5)
    unit = F.normalize(tokens.float(), dim=-1).unflatten(1, (side, side))
    step = side // GRID
    return F.normalize(reduce(unit, "b (r i) (c j) e -> b (r c) e", "mean", i=step, j=step), dim=-1)


def region_texts(
    world: World, scenes: Scenes, rng: np.random.Generator, known: Vocabulary
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A batch's objects (n,), its categories (k,), and a text about each, n + k: a question that names it, first or
    second, or an object's bare name. What else it names is one of the `known` words."""
    objects = np.unique(scenes.objects[scenes.objects >= 0])
    kinds = np.unique(world.category_of[objects])
    texts = []
    for indices, slots, bare in ((objects, OBJECT_SLOTS, ["{name}"]), (kinds, CATEGORY_SLOTS, [])):
        wordings = [*bare, *templates_with(*slots)]
        texts += [fill_about(rng, one_of(rng, wordings), slots, int(index), world, known) for index in indices]
    return objects, kinds, texts


def attribute_texts() -> tuple[list[str], list[str]]:
    """Texts about each of the nine places, and about each of the eight colours, once per wording."""
    places = [text.format(place=place) for text in templates_of("place") or ["{place}"] for place in PLACES]
    colours = ["the colour {colour}", *templates_of("colour")]
    return places, [text.format(colour=colour) for text in colours for colour in COLOURS]


def clip_loss(
    model: open_clip.CLIP,
    ids_of: Callable[[str], Int[Tensor, " L"]],
    tokens: Float[Tensor, "B N e"],
    world: World,
    scenes: Scenes,
    about: tuple[np.ndarray, np.ndarray, list[str]],
) -> Float[Tensor, ""]:
    """`unified_loss` of a batch with objects' names and with categories', and which place and colour each tile has;
    `ids_of` gives a text's tokens, `about` is the batch's `region_texts`."""
    objects, kinds, texts = about
    place_texts, colour_texts = attribute_texts()
    with precision(device()):
        ids = torch.stack([*map(ids_of, texts + place_texts + colour_texts)]).to(device())
        embedded = model.encode_text(ids, normalize=True).float()
    names, places, colours = embedded.split([len(texts), len(place_texts), len(colour_texts)])
    regions = region_embeddings(tokens)  # (B, 9, e)
    scale = model.logit_scale.exp()
    losses = []
    split = names.split([len(objects), len(kinds)])
    for which, there, text in zip((objects, kinds), (scenes.objects, kinds_of(scenes, world)), split, strict=True):
        about = torch.from_numpy(which[:, None, None] == there).to(text.device)  # (t, B, 9)
        losses.append(unified_loss(scale * text, tokens, regions, about))
    place = [_place_loss(regions, wording) for wording in places.split(TILES)]
    colour = [_colour_loss(regions, wording, scenes) for wording in colours.split(len(COLOURS))]
    return losses[0] + torch.stack(place).mean() + 0.5 * (losses[1] + torch.stack(colour).mean())


def unified_loss(
    texts: Float[Tensor, "t e"],
    tokens: Float[Tensor, "B N e"],
    regions: Float[Tensor, "B 9 e"],
    about: Bool[Tensor, "t B 9"],
) -> Float[Tensor, ""]:
    """Contrastive loss with labels, in the manner of UniCL (Yang et al., CVPR 2022): several tiles may show a text's
    object, and some show none.

    Half is cross-entropy of a tile's text among all, half that a text's most similar token, of all tokens of the batch,
    lies in a tile that it is about (`FrozenCLIP.relevance` ranks tokens). `texts`: embeddings times the logit scale;
    `about`: which tiles each text is about, one or more.
    """
    logits = torch.einsum("te,bre->brt", texts, regions)[about.any(0)]  # (tiles with a text, t)
    named = F.cross_entropy(logits, about.permute(1, 2, 0)[about.any(0)].int().argmax(1))
    shows = about[..., token_tiles(int(tokens.shape[1] ** 0.5))]  # (t, B, N)
    found = torch.einsum("te,bne->tbn", texts, F.normalize(tokens.float(), dim=-1))
    within = found.masked_fill(~shows, -torch.inf).flatten(1).logsumexp(1)
    return (named + (found.flatten(1).logsumexp(1) - within).mean()) / 2


def _place_loss(regions: Float[Tensor, "B 9 e"], places: Float[Tensor, "9 e"]) -> Float[Tensor, ""]:
    """Cross-entropy of which place each tile has, and of which tile each place is."""
    where = ATTRIBUTE_SCALE * regions @ places.T  # (B, 9, 9)
    target = torch.arange(TILES, device=where.device).expand(len(where), TILES)
    return (F.cross_entropy(where, target) + F.cross_entropy(where.transpose(1, 2), target)) / 2


def _colour_loss(regions: Float[Tensor, "B 9 e"], colours: Float[Tensor, "8 e"], scenes: Scenes) -> Float[Tensor, ""]:
    """Cross-entropy of which colour each tile has."""
    which = ATTRIBUTE_SCALE * regions @ colours.T  # (B, 9, 8)
    return F.cross_entropy(which.flatten(0, 1), torch.from_numpy(scenes.colours).flatten().to(which.device))


def kinds_of(scenes: Scenes, world: World) -> Int[np.ndarray, "B 9"]:
    """The category of what stands in each tile, -1 where it is empty."""
    return np.where(scenes.objects < 0, -1, world.category_of[scenes.objects])


def labels_of(world: World) -> tuple[int, ...]:
    """How many objects, places, colours and categories a tile may be of: the rows of the heads of `tile_loss`."""
    return len(world.names), TILES, len(COLOURS), len(world.categories)


def tile_loss(heads: nn.Linear, regions: Float[Tensor, "B 9 e"], scenes: Scenes, world: World) -> Float[Tensor, ""]:
    """Cross-entropy of which object, place, colour and category each tile has, by cosines with the heads' rows.

    Without categories a judge cannot count: no linear map of its tower's tokens tells them.
    """
    cosines = (regions @ F.normalize(heads.weight, dim=1).T).flatten(0, 1)  # (B * 9, sum of labels_of)
    objects, places, colours, kinds = cosines.split(labels_of(world), dim=1)
    place = torch.arange(TILES, device=places.device).repeat(len(scenes))
    labels = (scenes.objects, scenes.colours, kinds_of(scenes, world))
    name, colour, kind = (torch.from_numpy(index).flatten().to(place.device) for index in labels)
    named = F.cross_entropy(OBJECT_SCALE * objects, name, ignore_index=-1)
    placed = F.cross_entropy(ATTRIBUTE_SCALE * places, place)
    coloured = F.cross_entropy(ATTRIBUTE_SCALE * colours, colour)
    return named + placed + 0.5 * (coloured + F.cross_entropy(ATTRIBUTE_SCALE * kinds, kind, ignore_index=-1))


def train_tower(cfg: Clip, world: World, image_size: int, seed: int, progress: Progress) -> FrozenCLIP:
    """A vision tower that is no CLIP's: it learns labels of tiles and no text. The same seed gives the same weights."""
    return train_clip(cfg, world, image_size, seed, progress, lambda *_: None)[1]


def train_clip(
    cfg: Clip, world: World, image_size: int, seed: int, progress: Progress, texts_of: Callable = region_texts
) -> tuple[open_clip.CLIP, FrozenCLIP]:
    """A stand-in CLIP that has seen and read of all objects but those of `cfg.exclude`; its weights follow the seed.

    It learns labels of tiles beside texts: by texts alone it takes several times the steps to tell all objects apart.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    known = world.pool(exclude=cfg.exclude or None)
    words = Words(tuple(compress(world.names, known)), tuple(c for c in world.categories if c != cfg.exclude))
    model = build_clip(**clip_fields(cfg, image_size))
    tokenizer = open_clip.SimpleTokenizer(context_length=cfg.context_length)
    frozen = FrozenCLIP(model, tokenizer, (cfg.layers - 1,)).to(device())
    model.requires_grad_(True).train()
    heads = nn.Linear(cfg.embed_dim, sum(labels_of(world)), bias=False).to(device())
    clamp = partial(model.logit_scale.data.clamp_, 0, 4.6052)  # at most 100, as in CLIP
    ids_of = cache(lambda text: frozen.tokenize([text])[0])  # some thousands of texts, over and over

    def batch() -> tuple:
        scenes = world.crowded(rng, cfg.batch_size, known)
        about = texts_of(world, scenes, rng, words)
        with precision(device()):
            return scenes, world.render(scenes), about

    def loss_of(scenes: Scenes, images: Float[Tensor, "B 3 H W"], about: tuple | None) -> Float[Tensor, ""]:
        with precision(device()):
            tokens = frozen.see(images).tokens
        loss = tile_loss(heads, region_embeddings(tokens), scenes, world)
        return loss if about is None else loss + clip_loss(model, ids_of, tokens, world, scenes, about)

    descend(nn.ModuleList([model, heads]), cfg, progress(range(cfg.steps), "CLIP"), batch, loss_of, after=clamp)
    return model, frozen


def descend(
    model: nn.Module, cfg: Clip | Llava, steps: Iterable, batch: Callable, loss_of: Callable, after=lambda: None
) -> None:
    """Takes `steps` of AdamW, without decay on vectors, the gradient clipped to norm 1; then the model is frozen.

    The rate warms up over 10 % of the steps and falls to 0 over the last 30 %. `loss_of` takes what `batch` returned,
    in a thread one step ahead; `after` follows each step.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=cfg.learning_rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (0.1 * cfg.steps), 1.0, (cfg.steps - step) / (0.3 * cfg.steps))
    )
    for _, made in zip(steps, one_ahead(batch), strict=False):
        loss = loss_of(*made)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        after()
        if hasattr(steps, "set_postfix"):
            steps.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval().requires_grad_(False)


@torch.no_grad()
def localisation(
    frozen: FrozenCLIP, world: World, seed: int, n: int, category: str | None, style: str = PLAIN
) -> np.ndarray:
    """Whether the most relevant token for "where is the NAME" lies in NAME's tile, (n,), for n scenes of a style.

    Chance is 1/9. `category` restricts the objects asked for (e.g. to the held-out ones).
    """
    rng = np.random.default_rng(seed)
    scenes = world.sample_test(rng, n, world.pool(), category, style)
    queries = [world.ask(rng, scenes, row, "place", world.pool(only=category)) for row in range(n)]
    texts = frozen.text([q.text for q in queries]).split(AT_ONCE)
    seen = (frozen.see(x).tokens for x in world.render(scenes).split(AT_ONCE))
    first = torch.cat([frozen.relevance(*both).argmax(1).cpu() for both in zip(seen, texts, strict=True)])
    return token_tiles(frozen.grid)[first].numpy() == np.array([q.tiles[0] for q in queries])
