"""What an opened image looks like: 8 bits of red, green and blue in sRGB, over white, upright; its first frame.

file ──► 8 bits ──► transparency aside ──► sRGB ──► over white ──► upright
       (16 by /257)                         (profile)           (EXIF)

Colours go to sRGB by relative intent with black point compensation, as browsers show them. A profile that moves no
colour by more than `ALIKE` is taken as sRGB, so that files in sRGB keep their pixels. A profile that cannot be used is
passed over with a note. A PNG's gamma and primaries (gAMA, cHRM), and the code points (CICP) by which PNG and AVIF mark
HDR, do not count.
"""

import io
from functools import lru_cache

import numpy as np

ALIKE = 2  # of 255: the published sRGB profiles move colours by 1
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # a profile's space -> Pillow's mode
GREYS = ("1", "L", "LA")


def to_rgb(file) -> tuple:
    """An opened Pillow image as one of mode RGB, and notes: what a user should know of how it was read.

    Raises ValueError, or whatever its decoder raises, where it cannot be read.
    """
    from PIL import Image

    frames = 1 if file.format == "PSD" else getattr(file, "n_frames", 1)  # of a PSD these are its layers
    notes = [f"first of {frames} frames"] if frames > 1 else []
    image = _eight_bits(file)
    if 0 in image.size:
        raise ValueError("it has no pixels")
    seen = image
    alpha = None
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        alpha = seen.getchannel("A")
        seen = seen.convert("L" if image.mode in GREYS else "RGB")
    seen = in_srgb(seen, file.info.get("icc_profile"), notes)
    if alpha is not None:
        seen.putalpha(alpha)
        seen = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return upright(seen, file, notes), tuple(notes)


def _eight_bits(file):
    """The loaded image in 8 bits per channel. Raises ValueError where nobody knows which of its values is white."""
    from PIL import Image

    raw = file.tile[0].args if file.tile else ""  # how the file holds its values
    raw = raw if isinstance(raw, str) else str(next(iter(raw or ()), ""))
    file.load()
    if file.mode == "F" or file.mode == "I" and file.format != "PPM":  # of a PPM Pillow makes 16 bits
        values = "floating-point" if file.mode == "F" else "integer"
        raise ValueError(f"its {values} pixels have no known range: save it with 8 or 16 bits per channel")
    clear = file.info.get("transparency")  # of a PNG without alpha: the value that shows nothing
    if file.mode.startswith("I"):
        values, white = np.asarray(file).astype(np.int64), 4095 if raw == "I;12" else 65_535
        grey = (values.clip(0, white) * 255 + white // 2) // white
        if getattr(file, "tag_v2", {}).get(262) == 0:  # TIFF's WhiteIsZero, which Pillow heeds in 8 bits alone
            grey = 255 - grey
        image = Image.fromarray(grey.astype(np.uint8))
        if clear is not None:
            image.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
        return image
    if isinstance(clear, tuple) and "16" in raw:  # of 16 bits a colour Pillow keeps the upper 8
        file.info["transparency"] = tuple(value >> 8 for value in clear)
    elif isinstance(clear, int) and raw in ("L;2", "L;4"):  # Pillow spreads the pixels over 8 bits, but not this
        file.info["transparency"] = clear * (85 if raw == "L;2" else 17)
    return file.convert("LA") if raw == "LA;16B" else file  # which Pillow reads as if it had colours


def in_srgb(image, profile: bytes | None, notes: list[str]):
    """An image without transparency in sRGB: by its profile, else by what its mode means."""
    mode = image.mode
    if profile:
        try:
            wanted, transform = _transform(profile)
            if mode != wanted and (mode in ("CMYK", "LAB") or wanted != "RGB" and (wanted, mode) != ("L", "1")):
                raise ValueError(f"it is for {wanted}, not {mode}")
        except Exception as error:  # of a damaged profile, as many as there are ways to damage one
            notes.append(f"its colour profile cannot be used ({' '.join(str(error).split())}): read as if it had none")
        else:
            return image.convert("RGB") if transform is None else transform.apply(image.convert(wanted))
    if mode == "LAB":
        return _transform(b"")[1].apply(image)
    if mode == "CMYK":
        notes.append("inks without a colour profile: read by the plain formula")
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple:
    """The mode that a profile is for, and the way from it to sRGB: None where that is its own. Of b"", CIELAB's.

    Raises what littleCMS raises for a broken one, ValueError for one of another space.
    """
    from PIL import Image, ImageCms

    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile) if profile else ImageCms.createProfile("LAB"))
    space = opened.profile.xcolor_space.strip()
    if space not in MODES:
        raise ValueError(f"its colours are {space or 'nothing'}")
    mode = MODES[space]
    transform = ImageCms.buildTransform(
        opened,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    levels = np.linspace(0, 255, 9 if mode == "RGB" else 256).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3) if mode == "RGB" else levels[None]
    if mode in ("RGB", "L"):
        tried = Image.fromarray(grid)
        moved = np.asarray(transform.apply(tried)).astype(int) - np.asarray(tried.convert("RGB"))
        transform = transform if np.abs(moved).max() > ALIKE else None
    return mode, transform


def upright(image, file, notes: list[str]):
    """Turned as the file's EXIF data say."""
    from PIL import ExifTags, ImageOps

    try:
        image.getexif()[ExifTags.Base.Orientation] = file.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # they are read by many hands, and none of them has to show an image
        notes.append("its EXIF data cannot be read: taken as upright")
        return image
    return ImageOps.exif_transpose(image)
