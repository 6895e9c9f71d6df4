"""Images to .uoi files and back, with what a user is told about it: the commands `encode`, `decode` and `info`."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from tqdm import tqdm

from uoisc import bitstream
from uoisc.bitstream import BitstreamError, SharedModel
from uoisc.config import DIAL, paths
from uoisc.entropy_jobs import shared_model, table_path
from uoisc.errors import ConfigError, DataError
from uoisc.images import check_suffix, image_bytes, read_image, write_file
from uoisc.study import Study, open_study

STREAM = "-"  # standard input or output


def encode(
    images: list[str], query: str, output: str, profile: str, variant: str, bits: float | None, compact: bool
) -> None:
    """Writes each image's message as a file: `output` itself for one image, a folder of files for several.

    Of several images those that cannot be sent are told and left out, and a DataError at the end counts them.
    Raises BitstreamError, ConfigError, DataError or QueryError, one line each; nothing half-written is left.
    """
    names = _outputs(images, output)
    study = open_study(profile, judges=())
    model, failed = model_within(study, variant, bits), []
    for image, name in zip(tqdm(images, disable=len(images) == 1), names, strict=True):
        try:
            _say(_send(study, model, image, query, name, compact))
        except (DataError, BitstreamError) as error:
            if len(images) == 1:
                raise
            failed.append(image)
            _say(f"left out: {error}")
    if failed:
        others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise DataError(
            f"{len(failed)} of {len(images)} images were left out ({failed[0]}{others}); the others are sent"
        )


def _outputs(images: list[str], output: str) -> list[str]:
    """Where each image's file goes. Raises DataError where that is not clear, or would destroy an image."""
    folder = os.path.isdir(output)
    if not output:
        raise DataError("-o: empty; give a .uoi file, a folder, or - for standard output")
    if output.endswith(os.sep) and not folder:
        raise DataError(f"{output}: no such folder, make it first")
    if len(images) > 1 and not folder:
        raise DataError(f"{output}: {len(images)} images need a folder that is there, give one by -o")
    names = [os.path.join(output, f"{Path(i).stem}.uoi") if folder else output for i in images]
    for image, name in zip(images, names, strict=True):
        if names.count(name) > 1:
            raise DataError(f"{Path(name).stem}: two of the images have this name, and their files would be one")
        if name != STREAM and os.path.exists(name) and os.path.exists(image) and os.path.samefile(image, name):
            raise DataError(f"{image}: its own file would take its place; give another one by -o")
    return names


def _send(study: Study, model: SharedModel, image: str, query: str, name: str, compact: bool) -> str:
    """Writes one image's message; returns what there is to say of it."""
    side = study.params.data.image_size
    picture = read_image(source(image), side)
    try:
        message = model.codec.encode(picture.x, [query])
        data = bitstream.write(message, model, None if compact else picture.size)
    except BitstreamError as error:
        raise BitstreamError(f"{image}: {error}") from None
    _write(data, name)
    resized = "" if picture.size == (side, side) else f", resized to {side} x {side}"
    header = bitstream.COMPACT_BYTES if compact else bitstream.HEADER_BYTES
    return (f"{image}: {picture.size[0]} x {picture.size[1]} pixels{resized}; {len(data)} bytes, of which "
            f"{len(data) - header} payload ({model.codec.bits:g} bits before entropy coding)")  # fmt: skip


def decode(file: str, output: str, profile: str, variant: str | None, bits: float | None, query: str | None) -> None:
    """Draws a file's image at the size of the image that it was made of.

    Args:
        variant, bits: as the file was encoded; found by the file's fingerprint where no variant is given.
        query: wanted by variants whose receiver reads it; the one of `encode`, or another picture is drawn.

    Raises BitstreamError where the file is broken or no trained model here wrote it.
    """
    suffix = ".png" if output == STREAM else Path(output).suffix
    check_suffix(suffix)
    data = _read(file)
    study = open_study(profile, judges=())
    model = _writer(study, data) if variant is None else model_within(study, variant, bits)
    message, size = bitstream.read(data, model)
    if query is None and model.codec.receiver_reads:
        raise ConfigError("this variant's receiver reads the query: give --query")
    x_hat = model.codec.decode(message, ["anything" if query is None else query])
    _write(image_bytes(x_hat, suffix, size), output)


def describe(file: str) -> list[str]:
    """What a file says of itself, a line each."""
    data = _read(file)
    parsed = bitstream.parse(data)
    form = "compact" if parsed.compact else "self-describing"
    lines = [f"{len(data)} bytes, {len(parsed.payload)} of them payload; version {parsed.version}, {form} form"]
    if parsed.size is not None:
        lines.append(f"image of {parsed.size[0]} x {parsed.size[1]} pixels, model {parsed.fingerprint.hex()}")
        lines.append(f"packing {parsed.packing} of its rate dial" if parsed.packing else "fixed rate")
    return lines


def model_within(study: Study, variant: str, bits: float | None) -> SharedModel:
    """The variant's model, tables included, of the most bits that are at most `bits`; of the most where None.

    Raises ConfigError where the variant is not trained or the bits are too few.
    """
    if bits is not None and not bits > 0:
        raise ConfigError(f"--bits {bits:g}: must be above 0")
    rates = study.params.variants.get(variant)
    if rates is None:
        raise ConfigError(f"no variant {variant!r} is trained: choose of {', '.join(study.params.variants)}")
    if DIAL in rates:
        return shared_model(study, variant, DIAL).within(max(study.params.codec.dial.budgets) if bits is None else bits)
    costs = {rate: study.build(variant, rate).bits for rate in rates}
    fitting = [rate for rate in rates if bits is None or costs[rate] <= bits]
    if not fitting:
        raise ConfigError(f"{bits:g} bits are too few for {variant}: its cheapest rate costs {min(costs.values()):g}")
    return shared_model(study, variant, max(fitting, key=costs.get))


def _writer(study: Study, data: bytes) -> SharedModel:
    """The trained model whose fingerprint a self-describing file carries."""
    parsed = bitstream.parse(data)
    if parsed.compact:
        raise BitstreamError("the compact form does not say which model wrote it: give --variant, and --bits as then")
    for name, rates in study.params.variants.items():
        for rate in rates:
            files = paths(study.profile).codec(2, name, rate), table_path(study.profile, name, rate)
            if all(file.is_file() for file in files) and bitstream.fingerprint(*files) == parsed.fingerprint:
                return shared_model(study, name, rate)
    raise BitstreamError(f"written with model {parsed.fingerprint.hex()}, which is none of profile {study.profile}'s")


def source(name: str) -> Path | io.BytesIO:
    """What an image is read from: a file, or for `-` all of standard input."""
    return io.BytesIO(_standard("input").read()) if name == STREAM else Path(name)


def _read(name: str) -> bytes:
    """At most as many bytes as a file can have, and one more, so that a huge one is refused and not read."""
    limit = 1 << 20
    try:
        data = _standard("input").read(limit + 1) if name == STREAM else _head(Path(name), limit + 1)
    except OSError as error:
        raise BitstreamError(f"{name}: cannot be read ({error.strerror})") from None
    if len(data) > limit:
        raise BitstreamError(f"{name}: larger than any .uoi file")
    return data


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _write(data: bytes, name: str) -> None:
    if name == STREAM:
        _standard("output").write(data)
    else:
        write_file(data, Path(name))


def _standard(way: str):
    """Standard input or output, of bytes. Raises DataError where it is closed."""
    stream = sys.stdin if way == "input" else sys.stdout
    if stream is None:
        raise DataError(f"standard {way} is closed: name a file in the place of -")
    return stream.buffer


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
