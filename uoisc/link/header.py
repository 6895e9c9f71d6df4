"""What a `.uoi` file says of itself, read without a model and without torch.

| bytes | self-describing form (16)       | | bytes | compact form (4), for two ends that share the model |
|-------|---------------------------------|-|-------|------------------------------------------------------|
| 0-2   | "UOI"                           | | 0     | 0xC0 + version                                       |
| 3     | version                         | | 1-3   | low 24 bits of CRC-32 over fingerprint, packing and  |
| 4-7   | fingerprint of the model        | |       | payload                                              |
| 8-11  | width, height in pixels         | |       |                                                      |
| 12    | packing of a rate dial, or 0    | |       |                                                      |
| 13-15 | low 24 bits of CRC-32 of all    | |       |                                                      |
|       | other bytes                     | |       |                                                      |

Version 4 follows another file, whose message both ends hold. Its self-describing form has that file's checksum in front
of its own; its compact form has the packing there, and that file's checksum goes into its own alone.

All integers are big-endian; what follows is the payload (bitstream.py). Source: ours.
"""

import struct
import zlib
from dataclasses import dataclass

from uoisc.base.errors import UoiscError
from uoisc.base.outputs import naming, opened

MAGIC = b"UOI"
VERSION = 3
FOLLOWING = 4
COMPACT_MARK = 0xC0
HEADER_BYTES, COMPACT_BYTES = 16, 4  # of a message of its own
HEAD = struct.Struct(">3sB4s2HB")  # all of the self-describing form but its checksums
CHECKSUM_BYTES = 3
MAX_SIDE = 16_384  # pixels a side of the restored image
MAX_PIXELS = 178_956_970  # of it: as many as Pillow opens
LARGEST = 1 << 20  # bytes: no file is larger, and none that is gets read


class BitstreamError(UoiscError):
    """A .uoi file is truncated, altered, foreign, of a newer version or of another model."""


@dataclass(frozen=True)
class File:
    """A parsed file: what its header says, and the payload.

    Fingerprint, size, packing and the checksum of the file that it is `after` are None where it does not say them.
    """

    fingerprint: bytes | None
    size: tuple[int, int] | None
    packing: int | None
    payload: bytes
    checksum: bytes
    version: int = VERSION
    after: bytes | None = None


def describe(file: str) -> dict:
    """What a file says of itself; None where its form does not. Raises DataError or BitstreamError, which name it."""
    with naming(file):
        data = read_file(file)
        parsed = parse(data)
    names = {name: part and part.hex() for name, part in (("model", parsed.fingerprint), ("after", parsed.after))}
    width, height = parsed.size or (None, None)
    return {
        "bytes": len(data),
        "payload_bytes": len(parsed.payload),
        "version": parsed.version,
        "form": "self-describing" if parsed.fingerprint else "compact",
        "width": width,
        "height": height,
        "packing": parsed.packing,
        "checksum": parsed.checksum.hex(),
    } | names


def as_lines(about: dict) -> list[str]:
    """`describe`, to be read."""
    lines = ["{bytes} bytes, {payload_bytes} of them payload; version {version}, {form} form".format(**about)]
    if about["model"]:
        lines.append("image of {width} x {height} pixels, model {model}".format(**about))
        lines.append(f"packing {about['packing']} of its rate dial" if about["packing"] else "its model's own rate")
    if about["version"] == FOLLOWING:
        lines.append(f"follows {about['after'] or 'a file that the compact form does not name'}")
    return [*lines, f"checksum {about['checksum']}, by which a file that follows names it"]


def read_file(name: str) -> bytes:
    """At most as many bytes as a file can have, and one more, so that a huge one is refused and not read."""
    data = opened(name).read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BitstreamError(f"{name}: larger than any .uoi file")
    return data


def parse(data: bytes) -> File:
    """What a file says of itself, checked as far as that goes without a model.

    Raises BitstreamError for an empty, truncated, altered or foreign file, a newer version, an absurd size.
    """
    if not data:
        raise BitstreamError("the file is empty: write it again")
    compact = data[0] & 0xF0 == COMPACT_MARK
    if not compact and data[:3] != MAGIC[: len(data)]:
        raise BitstreamError("no .uoi file: its first bytes are not 'UOI'")
    version = data[0] & 0x0F if compact else data[3] if len(data) > 3 else VERSION
    if compact or len(data) >= HEADER_BYTES:
        _check_version(version)
    length = COMPACT_BYTES if compact else HEADER_BYTES
    if version == FOLLOWING:
        length += 1 if compact else CHECKSUM_BYTES
    if len(data) < length:
        raise BitstreamError(f"{len(data)} bytes are less than a header: the file is truncated")
    start = length - CHECKSUM_BYTES
    payload = data[length:]
    checksum = data[start:length]
    if compact:
        return File(None, None, data[1] if version == FOLLOWING else None, payload, checksum, version)
    _, _, fingerprint, *size, packing = HEAD.unpack(data[: HEAD.size])
    if crc24(data[:start], payload) != checksum:
        raise BitstreamError("the checksum does not fit: the file was altered or truncated, fetch it again")
    check_size(tuple(size))
    return File(fingerprint, tuple(size), packing, payload, checksum, version, data[HEAD.size : start] or None)


def crc24(*parts: bytes) -> bytes:
    return (zlib.crc32(b"".join(parts)) & 0xFFFFFF).to_bytes(3, "big")


def _check_version(version: int) -> None:
    if version not in (VERSION, FOLLOWING):
        remedy = "use a newer program" if version > FOLLOWING else "encode the image again"
        reads = f"{VERSION} and {FOLLOWING}"
        raise BitstreamError(f"version {version} of the format, this program reads {reads}: {remedy}")


def check_size(size: tuple[int, int]) -> None:
    if not all(1 <= side <= MAX_SIDE for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise BitstreamError(
            f"an image of {size[0]} x {size[1]} pixels: 1 to {MAX_SIDE} a side can be sent, {MAX_PIXELS:,} in all"
        )
