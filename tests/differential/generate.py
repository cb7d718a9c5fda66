"""Random models and adapter packages, all of them valid. The same seed gives the same bytes."""
import json
import math
import struct

import numpy as np

import spec
from spec import F32, Q4_0, Q8_0, Tensor, f32


def array_rng(rng):
    return np.random.Generator(np.random.PCG64(rng.getrandbits(64)))


def bpe(rng):
    """A BPE1 section with merges, and its vocab_size."""
    special = [256, 257, 258, 259]
    rng.shuffle(special)
    tokens, merges = {}, []
    spelling = {i: bytes([i]) for i in range(256)}
    if rng.random() < 0.3:      # a byte with another spelling
        b = rng.randrange(256)
        tokens[b] = spelling[b] = bytes([rng.randrange(256)])
    pairs, ranks = set(), rng.sample(range(2 ** 32), 64)
    for _ in range(rng.randint(0, 20)):
        left, right = rng.choice(list(spelling)), rng.choice(list(spelling))
        if (left, right) in pairs or len(spelling[left] + spelling[right]) > 40:
            continue
        pairs.add((left, right))
        output = 260 + len(merges)
        tokens[output] = spelling[output] = spelling[left] + spelling[right]
        merges.append((left, right, output, ranks[len(merges)]))
    vocab_size = 260 + len(merges) + rng.choice((0, 0, 3))
    records = list(tokens.items())
    rng.shuffle(records)
    rng.shuffle(merges)
    section = struct.pack('<4s8I', b'BPE1', 1, vocab_size, *special, len(records), len(merges))
    for token, text in records:
        section += struct.pack('<2I', token, len(text)) + text
    return section + b''.join(struct.pack('<4I', *m) for m in merges), vocab_size


def header(rng, tiny, large):
    kv = rng.choice((1, 1, 2, 3))
    h = {'model_type': 1, 'flags': int(rng.random() < 0.4),
         'special_token_count': rng.choice((4, 9)),
         'hidden_size': rng.choice((2, 4, 6, 7, 8, 16, 18, 33, 64, 66)),
         'layer_count': rng.choice((1, 1, 2)),
         'head_count': kv * rng.choice((1, 1, 2, 3)), 'kv_head_count': kv,
         'head_dim': rng.choice((1, 2, 3, 4, 8, 16)),
         'ffn_size': rng.choice((1, 2, 5, 12, 32, 70)),
         'max_context': rng.choice((1, 64, 2 ** 32 - 1)),
         'rope_theta': rng.choice((1e4, 2.0 ** -149)),
         'rms_norm_epsilon': rng.choice((1e-5, 3e38))}
    if large and rng.random() < 0.04:       # more than one tile
        h.update(hidden_size=rng.choice((256, 400, 1030)), ffn_size=rng.choice((300, 1100, 2051)),
                 head_dim=rng.choice((16, 65)), layer_count=1)
    if tiny:
        h.update(hidden_size=2, layer_count=1, head_count=1, kv_head_count=1, head_dim=2,
                 ffn_size=rng.choice((1, 2, 3)))
    return h


def special_floats(rng, g, x, most=8):
    """Puts a few values on which careless arithmetic fails into x."""
    odd = np.array([-0.0, 0.0, 2.0 ** -149, -2.0 ** -149, 2.0 ** -126, -2.0 ** -127, 1e-40, 1.0,
                    -1.5, 2.0 ** -24, 1 + 2.0 ** -23], f32)
    if rng.random() < 0.6:
        at = g.integers(0, len(x), rng.randint(1, most))
        x[at] = g.choice(odd, len(at))
    return x


def tensor(rng, g, name, dims, storage, wild):
    n, cols = math.prod(dims), dims[-1]
    dtype = rng.choice((F32, Q8_0, Q4_0)) if storage == 'mixed' else storage
    block = 0
    if dtype == Q4_0:
        blocks = [b for b in range(2, cols + 1, 2) if cols % b == 0]
        if not blocks:
            dtype = F32
        else:
            block = spec.largest_block(cols) if rng.random() < 0.5 else rng.choice(blocks)
    if dtype == F32:
        magnitude = rng.choice((0.02, 0.02, 1.0, 1e-39, 1e38 if wild else 3.0))
        values = (g.standard_normal(n) * magnitude).clip(-3e38, 3e38).astype(f32)
        return Tensor(name, dims, F32, special_floats(rng, g, values))
    if dtype == Q8_0:
        block, limit, low, high = cols, 120, -128, 127
    else:
        limit, low, high = 124, -8, 7
    groups = n // block
    spread = high if rng.random() < 0.7 else rng.randint(1, high)
    codes = np.clip(np.rint(g.standard_normal(n) * spread / 2.5), low, high).astype(np.int8)
    if rng.random() < 0.3:
        codes = g.integers(low, high + 1, n).astype(np.int8)
    codes[g.integers(0, n, 3)] = rng.choice((low, high, 0))
    kind = rng.random()
    if kind < 0.7 or not wild and kind < 0.8:
        scales = np.exp(g.uniform(math.log(1e-4), math.log(1e-1), groups))
    elif kind < 0.8:
        scales = 2.0 ** g.uniform(limit - 3, limit + 0.99, groups)
    elif kind < 0.9:
        scales = 2.0 ** g.uniform(-149, -120, groups)
    else:
        scales = np.full(groups, 2.0 ** rng.choice((-149, -128, -127, -126, -20, 0, limit - 2)))
    scales = scales.astype(f32)
    if rng.random() < 0.2:
        below = np.nextafter(spec.SCALE_BOUND[dtype], f32(0))
        scales[rng.randrange(groups)] = f32(rng.choice((2.0 ** -149, 2.0 ** -127, 1.0,
                                                        below if wild else 2.0)))
    return Tensor(name, dims, dtype, codes, scales, block)


def model(rng, tiny=False, wild=None, large=False):
    """A random model. wild: with values near the ends of the range; large: once in a while."""
    h, tokenizer, g = header(rng, tiny, large), spec.BTOK, array_rng(rng)
    h['vocab_size'] = 260
    if rng.random() < 0.4:
        tokenizer, h['vocab_size'] = bpe(rng)
    storage = rng.choice((F32, Q8_0, Q4_0, 'mixed', 'mixed'))
    wild = rng.random() < 0.15 if wild is None else wild
    tensors = [tensor(rng, g, name, dims, storage, wild) for name, dims in spec.contract(h)]
    return spec.Model(h, tokenizer, tensors)


def model_file(rng, m, foreign=False):
    """Its bytes: as this project writes them, or in any other form that the format allows."""
    if foreign:
        return spec.write_model(m, rng, header_length=rng.choice((108, 108, 120)),
                                foreign=rng.getrandbits(64))
    if rng.random() < 0.5:
        return spec.write_model(m)
    return spec.write_model(m, rng, header_length=rng.choice((128, 128, 129, 192, 256, 500)))


def metadata(rng, entries):
    names = [e.name for e in sorted(entries, key=lambda e: e.hash)]
    choice = rng.randrange(6)
    if choice == 0:
        return b''
    if choice == 1:
        return b'{}'
    if choice == 2:
        return json.dumps({'tensor_names': names, 'name': ''}).encode()
    if choice == 3:
        return json.dumps({'tensor_names': names, 'license': 'MIT', 'description': 'x\u00e9\u4e2d',
                           'source': 's', '': [1, -2.5e3, None, True, {'a': {'a': []}}]},
                          ensure_ascii=rng.random() < 0.5).encode()
    if choice == 4:
        return b' \n\t{"a" : "' + b'x' * rng.randrange(120) + b'"}\r\n '
    return b'{"":{"":{"":""}}}'


def steps(t):
    """The distance of two neighbouring values of each element; for f32, a typical value."""
    if t.dtype == F32:
        return np.full(t.n, np.median(np.abs(t.values)) + f32(2.0 ** -149))
    return np.repeat(t.scales, t.n // len(t.scales))


def delta_values(rng, g, t):
    """One delta for each element: faint, weak, strong or of all sizes, some of them zero."""
    style = rng.random()
    strength = (rng.choice((0.05, 0.3, 0.74, 0.75, 1.0, 4.0)) if style < 0.8
                else 10.0 ** g.uniform(-3, 2, t.n))
    values = g.standard_normal(t.n) * np.float64(strength) * steps(t)
    if rng.random() < 0.1:
        values = np.sign(values) * steps(t) * rng.choice((0.25, 0.5, 0.75, 1.0, 1.5))
    if rng.random() < 0.05:
        values = values * 1e38
    values = np.clip(values, -3e38, 3e38).astype(f32)
    if rng.random() < 0.5:      # untouched rows, blocks and elements
        rows = values.reshape(-1, t.cols)
        rows[g.random(len(rows)) < rng.random()] = rng.choice((0.0, -0.0))
        values[g.random(t.n) < rng.random() * 0.5] = 0.0
    return special_floats(rng, g, values)


def low_rank(rng, g, t):
    rows = t.n // t.cols
    r = min(rng.choice((1, 1, 2, 3, 8, 16, 64, rows, t.cols)), rows, t.cols)
    size = float(np.median(steps(t))) * rng.choice((0.1, 0.5, 2.0, 8.0))
    scale = f32(rng.choice((1.0, 0.25, -2.0, 16.0 / r)))
    part = min(max(math.sqrt(size), 1e-18), 1e18)
    a = (g.standard_normal((r, t.cols)) * part).astype(f32)
    b = (g.standard_normal((rows, r)) * part / math.sqrt(r)).astype(f32)
    if rng.random() < 0.3:
        b[g.random(rows) < rng.random()] = rng.choice((0.0, -0.0))
    if rng.random() < 0.3:
        a[:, g.random(t.cols) < rng.random()] = 0.0
    if rng.random() < 0.1:
        scale = f32(rng.choice((2.0 ** -149, 1e-30, -3e38)))
    special_floats(rng, g, a.reshape(-1), 3)
    special_floats(rng, g, b.reshape(-1), 3)
    return spec.PackageEntry(t.name, t.dims, a=a, b=b, scale=scale)


def sparse(rng, g, t):
    most = t.n if rng.random() < 0.2 else max(1, t.n // rng.choice((1, 2, 8, 32, 100)))
    count = rng.choice((1, most, rng.randint(1, most)))
    indexes = np.sort(g.permutation(t.n)[:count]).astype(np.int64)
    values = delta_values(rng, g, t)[indexes]
    return spec.PackageEntry(t.name, t.dims, values=values, indexes=indexes,
                             encoding=rng.choice((1, 2)))


def package(rng, m, kind=None, most=None):
    """(bytes, entries, extension) of a random package for a model."""
    g = array_rng(rng)
    kind = kind or rng.choice((b'ADP1', b'ASP1', b'ALR1'))
    eligible = [t for t in m.tensors if kind != b'ALR1' or len(t.dims) == 2]
    count = rng.choice((1, 2, 3, len(eligible), rng.randint(1, len(eligible))))
    chosen = rng.sample(eligible, min(count, len(eligible), most or count))
    options = {}
    if kind == b'ADP1':
        entries = [spec.PackageEntry(t.name, t.dims, values=delta_values(rng, g, t))
                   for t in chosen]
    elif kind == b'ASP1':
        entries = [sparse(rng, g, t) for t in chosen]
        options['method'] = rng.randrange(4)
        options['seed'] = rng.getrandbits(64) if options['method'] == 2 else 0
    else:
        entries = [low_rank(rng, g, t) for t in chosen]
        options['source_kind'] = rng.randrange(4)
        if options['source_kind']:
            options['source'] = rng.randbytes(16)
    data = spec.write_package(kind, m.identity(), entries, metadata(rng, entries), **options)
    return data, entries, '.' + kind.decode().lower()


def strength(rng):
    """(text, its value as float32)."""
    text = rng.choice(('1', '1', '1', '0.5', '-1.25', '0.1', '-0.3', '2', '1e-3', '0.02', '%r' %
                       rng.uniform(-2, 2), '1e-45', '-1e-40', '3e38', '0.3333333333333333333333',
                       '1.00000005960464477540', '.75', '7.00649232162409e-46', '-1'))
    return text, f32(float(text))


def rounding(rng):
    seed = rng.choice((0, 0, 1, 7, 2 ** 32, 2 ** 63, 2 ** 64 - 1, rng.getrandbits(64)))
    return rng.choice(('nearest', 'stochastic:%d' % seed, 'adaptive:%d' % seed,
                       'adaptive:%d' % seed))


IDENTITY_CODES = {'model_flags': 'flags_differ', 'tensor_count': 'tensor_count_differs',
                  'parameter_count': 'parameter_count_differs',
                  'tensor_layout_checksum': 'layout_differs',
                  'tokenizer_checksum': 'tokenizer_differs'}


def misfits(rng, m, other):
    """(name, bytes, extension, codes) of packages that do not fit m."""
    g, identity = array_rng(rng), m.identity()

    def dense(dims, name):
        values = g.standard_normal(math.prod(dims)).astype(f32) * f32(0.01)
        return spec.PackageEntry(name, dims, values=values)

    t = rng.choice(m.tensors)
    good = [dense(t.dims, t.name)]
    for field, code in IDENTITY_CODES.items():
        wrong = dict(identity)
        wrong[field] = (wrong[field] ^ 1 if field == 'model_flags'
                        else wrong[field] + rng.choice((1, 5)))
        wrong['tensor_layout_checksum'] %= 2 ** 64
        wrong['tokenizer_checksum'] %= 2 ** 64
        yield field, spec.write_package(b'ADP1', wrong, good), '.adp1', {code}
    everything = {k: v ^ 1 for k, v in identity.items()}
    everything['tensor_count'] += 2
    yield 'all five', spec.write_package(b'ADP1', everything, good), '.adp1', \
        set(IDENTITY_CODES.values())
    unknown = [dense((3,), 'unknown.weight')] + good * (identity['tensor_count'] > 1)
    yield 'unknown', spec.write_package(b'ADP1', identity, unknown), '.adp1', {'tensor_unknown'}
    shapes = [t.dims[::-1] if t.dims[::-1] != t.dims else t.dims + (1,), t.dims + (1,),
              (1,) + t.dims, t.dims[:-1] + (t.dims[-1] + 1,)]
    wrong_shape = [dense(rng.choice(shapes), t.name)]
    yield 'shape', spec.write_package(b'ADP1', identity, wrong_shape), '.adp1', \
        {'tensor_shape_differs'}
    if other.identity() != identity:
        data, entries, extension = package(rng, other)
        theirs, codes = other.identity(), set()
        for field, code in IDENTITY_CODES.items():
            if theirs[field] != identity[field]:
                codes.add(code)
        dims = {x.hash: x.dims for x in m.tensors}
        codes |= {'tensor_unknown' for e in entries if e.hash not in dims}
        codes |= {'tensor_shape_differs' for e in entries if dims.get(e.hash, e.dims) != e.dims}
        yield 'another model', data, extension, codes


def misshapen(rng, m):
    """(name, bytes, code) of models whose tensors are not those that they must have."""
    def file(tensors):
        return spec.write_model(spec.Model(m.header, m.tokenizer, tensors), rng)

    i = rng.randrange(len(m.tensors))
    t, rest = m.tensors[i], m.tensors[:i] + m.tensors[i + 1:]
    zeros = np.zeros(t.n, f32)
    yield 'missing', file(rest), 'missing_tensor'
    yield 'extra', file(m.tensors + [Tensor('rope.freqs', t.dims, F32, zeros)]), \
        'unexpected_tensor'
    yield 'twice', file(m.tensors + [t]), 'duplicate_tensor'
    shapes = [s for s in (t.dims[::-1], t.dims + (1,), (1,) + t.dims, (t.n,)) if s != t.dims]
    yield 'shape', file(rest + [Tensor(t.name, rng.choice(shapes), F32, zeros)]), 'shape_mismatch'
