"""Which findings a file must have, and which more it may have, by docs/formats.md and findings.md.

A second reader of SLM1 files and adapter packages, which takes any bytes. `judge` returns two sets
of codes: what the rules ask for, and what they leave open, mostly because a finding depends on a
field that is itself wrong. No other code may be found.
"""
import json
import math
import struct

import numpy as np

import spec
from spec import F32, Q4_0, Q8_0, align64, checksum

PACKAGES = (b'ADP1', b'ASP1', b'ALR1')
DRIFT = {'checksum_mismatch', 'payload_checksum_mismatch', 'mask_checksum_mismatch'}
CANNOT_CHECK = {'checksum_unverifiable', 'unsupported_version', 'unsupported_dtype'}


def exit_code(codes):
    """The exit code of a validate that found these codes."""
    return (3 if codes & DRIFT else 1 if codes - DRIFT - CANNOT_CHECK
            else 5 if codes else 0)


def judge(data):
    """(codes that must be found, codes that may be found as well)"""
    magic = data[:4]
    if len(data) < 4:
        return {'truncated'}, set()
    if magic != b'SLM1' and magic not in PACKAGES:
        return {'bad_magic'}, set()
    if len(data) < (108 if magic == b'SLM1' else 128):
        return {'truncated'}, set()
    version, header_length = struct.unpack_from('<2I', data, 4)
    if version != 1:
        return {'unsupported_version'}, set()
    if magic != b'SLM1':
        return _Package(data).codes() if header_length == 128 else ({'bad_header_length'}, set())
    if not 108 <= header_length <= len(data):
        return {'bad_header_length'}, set()
    return _Model(data).codes()


class _Judge:
    def __init__(self, data):
        self.data, self.size, self.must, self.may = data, len(data), set(), set()

    def add(self, code, certain=True):
        (self.must if certain else self.may).add(code)

    def codes(self):
        self.read()
        return self.must, self.may - self.must

    def zero(self, start, end):
        return not any(self.data[start:end])


def _shape(judge, dims, rank, unused):
    """The used dims, or None when rank or a dim is wrong."""
    if not 1 <= rank <= 4:
        judge.add('bad_rank')
        judge.add('bad_dim', False)
        return None
    good = all(1 <= d <= spec.MAX_DIM for d in dims[:rank])
    if not good or any(d not in unused for d in dims[rank:]):
        judge.add('bad_dim')
        return None
    return dims[:rank]


# --- SLM1 -----------------------------------------------------------------------------------------

class _Model(_Judge):
    def read(self):
        self.regions, self.complete = [], True      # (offset, length); whether these are all
        h = self.h = dict(zip(spec.HEADER_FIELDS, spec.HEADER.unpack_from(self.data)))
        self.header()
        self.tokenizer()
        self.directory()
        self.coverage()
        if 'overlap' in self.must | self.may:   # what two regions claim is read for neither
            values = self.must & {'bad_scale', 'non_finite'}
            self.must -= values
            self.may |= values

    def header(self):
        h, data = self.h, self.data
        length = h['header_length']
        kind = struct.unpack_from('<I', data, 108)[0] if length >= 128 else 0
        if kind != 1:
            self.add('checksum_unverifiable')
        elif h['checksum'] != checksum(data[:100] + bytes(8) + data[108:]):
            self.add('checksum_mismatch')
        if length >= 128 and not self.zero(112, length):
            self.add('reserved_not_zero')
        self.contract_known = True
        for bad in (h['model_type'] != 1, h['flags'] > 1, h['vocab_size'] < 260,
                    any(h[f] == 0 for f in spec.SHAPE if f != 'max_context')):
            if bad:
                self.add('bad_value')
                self.contract_known = False
        if h['kv_head_count'] and h['head_count'] % h['kv_head_count']:
            self.add('bad_value')
            self.contract_known = False
        if h['special_token_count'] < 4 or h['max_context'] == 0 or not all(
                math.isfinite(h[f]) and h[f] > 0 for f in ('rope_theta', 'rms_norm_epsilon')):
            self.add('bad_value')
        if h['tensor_data_offset'] % 64:
            self.add('misaligned')
        if h['tensor_data_offset'] >= self.size:
            self.add('range_out_of_file', h['tensor_data_offset'] > self.size)
        self.regions.append((0, length))

    def region(self, offset, length, alignment):
        """Whether the region lies in the file where it may."""
        if offset % alignment:
            self.add('misaligned')
            self.complete = False
        if offset + length > self.size:
            self.add('range_out_of_file')
            self.add('size_overflow', False)
            self.complete = False
            return False
        self.regions.append((offset, length))
        return offset % alignment == 0

    def tokenizer(self):
        h = self.h
        start, length = h['tokenizer_offset'], h['tokenizer_length']
        if self.region(start, length, 1):
            vocab = tokenizer_vocabulary(self.data[start:start + length])
            if vocab != h['vocab_size']:
                self.add('tokenizer_malformed')
        else:
            self.add('tokenizer_malformed', False)

    def directory(self):
        h = self.h
        start, count = h['tensor_directory_offset'], h['tensor_count']
        if count == 0 or count > spec.MAX_TENSORS:
            self.add('bad_value' if count == 0 else 'limit_exceeded')
            self.may |= {'missing_tensor', 'range_out_of_file', 'misaligned'}
            self.complete = False
            return
        if not self.region(start, 64 * count, 64):
            self.may |= {'missing_tensor'}
            if start % 64:      # what is read there, if anything, is not said
                self.may |= ANYTHING_IN_A_MODEL
            return
        entries = [dict(zip(spec.ENTRY_FIELDS, spec.ENTRY.unpack_from(self.data, start + 64 * i)))
                   for i in range(count)]
        known = self.contract_known
        layers = min(h['layer_count'], 64)
        wanted = {spec.fnv1a(name): dims for name, dims in spec.contract(h, layers)}
        found = [e['name_hash'] for e in entries]
        if len(set(found)) != count:
            self.add('duplicate_tensor')
        if set(found) - set(wanted):
            self.add('unexpected_tensor', known and h['layer_count'] == layers)
        if set(wanted) - set(found):
            self.add('missing_tensor', known)
        for e in entries:
            self.entry(e, wanted.get(e['name_hash']), known)

    def entry(self, e, wanted, known):
        if e['reserved']:
            self.add('reserved_not_zero')
        dims = _shape(self, (e['dim0'], e['dim1'], e['dim2'], e['dim3']), e['rank'], (0, 1))
        n = math.prod(dims) if dims else None
        if dims and n > spec.MAX_ELEMENTS:
            self.add('limit_exceeded')
            self.may |= {'size_overflow', 'length_mismatch', 'bad_block_size'}
        if wanted and dims != wanted:
            self.add('shape_mismatch', known and dims is not None)
        offset, length, dtype = e['byte_offset'], e['byte_length'], e['dtype']
        if dtype not in (F32, Q8_0, Q4_0):
            self.add('unsupported_dtype')
            self.region(offset, length, 64)
            return
        block = e['block_size']
        groups = None
        if dtype == F32:
            good_block = block == 0
        elif dims is None:
            good_block = False
        else:
            cols = dims[-1]
            good_block = block == cols if dtype == Q8_0 else (
                block != 0 and block % 2 == 0 and cols % block == 0)
        if not good_block:
            self.add('bad_block_size', dims is not None)
        elif dtype != F32:
            groups = n // block
        expected = None
        if dims:
            expected = {F32: 4 * n, Q8_0: n, Q4_0: n // 2}[dtype]
        payload_good = False
        if expected is None or length != expected or dtype == Q4_0 and n % 2:
            self.add('length_mismatch', expected is not None and not (dtype == Q4_0 and n % 2
                                                                      and length == n // 2))
            self.complete = False
            if offset % 64:
                self.add('misaligned')
            self.may |= {'range_out_of_file', 'size_overflow'}
        else:
            payload_good = self.region(offset, length, 64)
        if dtype == F32:
            if e['scale_offset']:
                self.add('bad_value')
                self.complete = False
            if payload_good:
                values = np.frombuffer(self.data, '<f4', length // 4, offset)
                if not np.isfinite(values).all():
                    self.add('non_finite')
        elif groups is None:
            self.complete = False
            if e['scale_offset'] % 4:
                self.add('misaligned')
            self.may |= {'range_out_of_file', 'size_overflow'}
        elif self.region(e['scale_offset'], 4 * groups, 4):
            scales = np.frombuffer(self.data, '<f4', groups, e['scale_offset'])
            if not ((scales > 0) & (scales < spec.SCALE_BOUND[dtype])).all():
                self.add('bad_scale')

    def coverage(self):
        position, complete = 0, self.complete
        if 'unsupported_dtype' in self.must:
            complete = False
        for offset, length in sorted(self.regions):
            if length == 0:     # whether it ends a gap is not said
                complete = False
                self.may |= {'hole', 'padding_not_zero', 'trailing_bytes'}
            elif offset < position:
                self.add('overlap', complete)
            elif offset - position >= 64:
                self.add('hole', complete)
            elif not self.zero(position, offset):
                self.add('padding_not_zero', complete)
            position = max(position, offset + length)
        if self.size - position >= 64:
            self.add('trailing_bytes', complete)
        elif not self.zero(position, self.size):
            self.add('padding_not_zero', complete)
        if not complete:
            self.may |= {'overlap'}


ANYTHING_IN_A_MODEL = {
    'missing_tensor', 'unexpected_tensor', 'duplicate_tensor', 'shape_mismatch', 'bad_rank',
    'bad_dim', 'limit_exceeded', 'size_overflow', 'reserved_not_zero', 'unsupported_dtype',
    'length_mismatch', 'bad_block_size', 'bad_value', 'range_out_of_file', 'misaligned',
    'non_finite', 'bad_scale', 'overlap'}


def tokenizer_vocabulary(section):
    """vocab_size of a well-formed section, else None."""
    if section[:4] == b'BTOK':
        return 260 if section == spec.BTOK else None
    if section[:4] != b'BPE1' or len(section) < 36:
        return None
    version, vocab, *special, tokens, merges = struct.unpack_from('<8I', section, 4)
    if version != 1 or len(set(special)) != 4 or any(s >= vocab for s in special):
        return None
    position, records = 36, {}
    for _ in range(tokens):
        if position + 8 > len(section):
            return None
        token, length = struct.unpack_from('<2I', section, position)
        position += 8
        if length == 0 or position + length > len(section) or token >= vocab or token in records:
            return None
        records[token] = section[position:position + length]
        position += length
    if len(section) - position != 16 * merges:
        return None
    spelling = {i: bytes([i]) for i in range(256)}
    spelling.update(records)
    pairs, ranks = set(), set()
    for i in range(merges):
        left, right, output, rank = struct.unpack_from('<4I', section, position + 16 * i)
        if left not in spelling or right not in spelling or output not in records:
            return None
        if records[output] != spelling[left] + spelling[right]:
            return None
        pairs.add((left, right))
        ranks.add(rank)
    return vocab if len(pairs) == len(ranks) == merges else None


# --- Packages -------------------------------------------------------------------------------------

class _Package(_Judge):
    def read(self):
        self.h = h = dict(zip(spec.PACKAGE_HEADER_FIELDS,
                              spec.PACKAGE_HEADER.unpack_from(self.data)))
        self.kind = h['magic']
        stored = struct.unpack_from('<Q', self.data, 120)[0]
        if h['file_length'] != self.size:
            self.body()
            self.may |= self.must | {'offset_not_canonical'}
            self.must = {'truncated' if self.size < h['file_length'] else 'trailing_bytes'}
            return
        if stored != checksum(self.data[:120] + bytes(8) + self.data[128:]):
            self.add('checksum_mismatch')
        self.body()

    def body(self):
        h = self.h
        if h['package_flags'] or h['reserved']:
            self.add('reserved_not_zero')
        if h['model_flags'] > 1:
            self.add('bad_value', False)
        if h['tensor_count'] > spec.MAX_TENSORS:
            self.add('limit_exceeded', False)
        self.kind_bytes()
        count = h['entry_count']
        good_count = True
        if count == 0 or count > h['tensor_count']:
            self.add('bad_value')
            good_count = False
        if count > spec.MAX_TENSORS:
            self.add('limit_exceeded')
            good_count = False
        if h['metadata_length'] > spec.MAX_METADATA:
            self.add('bad_metadata')
        if h['directory_offset'] != 128:
            self.add('offset_not_canonical')
        if not good_count:      # nothing else tells where the rest is
            self.may |= {'offset_not_canonical', 'bad_metadata'}
            return
        if (h['metadata_length'] == 0) != (h['metadata_offset'] == 0):
            self.add('offset_not_canonical')
        end = 128 + 64 * count
        if end > self.size:
            self.must.add('count_past_file')    # no code of its own: see ALTERNATIVES
            self.may |= ANYTHING_IN_A_PACKAGE
            return
        start, length = h['metadata_offset'], h['metadata_length']
        certain = h['directory_offset'] == 128
        self.sure = True        # whether it is known where the next payload must lie
        if not certain:
            self.may |= ANYTHING_IN_A_PACKAGE
        if length:
            if start != end:
                self.add('offset_not_canonical')
            end += length
            if start == end - length and end <= self.size and length <= spec.MAX_METADATA:
                self.metadata(self.data[start:end], count, certain)
            else:
                self.add('bad_metadata', end > self.size)
        if end > self.size or length > spec.MAX_METADATA:   # what follows may depend on it
            self.sure = False
            self.may |= {'offset_not_canonical', 'mask_checksum_mismatch'}
        elif align64(end) != h['payload_offset']:
            self.add('offset_not_canonical')
            self.sure = False
            self.may.add('mask_checksum_mismatch')
        elif not self.zero(end, h['payload_offset']):
            self.add('padding_not_zero', certain and not self.must & {'offset_not_canonical'})
        self.position = align64(end) if self.sure else h['payload_offset']
        if certain:
            self.entries(count)

    def kind_bytes(self):
        data = self.data
        if self.kind == b'ADP1' and not self.zero(96, 120):
            self.add('reserved_not_zero')
        if self.kind == b'ASP1':
            self.retention, method, seed, self.mask = struct.unpack_from('<IIQQ', data, 96)
            if method > 3 or seed and method != 2:
                self.add('bad_value')
        if self.kind == b'ALR1':
            kind, reserved = struct.unpack_from('<II', data, 96)
            if kind > 3 or kind == 0 and not self.zero(104, 120):
                self.add('bad_value')
            if reserved:
                self.add('reserved_not_zero')

    def metadata(self, raw, count, certain):
        good = metadata_object(raw)
        if good is None:
            self.add('bad_metadata', certain)
            return
        if good is OPEN:
            self.add('bad_metadata', False)
            return
        names = good.get('tensor_names')
        hashes = [struct.unpack_from('<Q', self.data, 128 + 64 * i)[0] for i in range(count)]
        if 'tensor_names' in good and (
                not isinstance(names, list) or not all(isinstance(n, str) for n in names)
                or [spec.fnv1a(n) for n in names] != hashes):
            self.add('bad_metadata', certain)
        if any(not isinstance(good.get(k, ''), str)
               for k in ('name', 'description', 'license', 'source')):
            self.add('bad_metadata', certain)

    def entries(self, count):
        entries = [dict(zip(spec.PACKAGE_ENTRY_FIELDS,
                            spec.PACKAGE_ENTRY.unpack_from(self.data, 128 + 64 * i)))
                   for i in range(count)]
        hashes = [e['name_hash'] for e in entries]
        if any(a >= b for a, b in zip(hashes, hashes[1:])):
            self.add('directory_not_sorted')
        self.stored_count = self.elements = 0
        self.counts_good = self.sections_good = True
        self.sections = b''
        for e in entries:
            self.entry(e)
        end = self.position
        if self.sure and end != self.h['file_length']:
            self.must.add('wrong_end')          # no code of its own: see ALTERNATIVES
        if self.kind == b'ASP1':
            if self.counts_good:
                wanted = np.float32(float(self.stored_count) / float(self.elements))
                if struct.pack('<f', wanted) != struct.pack('<I', self.retention):
                    self.add('retention_mismatch', self.sections_good)
            if self.sections_good and self.counts_good and self.mask != checksum(self.sections):
                self.add('mask_checksum_mismatch', 'offset_not_canonical' not in self.must)

    def entry(self, e):
        kind, rank = self.kind, e['rank']
        dims = _shape(self, (e['dim0'], e['dim1'], e['dim2'], e['dim3']), rank, (1,))
        n = math.prod(dims) if dims else None
        if dims and (n > spec.MAX_ELEMENTS or kind == b'ASP1' and n > 2 ** 32):
            self.add('limit_exceeded')
            self.may |= {'size_overflow', 'length_mismatch', 'bad_low_rank', 'retention_mismatch'}
            dims = n = None
        if kind == b'ASP1':
            if e['encoding'] not in (1, 2):
                self.add('bad_value')
        elif e['encoding']:
            self.add('reserved_not_zero')
        expected = self.expected_length(e, dims, n)
        start, length = e['payload_offset'], e['payload_length']
        right_place = start == align64(self.position)
        if not right_place:
            self.add('offset_not_canonical', self.sure)
        elif self.sure and start <= self.size and not self.zero(self.position, start):
            self.add('padding_not_zero')
        if expected is None:
            self.add('length_mismatch', False)
        elif length != expected:
            self.add('length_mismatch')
        readable = (right_place and expected is not None and length == expected
                    and start + length <= self.size and self.sure)
        unsure = expected is None or not self.sure and length == expected
        if expected is None or length != expected:
            self.sure = False
        self.position = start + length if not self.sure else align64(self.position) + expected
        payload = self.data[start:start + length]
        whole = len(payload) == length
        if whole and (readable or unsure) and e['payload_checksum'] != checksum(payload):
            self.add('payload_checksum_mismatch', readable)
        if readable:
            self.values(e, n, payload)
        else:
            self.sections_good = False
            self.may |= {'non_finite', 'padding_not_zero'} if kind != b'ASP1' else {
                'non_finite', 'padding_not_zero', 'index_not_ascending', 'index_out_of_range',
                'count_mismatch', 'mask_bits_past_end'}

    def expected_length(self, e, dims, n):
        detail = e['detail']
        if self.kind == b'ADP1':
            if detail:
                self.add('reserved_not_zero')
            return 4 * n if dims else None
        if self.kind == b'ASP1':
            if detail == 0 or dims and detail > n:
                self.add('bad_value')
            elif not dims and detail > 2 ** 32:
                self.add('bad_value', False)
            if not dims or not 1 <= detail <= n:
                self.counts_good = False
                return None
            self.stored_count += detail
            self.elements += n
            if e['encoding'] not in (1, 2):
                return None
            section = 4 * detail if e['encoding'] == 1 else (n + 7) // 8
            return align64(section) + 4 * detail
        r, scale = struct.unpack('<If', struct.pack('<Q', detail))
        if not math.isfinite(scale) or scale == 0 or r == 0 or r > spec.MAX_LOW_RANK:
            self.add('bad_low_rank')
        if r > spec.MAX_LOW_RANK:
            self.add('limit_exceeded', False)
        if e['rank'] != 2:
            self.add('bad_low_rank', 1 <= e['rank'] <= 4)
            return None
        if not dims:
            self.may.add('bad_low_rank')
            return None
        if r > min(dims):
            self.add('bad_low_rank')
        if not 1 <= r <= min(*dims, spec.MAX_LOW_RANK):
            return None
        return align64(4 * r * dims[1]) + 4 * dims[0] * r

    def values(self, e, n, payload):
        detail = e['detail']
        if self.kind == b'ADP1':
            numbers = payload
        elif self.kind == b'ALR1':
            r = detail & 0xffffffff
            a = 4 * r * e['dim1']
            if any(payload[a:align64(a)]):
                self.add('padding_not_zero')
            numbers = payload[:a] + payload[align64(a):]
        else:
            section = 4 * detail if e['encoding'] == 1 else (n + 7) // 8
            if any(payload[section:align64(section)]):
                self.add('padding_not_zero')
            numbers = payload[align64(section):]
            self.index_section(e, n, payload[:section])
        if not np.isfinite(np.frombuffer(numbers, '<f4')).all():
            self.add('non_finite')

    def index_section(self, e, n, section):
        good = True
        if e['encoding'] == 1:
            indexes = np.frombuffer(section, '<u4').astype(np.int64)
            past = indexes >= n
            late = np.diff(indexes, prepend=-1) <= 0
            if past.any() or late.any():        # the first offending element is named
                first = int(np.argmax(past | late))
                self.add('index_out_of_range' if past[first] else 'index_not_ascending')
                self.may |= {'index_out_of_range'} if past.any() else set()
                self.may |= {'index_not_ascending'} if late.any() else set()
                good = False
        else:
            bits = np.unpackbits(np.frombuffer(section, np.uint8), bitorder='little')
            inside, past = int(bits[:n].sum()), int(bits[n:].sum())
            if past:
                self.add('mask_bits_past_end')
            if inside != e['detail']:
                self.add('count_mismatch', not past)
            elif past:
                self.add('count_mismatch', False)
            good = not past and inside == e['detail']
        self.sections_good &= good
        self.sections += section


ANYTHING_IN_A_PACKAGE = {
    'offset_not_canonical', 'bad_rank', 'bad_dim', 'length_mismatch', 'bad_value', 'bad_low_rank',
    'directory_not_sorted', 'reserved_not_zero', 'limit_exceeded', 'bad_metadata', 'non_finite',
    'padding_not_zero', 'retention_mismatch'}

# A defect that several codes describe equally well: one of them must be found, others may.
ALTERNATIVES = {
    'count_past_file': {'truncated', 'offset_not_canonical', 'bad_value'},
    'wrong_end': {'offset_not_canonical', 'trailing_bytes', 'truncated', 'length_mismatch'}}

OPEN = object()


def metadata_object(raw):
    """The object, None when it is not one, OPEN when the rules leave it open."""
    def unique(pairs):
        if len({k for k, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    def refuse(_):
        raise ValueError

    def depth(value):
        children = (value.values() if isinstance(value, dict)
                    else value if isinstance(value, list) else None)
        return 0 if children is None else 1 + max(map(depth, children), default=0)

    def odd(value):
        if isinstance(value, dict):
            return any(odd(k) or odd(v) for k, v in value.items())
        if isinstance(value, list):
            return any(map(odd, value))
        if isinstance(value, str):
            return any(0xd800 <= ord(c) < 0xe000 for c in value)
        return isinstance(value, float) and math.isinf(value)

    try:
        value = json.loads(raw.decode('utf-8'), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or depth(value) > spec.MAX_METADATA_DEPTH:
        return None
    return OPEN if odd(value) else value


def differences(data, found, full):
    """What is wrong with the codes found in a file; full: as many findings as are reported."""
    must, may = judge(data)
    if full:
        must, may = must & DRIFT, may | must
    for pseudo, codes in ALTERNATIVES.items():
        if pseudo in must:
            must = must - {pseudo}
            may = may | codes
            if not found & codes:
                must = must | {pseudo}
    problems = []
    if must - found:
        problems.append('lacks %s' % sorted(must - found))
    if found - must - may:
        problems.append('has %s, which no rule asks for' % sorted(found - must - may))
    return problems
