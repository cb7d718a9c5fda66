"""Changed files: each rule of the formats broken on its own, and many changes at random."""
import math
import struct

import spec

WIDTHS = {'I': 4, 'Q': 8, 'f': 4}
MODEL_HEADER = dict(zip(spec.HEADER_FIELDS, (
    (0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4), (28, 4), (32, 4), (36, 4), (40, 4),
    (44, 4), (48, 4), (52, 4), (56, 4), (60, 4), (64, 8), (72, 8), (80, 8), (88, 4), (92, 8),
    (100, 8))))
MODEL_HEADER['checksum_kind'] = (108, 4)
MODEL_ENTRY = dict(zip(spec.ENTRY_FIELDS, (
    (0, 8), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4), (28, 4), (32, 8), (40, 8), (48, 8),
    (56, 4), (60, 4))))
PACKAGE_HEADER = dict(zip(spec.PACKAGE_HEADER_FIELDS, (
    (0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 4), (52, 4),
    (56, 8), (64, 8), (72, 8), (80, 8), (88, 8))))
PACKAGE_HEADER.update({'kind0': (96, 4), 'kind1': (100, 4), 'kind2': (104, 8), 'kind3': (112, 8),
                       'checksum': (120, 8)})
PACKAGE_ENTRY = dict(zip(spec.PACKAGE_ENTRY_FIELDS, (
    (0, 8), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4), (28, 4), (32, 8), (40, 8), (48, 8),
    (56, 8))))
PACKAGE_ENTRY['detail_high'] = (52, 4)


def get(data, at, width):
    return int.from_bytes(data[at:at + width], 'little')


def put(data, at, width, value):
    """A copy of data with a number changed."""
    out = bytearray(data)
    out[at:at + width] = (value % (1 << 8 * width)).to_bytes(width, 'little')
    return bytes(out)


def is_model(data):
    return data[:4] == b'SLM1'


def fields(data):
    """Every field of the file's header and directory: [(name, offset, width)]."""
    if is_model(data):
        header, entry = MODEL_HEADER, MODEL_ENTRY
        start, count = get(data, 80, 8), get(data, 88, 4)
    else:
        header, entry, start, count = PACKAGE_HEADER, PACKAGE_ENTRY, 128, get(data, 48, 4)
    out = [(name, at, width) for name, (at, width) in header.items()
           if name != 'checksum_kind' or get(data, 8, 4) >= 128]
    for i in range(count):
        out += [('entry %d %s' % (i, name), start + 64 * i + at, width)
                for name, (at, width) in entry.items()]
    return out


def values(rng, data, at, width):
    """What a field may be changed to."""
    old, top = get(data, at, width), (1 << 8 * width) - 1
    choices = [0, 1, 2, 3, 4, 5, 7, 64, 128, 65536, 65537, old + 1, old - 1, old + 4, old - 4,
               old + 64, old - 64, 2 * old, old // 2, old | 2 ** 31, 2 ** 31 - 1, 2 ** 31, top,
               top - 63, (top >> 1) + 1, 0x7fc00000, 0x7f800000, 0xff800000, 0x80000000,
               0xbf800000, rng.getrandbits(8 * width), len(data), len(data) - 64, len(data) + 64]
    if width == 8:
        choices += [2 ** 32, 2 ** 32 + old, 2 ** 62, old + 2 ** 63, 2 ** 64 - old]
    return sorted({c & top for c in choices} - {old})


def reseal(data, payloads=True, mask=True):
    """The checksums of the file computed again, as far as its fields lead to what they cover."""
    data = bytearray(data)
    if is_model(data):
        return bytes(spec.seal_model(data) if len(data) >= 112 else data)
    if len(data) < 128:
        return bytes(data)
    sections = b''
    for i in range(min(get(data, 48, 4), (len(data) - 128) // 64)):
        at = 128 + 64 * i
        e = dict(zip(spec.PACKAGE_ENTRY_FIELDS, spec.PACKAGE_ENTRY.unpack_from(data, at)))
        payload = data[e['payload_offset']:e['payload_offset'] + e['payload_length']]
        if payloads and len(payload) == e['payload_length']:
            struct.pack_into('<Q', data, at + 56, spec.checksum(payload))
        n = e['dim0'] * e['dim1'] * e['dim2'] * e['dim3']
        sections += bytes(payload[:4 * e['detail'] if e['encoding'] == 1 else (n + 7) // 8])
    if data[:4] == b'ASP1' and mask:
        struct.pack_into('<Q', data, 112, spec.checksum(sections))
    return bytes(spec.seal_package(data))


def field_changes(rng, data, most):
    """Fields changed one at a time and a few at once."""
    every = fields(data)
    for i in range(most):
        out, label = data, []
        for _ in range(1 if i % 4 else rng.choice((2, 2, 3))):
            name, at, width = rng.choice(every if rng.random() < 0.6 else every[:24])
            value = rng.choice(values(rng, data, at, width))
            out = put(out, at, width, value)
            label.append('%s=%#x' % (name, value))
        how = rng.random()
        if how < 0.7:
            out = reseal(out, payloads='payload_checksum' not in ' '.join(label),
                         mask='kind3' not in ' '.join(label))
        elif how < 0.85:
            out = reseal(out, payloads=False, mask=False)
        yield 'field ' + ', '.join(label), out


def lengths(rng, data, most):
    """Cut, extended, and with a changed file_length."""
    for _ in range(most):
        cut = rng.choice((rng.randrange(len(data)), len(data) - rng.randint(1, 130),
                          64 * rng.randrange(len(data) // 64 + 1), rng.randrange(200)))
        out = data[:max(0, cut)]
        if rng.random() < 0.4:
            tail = bytes(rng.choice((1, 4, 63, 64, 65, 128, 1000)))
            if rng.random() < 0.4:
                tail = tail[:-1] + b'\x01'
            out = data + tail
        label = 'length %d of %d' % (len(out), len(data))
        if not is_model(data) and len(out) >= 128 and rng.random() < 0.3:
            out = put(out, 88, 8, len(out))
            label += ', file_length too'
        yield label, reseal(out) if rng.random() < 0.6 and len(out) >= 128 else out


def flips(rng, data, every=True, most=0):
    """One bit changed: in every byte, or in some."""
    for at in range(len(data)) if every else sorted(rng.sample(range(len(data)), most)):
        out = put(data, at, 1, data[at] ^ 1 << rng.randrange(8))
        how = rng.random()
        protected = 112 <= at < 120 and not is_model(data)
        if how < 0.8:
            out = reseal(out, mask=not protected)
        elif how < 0.9:
            out = reseal(out, payloads=False, mask=False)
        yield 'flip in byte %d%s' % (at, '' if how < 0.9 else ', not sealed'), out


def tokenizer_changes(rng, data, most):
    """Words of a model's tokenizer section changed, in its header, its records and its merges."""
    start, length = get(data, 64, 8), get(data, 72, 8)
    section, words = data[start:start + length], list(range(0, min(36, length), 4))
    if section[:4] == b'BPE1':
        position = 36
        for _ in range(get(section, 28, 4)):
            words += [position, position + 4]
            position += 8 + get(section, position + 4, 4)
        words += range(position, length, 4)
    for _ in range(most):
        at = rng.choice(words)
        old = get(section, at, 4)
        value = rng.choice((0, 1, old + 1, old - 1, 255, 256, 259, 260, 261, 2 ** 32 - 1,
                            rng.randrange(270), get(section, rng.choice(words), 4)))
        yield 'tokenizer word at %d: %d' % (at, value), reseal(put(data, start + at, 4, value))


def insert(data, at, count):
    """A model with zeros inserted, and all offsets behind them moved."""
    out = bytearray(data)
    directory = get(data, 80, 8)
    places = [64, 80, 92]
    for i in range(get(data, 88, 4)):
        places += [directory + 64 * i + 32, directory + 64 * i + 48]
    for place in places:
        offset = get(data, place, 8)
        if offset >= at:
            out[place:place + 8] = (offset + count).to_bytes(8, 'little')
    return reseal(out[:at] + bytes(count) + out[at:])


# --- One broken rule, and the code and exit code that it must give --------------------------------

NAN, INF = 0x7fc00000, 0x7f800000


def _package_entries(data):
    return [dict(zip(spec.PACKAGE_ENTRY_FIELDS, spec.PACKAGE_ENTRY.unpack_from(data, 128 + 64 * i)))
            for i in range(get(data, 48, 4))]


def package_rules(rng, data):
    """(name, bytes, code, exit code) for one package."""
    kind, size = data[:4], len(data)
    count = get(data, 48, 4)
    entries = _package_entries(data)
    i = rng.randrange(count)
    at, e = 128 + 64 * i, entries[i]
    start, length = e['payload_offset'], e['payload_length']

    def put_sealed(offset, width, value, **how):
        return reseal(put(data, offset, width, value), **how)

    flipped = rng.randrange(96, size)
    yield 'magic', put(data, 3, 1, 50), 'bad_magic', 1
    yield 'version', put_sealed(4, 4, rng.choice((0, 2, 9))), 'unsupported_version', 5
    yield 'hlen', put_sealed(8, 4, rng.choice((0, 127, 129, 192))), 'bad_header_length', 1
    yield 'empty', b'', 'truncated', 1
    yield 'half header', data[:rng.randrange(4, 128)], 'truncated', 1
    yield 'cut half', data[:size // 2], 'truncated', 1
    yield 'cut last', data[:-1], 'truncated', 1
    yield 'cut anywhere', reseal(data[:rng.randrange(128, size)]), 'truncated', 1
    yield 'trailing', data + bytes([rng.randrange(256)]), 'trailing_bytes', 1
    yield 'bit flip', put(data, flipped, 1, data[flipped] ^ 1 << rng.randrange(8)), \
        'checksum_mismatch', 3
    yield 'flags', put_sealed(12, 4, rng.choice((1, 2 ** 31))), 'reserved_not_zero', 1
    yield 'reserved', put_sealed(52, 4, 7), 'reserved_not_zero', 1
    yield 'no entries', put_sealed(48, 4, 0), 'bad_value', 1
    yield 'more than tensors', put_sealed(48, 4, get(data, 20, 4) + 1), 'bad_value', 1
    yield 'many entries', put_sealed(48, 4, rng.choice((65537, 2 ** 32 - 1))), 'limit_exceeded', 1
    if count > 1:
        yield 'fewer entries', put_sealed(48, 4, count - 1, mask=False), 'offset_not_canonical', 1
    yield 'dir_off', put_sealed(56, 8, rng.choice((0, 64, 127, 192, 2 ** 64 - 64))), \
        'offset_not_canonical', 1
    payload_offset = get(data, 80, 8)
    yield 'pay_off', put_sealed(80, 8, payload_offset + rng.choice((-64, -1, 1, 64, 2 ** 63))), \
        'offset_not_canonical', 1
    yield 'len huge', put_sealed(88, 8, rng.choice((2 ** 63, 2 ** 64 - 1, size + 1))), \
        'truncated', 1
    yield 'len small', put_sealed(88, 8, rng.choice((0, 128, size - 1))), 'trailing_bytes', 1
    cut = rng.randrange(128, size)
    yield 'cut and counted', reseal(put(data[:cut], 88, 8, cut)), \
        'bad_metadata' if cut < get(data, 64, 8) + get(data, 72, 8) else 'offset_not_canonical', 1
    yield 'rank 0', put_sealed(at + 8, 4, 0), 'bad_rank', 1
    yield 'rank 5', put_sealed(at + 8, 4, rng.choice((5, 2 ** 32 - 1))), 'bad_rank', 1
    yield 'dim 0', put_sealed(at + 16, 4, 0), 'bad_dim', 1
    yield 'dim big', put_sealed(at + 16, 4, rng.choice((2 ** 31, 2 ** 32 - 1))), 'bad_dim', 1
    yield 'unused dim', put_sealed(at + 28, 4, rng.choice((0, 2))), 'bad_dim', 1
    yield 'entry_off', put_sealed(at + 32, 8, start + rng.choice((-64, 4, 64, 2 ** 63)),
                                  payloads=False, mask=False), 'offset_not_canonical', 1
    yield 'entry_len', put_sealed(at + 40, 8, length + rng.choice((-4, -1, 1, 4, 64)),
                                  payloads=False, mask=False), 'length_mismatch', 1
    yield 'entry_len wraps', put_sealed(at + 40, 8, rng.choice((2 ** 64 - 4, 2 ** 64 - start)),
                                        payloads=False, mask=False), 'length_mismatch', 1
    yield 'payload_sum', put_sealed(at + 56, 8, rng.choice((0, 5, e['payload_checksum'] ^ 1)),
                                    payloads=False), 'payload_checksum_mismatch', 3
    value_at = start + length - 4 * rng.randint(1, 1 if kind == b'ASP1' else length // 4)
    if kind == b'ALR1':     # not in the padding between A and B
        value_at = rng.choice((start, start + length - 4))
    yield 'nan', put_sealed(value_at, 4, NAN | rng.getrandbits(22)), 'non_finite', 1
    yield 'inf', put_sealed(value_at, 4, INF | rng.choice((0, 1 << 31))), 'non_finite', 1
    if count > 1:
        j = rng.randrange(count - 1)
        one, two = 128 + 64 * j, 192 + 64 * j
        yield 'duplicate', put_sealed(two, 8, get(data, one, 8)), 'directory_not_sorted', 1
        swapped = data[:one] + data[two:two + 8] + data[one + 8:two] + data[one:one + 8] + \
            data[two + 8:]
        yield 'unsorted', reseal(swapped), 'directory_not_sorted', 1
    if get(data, 72, 8):
        yield from _metadata_rules(rng, data)
    if kind == b'ADP1':
        yield 'kind bytes', put_sealed(96 + rng.randrange(24), 1, 1), 'reserved_not_zero', 1
        yield 'detail', put_sealed(at + 48, 8, rng.choice((1, 2 ** 63))), 'reserved_not_zero', 1
    if kind != b'ASP1':
        yield 'encoding', put_sealed(at + 12, 4, rng.choice((1, 2, 9))), 'reserved_not_zero', 1
    if kind == b'ASP1':
        yield from _sparse_rules(rng, data, at, e, put_sealed)
    if kind == b'ALR1':
        yield from _low_rank_rules(rng, at, e, put_sealed)


BAD_METADATA = (
    b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"b":{"a":1,"a":1}}', b'{"":1,"":1}',
    b'not json', b'[]', b'"x"', b'1', b'{}{}', b'{"a":1} x', b'{}\x00', b'{"a":1', b'{"a":1,}',
    b"{'a':1}", b'{/**/}', b'\xef\xbb\xbf{}', b' ',
    b'{"a":NaN}', b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":Infinity}',
    b'{"a":"\t"}', b'{"a":\x00}', b'{"a":\xff}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\\x41"}',
    b'{"name":1}', b'{"license":null}', b'{"source":[]}', b'{"description":{}}',
    b'{"tensor_names":["x"]}', b'{"tensor_names":"x"}', b'{"tensor_names":[1]}',
    b'{"tensor_names":[]}', b'{"tensor_names":null}',
    b'{"a":' + b'[' * 16 + b']' * 16 + b'}')


def _metadata_rules(rng, data):
    start, length, end = get(data, 64, 8), get(data, 72, 8), get(data, 80, 8)
    names = end - start - length
    if names:
        yield 'metadata padding', reseal(put(data, start + length + rng.randrange(names), 1, 1)), \
            'padding_not_zero', 1
    room = end - start
    for text in BAD_METADATA:
        if rng.random() < 0.5 and spec.align64(len(text)) == room:
            out = bytearray(data)
            out[start:end] = text + bytes(room - len(text))
            yield 'metadata %r' % text, reseal(put(out, 72, 8, len(text))), 'bad_metadata', 1
    yield 'metadata length', reseal(put(data, 72, 8, rng.choice((2 ** 20 + 1, 2 ** 64 - 1)))), \
        'bad_metadata', 1
    yield 'metadata offset', reseal(put(data, 64, 8, start + rng.choice((-start, 1, 64)))), \
        'offset_not_canonical', 1


def _sparse_rules(rng, data, at, e, put_sealed):
    n, stored = math.prod((e['dim0'], e['dim1'], e['dim2'], e['dim3'])), e['detail']
    start = e['payload_offset']
    yield 'method', put_sealed(100, 4, rng.choice((4, 9, 2 ** 32 - 1))), 'bad_value', 1
    if get(data, 100, 4) != 2:
        yield 'seed', put_sealed(104, 8, rng.choice((1, 2 ** 63))), 'bad_value', 1
    yield 'mask_sum', put_sealed(112, 8, rng.choice((0, 5)), mask=False), \
        'mask_checksum_mismatch', 3
    yield 'retention', put_sealed(96, 4, get(data, 96, 4) ^ 1 << rng.randrange(32)), \
        'retention_mismatch', 1
    yield 'count 0', put_sealed(at + 48, 8, 0, mask=False), 'bad_value', 1
    yield 'count big', put_sealed(at + 48, 8, rng.choice((n + 1, 2 ** 40, 2 ** 64 - 1)),
                                  mask=False), 'bad_value', 1
    yield 'asp encoding', put_sealed(at + 12, 4, rng.choice((0, 3, 9)), mask=False), 'bad_value', 1
    if e['encoding'] == 1:
        k = rng.randrange(stored)
        yield 'range', put_sealed(start + 4 * (stored - 1), 4, rng.choice((n, 2 ** 32 - 1))), \
            'index_out_of_range', 1
        yield 'range anywhere', put_sealed(start + 4 * k, 4, rng.choice((n, 2 ** 32 - 1))), \
            'index_out_of_range', 1
        if stored > 1:
            k = rng.randrange(1, stored)
            a, b = start + 4 * k - 4, start + 4 * k
            yield 'repeat', put_sealed(b, 4, get(data, a, 4)), 'index_not_ascending', 1
            swapped = put(put(data, a, 4, get(data, b, 4)), b, 4, get(data, a, 4))
            yield 'index unsorted', reseal(swapped), 'index_not_ascending', 1
            yield 'unsorted, mask not sealed', reseal(swapped, mask=False), 'index_not_ascending', 1
        if stored % 16:
            yield 'index padding', put_sealed(start + 4 * stored, 1, 1), 'padding_not_zero', 1
    else:
        section = (n + 7) // 8
        element = rng.randrange(n)
        byte = start + element // 8
        flipped = put(data, byte, 1, data[byte] ^ 1 << element % 8)
        yield 'popcount', reseal(flipped), 'count_mismatch', 1
        yield 'popcount, mask not sealed', reseal(flipped, mask=False), 'count_mismatch', 1
        if n % 8:
            last = start + section - 1
            yield 'bits past end', put_sealed(last, 1, data[last] | 128), 'mask_bits_past_end', 1
        if section % 64:
            yield 'mask padding', put_sealed(start + section, 1, 1), 'padding_not_zero', 1
        if stored < n:
            zero = next(k for k in range(n) if not data[start + k // 8] >> k % 8 & 1)
            one = next(k for k in range(n) if data[start + k // 8] >> k % 8 & 1)
            moved = put(data, start + zero // 8, 1, data[start + zero // 8] ^ 1 << zero % 8)
            moved = put(moved, start + one // 8, 1, moved[start + one // 8] ^ 1 << one % 8)
            yield 'another choice', reseal(moved, mask=False), 'mask_checksum_mismatch', 3


def _low_rank_rules(rng, at, e, put_sealed):
    yield 'source kind', put_sealed(96, 4, rng.choice((4, 9, 2 ** 32 - 1))), 'bad_value', 1
    yield 'source reserved', put_sealed(100, 4, 1), 'reserved_not_zero', 1
    without = bytearray(put_sealed(96, 4, 0))
    without[104 + rng.randrange(16)] |= 1
    yield 'source without kind', reseal(without), 'bad_value', 1
    yield 'r 0', put_sealed(at + 48, 4, 0), 'bad_low_rank', 1
    yield 'r big', put_sealed(at + 48, 4, rng.choice((min(e['dim0'], e['dim1']) + 1, 4097,
                                                      2 ** 32 - 1))), 'bad_low_rank', 1
    for name, bits in (('zero', 0), ('minus zero', 1 << 31), ('nan', NAN), ('inf', INF)):
        yield 'scale ' + name, put_sealed(at + 52, 4, bits), 'bad_low_rank', 1
    yield 'tensor rank 1', put_sealed(at + 8, 4, 1), 'bad_low_rank', 1
    yield 'tensor rank 3', put_sealed(at + 8, 4, 3), 'bad_low_rank', 1
    size = 4 * get(e['detail'].to_bytes(8, 'little'), 0, 4) * e['dim1']
    if size % 64:
        yield 'factor padding', put_sealed(e['payload_offset'] + size, 1, 1), 'padding_not_zero', 1


def model_rules(rng, data):
    """(name, bytes, code, exit code) for one model with a checksum that can be verified."""
    size, directory, count = len(data), get(data, 80, 8), get(data, 88, 4)
    i = rng.randrange(count)
    at = directory + 64 * i
    entries = [dict(zip(spec.ENTRY_FIELDS, spec.ENTRY.unpack_from(data, directory + 64 * k)))
               for k in range(count)]
    e = entries[i]
    tokenizer = get(data, 64, 8)

    def put_sealed(offset, width, value):
        return reseal(put(data, offset, width, value))

    flipped = rng.randrange(128, size)
    yield 'magic', put(data, 3, 1, 50), 'bad_magic', 1
    yield 'version', put_sealed(4, 4, rng.choice((0, 2, 3))), 'unsupported_version', 5
    yield 'hlen', put_sealed(8, 4, rng.choice((0, 100, 107, size + 1, 2 ** 32 - 1))), \
        'bad_header_length', 1
    yield 'short', data[:rng.randrange(4, 108)], 'truncated', 1
    yield 'cut', data[:size // 2], 'range_out_of_file', 3
    yield 'cut and sealed', reseal(data[:size // 2]), 'range_out_of_file', 1
    yield 'bit flip', put(data, flipped, 1, data[flipped] ^ 1 << rng.randrange(8)), \
        'checksum_mismatch', 3
    yield 'zero sum', put(data, 100, 8, 0), 'checksum_mismatch', 3
    yield 'kind', put_sealed(108, 4, rng.choice((0, 2, 2 ** 32 - 1))), 'checksum_unverifiable', 5
    yield 'type', put_sealed(12, 4, rng.choice((0, 2))), 'bad_value', 1
    yield 'flags', put_sealed(16, 4, get(data, 16, 4) | rng.choice((2, 2 ** 31))), 'bad_value', 1
    tied = get(data, 16, 4) & 1
    yield 'tied', put_sealed(16, 4, 1 - tied), 'missing_tensor' if tied else 'unexpected_tensor', 1
    yield 'vocab', put_sealed(20, 4, get(data, 20, 4) + rng.choice((-1, 1))), \
        'tokenizer_malformed', 1
    yield 'special tokens', put_sealed(24, 4, rng.randrange(4)), 'bad_value', 1
    for offset in range(28, 56, 4):
        yield 'zero at %d' % offset, put_sealed(offset, 4, 0), 'bad_value', 1
    yield 'kv', put_sealed(40, 4, get(data, 36, 4) + 1), 'bad_value', 1
    yield 'layers', put_sealed(32, 4, get(data, 32, 4) + rng.choice((1, 70000, 2 ** 31))), \
        'missing_tensor', 1
    yield 'hidden', put_sealed(28, 4, get(data, 28, 4) + 1), 'shape_mismatch', 1
    for offset, name in ((56, 'rope'), (60, 'epsilon')):
        bits = rng.choice((NAN, INF, 0, 1 << 31, 0xbf800000))
        yield name, put_sealed(offset, 4, bits), 'bad_value', 1
    far = rng.choice((2 ** 62, spec.align64(size) + 64, 2 ** 64 - 64))
    yield 'tokenizer far', put_sealed(64, 8, far), 'range_out_of_file', 1
    yield 'tokenizer long', put_sealed(72, 8, rng.choice((size, 2 ** 64 - 1))), \
        'range_out_of_file', 1
    yield 'directory far', put_sealed(80, 8, far), 'range_out_of_file', 1
    yield 'directory misaligned', put_sealed(80, 8, directory + 4), 'misaligned', 1
    yield 'data misaligned', put_sealed(92, 8, get(data, 92, 8) + 4), 'misaligned', 1
    yield 'count 0', put_sealed(88, 4, 0), 'bad_value', 1
    yield 'count wraps', put_sealed(88, 4, rng.choice((65537, 2 ** 32 - 1))), 'limit_exceeded', 1
    if get(data, 8, 4) > 112:
        yield 'reserved', put_sealed(rng.randrange(112, get(data, 8, 4)), 1, 1), \
            'reserved_not_zero', 1
    yield 'trailing', reseal(data + bytes(64)), 'trailing_bytes', 1
    starts = [tokenizer, directory] + [e[f] for e in entries
                                       for f in ('byte_offset', 'scale_offset') if e[f]]
    yield 'hole', insert(data, rng.choice(starts), 64 * rng.randint(1, 3)), 'hole', 1
    for k in rng.sample(range(7), 3):
        yield 'tokenizer word %d' % k, put_sealed(tokenizer + 4 * k, 4, rng.choice((
            get(data, tokenizer + 4 * (k - 1 if k > 3 else 4), 4), 2 ** 32 - 1))), \
            'tokenizer_malformed', 1
    yield 'entry reserved', put_sealed(at + 60, 4, 1), 'reserved_not_zero', 1
    yield 'name', put_sealed(at, 8, e['name_hash'] ^ 1), rng.choice((
        'missing_tensor', 'unexpected_tensor')), 1
    other = entries[i - 1]['name_hash']
    yield 'duplicate', put_sealed(at, 8, other), rng.choice((
        'missing_tensor', 'duplicate_tensor')), 1
    yield 'dtype', put_sealed(at + 8, 4, rng.choice((0, 4, 9))), 'unsupported_dtype', \
        5 if e['dtype'] == spec.F32 else None
    yield 'rank', put_sealed(at + 12, 4, rng.choice((0, 5, 2 ** 32 - 1))), 'bad_rank', 1
    yield 'rank 3', put_sealed(at + 12, 4, 3), 'shape_mismatch' if e['dim2'] else 'bad_dim', 1
    yield 'dim 0', put_sealed(at + 16, 4, 0), 'bad_dim', 1
    yield 'dim big', put_sealed(at + 16, 4, 2 ** 31), 'bad_dim', 1
    yield 'unused dim', put_sealed(at + 28, 4, 2), 'bad_dim', 1
    yield 'payload far', put_sealed(at + 32, 8, far), 'range_out_of_file', 1
    yield 'payload misaligned', put_sealed(at + 32, 8, e['byte_offset'] + 4), 'misaligned', 1
    yield 'payload wraps', put_sealed(at + 40, 8, 2 ** 64 - e['byte_offset']), 'length_mismatch', 1
    yield 'payload length', put_sealed(at + 40, 8, e['byte_length'] + rng.choice((-1, 1))), \
        'length_mismatch', 1
    there = entries[i - 1]['byte_offset']
    yield 'overlap', put_sealed(at + 32, 8, there), \
        'overlap' if there + e['byte_length'] <= size else 'range_out_of_file', 1
    if e['dtype'] == spec.F32:
        value = e['byte_offset'] + 4 * rng.randrange(e['byte_length'] // 4)
        yield 'value', put_sealed(value, 4, rng.choice((NAN, INF, INF | 1 << 31))), 'non_finite', 1
        yield 'block of f32', put_sealed(at + 56, 4, 2), 'bad_block_size', 1
        yield 'scales of f32', put_sealed(at + 48, 8, 64), 'bad_value', 1
        return
    cols = e['dim%d' % (e['rank'] - 1)]
    blocks = [0, cols + 2, 2 * cols, 2 ** 32 - 2]
    if e['dtype'] == spec.Q4_0:
        blocks += [1, cols - 1, 3]
    yield 'block', put_sealed(at + 56, 4, rng.choice(blocks)), 'bad_block_size', 1
    groups = math.prod(e['dim%d' % k] for k in range(e['rank'])) // e['block_size']
    scale = e['scale_offset'] + 4 * rng.randrange(groups)
    bound = 0x7c000000 if e['dtype'] == spec.Q8_0 else 0x7e000000
    yield 'scale', put_sealed(scale, 4, rng.choice((0, 1 << 31, NAN, INF, 0xbf800000, bound,
                                                    bound + 1))), 'bad_scale', 1
    yield 'scale below the bound', put_sealed(scale, 4, rng.choice((bound - 1, 1, 0x7fffff))), \
        None, 0
    yield 'scales far', put_sealed(at + 48, 8, far), 'range_out_of_file', 1
    yield 'scales misaligned', put_sealed(at + 48, 8, e['scale_offset'] + 2), 'misaligned', 1


def broken_rules(rng, data):
    if is_model(data):
        return model_rules(rng, data) if get(data, 8, 4) >= 128 else ()
    return package_rules(rng, data)
