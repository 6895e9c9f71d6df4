"""Images to .uoi files and back, with what a user is told about it: the commands `encode`, `decode` and `info`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from tqdm import tqdm

from uoisc import bitstream
from uoisc.bitstream import BitstreamError, SharedModel
from uoisc.config import DIAL, paths
from uoisc.entropy_jobs import shared_model, table_path
from uoisc.errors import ConfigError, DataError
from uoisc.images import image_bytes, read_image, write_file
from uoisc.models import Study, open_study

STREAM = "-"  # standard input or output


def encode(
    images: list[str], query: str, output: str, profile: str, variant: str, bits: float | None, compact: bool
) -> None:
    """Writes each image's message as a file: `output` itself for one image, a folder of files for several.

    Raises BitstreamError, ConfigError, DataError or QueryError, one line each; nothing half-written is left.
    """
    study = open_study(profile, judges=())
    model = model_within(study, variant, bits)
    if len(images) > 1 and not Path(output).is_dir():
        raise DataError(f"{output}: {len(images)} images need a folder that is there, give one by -o")
    names = [Path(output) / f"{Path(i).stem}.uoi" if Path(output).is_dir() else Path(output) for i in images]
    if len(set(names)) < len(names):
        raise DataError("two of the images have one name: their files would overwrite each other")
    for image, name in zip(tqdm(images, disable=len(images) == 1), names, strict=True):
        picture = read_image(_source(image), study.params.data.image_size)
        message = model.codec.encode(picture.x, [query])
        data = bitstream.write(message, model, None if compact else picture.size)
        _write(data, STREAM if output == STREAM else str(name))
        side = study.params.data.image_size
        resized = "" if picture.size == (side, side) else f", resized to {side} x {side}"
        _say(f"{image}: {picture.size[0]} x {picture.size[1]} pixels{resized}; {len(data)} bytes, of which "
             f"{len(data) - (bitstream.COMPACT_BYTES if compact else bitstream.HEADER_BYTES)} payload "
             f"({model.codec.bits:g} bits before entropy coding)")  # fmt: skip


def decode(file: str, output: str, profile: str, variant: str | None, bits: float | None, query: str | None) -> None:
    """Draws a file's image at the size of the image that it was made of.

    Args:
        variant, bits: as the file was encoded; found by the file's fingerprint where no variant is given.
        query: wanted by variants whose receiver reads it.

    Raises BitstreamError where the file is broken or no trained model here wrote it.
    """
    data = _read(file)
    study = open_study(profile, judges=())
    model = _writer(study, data) if variant is None else model_within(study, variant, bits)
    message, size = bitstream.read(data, model)
    if query is None and model.codec.receiver_reads:
        raise ConfigError("this variant's receiver reads the query: give --query")
    x_hat = model.codec.decode(message, [query or "anything"])
    _write(image_bytes(x_hat, ".png" if output == STREAM else Path(output).suffix, size), output)


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


def _source(name: str):
    return io.BytesIO(sys.stdin.buffer.read()) if name == STREAM else Path(name)


def _read(name: str) -> bytes:
    """At most as many bytes as a file can have, and one more, so that a huge one is refused and not read."""
    limit = 1 << 20
    try:
        data = sys.stdin.buffer.read(limit + 1) if name == STREAM else _head(Path(name), limit + 1)
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
        sys.stdout.buffer.write(data)
    else:
        write_file(data, Path(name))


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
