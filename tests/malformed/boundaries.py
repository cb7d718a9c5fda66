"""The values at which a field is tried."""
import math
import struct

LIMITS = (2 ** 16, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 63)     # of section 5, and of machine words


def numbers(width, *near):
    """Boundaries of an unsigned field of some bytes: 0, 1, around each of `near` and of the powers
    at which programs break, all ones."""
    top = (1 << 8 * width) - 1
    values = {0, 1, top, top - 1}
    for value in LIMITS + near:
        values |= {value - 1, value, value + 1}
    return sorted(v for v in values if 0 <= v <= top)


# Bits of f32 values by their names.
FLOATS = {
    'zero': 0x00000000, 'minus zero': 0x80000000, 'smallest subnormal': 0x00000001,
    'minus smallest subnormal': 0x80000001, 'largest subnormal': 0x007fffff,
    'smallest normal': 0x00800000, 'one': 0x3f800000, 'minus one': 0xbf800000,
    'below 2^121': 0x7bffffff, '2^121': 0x7c000000, 'below 2^125': 0x7dffffff,
    '2^125': 0x7e000000, 'largest': 0x7f7fffff, 'minus largest': 0xff7fffff,
    'infinity': 0x7f800000, 'minus infinity': 0xff800000, 'signalling NaN': 0x7f800001,
    'quiet NaN': 0x7fc00000, 'minus NaN': 0xffc00000, 'all ones': 0xffffffff}


def as_float(bits):
    return struct.unpack('<f', struct.pack('<I', bits))[0]


def finite(bits):
    return math.isfinite(as_float(bits))
