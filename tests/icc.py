"""Colour profiles made by hand (ICC.1:2001), for tests of how images are read."""

import itertools
import struct

import numpy as np

# columns: red, green and blue of full strength as XYZ under D50, as the published profiles have them
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
D50 = (0.9642, 1.0, 0.8249)
INKS = {(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): (60, -30, -40), (0, 1, 0, 0): (50, 60, 0), (0, 0, 0, 1): (20, 0, 0)}


def matrix(columns, gamma: float) -> bytes:
    """A display's: its primaries, and one power law for all three."""
    tags = {b"wtpt": _xyz(D50)}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _power(gamma)))


def grey(gamma: float) -> bytes:
    """Of one channel."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": _power(gamma)})


def inks() -> bytes:
    """A printer's: paper and single inks look as `INKS` says (CIELAB), any two together near black."""
    lut = _table(4, [INKS.get(corner, (10, 0, 0)) for corner in itertools.product((0, 1), repeat=4)])
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(D50), b"A2B0": lut, b"A2B1": lut})


def faded(black: float, perceptual: float) -> bytes:
    """A screen's, of greys alone: from that lightness on (CIELAB); by perceptual intent white has the other one."""
    levels = [sum(corner) / 3 for corner in itertools.product((0, 1), repeat=3)]
    luts = [_table(3, [(black + (white - black) * v, 0, 0) for v in levels]) for white in (perceptual, 100)]
    return _profile(b"mntr", b"RGB ", b"Lab ", {b"wtpt": _xyz(D50)} | dict(zip((b"A2B0", b"A2B1"), luts, strict=True)))


def _table(channels: int, corners) -> bytes:
    """What each corner of a cube of channels looks like (CIELAB), the last channel fastest."""
    table = bytes(round(v) for L, a, b in corners for v in (L * 2.55, a + 128, b + 128))
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(np.eye(3).astype(int) * 65536).ravel().tolist())
    return b"mft1" + bytes(4) + bytes((channels, 3, 2, 0)) + identity + ramp * channels + table + ramp * 3


def _xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))


def _power(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"made by hand\0"
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(79), **tags}
    tags |= {b"cprt": b"text" + bytes(4) + b"none\0"}
    table, body, begin = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">2I", begin + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12x4s", begin + len(body), b"none", 0x02400000, kind, space, connection, b"acsp")
    head += bytes(68 - len(head)) + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body
