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

All integers are big-endian; what follows is the payload (bitstream.py). Source: ours.
"""

import struct
import zlib
from dataclasses import dataclass

from uoisc.base.errors import UoiscError
from uoisc.base.outputs import naming, opened

MAGIC, VERSION, COMPACT_MARK = b"UOI", 3, 0xC0
HEADER_BYTES, COMPACT_BYTES = 16, 4
HEAD = struct.Struct(">3sB4s2HB")  # all of the self-describing form but its checksum
MAX_SIDE = 16_384  # pixels a side of the restored image
MAX_PIXELS = 178_956_970  # of it: as many as Pillow opens
LARGEST = 1 << 20  # bytes: no file is larger, and none that is gets read


class BitstreamError(UoiscError):
    """A .uoi file is truncated, altered, foreign, of a newer version or of another model."""


@dataclass(frozen=True)
class File:
    """A parsed file: what its header says, and the payload. Fingerprint, size and packing: None in the compact form."""

    fingerprint: bytes | None
    size: tuple[int, int] | None
    packing: int | None
    payload: bytes
    checksum: bytes


def describe(file: str) -> list[str]:
    """What a file says of itself, a line each. Raises DataError or BitstreamError, which name it."""
    with naming(file):
        data = read_file(file)
        parsed = parse(data)
    form = "self-describing" if parsed.fingerprint else "compact"
    lines = [f"{len(data)} bytes, {len(parsed.payload)} of them payload; version {VERSION}, {form} form"]
    if parsed.size is not None:
        lines.append(f"image of {parsed.size[0]} x {parsed.size[1]} pixels, model {parsed.fingerprint.hex()}")
        lines.append(f"packing {parsed.packing} of its rate dial" if parsed.packing else "fixed rate")
    return lines


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
    if compact:
        _check_version(data[0] & 0x0F)
    length = COMPACT_BYTES if compact else HEADER_BYTES
    if len(data) < length:
        raise BitstreamError(f"{len(data)} bytes are less than a header: the file is truncated")
    payload, checksum = data[length:], data[length - 3 : length]
    if compact:
        return File(None, None, None, payload, checksum)
    _, version, fingerprint, *size, packing = HEAD.unpack(data[: HEAD.size])
    _check_version(version)
    if crc24(data[: HEAD.size], payload) != checksum:
        raise BitstreamError("the checksum does not fit: the file was altered or truncated, fetch it again")
    check_size(tuple(size))
    return File(fingerprint, tuple(size), packing, payload, checksum)


def crc24(*parts: bytes) -> bytes:
    return (zlib.crc32(b"".join(parts)) & 0xFFFFFF).to_bytes(3, "big")


def _check_version(version: int) -> None:
    if version != VERSION:
        remedy = "use a newer program" if version > VERSION else "encode the image again"
        raise BitstreamError(f"version {version} of the format, this program reads {VERSION}: {remedy}")


def check_size(size: tuple[int, int]) -> None:
    if not all(1 <= side <= MAX_SIDE for side in size) or size[0] * size[1] > MAX_PIXELS:
        raise BitstreamError(
            f"an image of {size[0]} x {size[1]} pixels: 1 to {MAX_SIDE} a side can be sent, {MAX_PIXELS:,} in all"
        )
