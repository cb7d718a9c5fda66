"""Models and packages: each field at each boundary, each byte cut off, each zero that must be one.

What is expected comes from two places that know nothing of each other: the tables below, which say
of a field and a value whether its own rule holds, and tests/differential/judge.py, a second reader,
which knows what else follows. Where they contradict each other nothing is written.
"""
import dataclasses
import math
import typing

import numpy as np

import boundaries
from boundaries import FLOATS
from corpus import Expected
from second import judge, mutate, spec
from mutate import get, put, reseal

U32 = 2 ** 32 - 1
UNSEALED = 'checksum_mismatch'


class Rule(typing.NamedTuple):
    text: str
    holds: typing.Callable      # of a value and the file that it stands in
    code: str


@dataclasses.dataclass
class File:
    """A valid file, and what the rules of its fields refer to."""
    label: str
    data: bytes
    entry: dict = dataclasses.field(default_factory=dict)   # whose field is being changed
    first: int = 0                                          # hash of the entry before it
    last: int = 2 ** 64                                     # and behind it

    @property
    def size(self):
        return len(self.data)

    def header(self):
        model = mutate.is_model(self.data)
        names = spec.HEADER_FIELDS if model else spec.PACKAGE_HEADER_FIELDS
        layout = spec.HEADER if model else spec.PACKAGE_HEADER
        return dict(zip(names, layout.unpack_from(self.data)))

    def entries(self):
        model = mutate.is_model(self.data)
        names = spec.ENTRY_FIELDS if model else spec.PACKAGE_ENTRY_FIELDS
        layout = spec.ENTRY if model else spec.PACKAGE_ENTRY
        start = get(self.data, 80, 8) if model else 128
        count = get(self.data, 88 if model else 48, 4)
        return [(start + 64 * i, dict(zip(names, layout.unpack_from(self.data, start + 64 * i))))
                for i in range(count)]

    def of_entry(self, entry):
        hashes = [e['name_hash'] for _, e in self.entries()]
        at = hashes.index(entry['name_hash'])
        return dataclasses.replace(self, entry=entry, first=hashes[at - 1] if at else -1,
                                   last=hashes[at + 1] if at + 1 < len(hashes) else 2 ** 64)


def one(code, text, holds):
    return [Rule(text, holds, code)]


def only(value, code):
    return one(code, str(value), lambda v, f: v == value)


def positive_float(v, f):
    return boundaries.finite(v) and boundaries.as_float(v) > 0


def inside(length):
    """The range that starts at the value lies in the file."""
    return lambda v, f: v + length(f) <= f.size


def no_wrap(length):
    return lambda v, f: v + length(f) < 2 ** 64


def offset(alignment, length):
    return [Rule('a multiple of %d' % alignment, lambda v, f: v % alignment == 0, 'misaligned'),
            Rule('the range ends in the file', inside(length), 'range_out_of_file'),
            Rule('offset and length fit in 64 bits', no_wrap(length), 'size_overflow')]


NOT_ZERO = one('bad_value', 'not 0', lambda v, f: v != 0)
ZERO = one('reserved_not_zero', '0', lambda v, f: v == 0)
ANY = []

MODEL_HEADER = {
    'magic': one('bad_magic', 'SLM1', lambda v, f: v == int.from_bytes(b'SLM1', 'little')),
    'version': only(1, 'unsupported_version'),
    'header_length': one('bad_header_length', '108 to the length of the file',
                         lambda v, f: 108 <= v <= f.size),
    'model_type': only(1, 'bad_value'),
    'flags': one('bad_value', 'bit 0 or none', lambda v, f: v <= 1),
    'vocab_size': one('bad_value', 'at least 260', lambda v, f: v >= 260) + one(
        'tokenizer_malformed', "the tokenizer's",
        lambda v, f: v == f.header()['vocab_size']),
    'special_token_count': one('bad_value', 'at least 4', lambda v, f: v >= 4),
    'hidden_size': NOT_ZERO, 'layer_count': NOT_ZERO, 'head_dim': NOT_ZERO, 'ffn_size': NOT_ZERO,
    'max_context': NOT_ZERO,
    'head_count': NOT_ZERO + one('bad_value', 'a multiple of kv_head_count',
                                 lambda v, f: v % f.header()['kv_head_count'] == 0),
    'kv_head_count': NOT_ZERO + one('bad_value', 'a divisor of head_count',
                                    lambda v, f: v and f.header()['head_count'] % v == 0),
    'rope_theta': one('bad_value', 'finite and above 0', positive_float),
    'rms_norm_epsilon': one('bad_value', 'finite and above 0', positive_float),
    'tokenizer_offset': offset(1, lambda f: f.header()['tokenizer_length']),
    'tokenizer_length': [
        Rule('the range ends in the file', inside(lambda f: f.header()['tokenizer_offset']),
             'range_out_of_file'),
        Rule('offset and length fit in 64 bits', no_wrap(lambda f: f.header()['tokenizer_offset']),
             'size_overflow')],
    'tensor_directory_offset': offset(64, lambda f: 64 * f.header()['tensor_count']),
    'tensor_count': NOT_ZERO + one('limit_exceeded', 'at most 65,536',
                                   lambda v, f: v <= spec.MAX_TENSORS),
    'tensor_data_offset': [Rule('a multiple of 64', lambda v, f: v % 64 == 0, 'misaligned'),
                           Rule('in the file', lambda v, f: v <= f.size, 'range_out_of_file')],
    'checksum': one(UNSEALED, 'that of the file', lambda v, f: v == f.header()['checksum']),
    'checksum_kind': only(1, 'checksum_unverifiable'),
}


def used_dims(e):
    return [e['dim%d' % i] for i in range(e['rank'])]


def payload_bytes(e):
    n = math.prod(used_dims(e))
    return {spec.F32: 4 * n, spec.Q8_0: n, spec.Q4_0: n // 2}[e['dtype']]


def scale_bytes(e):
    return 4 * math.prod(used_dims(e)) // e['block_size']


def good_block(v, f):
    e = f.entry
    cols = used_dims(e)[-1]
    return {spec.F32: v == 0, spec.Q8_0: v == cols,
            spec.Q4_0: v > 0 and v % 2 == 0 and cols % v == 0}[e['dtype']]


def dim_rules(i, unused):
    """The rules of dim[i]; unused: the values that an unused one may have."""
    def in_range(v, f):
        return v in unused if i >= f.entry['rank'] else 1 <= v <= spec.MAX_DIM

    def elements(v, f):
        if i >= f.entry['rank'] or not in_range(v, f):
            return True
        n = math.prod(used_dims(f.entry)) // f.entry['dim%d' % i] * v
        return n <= (2 ** 32 if f.data[:4] == b'ASP1' else spec.MAX_ELEMENTS)

    return one('bad_dim', '1 to 2^31 - 1; %s where unused' % ' or '.join(map(str, unused)),
               in_range) + one('limit_exceeded', 'at most 2^40 elements, in ASP1 2^32', elements)


MODEL_ENTRY = {
    'name_hash': one('missing_tensor', "the name's, each once",
                     lambda v, f: v == f.entry['name_hash']),
    'dtype': one('unsupported_dtype', '1, 2 or 3', lambda v, f: v in (1, 2, 3)),
    'rank': one('bad_rank', '1 to 4', lambda v, f: 1 <= v <= 4),
    **{'dim%d' % i: dim_rules(i, (0, 1)) for i in range(4)},
    'byte_offset': offset(64, lambda f: f.entry['byte_length']),
    'byte_length': one('length_mismatch', 'that of the elements',
                       lambda v, f: v == payload_bytes(f.entry)),
    'block_size': one('bad_block_size', 'f32 0; q8_0 cols; q4_0 an even divisor of cols',
                      good_block),
    'reserved': ZERO,
}
F32_SCALES = one('bad_value', '0', lambda v, f: v == 0)
SCALES = offset(4, lambda f: scale_bytes(f.entry))


def kind_rules(kind):
    """The 24 bytes that each kind of package has for itself."""
    if kind == b'ADP1':
        return {'kind%d' % i: ZERO for i in range(4)}
    if kind == b'ASP1':
        same = get
        return {
            'kind0': one('retention_mismatch', 'stored by all elements',
                         lambda v, f: v == same(f.data, 96, 4)),
            'kind1': one('bad_value', '0 to 3', lambda v, f: v <= 3),
            'kind2': one('bad_value', '0 unless mask_method is 2',
                         lambda v, f: v == 0 or same(f.data, 100, 4) == 2),
            'kind3': one('mask_checksum_mismatch', 'that of the index sections',
                         lambda v, f: v == same(f.data, 112, 8))}
    no_source = one('bad_value', '0 when source_kind is 0',
                    lambda v, f: v == 0 or get(f.data, 96, 4) != 0)
    return {'kind0': one('bad_value', '0 to 3; 0 only without a source hash',
                         lambda v, f: v <= 3 and (v or not any(f.data[104:120]))),
            'kind1': ZERO, 'kind2': no_source, 'kind3': no_source}


def package_header(kind):
    canonical = lambda name: one(  # noqa: E731
        'offset_not_canonical', 'what the content demands', lambda v, f: v == f.header()[name])
    return {
        'magic': one('bad_magic', kind.decode(), lambda v, f: v == int.from_bytes(kind, 'little')),
        'version': only(1, 'unsupported_version'),
        'header_length': only(128, 'bad_header_length'),
        'package_flags': ZERO, 'reserved': ZERO,
        'model_flags': ANY, 'parameter_count': ANY, 'tensor_layout_checksum': ANY,
        'tokenizer_checksum': ANY,
        'tensor_count': one('bad_value', 'at least entry_count',
                            lambda v, f: v >= f.header()['entry_count']) + one(
                                'limit_exceeded', 'at most 65,536',
                                lambda v, f: v <= spec.MAX_TENSORS),
        'entry_count': one('bad_value', '1 to tensor_count',
                           lambda v, f: 1 <= v <= f.header()['tensor_count']) + one(
                               'limit_exceeded', 'at most 65,536',
                               lambda v, f: v <= spec.MAX_TENSORS),
        'directory_offset': only(128, 'offset_not_canonical'),
        'metadata_offset': canonical('metadata_offset'),
        'metadata_length': one('bad_metadata', 'at most 1 MiB',
                               lambda v, f: v <= spec.MAX_METADATA),
        'payload_offset': canonical('payload_offset'),
        'file_length': one('truncated', 'the length of the file', lambda v, f: v <= f.size) + one(
            'trailing_bytes', 'the length of the file', lambda v, f: v >= f.size),
        **kind_rules(kind),
        'checksum': one(UNSEALED, 'that of the file', lambda v, f: v == get(f.data, 120, 8)),
    }


def package_entry(kind):
    rules = {
        'name_hash': one('directory_not_sorted', 'above the one before',
                         lambda v, f: f.first < v < f.last),
        'rank': one('bad_rank', '1 to 4', lambda v, f: 1 <= v <= 4),
        'encoding': ZERO,
        **{'dim%d' % i: dim_rules(i, (1,)) for i in range(4)},
        'payload_offset': one('offset_not_canonical', 'behind the payload before',
                              lambda v, f: v == f.entry['payload_offset']),
        'payload_length': one('length_mismatch', 'that of the elements',
                              lambda v, f: v == f.entry['payload_length']),
        'detail': ZERO,
        'payload_checksum': one('payload_checksum_mismatch', 'that of the payload',
                                lambda v, f: v == f.entry['payload_checksum'])}
    if kind == b'ASP1':
        rules['encoding'] = one('bad_value', '1 or 2', lambda v, f: v in (1, 2))
        rules['detail'] = one('bad_value', '1 to n',
                              lambda v, f: 1 <= v <= math.prod(used_dims(f.entry)))
    if kind == b'ALR1':
        rules['rank'] = rules['rank'] + one('bad_low_rank', '2', lambda v, f: not 1 <= v <= 4 or v == 2)
        rules['detail'] = one('bad_low_rank', '1 to min(rows, cols, 4096)',
                              lambda v, f: 1 <= v <= min(used_dims(f.entry) + [spec.MAX_LOW_RANK]))
        rules['detail_high'] = one('bad_low_rank', 'finite and not 0',
                                   lambda v, f: boundaries.finite(v) and boundaries.as_float(v) != 0)
    return rules


# --- The valid files ------------------------------------------------------------------------------

SMALL = {'model_type': 1, 'flags': 1, 'vocab_size': 260, 'special_token_count': 4,
         'hidden_size': 2, 'layer_count': 1, 'head_count': 1, 'kv_head_count': 1, 'head_dim': 2,
         'ffn_size': 2, 'max_context': 1, 'rope_theta': 1e4, 'rms_norm_epsilon': 1e-5}


def tensor(name, dims, dtype):
    """A tensor of values that differ, none of them 0."""
    n = math.prod(dims)
    if dtype == spec.F32:
        return spec.Tensor(name, dims, dtype, (np.arange(n, dtype='<f4') + 1) / 64)
    low, high = spec.CODES[dtype]
    codes = (np.arange(n) % (high - low) + low).astype(np.int8)
    return spec.Tensor(name, dims, dtype, codes, np.full(n // dims[-1], 0.25, '<f4'), dims[-1])


def model(tokenizer=spec.BTOK, storage=None, **header):
    """storage: the dtype of tensors by their name; f32 is that of the others."""
    h = dict(SMALL, **header)
    return spec.Model(h, tokenizer, [tensor(name, dims, (storage or {}).get(name, spec.F32))
                                     for name, dims in spec.contract(h)])


def models():
    stored = {'tok_embeddings.weight': spec.Q4_0, 'layers.0.wq.weight': spec.Q8_0}
    mixed = model(storage=stored)
    return {'mixed': File('mixed', spec.write_model(mixed)),
            'smallest': File('smallest', spec.write_model(model(hidden_size=1, head_dim=1,
                                                                ffn_size=1))),
            'untied': File('untied', spec.write_model(model(flags=0, hidden_size=1, head_count=2,
                                                            kv_head_count=2))),
            'long header': File('long header', spec.write_model(mixed, header_length=200)),
            'foreign': File('foreign', spec.write_model(mixed, header_length=108, foreign=77))}


def packages():
    identity = dict(model_flags=1, tensor_count=11, parameter_count=564,
                    tensor_layout_checksum=2 ** 63 + 5, tokenizer_checksum=3)

    def values(count):
        return (np.arange(count, dtype='<f4') - count) / 32

    def entry(name, dims, **parts):
        return spec.PackageEntry(name, dims, **parts)

    def write(label, kind, entries, **options):
        return File(label, spec.write_package(kind, identity, entries, **options))
    dense = [entry('a', (3,), values=values(3)), entry('b', (3, 5), values=values(15))]
    sparse = [entry('a', (3, 5), values=values(3), indexes=np.array([0, 7, 14]), encoding=1),
              entry('b', (4, 5), values=values(4), indexes=np.array([1, 7, 8, 19]), encoding=2)]
    low = [entry('a', (3, 5), a=values(5).reshape(1, 5), b=values(3).reshape(3, 1),
                 scale=np.float32(0.5)),
           entry('b', (4, 5), a=values(10).reshape(2, 5), b=values(8).reshape(4, 2),
                 scale=np.float32(-2))]
    text = b'{"name": "small", "license": null}'.replace(b'null', b'"MIT"')
    return [write('dense', b'ADP1', dense), write('dense with metadata', b'ADP1', dense,
                                                  metadata=text),
            write('sparse', b'ASP1', sparse, method=1),
            write('random sparse', b'ASP1', sparse, method=2, seed=9),
            write('low rank', b'ALR1', low), write('low rank of a source', b'ALR1', low,
                                                   source_kind=1, source=bytes(range(1, 17)))]


# --- Cases ----------------------------------------------------------------------------------------

class Contradiction(Exception):
    """The table and the second reader disagree: one of them has the specification wrong."""


def expect(data, codes=frozenset()):
    """What a file must give: the codes of the table, and what the second reader adds."""
    must, may = judge.judge(data)
    pseudo = set(judge.ALTERNATIVES)
    one_of = {frozenset(judge.ALTERNATIVES[p]) for p in must & pseudo}
    may = may.union(*one_of, *(judge.ALTERNATIVES[p] for p in may & pseudo)) - pseudo
    must = must - pseudo
    strange = codes - must - may
    if strange:
        raise Contradiction('the table asks for %s, the second reader for %s or %s' % (
            sorted(strange), sorted(must), sorted(may)))
    must = must | codes
    choices = tuple(sorted((c for c in one_of if not c & must), key=sorted))
    return Expected(frozenset(must), frozenset(may - must), choices)


# Fields that decide whether the checksum is looked at, or where it lies.
BEFORE_THE_CHECKSUM = {'magic', 'version', 'header_length', 'file_length', 'checksum_kind'}
# What is computed of these is computed of a file as it should be.
NOT_RESEALED = {'payload_offset', 'payload_length', 'payload_checksum', 'detail', 'encoding',
                'entry_count', 'kind3', 'directory_offset', 'rank', 'dim0', 'dim1', 'dim2', 'dim3'}
FLOAT_FIELDS = {'rope_theta', 'rms_norm_epsilon', 'kind0', 'detail_high'}


class Writer:
    """The cases of one group."""

    def __init__(self, corpus, group):
        self.corpus, self.group = corpus, group

    def add(self, name, rule, data, codes=frozenset()):
        try:
            self.corpus.add(self.group, name, rule, expect(data, frozenset(codes)), data)
        except Contradiction as error:
            raise Contradiction('%s: %s' % (name, error))

    def field(self, file, place, field, at, width, rules, near=()):
        """One field at every boundary."""
        own = get(file.data, at, width)
        # With the numbers beside it, all ways in which offsets and lengths touch something.
        close = {own, own + 4, max(own - 4, 1), own + 64, max(own - 64, 1), 2 * own, file.size,
                 file.size - own if own < file.size else 1, 2 ** 64 - file.size}
        values = [('%#x' % v, v) for v in boundaries.numbers(width, *close, *near)]
        if field in FLOAT_FIELDS and width == 4:
            values = list(FLOATS.items()) + values
        for label, value in values:
            if value == own:
                continue
            name = '%s/%s%s = %s' % (file.label, place, field, label)
            codes = {rule.code for rule in rules if not rule.holds(value, file)}
            rule = '; '.join(dict.fromkeys('%s: %s, else %s' % (field, r.text, r.code)
                                           for r in rules)) or '%s: any value' % field
            changed = put(file.data, at, width, value)
            if field != 'checksum':
                keep = field in NOT_RESEALED
                self.add(name, rule, reseal(changed, payloads=not keep, mask=not keep), codes)
            if field == 'checksum' or value in (0, own + 1, (1 << 8 * width) - 1):
                if field not in BEFORE_THE_CHECKSUM:
                    codes = codes | {UNSEALED}
                self.add(name + ', not sealed', rule, changed, codes)

    def zeros(self, file, what, start, end, code):
        """Every byte that must be 0, each by itself."""
        for at in range(start, end):
            for value in (1, 0x80, 0xff):
                self.add('%s/%s, byte %d = %#x' % (file.label, what, at, value),
                         '%s: 0, else %s' % (what, code), reseal(put(file.data, at, 1, value)),
                         {code})

    def floats(self, file, what, at, holds, code):
        """A stored value at every boundary."""
        for label, bits in FLOATS.items():
            if bits != get(file.data, at, 4):
                self.add('%s/%s at %d = %s' % (file.label, what, at, label),
                         '%s, else %s' % (what, code), reseal(put(file.data, at, 4, bits)),
                         set() if holds(bits) else {code})

    def lengths(self, file, every=1, shorter_rule='truncated'):
        """Cut before every byte, and with bytes behind the end."""
        model_file = mutate.is_model(file.data)
        fixed = 108 if model_file else 128
        for length in range(file.size):
            cut = file.data[:length]
            rule = 'a file is whole, else %s' % shorter_rule
            codes = set()
            if length < fixed or not model_file:
                codes = {'truncated'}
            if length % every == 0 or length < fixed:
                self.add('%s/the first %d bytes' % (file.label, length), rule, cut, codes)
            if length >= fixed + 4 and model_file:
                self.add('%s/the first %d bytes, sealed' % (file.label, length), rule, reseal(cut))
            if length >= fixed and not model_file:
                self.add('%s/the first %d bytes, counted and sealed' % (file.label, length),
                         'every section is there', reseal(put(cut, 88, 8, length)))
        for count in (1, 2, 63, 64, 65, 128, 1000):
            for last in (0, 1):
                longer = file.data + bytes(count - 1) + bytes([last])
                codes = set() if model_file else {'trailing_bytes'}
                self.add('%s/%d more bytes, the last %d' % (file.label, count, last),
                         'nothing behind the end', reseal(longer), codes)

    def flips(self, file):
        """Every byte another one, and nothing sealed."""
        rule = 'a file that was changed after it was sealed has checksum_mismatch'
        for at in range(12, file.size):
            if 88 <= at < 96 and not mutate.is_model(file.data):
                continue    # the file's length
            if 108 <= at < 112 and mutate.is_model(file.data):
                continue    # the checksum's kind
            self.add('%s/byte %d flipped, not sealed' % (file.label, at), rule,
                     put(file.data, at, 1, file.data[at] ^ 0xff), {UNSEALED})


def header_fields(writer, file, layout, rules, near):
    for field, (at, width) in layout.items():
        if field in rules:
            writer.field(file, '', field, at, width, rules[field], near)
    missing = set(layout) - set(rules)
    assert not missing, 'no rule for %s' % missing


def slm1_cases(corpus):
    corpus.group('slm1', 'A model of a few hundred weights with one field, byte or length changed.',
                 ['validate', '{input}'])
    writer, every = Writer(corpus, 'slm1'), models()
    for file in every.values():
        writer.add('%s/as it is' % file.label, 'valid but for a foreign header', file.data)
    for label in ('mixed', 'untied'):
        header_fields(writer, every[label], mutate.MODEL_HEADER, MODEL_HEADER,
                      (4, 108, 112, 128, 260, 65536))
    model_entries(writer, every['mixed'])
    writer.zeros(every['mixed'], 'reserved', 112, 128, 'reserved_not_zero')
    writer.zeros(every['long header'], 'reserved', 112, 200, 'reserved_not_zero')
    model_values(writer, every['mixed'])
    model_padding(writer, every['mixed'])
    model_regions(writer, every['mixed'])
    writer.lengths(every['smallest'], 8, 'the codes of what is missing')
    writer.flips(every['smallest'])


def model_entries(writer, file):
    """The directory entries of one tensor of each dtype."""
    chosen = {}
    for at, entry in file.entries():
        chosen.setdefault(entry['dtype'], (at, entry))
    for dtype, (at, entry) in sorted(chosen.items()):
        rules = dict(MODEL_ENTRY, scale_offset=F32_SCALES if dtype == spec.F32 else SCALES)
        changed = file.of_entry(entry)
        name = {spec.F32: 'f32 ', spec.Q8_0: 'q8_0 ', spec.Q4_0: 'q4_0 '}[dtype]
        others = [e['byte_offset'] for _, e in file.entries()]
        for field, (offset_in_entry, width) in mutate.MODEL_ENTRY.items():
            near = others if field == 'byte_offset' else ()
            if field == 'name_hash':
                near = [e['name_hash'] for _, e in file.entries()]
            writer.field(changed, name, field, at + offset_in_entry, width, rules[field], near)
        writer.zeros(file, name + 'reserved', at + 60, at + 64, 'reserved_not_zero')


def model_values(writer, file):
    """Stored values and scales, the first and the last of a tensor of each dtype."""
    bounds = {spec.Q8_0: 2.0 ** 121, spec.Q4_0: 2.0 ** 125}
    for _, e in file.entries():
        if e['dtype'] == spec.F32:
            for at in {e['byte_offset'], e['byte_offset'] + e['byte_length'] - 4}:
                writer.floats(file, 'an f32 weight is finite', at, boundaries.finite, 'non_finite')
            continue
        end = e['scale_offset'] + scale_bytes(e)
        bound = bounds[e['dtype']]
        for at in {e['scale_offset'], end - 4}:
            writer.floats(file, 'a scale is finite, above 0 and below 2^%d' % math.log2(bound), at,
                          lambda bits: 0 < boundaries.as_float(bits) < bound, 'bad_scale')


def model_padding(writer, file):
    """Every byte that no region holds."""
    h = file.header()
    held = [(0, h['header_length']),
            (h['tokenizer_offset'], h['tokenizer_offset'] + h['tokenizer_length']),
            (h['tensor_directory_offset'], h['tensor_directory_offset'] + 64 * h['tensor_count'])]
    for _, e in file.entries():
        held.append((e['byte_offset'], e['byte_offset'] + e['byte_length']))
        if e['dtype'] != spec.F32:
            held.append((e['scale_offset'], e['scale_offset'] + scale_bytes(e)))
    free = [at for at in range(file.size) if not any(a <= at < b for a, b in held)]
    for at in free:
        writer.add('%s/padding, byte %d' % (file.label, at), 'padding: 0, else padding_not_zero',
                   reseal(put(file.data, at, 1, 1)), {'padding_not_zero'})


def model_regions(writer, file):
    """Holes before each region, and two regions in one place."""
    h = file.header()
    starts = {h['tokenizer_offset'], h['tensor_directory_offset']}
    for _, e in file.entries():
        starts |= {e['byte_offset'], e['scale_offset']} - {0}
    for at in sorted(starts):
        for count in (64, 128):
            writer.add('%s/%d zero bytes before the region at %d' % (file.label, count, at),
                       'less than 64 bytes between regions, else hole',
                       mutate.insert(file.data, at, count), {'hole'})
    entries = file.entries()
    for at, e in entries:
        for _, other in entries:
            if other['byte_offset'] != e['byte_offset'] and (
                    other['byte_offset'] + e['byte_length'] <= file.size):
                writer.add('%s/the payload at %d lies at %d' % (
                    file.label, e['byte_offset'], other['byte_offset']),
                    'no two regions share a byte, else overlap',
                    reseal(put(file.data, at + 32, 8, other['byte_offset'])))


def package_cases(corpus):
    for kind in judge.PACKAGES:
        name = kind.decode().lower()
        corpus.group(name, 'An %s package of two small tensors with one field, byte or length '
                           'changed.' % kind.decode(), ['validate', '{input}'])
        for file in packages():
            if file.data[:4] == kind:
                one_package(Writer(corpus, name), file, kind)


def one_package(writer, file, kind):
    writer.add('%s/as it is' % file.label, 'valid', file.data)
    header_fields(writer, file, mutate.PACKAGE_HEADER, package_header(kind),
                  (3, 11, 128, 65536, 2 ** 20))
    rules = package_entry(kind)
    layout = dict(mutate.PACKAGE_ENTRY)
    if kind == b'ALR1':
        layout['detail'] = (48, 4)
    else:
        del layout['detail_high']
    for i, (at, entry) in enumerate(file.entries()):
        changed = file.of_entry(entry)
        for field, (offset_in_entry, width) in layout.items():
            near = (4096,) if field == 'detail' else ()
            if field == 'name_hash':
                near = [e['name_hash'] for _, e in file.entries()]
            writer.field(changed, 'entry %d ' % i, field, at + offset_in_entry, width,
                         rules[field], near)
    package_zeros(writer, file, kind)
    package_values(writer, file, kind)
    if kind == b'ASP1':
        index_cases(writer, file)
    writer.lengths(file)
    writer.flips(file)


def package_zeros(writer, file, kind):
    """Reserved bytes and padding."""
    for what, start, end in (('package_flags', 12, 16), ('reserved', 52, 56)):
        writer.zeros(file, what, start, end, 'reserved_not_zero')
    if kind == b'ADP1':
        writer.zeros(file, "the kind's bytes", 96, 120, 'reserved_not_zero')
    if kind == b'ALR1':
        writer.zeros(file, 'reserved of ALR1', 100, 104, 'reserved_not_zero')
    h = file.header()
    end_of_front = 128 + 64 * h['entry_count'] + h['metadata_length']
    writer.zeros(file, 'padding before the payloads', end_of_front, h['payload_offset'],
                 'padding_not_zero')
    position = h['payload_offset']
    for i, (at, e) in enumerate(file.entries()):
        if kind == b'ADP1':
            writer.zeros(file, 'detail %d' % i, at + 48, at + 56, 'reserved_not_zero')
        if kind != b'ASP1':
            writer.zeros(file, 'encoding %d' % i, at + 12, at + 16, 'reserved_not_zero')
        writer.zeros(file, 'padding before payload %d' % i, position, e['payload_offset'],
                     'padding_not_zero')
        start, end = inner_padding(kind, e)
        writer.zeros(file, 'padding in payload %d' % i, start, end, 'padding_not_zero')
        position = e['payload_offset'] + e['payload_length']


def first_section(kind, e):
    """Bytes of the indexes, the mask or the factor A that a payload begins with."""
    if kind == b'ALR1':
        return 4 * (e['detail'] & U32) * e['dim1']
    if kind == b'ASP1':
        return 4 * e['detail'] if e['encoding'] == 1 else (math.prod(used_dims(e)) + 7) // 8
    return 0


def inner_padding(kind, e):
    section = first_section(kind, e)
    return e['payload_offset'] + section, e['payload_offset'] + spec.align64(section)


def package_values(writer, file, kind):
    for _, e in file.entries():
        _, values = inner_padding(kind, e)
        ends = {values, e['payload_offset'] + e['payload_length'] - 4}
        if kind == b'ALR1':
            ends |= {e['payload_offset'], e['payload_offset'] + first_section(kind, e) - 4}
        for at in sorted(ends):
            writer.floats(file, 'a stored value is finite', at, boundaries.finite, 'non_finite')


def index_cases(writer, file):
    """Indexes and masks. What follows from a broken order is the second reader's to say."""
    for i, (_, e) in enumerate(file.entries()):
        start, n = e['payload_offset'], math.prod(used_dims(e))
        if e['encoding'] == 1:
            for k in range(e['detail']):
                at = start + 4 * k
                for value in boundaries.numbers(4, n, get(file.data, at, 4)):
                    if value != get(file.data, at, 4):
                        writer.add('%s/index %d of payload %d = %#x' % (file.label, k, i, value),
                                   'indexes ascend (index_not_ascending) and are below n '
                                   '(index_out_of_range)', reseal(put(file.data, at, 4, value)))
            continue
        for k in range(first_section(b'ASP1', e)):
            for bit in range(8):
                past = 8 * k + bit >= n
                writer.add('%s/bit %d of payload %d flipped' % (file.label, 8 * k + bit, i),
                           'as many bits as count says (count_mismatch), none past n '
                           '(mask_bits_past_end)',
                           reseal(put(file.data, start + k, 1, file.data[start + k] ^ 1 << bit)),
                           {'mask_bits_past_end'} if past else {'count_mismatch'})
