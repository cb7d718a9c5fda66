"""The byte formats and the arithmetic, written a second time from docs/formats.md alone.

Shares no code with the library, so that a difference between the two shows a mistake in one of
them. `apply` computes the exact bytes that applying a stack must give. numpy's float32 operations
round to nearest even after every single step, as the arithmetic wants it.
"""
import ctypes
import ctypes.util
import hashlib
import math
import struct

import numpy as np

F32, Q8_0, Q4_0 = 1, 2, 3
f32 = np.float32
np.seterr(all='ignore')
TINY = f32(2.0 ** -126)
SCALE_BOUND = {Q8_0: f32(2.0 ** 121), Q4_0: f32(2.0 ** 125)}
CODES = {Q8_0: (-127, 127), Q4_0: (-8, 7)}
MAX_TENSORS, MAX_DIM, MAX_ELEMENTS, MAX_LOW_RANK = 65536, 2 ** 31 - 1, 2 ** 40, 4096
MAX_METADATA, MAX_METADATA_DEPTH = 1 << 20, 16


# --- Hashes ---------------------------------------------------------------------------------------

def _load_xxh3():
    """XXH3-64 of bytes, from Python's xxhash or from the C library; None when neither is there."""
    try:
        import xxhash
        return xxhash.xxh3_64_intdigest
    except ImportError:
        pass
    for name in ('libxxhash.so.0', 'libxxhash.dylib', ctypes.util.find_library('xxhash')):
        try:
            function = ctypes.CDLL(name).XXH3_64bits if name else None
        except (OSError, AttributeError):
            continue
        if function:
            function.restype = ctypes.c_uint64
            function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
            return lambda data: function(bytes(data), len(data))
    return None


_xxh3 = _load_xxh3()


def have_xxh3():
    return _xxh3 is not None


def xxh3(data):
    return _xxh3(bytes(data))


def checksum(data):
    """A stored checksum is never 0."""
    return xxh3(data) or 1


def fnv1a(text):
    h = 0xcbf29ce484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return h


def sha256(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def align64(x):
    return (x + 63) // 64 * 64


# --- SLM1 -----------------------------------------------------------------------------------------

SHAPE = ('hidden_size', 'layer_count', 'head_count', 'kv_head_count', 'head_dim', 'ffn_size',
         'max_context')
HEADER = struct.Struct('<4s13I2f3QI2Q')
assert HEADER.size == 108
HEADER_FIELDS = ('magic', 'version', 'header_length', 'model_type', 'flags', 'vocab_size',
                 'special_token_count') + SHAPE + (
                     'rope_theta', 'rms_norm_epsilon', 'tokenizer_offset', 'tokenizer_length',
                     'tensor_directory_offset', 'tensor_count', 'tensor_data_offset', 'checksum')
ENTRY = struct.Struct('<Q6I3Q2I')
ENTRY_FIELDS = ('name_hash', 'dtype', 'rank', 'dim0', 'dim1', 'dim2', 'dim3', 'byte_offset',
                'byte_length', 'scale_offset', 'block_size', 'reserved')
BTOK = struct.pack('<4s6I', b'BTOK', 1, 260, 256, 257, 258, 259)


def contract(h, layers=None):
    """The tensors of model_type 1 in the order in which they are written: [(name, dims)]."""
    heads, kv = h['head_count'] * h['head_dim'], h['kv_head_count'] * h['head_dim']
    hidden, ffn = h['hidden_size'], h['ffn_size']
    tensors = [('tok_embeddings.weight', (h['vocab_size'], hidden))]
    for n in range(h['layer_count'] if layers is None else layers):
        tensors += [('layers.%d.%s.weight' % (n, name), dims) for name, dims in (
            ('attn_norm', (hidden,)), ('wq', (heads, hidden)), ('wk', (kv, hidden)),
            ('wv', (kv, hidden)), ('wo', (hidden, heads)), ('ffn_norm', (hidden,)),
            ('w1', (ffn, hidden)), ('w2', (hidden, ffn)), ('w3', (ffn, hidden)))]
    tensors.append(('norm.weight', (hidden,)))
    if not h['flags'] & 1:
        tensors.append(('output.weight', (h['vocab_size'], hidden)))
    return tensors


def largest_block(cols):
    return next((b for b in range(min(32, cols), 1, -1) if b % 2 == 0 and cols % b == 0), 0)


class Tensor:
    """values: float32 (f32) or int8 codes, flat; scales: one per group, a row (q8_0) or a block."""

    def __init__(self, name, dims, dtype, values, scales=None, block=0):
        self.name, self.dims, self.dtype, self.block = name, tuple(dims), dtype, block
        self.hash = fnv1a(name)
        self.values, self.scales = values, scales
        self.n, self.cols = math.prod(dims), dims[-1]
        self.byte_offset = self.scale_offset = 0

    def payload(self, values=None):
        values = self.values if values is None else values
        if self.dtype == Q4_0:
            low, high = values[0::2].astype(np.uint8) & 15, values[1::2].astype(np.uint8) & 15
            return (low | high << 4).astype(np.uint8).tobytes()
        return values.tobytes()

    def decode(self, values=None, scales=None):
        values = self.values if values is None else values
        scales = self.scales if scales is None else scales
        if self.dtype == F32:
            return values.copy()
        grouped = values.astype(f32).reshape(len(scales), -1)
        return (grouped * scales[:, None]).reshape(-1)


def unpack_nibbles(data):
    packed = np.frombuffer(data, np.uint8)
    codes = np.empty(2 * len(packed), np.int8)
    codes[0::2], codes[1::2] = packed & 15, packed >> 4
    codes[codes > 7] -= 16
    return codes


class Model:
    """header: dict of HEADER_FIELDS; tokenizer: bytes; tensors in directory order."""

    def __init__(self, header, tokenizer, tensors):
        self.header, self.tokenizer, self.tensors = header, tokenizer, tensors

    def identity(self):
        layout = b'TRLMLAY1'
        for t in sorted(self.tensors, key=lambda t: t.hash):
            dims = t.dims + (1,) * (4 - len(t.dims))
            layout += struct.pack('<Q5I', t.hash, len(t.dims), *dims)
        return {'model_flags': self.header['flags'], 'tensor_count': len(self.tensors),
                'parameter_count': sum(t.n for t in self.tensors),
                'tensor_layout_checksum': checksum(layout),
                'tokenizer_checksum': checksum(self.tokenizer)}

    def state(self):
        return checksum(struct.pack('<2I3Q', *self.identity().values()))


def seal_model(data):
    data[100:108] = struct.pack('<Q', checksum(data[:100] + bytes(8) + data[108:]))
    return data


def write_model(model, rng=None, header_length=128, foreign=0):
    """The file in the order of section 1; with rng, any other order and padding that it allows.

    A header_length below 128 gives a foreign header, whose checksum is the value `foreign`.
    """
    tensors = list(model.tensors)
    if rng is None:
        order = {name: i for i, (name, _) in enumerate(contract(model.header))}
        tensors.sort(key=lambda t: order[t.name])
    regions = [('tokenizer', None, 1, len(model.tokenizer)), ('directory', None, 64,
                                                             64 * len(tensors))]
    for t in tensors:
        regions.append(('payload', t, 64, len(t.payload())))
        if t.dtype != F32:
            regions.append(('scales', t, 4, 4 * len(t.scales)))
    if rng is not None:
        rng.shuffle(regions)
    offsets, position = {}, header_length
    for what, t, alignment, length in regions:
        if rng is None:
            position = position if what == 'tokenizer' else align64(position)
        else:
            start = -(-position // alignment) * alignment
            room = (position + 63 - start) // alignment
            position = start + alignment * (rng.randint(0, room) if rng.random() < 0.5 else 0)
        offsets[what, t] = position
        position += length
    size = align64(position) if rng is None else position + rng.choice((0, 0, 1, 63))
    data = bytearray(size)
    h = dict(model.header, magic=b'SLM1', version=1, header_length=header_length,
             tokenizer_offset=offsets['tokenizer', None], tokenizer_length=len(model.tokenizer),
             tensor_directory_offset=offsets['directory', None], tensor_count=len(tensors),
             tensor_data_offset=min(offsets['payload', t] for t in tensors), checksum=foreign)
    data[:108] = HEADER.pack(*(h[f] for f in HEADER_FIELDS))
    data[h['tokenizer_offset']:h['tokenizer_offset'] + len(model.tokenizer)] = model.tokenizer
    for i, t in enumerate(tensors):
        unused = 1 if rng is None or rng.random() < 0.8 else 0
        dims = t.dims + (unused,) * (4 - len(t.dims))
        payload = t.payload()
        at, scales_at = offsets['payload', t], offsets.get(('scales', t), 0)
        ENTRY.pack_into(data, h['tensor_directory_offset'] + 64 * i, t.hash, t.dtype, len(t.dims),
                        *dims, at, len(payload), scales_at, t.block, 0)
        data[at:at + len(payload)] = payload
        if t.dtype != F32:
            data[scales_at:scales_at + 4 * len(t.scales)] = t.scales.tobytes()
    if header_length >= 128:
        struct.pack_into('<I', data, 108, 1)
        seal_model(data)
    return bytes(data)


def read_model(data):
    """Reads a file that is known to be valid."""
    h = dict(zip(HEADER_FIELDS, HEADER.unpack_from(data)))
    names = {fnv1a(name): name for name, _ in contract(h)}
    start = h['tokenizer_offset']
    tensors = []
    for i in range(h['tensor_count']):
        e = dict(zip(ENTRY_FIELDS, ENTRY.unpack_from(data, h['tensor_directory_offset'] + 64 * i)))
        dims = (e['dim0'], e['dim1'], e['dim2'], e['dim3'])[:e['rank']]
        payload = data[e['byte_offset']:e['byte_offset'] + e['byte_length']]
        values = (np.frombuffer(payload, f32) if e['dtype'] == F32
                  else np.frombuffer(payload, np.int8) if e['dtype'] == Q8_0
                  else unpack_nibbles(payload))
        scales = None
        if e['dtype'] != F32:
            scales = np.frombuffer(data, f32, math.prod(dims) // e['block_size'],
                                   e['scale_offset'])
        t = Tensor(names[e['name_hash']], dims, e['dtype'], values, scales, e['block_size'])
        t.byte_offset, t.scale_offset = e['byte_offset'], e['scale_offset']
        tensors.append(t)
    return Model(h, data[start:start + h['tokenizer_length']], tensors)


# --- Packages -------------------------------------------------------------------------------------

PACKAGE_HEADER = struct.Struct('<4s5I3Q2I5Q')
PACKAGE_HEADER_FIELDS = ('magic', 'version', 'header_length', 'package_flags', 'model_flags',
                         'tensor_count', 'parameter_count', 'tensor_layout_checksum',
                         'tokenizer_checksum', 'entry_count', 'reserved', 'directory_offset',
                         'metadata_offset', 'metadata_length', 'payload_offset', 'file_length')
assert PACKAGE_HEADER.size == 96
PACKAGE_ENTRY = struct.Struct('<Q6I4Q')
PACKAGE_ENTRY_FIELDS = ('name_hash', 'rank', 'encoding', 'dim0', 'dim1', 'dim2', 'dim3',
                        'payload_offset', 'payload_length', 'detail', 'payload_checksum')
assert PACKAGE_ENTRY.size == 64


def padded(data):
    return data + bytes(align64(len(data)) - len(data))


class PackageEntry:
    """One of: values (ADP1); indexes, values, encoding (ASP1); a, b, scale (ALR1)."""

    def __init__(self, name, dims, values=None, indexes=None, encoding=0, a=None, b=None,
                 scale=None):
        self.name, self.dims, self.hash = name, tuple(dims), fnv1a(name)
        self.values, self.indexes, self.encoding = values, indexes, encoding
        self.a, self.b, self.scale = a, b, scale
        self.n = math.prod(dims)

    def index_section(self):
        if self.encoding == 1:
            return self.indexes.astype('<u4').tobytes()
        bits = np.zeros(self.n, np.uint8)
        bits[self.indexes] = 1
        return np.packbits(bits, bitorder='little').tobytes()

    def payload(self):
        if self.a is not None:
            return padded(self.a.tobytes()) + self.b.tobytes()
        if self.indexes is not None:
            return padded(self.index_section()) + self.values.tobytes()
        return self.values.tobytes()

    def detail(self):
        if self.a is not None:
            return struct.unpack('<Q', struct.pack('<If', len(self.a), self.scale))[0]
        return 0 if self.indexes is None else len(self.indexes)

    def delta(self, strength):
        """(flat indexes or a slice over everything, deltas) at a strength, in float32."""
        if self.a is None:
            return (slice(None) if self.indexes is None else self.indexes), strength * self.values
        acc = self.b[:, 0:1] * self.a[0:1, :]
        for k in range(1, len(self.a)):
            acc = acc + self.b[:, k:k + 1] * self.a[k:k + 1, :]
        return slice(None), ((strength * self.scale) * acc).reshape(-1)


def retention(entries):
    stored = sum(len(e.indexes) for e in entries)
    return f32(float(stored) / float(sum(e.n for e in entries)))


def write_package(kind, identity, entries, metadata=b'', method=0, seed=0, source_kind=0,
                  source=bytes(16)):
    entries = sorted(entries, key=lambda e: e.hash)
    directory_end = 128 + 64 * len(entries)
    payload_offset = align64(directory_end + len(metadata))
    body, directory = bytearray(), b''
    for e in entries:
        body += bytes(align64(len(body)) - len(body))
        payload = e.payload()
        dims = e.dims + (1,) * (4 - len(e.dims))
        directory += PACKAGE_ENTRY.pack(e.hash, len(e.dims), e.encoding, *dims,
                                        payload_offset + len(body), len(payload), e.detail(),
                                        checksum(payload))
        body += payload
    header = PACKAGE_HEADER.pack(
        kind, 1, 128, 0, identity['model_flags'], identity['tensor_count'],
        identity['parameter_count'], identity['tensor_layout_checksum'],
        identity['tokenizer_checksum'], len(entries), 0, 128, directory_end if metadata else 0,
        len(metadata), payload_offset, payload_offset + len(body))
    if kind == b'ASP1':
        mask = checksum(b''.join(e.index_section() for e in entries))
        header += struct.pack('<fIQQ', retention(entries), method, seed, mask)
    elif kind == b'ALR1':
        header += struct.pack('<II16s', source_kind, 0, source)
    else:
        header += bytes(24)
    front = header + bytes(8) + directory + metadata
    data = bytearray(front + bytes(payload_offset - len(front)) + body)
    return bytes(seal_package(data))


def seal_package(data):
    data[120:128] = struct.pack('<Q', checksum(data[:120] + bytes(8) + data[128:]))
    return data


# --- Arithmetic -----------------------------------------------------------------------------------

def _mix(z):
    z = z ^ z >> np.uint32(16)
    z = z * np.uint32(0x7feb352d)
    z = z ^ z >> np.uint32(15)
    z = z * np.uint32(0x846ca68b)
    return z ^ z >> np.uint32(16)


def uniform(seed, name_hash, n):
    """The random number of every element of a tensor."""
    k = xxh3(struct.pack('<QQ', seed, name_hash))
    k0, k1 = np.uint32(k & 0xffffffff), np.uint32(k >> 32)
    index = np.arange(n, dtype=np.uint64)
    low, high = index.astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    h = _mix((_mix(low ^ k0) ^ k1) + high * np.uint32(0x9e3779b9))
    return (h >> np.uint32(8)).astype(f32) * f32(2.0 ** -24)


class FusedNonFinite(Exception):
    pass


def fit_scales(dtype, w):
    """The scale of each group, a row of w."""
    if dtype == Q8_0:
        return np.maximum(np.abs(w).max(axis=1) / f32(127), TINY)
    pos = np.maximum(f32(0), w.max(axis=1))
    neg = np.maximum(f32(0), -w.min(axis=1))
    return np.maximum(np.maximum(pos / f32(7), neg / f32(8)), TINY)


def encode(t, old, new, touched, rounding):
    """(values, scales) of a tensor whose elements became `new`."""
    if t.dtype == F32:
        return new, None
    lo, hi = CODES[t.dtype]
    groups = len(t.scales)
    w, w_old, nonzero = (x.reshape(groups, -1) for x in (new, old, touched))
    codes_old = t.values.reshape(groups, -1)
    active = nonzero.any(axis=1)
    how, _, seed = rounding.partition(':')
    stochastic = np.full(groups, how != 'nearest')
    if how == 'adaptive':
        stochastic = np.abs(w - w_old).max(axis=1) < f32(0.75) * t.scales
    inside = (f32(lo) * t.scales)[:, None] <= w
    inside &= w <= (f32(hi) * t.scales)[:, None]
    kept = stochastic & inside.all(axis=1)
    scales = np.where(kept, t.scales, fit_scales(t.dtype, w))
    if (active & ~(scales < SCALE_BOUND[t.dtype])).any():
        raise FusedNonFinite
    x = w * (f32(1) / scales)[:, None]
    near = np.clip(np.rint(x), lo, hi)
    if how == 'nearest':
        codes = near
    else:
        floor = np.floor(x)
        up = uniform(int(seed), t.hash, t.n).reshape(w.shape) < x - floor
        drawn = np.clip(floor + up.astype(f32), lo, hi)
        rest = np.where(kept[:, None], codes_old.astype(f32), near)
        codes = np.where(stochastic[:, None], np.where(nonzero, drawn, rest), near)
    codes = np.where(active[:, None], codes, codes_old.astype(f32))
    # A kept scale of 2^-128 or less has an infinite inverse, and no rule says what a w of 0 times
    # that becomes: 0 is what remains.
    codes = np.nan_to_num(codes).astype(np.int8).reshape(-1)
    return codes, np.where(active, scales, t.scales)


def promoted(t, output_dtype):
    """The dtype of a tensor that a stack names, after `--output-dtype`."""
    if output_dtype == 'f32':
        return F32
    return Q8_0 if output_dtype == 'q8_0' and t.dtype == Q4_0 else t.dtype


def encode_promoted(t, new, touched, rounding):
    """(codes, scales) of a q4_0 tensor that becomes q8_0: every row is fitted."""
    lo, hi = CODES[Q8_0]
    w = new.reshape(-1, t.cols)
    scales = fit_scales(Q8_0, w)
    if (~(scales < SCALE_BOUND[Q8_0])).any():
        raise FusedNonFinite
    x = w * (f32(1) / scales)[:, None]
    codes = np.clip(np.rint(x), lo, hi)
    how, _, seed = rounding.partition(':')
    if how == 'stochastic':
        floor = np.floor(x)
        up = uniform(int(seed), t.hash, t.n).reshape(w.shape) < x - floor
        drawn = np.clip(floor + up.astype(f32), lo, hi)
        codes = np.where(touched.reshape(w.shape), drawn, codes)
    return codes.astype(np.int8).reshape(-1), scales


def _promote(t, old, new, touched, rounding, dtype):
    """Stores the tensor in another dtype. True when the deltas make no difference."""
    if dtype == F32:
        t.values, t.scales, t.dtype, t.block = new, None, F32, 0
        return new.tobytes() == old.tobytes()
    codes, scales = encode_promoted(t, new, touched, rounding)
    try:
        plain = encode_promoted(t, old, touched, 'nearest')
        same = codes.tobytes() == plain[0].tobytes() and scales.tobytes() == plain[1].tobytes()
    except FusedNonFinite:
        same = False
    t.values, t.scales, t.dtype, t.block = codes, scales, Q8_0, t.cols
    return same


def _row_sum(products, cols):
    """Sum in the order of the survival report, in double."""
    rows = products.reshape(-1, cols)
    wide = np.zeros((len(rows), align64(cols)))
    wide[:, :cols] = rows
    p = np.zeros((len(rows), 8))
    for j in range(0, wide.shape[1], 8):
        p = p + wide[:, j:j + 8]
    sums = (((p[:, 0] + p[:, 1]) + (p[:, 2] + p[:, 3]))
            + ((p[:, 4] + p[:, 5]) + (p[:, 6] + p[:, 7])))
    total = 0.0
    for s in sums.tolist():
        total = total + s
    return total


def survival(t, old, new, decoded, touched):
    i = new.astype(np.float64) - old.astype(np.float64)
    e = decoded.astype(np.float64) - old.astype(np.float64)
    ii, ee, ie = (_row_sum(x, t.cols) for x in (i * i, e * e, i * e))
    noise = _row_sum((e - i) * (e - i), t.cols)
    norms = math.sqrt(ii) * math.sqrt(ee)
    return {'name': t.name, 'elements': t.n, 'touched': int(touched.sum()),
            'changed': int((decoded.view(np.uint32) != old.view(np.uint32)).sum()),
            'kept': ie / ii if ii else 0.0, 'cosine': ie / norms if ii and ee else 0.0,
            'snr_db': 10 * math.log10(ii / noise) if ii and noise else None,
            'max_abs_delta': float(np.abs(i).max()), 'rms_delta': math.sqrt(ii / t.n),
            'ii': ii, 'ie': ie}


class Applied:
    """What applying a stack gives: refused names the tensors that would not stay finite."""

    def __init__(self):
        self.refused, self.tensors = [], []
        self.output = self.state = self.kept = self.checksum = None
        self.zero_effect = True


def apply(base, stack, rounding, output_dtype='keep'):
    """base: bytes of a valid model; stack: [(package bytes, entries, strength as float32)]."""
    model, result = read_model(base), Applied()
    output, state, anew = bytearray(base), model.state(), False
    for package, _, strength in stack:
        stored = struct.unpack_from('<Q', package, 120)[0]
        state = checksum(struct.pack('<QQf', state, stored, strength))
    result.state = state
    for t in model.tensors:
        parts = [(e, s) for _, entries, s in stack for e in entries if e.hash == t.hash]
        if not parts:
            continue
        old = t.decode()
        new, touched = old.copy(), np.zeros(t.n, bool)
        for e, strength in parts:
            where, delta = e.delta(strength)
            nonzero = delta != 0
            new[where] = np.where(nonzero, new[where] + delta, new[where])
            touched[where] |= nonzero
        if not np.isfinite(new).all():
            result.refused.append(t.name)
            continue
        dtype = promoted(t, output_dtype)
        try:
            if dtype != t.dtype:
                result.zero_effect &= _promote(t, old, new, touched, rounding, dtype)
                result.tensors.append(survival(t, old, new, t.decode(), touched))
                anew = True
                continue
            values, scales = encode(t, old, new, touched, rounding)
        except FusedNonFinite:
            result.refused.append(t.name)
            continue
        payload = t.payload(values)
        result.zero_effect &= payload == t.payload()
        output[t.byte_offset:t.byte_offset + len(payload)] = payload
        if scales is not None:
            result.zero_effect &= scales.tobytes() == t.scales.tobytes()
            output[t.scale_offset:t.scale_offset + 4 * len(scales)] = scales.tobytes()
        result.tensors.append(survival(t, old, new, t.decode(values, scales), touched))
        t.values, t.scales = values, scales
    if not result.refused:
        if anew or model.header['header_length'] < 128:
            result.output = write_model(model)
        else:
            result.output = bytes(seal_model(output))
        result.checksum = struct.unpack_from('<Q', result.output, 100)[0]
        intended = sum(r['ii'] for r in result.tensors)
        result.kept = sum(r['ie'] for r in result.tensors) / intended if intended else 0.0
    return result
