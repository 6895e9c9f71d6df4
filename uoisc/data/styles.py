"""Styles of scenes: whose drawings they hold, in which colours, on which grounds, and how worn they look.

    sprites ──► warped ──► recoloured ──.
    tiles' colours ──► grounds ─────────+──► blended ──► worn (blur, noise, JPEG)

| style  | drawings                          | grounds                          | domain     |
|--------|-----------------------------------|----------------------------------|------------|
| plain  | OpenMoji                          | flat                             | codecs     |
| fills  | OpenMoji's fills alone            | any but surfaces                 | pretrained |
| hues   | OpenMoji in other colours         | any but surfaces                 | pretrained |
| glyphs | Noto Emoji, filled, coloured      | any but surfaces                 | pretrained |
| lines  | OpenMoji's lines alone            | grass, gravel, brick (surfaces)  | novel      |

Codecs train on the first, the stand-ins on all but the last, which nobody has seen. Every random part of a scene
derives from its own seed. Source: ours.
"""

import io
import math
from copy import copy
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from uoisc.base.results import CODECS, NOVEL, PRETRAINED
from uoisc.base.settings import GRID
from uoisc.data.objects import DRAWINGS, NOTO_EMOJI, OPENMOJI, ObjectEntry, rasterise

PLAIN = "plain"
PHOTOGRAPHS = ("astronaut.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg")  # public domain; coffee: CC0
SURFACES = ("brick.png", "grass.png", "gravel.png")  # CC0
PIECES = 12  # of each photograph
GROUNDS = ("flat", "tinted", "graded", "textured", "photographs")
SKIMAGE = "grounds: pieces of scikit-image's {} (public domain or CC0)"


@dataclass(frozen=True)
class Style:
    """What makes a style. A scene draws from each range; 0 stands for a sprite as it is.

    drawings: of `objects.DRAWINGS`. grounds: each of these equally often. hue: colours turn by so many degrees at most.
    recolour: how far saturation and the colours of black and white move. lift: doublings of light, at most, cut at
    white: shades go, lines stay. warp: of the drawing's shape.
    wear: of blur, noise and JPEG. licence: of what it is made of. share: of the scenes that the stand-ins train on.
    """

    name: str
    domain: str
    drawings: str
    licence: str
    share: float
    grounds: tuple[str, ...] = ("flat",)
    hue: float = 0.0
    recolour: float = 0.0
    lift: float = 0.0
    warp: float = 0.0
    wear: float = 0.0


_PHOTOGRAPHED = SKIMAGE.format(", ".join(name.split(".")[0] for name in PHOTOGRAPHS))
_OPENMOJI = f"{OPENMOJI}; {_PHOTOGRAPHED}"
_NOTO = f"{NOTO_EMOJI}; {_PHOTOGRAPHED}"
_SURFACED = SKIMAGE.format(", ".join(name.split(".")[0] for name in SURFACES))
STYLES = (
    Style(PLAIN, CODECS, "drawn", OPENMOJI, 0.25),
    Style("fills", PRETRAINED, "fills", _OPENMOJI, 0.2, GROUNDS, hue=40.0, recolour=0.5, warp=1.0, wear=0.6),
    Style("hues", PRETRAINED, "drawn", _OPENMOJI, 0.2, GROUNDS, hue=180.0, recolour=1.0, lift=3.0, warp=1.0, wear=0.6),
    Style("glyphs", PRETRAINED, "glyphs", _NOTO, 0.35, GROUNDS, warp=1.0, wear=0.6),
    Style("lines", NOVEL, "lines", f"{OPENMOJI}; {_SURFACED}", 0.0, ("surfaces",), wear=0.5),
)


def of_domain(domain: str) -> tuple[str, ...]:
    """The names of a domain's styles."""
    return tuple(style.name for style in STYLES if style.domain == domain)


def mixture(rng: np.random.Generator, n: int) -> Int[np.ndarray, " n"]:
    """Styles of n scenes that the stand-ins train on."""
    return rng.choice(len(STYLES), n, p=[style.share for style in STYLES])


def drawings(entries: tuple[ObjectEntry, ...], variants: int, size: int, seed: int) -> dict[str, np.ndarray]:
    """All that scenes of about `size` pixels a side, three whole tiles, are drawn from, uint8.

    Of each of `objects.DRAWINGS` the sprites (objects, variants, size / 3, size / 3, 4); pieces of scikit-image's
    "photographs" and of its "surfaces", (pieces, 3, size, size) each.
    """
    tile = size // GRID
    rng = np.random.default_rng(seed)
    found = {kind: rasterise(entries, variants, tile, seed, kind) for kind in DRAWINGS}
    size = GRID * tile
    for kind, names in (("photographs", PHOTOGRAPHS), ("surfaces", SURFACES)):
        pieces = []
        for name in names:
            whole = Image.open(io.BytesIO(files("skimage.data").joinpath(name).read_bytes())).convert("RGB")
            for side in rng.integers(min(whole.size) // 4, min(whole.size) // 2, PIECES).tolist():
                left, top = (int(rng.integers(length - side + 1)) for length in whole.size)
                piece = whole.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
                pieces.append(np.asarray(piece).transpose(2, 0, 1))
        found[kind] = np.stack(pieces)
    return found


class Draws:
    """Random numbers for scenes side by side, each from a generator of its own seed."""

    def __init__(self, seeds: Int[np.ndarray, " B"]):
        self.generators = [np.random.default_rng(int(seed)) for seed in seeds]

    def of(self, rows: Int[Tensor, " R"]) -> "Draws":
        """Those of some scenes alone."""
        some = copy(self)
        some.generators = [self.generators[row] for row in rows.tolist()]
        return some

    def __call__(self, *shape: int) -> Float[Tensor, "B ..."]:
        """Numbers in [-1, 1), a tensor of `shape` for each scene."""
        return 2 * torch.from_numpy(np.stack([g.random(shape, dtype=np.float32) for g in self.generators])) - 1


def draw(
    style: Style,
    sprites: Float[Tensor, "B 9 T T 4"],
    tones: Float[Tensor, "B 9 3"],
    colours: Float[Tensor, "B 9 3"],
    seeds: Int[np.ndarray, " B"],
    pieces: dict[str, UInt8[Tensor, "P 3 H W"]],
) -> Float[Tensor, "B 3 H W"]:
    """Scenes in a style, in [0, 1].

    Args:
        sprites: the tiles' drawings, RGBA in [0, 1]; glyphs as `objects.rasterise` makes them.
        tones: the mean colour of each tile's object. colours: of each tile.
        seeds: of each scene's random numbers. pieces: of photographs, by kind of ground.
    """
    draws = Draws(seeds)
    shown = rearrange(sprites, "b n h w k -> b n k h w")
    shown = torch.cat([shown[:, :, :3] * shown[:, :, 3:], shown[:, :, 3:]], 2)  # premultiplied, (B, 9, 4, T, T)
    shown = warped(shown, draws, style.warp)
    alpha = shown[:, :, 3:]
    matrix, black = recolouring(tones, style, draws)
    light = torch.exp2(style.lift * draws(GRID * GRID, 1, 1, 1).clamp(min=0))
    rgb = (
        torch.einsum("bnjk,bnkhw->bnjhw", matrix, (light * shown[:, :, :3]).minimum(alpha))
        + black[..., None, None] * alpha
    )
    x = _joined(rgb.clamp(min=0).minimum(alpha)) + (1 - _joined(alpha)) * grounds(colours, style, draws, pieces)
    return worn(x, draws, style.wear)


def _joined(tiles: Float[Tensor, "B 9 k T T"]) -> Float[Tensor, "B k H W"]:
    return rearrange(tiles, "b (r c) k h w -> b k (r h) (c w)", r=GRID)


def warped(shown: Float[Tensor, "B 9 k T T"], draws: Draws, amount: float) -> Float[Tensor, "B 9 k T T"]:
    """Drawings turned, sheared, stretched and bent; as they are where `amount` is 0."""
    batch, tiles, _, side, _ = shown.shape
    matrix = torch.eye(2) + amount * 0.14 * draws(tiles, 2, 2)
    theta = torch.cat([matrix, amount * 0.06 * draws(tiles, 2, 1)], -1).flatten(0, 1)  # (B * 9, 2, 3)
    grid = F.affine_grid(theta, [batch * tiles, 1, side, side], align_corners=False)
    bend = F.interpolate(amount * 0.06 * draws(tiles, 2, 4, 4).flatten(0, 1), side, mode="bilinear", align_corners=True)
    moved = F.grid_sample(shown.flatten(0, 1), grid + bend.permute(0, 2, 3, 1), align_corners=False)
    return moved.unflatten(0, (batch, tiles))


def recolouring(
    tones: Float[Tensor, "B 9 3"], style: Style, draws: Draws
) -> tuple[Float[Tensor, "B 9 3 3"], Float[Tensor, "B 9 3"]]:
    """The change of each tile's colours, rgb -> matrix @ rgb + black.

    Of a drawing: its hues turn, by the angle about the grey axis; saturation changes; black and white move. Of a glyph,
    whose channels say how much is ink and how much the second and third part: a colour for each and for the first.
    """
    tiles = tones.shape[1]
    if style.drawings == "glyphs":
        own = torch.where(draws(tiles, 1) > 0, 0.5 + 0.5 * draws(tiles, 3), tones + 0.15 * draws(tiles, 3))
        base = 0.25 + 0.75 * own.clamp(0, 1)
        parts = (base[..., None] + 0.4 * draws(tiles, 3, 2)).clamp(0, 1)
        ink = 0.5 * base * (draws(tiles, 1) > 0.5) + 0.1 * (draws(tiles, 3) + 1)
        return torch.cat([ink[..., None], parts], -1) - base[..., None], base
    angle = (math.radians(style.hue) * draws(tiles))[..., None, None]
    saturation = torch.exp2(0.8 * style.recolour * draws(tiles, 1, 1))
    luma = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    turned = saturation * (torch.cos(angle) * (torch.eye(3) - luma) + torch.sin(angle) * cross)
    black, white = (style.recolour * depth * draws(tiles, 3).clamp(min=0) for depth in (0.35, 0.45))
    return turned + (1 - white - black)[..., None] / 3, black  # (B, 9, 3, 3)


def grounds(
    colours: Float[Tensor, "B 9 3"], style: Style, draws: Draws, pieces: dict[str, UInt8[Tensor, "P 3 H W"]]
) -> Float[Tensor, "B 3 H W"]:
    """What is behind the drawings: the tiles' colours, lighter and darker by a pattern, so that each stays its own."""
    size = next(iter(pieces.values())).shape[-1]
    line = (torch.arange(size // GRID) + 0.5) / (size // GRID) * 2 - 1
    slope = draws(GRID * GRID, 1, 2, 1)
    coarse, fine = (draws(1, n, n) for n in (3 * GRID, 12 * GRID))
    pick = (draws(2) + 1) / 2
    kinds = [style.grounds[int(share * len(style.grounds))] for share in pick[:, 0].tolist()]
    pattern = torch.zeros(len(kinds), 3, size, size)
    for row, kind in enumerate(kinds):
        if kind == "graded":
            pattern[row] = _joined(slope[row, None, :, :, :1] * line[:, None] + slope[row, None, :, :, 1:] * line)
        elif kind == "textured":
            wide, narrow = (F.interpolate(field[row : row + 1], size, mode="bilinear")[0] for field in (coarse, fine))
            pattern[row] = 0.8 * wide + 0.6 * narrow
        elif kind in pieces:
            piece = pieces[kind][int(pick[row, 1] * len(pieces[kind]))].float()
            pattern[row] = (piece - piece.mean()) / (2 * piece.std() + 1e-3)
    moved = 0.08 * torch.tensor([kind != "flat" for kind in kinds])[:, None, None]
    colours = (colours + moved * draws(GRID * GRID, 3)).clamp(0, 1)
    flat = repeat(colours, "b (r c) k -> b k (r h) (c w)", r=GRID, h=size // GRID, w=size // GRID)
    depth = 0.25 + 0.1 * draws(1, 1, 1)
    return (flat * (1 + depth * pattern.clamp(-1.5, 1.5))).clamp(0, 1)


def worn(x: Float[Tensor, "B 3 H W"], draws: Draws, amount: float) -> Float[Tensor, "B 3 H W"]:
    """Images blurred, noisy, or through JPEG, each with a chance of about a third; as they are where `amount` is 0."""
    much = amount * (3 * draws(3, 1, 1, 1) - 1).clamp(min=0) / 2  # (B, 3, 1, 1, 1): 0 for two in three, else up to 1
    blurred, noisy = ((much[:, part].flatten() > 0).nonzero().flatten() for part in (0, 1))
    if len(blurred):
        soft = F.pad(x[blurred], (2, 2, 2, 2), mode="replicate")
        soft = F.avg_pool2d(F.avg_pool2d(soft, 3, stride=1), 3, stride=1)
        x[blurred] += much[blurred, 0] * (soft - x[blurred])
    if len(noisy):
        x[noisy] += 0.15 * much[noisy, 1] * draws.of(noisy)(*x.shape[1:])
    x = x.clamp(0, 1)
    for row in torch.nonzero(much[:, 2].flatten() > 0).flatten().tolist():
        x[row] = _jpeg(x[row], quality=int(80 - 60 * much[row, 2]))
    return x


def _jpeg(image: Float[Tensor, "3 H W"], quality: int) -> Float[Tensor, "3 H W"]:
    file = io.BytesIO()
    Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1).float() / 255
