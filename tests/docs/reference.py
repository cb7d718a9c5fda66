"""Sections 2 to 4 of docs/formats.md in plain Python, written from that document alone.

It shows that the document says enough: `disagreements` recomputes every application of the conformance
vectors. It trusts its input and takes a second or two; the library is the one to use.
"""
import ctypes
import ctypes.util
import hashlib
import json
import math
import os
import struct

LOW32 = 0xFFFFFFFF


def load_xxhash():
    """The xxHash library, or None where there is none."""
    name = ctypes.util.find_library('xxhash')
    if name is None:
        return None
    library = ctypes.CDLL(name)
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library


XXHASH = load_xxhash()


def xxh3_64(data):
    return XXHASH.XXH3_64bits(bytes(data), len(data))


def checksum(data):
    return xxh3_64(data) or 1


def f32(value):
    """Rounds to f32. Python's own arithmetic is f64, and rounding its result of one operation on two
    f32 again gives the same as one f32 operation."""
    try:
        return struct.unpack('<f', struct.pack('<f', value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def align64(size):
    return (size + 63) // 64 * 64


def name_hash(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


class Tensor:
    """A directory entry of a model, or of a package: there rank and encoding stand where a model has
    dtype and rank."""
    def __init__(self, data, entry, of_package=False):
        self.name_hash, *numbers = struct.unpack_from('<Q6I', data, entry)
        self.dtype, rank = numbers[:2] if not of_package else (None, numbers[0])
        dims = numbers[2:]
        self.offset, _, self.scale_offset, self.block = struct.unpack_from('<3QI', data, entry + 32)
        self.dims = dims[:rank]
        self.cols = self.dims[-1]
        self.elements = math.prod(self.dims)


class Model:
    def __init__(self, data):
        self.data = data
        self.flags, = struct.unpack_from('<I', data, 16)
        tokenizer, length, directory, count = struct.unpack_from('<3QI', data, 64)
        self.tensors = [Tensor(data, directory + 64 * i) for i in range(count)]
        self.parameters = sum(tensor.elements for tensor in self.tensors)
        layout = b'TRLMLAY1'
        for tensor in sorted(self.tensors, key=lambda tensor: tensor.name_hash):
            dims = tensor.dims + [1] * (4 - len(tensor.dims))
            layout += struct.pack('<QI4I', tensor.name_hash, len(tensor.dims), *dims)
        self.layout = checksum(layout)
        self.tokenizer = checksum(data[tokenizer:tokenizer + length])

    def state(self):
        return xxh3_64(struct.pack('<2I3Q', self.flags, len(self.tensors), self.parameters,
                                   self.layout, self.tokenizer))


class Package:
    def __init__(self, data):
        self.data = data
        self.checksum, = struct.unpack_from('<Q', data, 120)
        count, = struct.unpack_from('<I', data, 48)
        places = range(128, 128 + 64 * count, 64)
        self.entries = {struct.unpack_from('<Q', data, place)[0]: place for place in places}

    def deltas(self, hash_, strength):
        """Element by element: the delta, or 0 where there is none."""
        data, entry = self.data, self.entries[hash_]
        tensor = Tensor(data, entry, of_package=True)
        encoding, = struct.unpack_from('<I', data, entry + 12)
        offset, n, cols = tensor.offset, tensor.elements, tensor.cols

        def floats(at, count):
            return struct.unpack_from('<%df' % count, data, at)

        if data[:4] == b'ADP1':
            return [f32(strength * value) for value in floats(offset, n)]
        if data[:4] == b'ASP1':
            count, = struct.unpack_from('<Q', data, entry + 48)
            if encoding == 1:
                places = struct.unpack_from('<%dI' % count, data, offset)
                values = floats(offset + align64(4 * count), count)
            else:
                places = [i for i in range(n) if data[offset + i // 8] >> i % 8 & 1]
                values = floats(offset + align64((n + 7) // 8), count)
            deltas = [0.0] * n
            for place, value in zip(places, values):
                deltas[place] = f32(strength * value)
            return deltas
        rank, scale = struct.unpack_from('<If', data, entry + 48)
        a = floats(offset, rank * cols)
        b = floats(offset + align64(4 * rank * cols), n // cols * rank)
        factor = f32(strength * scale)
        deltas = []
        for i in range(n):
            row, j = divmod(i, cols)
            sum_ = f32(b[row * rank] * a[j])
            for k in range(1, rank):
                sum_ = f32(sum_ + f32(b[row * rank + k] * a[k * cols + j]))
            deltas.append(f32(factor * sum_))
        return deltas


def mix(z):
    z ^= z >> 16
    z = z * 0x7FEB352D & LOW32
    z ^= z >> 15
    z = z * 0x846CA68B & LOW32
    return z ^ z >> 16


def random_key(seed, hash_):
    return xxh3_64(struct.pack('<2Q', seed, hash_))


def random_bits(key, element):
    """h of an element."""
    low, high = element & LOW32, element >> 32
    return mix((mix(low ^ key & LOW32) ^ key >> 32) + high * 0x9E3779B9 & LOW32)


def decode(data, tensor):
    """codes, scales, unit (elements that share a scale), values."""
    n = tensor.elements
    if tensor.dtype == 1:
        return None, None, n, list(struct.unpack_from('<%df' % n, data, tensor.offset))
    if tensor.dtype == 2:
        unit = tensor.cols
        codes = struct.unpack_from('<%db' % n, data, tensor.offset)
    else:
        unit = tensor.block
        halves = [half for byte in data[tensor.offset:tensor.offset + n // 2]
                  for half in (byte & 15, byte >> 4)]
        codes = [half - 16 if half > 7 else half for half in halves]
    scales = struct.unpack_from('<%df' % (n // unit), data, tensor.scale_offset)
    return list(codes), list(scales), unit, [f32(code * scales[i // unit])
                                             for i, code in enumerate(codes)]


def fitted_scale(dtype, values):
    if dtype == 2:
        return max(f32(max(map(abs, values)) / 127), 2.0**-126)
    return max(f32(max(0, max(values)) / 7), f32(max(0, -min(values)) / 8), 2.0**-126)


def encode_unit(dtype, first, old, new, touched, codes, scale, rounding, key):
    """New codes and scale of one row or block, whose first element has flat index `first`."""
    low, high = (-127, 127) if dtype == 2 else (-8, 7)
    mode = rounding.partition(':')[0]
    largest = max(abs(f32(n - o)) for n, o in zip(new, old))
    stochastic = mode == 'stochastic' or (mode == 'adaptive' and largest < f32(0.75 * scale))
    keep = stochastic and all(f32(low * scale) <= w <= f32(high * scale) for w in new)
    if not keep:
        scale = fitted_scale(dtype, new)
    inverse = f32(1 / scale)
    codes = list(codes)
    for i, w in enumerate(new):
        if keep and not touched[i]:
            continue
        x = f32(w * inverse)
        if math.isnan(x):
            codes[i] = 0
            continue
        x = max(-1e6, min(1e6, x))
        if stochastic and touched[i]:
            floor = math.floor(x)
            u = (random_bits(key, first + i) >> 8) * 2.0**-24
            code = floor + (1 if u < f32(x - floor) else 0)
        else:
            code = round(x)  # ties to even
        codes[i] = max(low, min(high, code))
    return codes, scale


def apply_stack(model_data, stack, rounding):
    """The new model's bytes and state; `stack` holds pairs of package bytes and strength."""
    model = Model(model_data)
    output = bytearray(model_data)
    members = [(Package(data), f32(float(strength))) for data, strength in stack]
    state = model.state()
    for package, strength in members:
        state = xxh3_64(struct.pack('<2Qf', state, package.checksum, strength))
    for tensor in model.tensors:
        present = [member for member in members if tensor.name_hash in member[0].entries]
        if not present:
            continue
        n = tensor.elements
        codes, scales, unit, old = decode(model_data, tensor)
        new, touched = list(old), [False] * n
        for package, strength in present:
            for i, delta in enumerate(package.deltas(tensor.name_hash, strength)):
                if delta != 0:
                    new[i] = f32(new[i] + delta)
                    touched[i] = True
        if tensor.dtype == 1:
            struct.pack_into('<%df' % n, output, tensor.offset, *new)
            continue
        seed = int(rounding.partition(':')[2] or 0)
        key = random_key(seed, tensor.name_hash)
        for first in range(0, n, unit):
            part = slice(first, first + unit)
            if any(touched[part]):
                codes[part], scales[first // unit] = encode_unit(
                    tensor.dtype, first, old[part], new[part], touched[part], codes[part],
                    scales[first // unit], rounding, key)
        struct.pack_into('<%df' % len(scales), output, tensor.scale_offset, *scales)
        if tensor.dtype == 2:
            struct.pack_into('<%db' % n, output, tensor.offset, *codes)
        else:
            output[tensor.offset:tensor.offset + n // 2] = bytes(
                codes[i] & 15 | (codes[i + 1] & 15) << 4 for i in range(0, n, 2))
    output[100:108] = bytes(8)
    output[100:108] = struct.pack('<Q', checksum(output))
    return bytes(output), state


def disagreements(vectors):
    """Applications in the conformance vectors whose result differs from this file's."""
    def read(path):
        with open(os.path.join(vectors, path), 'rb') as file:
            return file.read()

    wrong = []
    applies = json.loads(read('expected.json'))['applies']
    for number, case in enumerate(applies):
        stack = [(read(path), strength) for path, strength in case['stack']]
        output, state = apply_stack(read(case['model']), stack, case['rounding'])
        digest = 'sha256:' + hashlib.sha256(output).hexdigest()
        if digest != case['output_sha256'] or '%016x' % state != case['state']:
            wrong.append('application %d: %s' % (number, case))
    return len(applies), wrong
