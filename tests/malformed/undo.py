"""Undo files: each field and number at each boundary, each byte cut off; and files that they are not
for. The second reader of tests/support/undo_file.py takes valid files only; `judge` takes any."""
import struct

import boundaries
from binary import NOT_ZERO, UNSEALED, ZERO, ANY, one, only
from corpus import Expected, exactly
from second import mutate, spec, undo_file
from mutate import get, put

HEADER = 160
FIELDS = {'magic': (0, 4), 'version': (4, 4), 'header_length': (8, 4), 'undo_flags': (12, 4),
          'base_length': (16, 8), 'output_length': (24, 8), 'base_digest': (32, 8),
          'output_digest': (64, 8), 'run_count': (96, 8), 'restored_length': (104, 8),
          'file_length': (112, 8), 'checksum': (152, 8)}
RULES = {
    'magic': only(int.from_bytes(b'UND1', 'little'), 'bad_magic'),
    'version': only(1, 'unsupported_version'), 'header_length': only(160, 'bad_header_length'),
    'undo_flags': ZERO, 'base_length': NOT_ZERO, 'output_length': NOT_ZERO, 'base_digest': ANY,
    'output_digest': ANY,
    'run_count': one('count_mismatch', 'the runs', lambda v, f: v == get(f, 96, 8)),
    'restored_length': one('length_mismatch', 'the bytes of all runs',
                           lambda v, f: v == get(f, 104, 8)),
    'file_length': one('truncated', 'the length of the file', lambda v, f: v <= len(f)) + one(
        'trailing_bytes', 'the length of the file', lambda v, f: v >= len(f)),
    'checksum': one(UNSEALED, 'that of the file', lambda v, f: v == get(f, 152, 8))}
ABOUT_RUNS = {'bad_value', 'size_overflow', 'range_out_of_file', 'hole', 'count_mismatch',
              'length_mismatch', 'reserved_not_zero'}


def seal(data):
    out = bytearray(data)
    out[152:160] = bytes(8)
    out[152:160] = struct.pack('<Q', spec.checksum(out))
    return bytes(out)


# --- A reader of any bytes ------------------------------------------------------------------------

def judge(data):
    """What must be found, by docs/formats.md, section 6."""
    if len(data) < 4:
        return exactly('truncated')
    if data[:4] != b'UND1':
        return exactly('bad_magic')
    if len(data) < HEADER:
        return exactly('truncated')
    if get(data, 4, 4) != 1:
        return exactly('unsupported_version')
    if get(data, 8, 4) != HEADER:
        return exactly('bad_header_length')
    stated = get(data, 112, 8)
    if stated != len(data):
        return Expected(frozenset({'truncated' if len(data) < stated else 'trailing_bytes'}),
                        frozenset(ABOUT_RUNS))
    must = set()
    if get(data, 12, 4) or any(data[120:152]):
        must.add('reserved_not_zero')
    if not get(data, 16, 8) or not get(data, 24, 8):
        must.add('bad_value')
    if seal(data) != data:
        must.add(UNSEALED)
    broken, one_of = judge_runs(data)
    must |= broken
    return Expected(frozenset(must), one_of=() if one_of <= must else (frozenset(one_of),))


def judge_runs(data):
    """The codes of what is broken, and those of the first broken run, one of which is enough."""
    base_length, output_length = get(data, 16, 8), get(data, 24, 8)
    at, position, count, restored, missing = HEADER, 0, 0, 0, max(0, base_length - output_length)
    last = None
    while at < len(data):
        gap, length, at, code = read_run(data, at)
        if code:
            return {code}, set()
        wrong = set()
        if count and gap < 3 and not (gap == 0 and last == undo_file.LONGEST_RUN):
            wrong.add('bad_value')
        if not 1 <= length <= undo_file.LONGEST_RUN:
            wrong.add('bad_value')
        end = position + gap + length
        in_base = {'range_out_of_file'} if end > base_length else set()
        in_base |= {'size_overflow'} if end >= 2 ** 64 else set()
        if at + length > len(data):
            wrong.add('range_out_of_file')
        if wrong and in_base - wrong:   # which rule of the run is looked at first is not said
            return set(), wrong | in_base
        if wrong | in_base:
            several = len(wrong | in_base) > 1 and 'bad_value' in wrong
            return (set(), wrong | in_base) if several else (wrong | in_base, set())
        missing -= max(0, end - max(output_length, position + gap))
        at, position, last = at + length, end, length
        count, restored = count + 1, restored + length
    broken = {'count_mismatch'} if count != get(data, 96, 8) else set()
    broken |= {'length_mismatch'} if restored != get(data, 104, 8) else set()
    return broken | ({'hole'} if missing else set()), set()


def read_run(data, at):
    """gap, length, where the bytes start, the code of a broken number"""
    numbers = []
    for _ in range(2):
        first, value, shift = at, 0, 0
        while True:
            if at == len(data):
                return 0, 0, at, 'range_out_of_file'
            value += data[at] % 128 << shift
            shift, at = shift + 7, at + 1
            if value >= 2 ** 64 or shift > 70:
                return 0, 0, at, 'size_overflow'
            if data[at - 1] < 128:
                break
        if data[at - 1] == 0 and at - first > 1:
            return 0, 0, at, 'bad_value'
        numbers.append(value)
    return numbers[0], numbers[1], at, None


# --- Cases ----------------------------------------------------------------------------------------

def changed_pair():
    """A base and an output: single bytes, neighbours, and an end that only the base has."""
    base = bytes(range(1, 201)) * 2
    output = bytearray(base[:-7])
    for at in (0, 20, 21, 24, 150, 299, 380):
        output[at] ^= 0x55
    return base, bytes(output)


def long_pair():
    """A run of the longest length and its rest."""
    base = bytes(70000)
    return base, bytes(100) + b'\1' * 69000 + bytes(900)


class UndoWriter:
    def __init__(self, corpus, group='undo'):
        self.corpus, self.group = corpus, group

    def add(self, name, rule, data, codes=frozenset()):
        expected = judge(data)
        known = expected.must | expected.may.union(*expected.one_of)
        assert set(codes) <= known, '%s: the table asks for %s, the second reader for %s' % (
            name, sorted(codes), expected)
        must = expected.must | codes
        choices = tuple(c for c in expected.one_of if not c & must)
        self.corpus.add(self.group, name, rule,
                        Expected(must, expected.may - must if not codes else
                                 known - must, choices), data)


def field_cases(writer, label, data):
    for field, (at, width) in FIELDS.items():
        own = get(data, at, width)
        near = (own, len(data), 160, get(data, 16, 8), get(data, 24, 8))
        for value in boundaries.numbers(width, *near):
            if value == own:
                continue
            codes = {r.code for r in RULES[field] if not r.holds(value, data)}
            rule = '; '.join('%s: %s, else %s' % (field, r.text, r.code) for r in RULES[field])
            name = '%s/%s = %#x' % (label, field, value)
            changed = put(data, at, width, value)
            if field != 'checksum':
                writer.add(name, rule or '%s: any value' % field, seal(changed), codes)
            if field == 'checksum' or value in (0, own + 1):
                checked = field not in ('magic', 'version', 'header_length', 'file_length')
                writer.add(name + ', not sealed', rule or '%s: any value' % field, changed,
                           codes | ({UNSEALED} if checked else set()))
    for at in list(range(12, 16)) + list(range(120, 152)):
        for value in (1, 0x80, 0xff):
            writer.add('%s/reserved byte %d = %#x' % (label, at, value),
                       'reserved: 0, else reserved_not_zero', seal(put(data, at, 1, value)),
                       {'reserved_not_zero'})


def run_bytes(runs):
    """Runs as they stand in a file: (gap, length, bytes)."""
    return b''.join(gap + length + text for gap, length, text in runs)


def with_runs(data, body, count, restored):
    out = put(put(data[:HEADER] + body, 96, 8, count), 104, 8, restored)
    return seal(put(out, 112, 8, len(out)))


def run_cases(writer, label, base, data):
    """The numbers of each run at each boundary, and in forms that are not the shortest."""
    at, runs = HEADER, []
    while at < len(data):
        gap, after = undo_file.read_number(data, at)
        length, after = undo_file.read_number(data, after)
        runs.append((undo_file.number(gap), undo_file.number(length), data[after:after + length]))
        at = after + length
    restored = get(data, 104, 8)
    overlong = {'zero in two bytes': b'\x80\0', 'one in two bytes': b'\x81\0',
                'of 64 bits in ten bytes': b'\xff' * 9 + b'\1', 'of 65 bits': b'\xff' * 9 + b'\2',
                'of eleven bytes': b'\x80' * 10 + b'\1', 'of zeros without end': b'\x80' * 40}
    for i, run in enumerate(runs):
        for k, what in enumerate(('gap', 'length')):
            own, _ = undo_file.read_number(run[k], 0)
            forms = dict(overlong)
            for value in boundaries.numbers(8, own, 3, len(base), 65536):
                forms['%d' % value] = undo_file.number(value)
            for form, text in forms.items():
                if text == run[k]:
                    continue
                other = [run[0], run[1], run[2]]
                other[k] = text
                body = run_bytes(runs[:i] + [tuple(other)] + runs[i + 1:])
                writer.add('%s/%s of run %d is a number %s' % (label, what, i, form),
                           'shortest form (bad_value), 64 bits (size_overflow), a gap of 3 or more '
                           '(bad_value), 1 to 65,536 bytes (bad_value), in the base and in the file '
                           '(range_out_of_file)', with_runs(data, body, len(runs), restored))
        rest = runs[:i] + runs[i + 1:]
        gone = restored - len(run[2])
        writer.add('%s/without run %d, counted' % (label, i), 'the runs hold what only the base '
                   'has, else hole', with_runs(data, run_bytes(rest), len(rest), gone))


def cases(corpus):
    corpus.group('undo', 'An undo file with one field, number or length changed.',
                 ['validate', '{input}'])
    writer = UndoWriter(corpus)
    base, output = changed_pair()
    data = undo_file.make(base, output, spec.checksum)
    writer.add('short/as it is', 'valid', data)
    field_cases(writer, 'short', data)
    run_cases(writer, 'short', base, data)
    for length in range(len(data)):
        codes = {'truncated'}
        writer.add('short/the first %d bytes' % length, 'a file is whole, else truncated',
                   data[:length], codes)
        if length >= HEADER:
            writer.add('short/the first %d bytes, counted and sealed' % length,
                       'every run is there', seal(put(data[:length], 112, 8, length)))
    for count in (1, 2, 64, 1000):
        writer.add('short/%d more bytes' % count, 'nothing behind the end, else trailing_bytes',
                   seal(data + bytes(count)), {'trailing_bytes'})
    for at in list(range(12, 112)) + list(range(120, len(data))):
        writer.add('short/byte %d flipped, not sealed' % at,
                   'a file that was changed after it was sealed has checksum_mismatch',
                   put(data, at, 1, data[at] ^ 0xff), {UNSEALED})
    base, output = long_pair()
    data = undo_file.make(base, output, spec.checksum)
    writer.add('long/as it is', 'valid', data)
    run_cases(writer, 'long', base, data)
    revert_cases(corpus)


def revert_cases(corpus):
    """Files that the undo file is not for, and a base that it does not restore."""
    base, output = changed_pair()
    data = undo_file.make(base, output, spec.checksum)
    corpus.group('revert', 'An adapted file and an undo file that do not belong together.',
                 ['revert', 'output.slm', '--undo', 'undo', '-o', '{output}'],
                 {'output.slm': output, 'undo': data})

    def add(name, rule, expected, **files):
        corpus.add('revert', name, rule, expected,
                   {k.replace('_slm', '.slm'): v for k, v in files.items()})
    stale = 'the file that is reverted has the size and digest of the header, else undo_stale'
    restores = 'what is restored has base_digest, else digest_mismatch'
    add('as it is', 'valid', exactly(), undo=data, output_slm=output)
    for length in sorted({*range(0, len(output), 7), len(output) - 1, len(output) + 1} - {len(output)}):
        add('the file has %d bytes' % length, stale, exactly('size_mismatch', 'undo_stale'),
            output_slm=(output + b'x')[:length])
    for at in range(len(output)):
        add('byte %d of the file is another' % at, stale, exactly('digest_mismatch', 'undo_stale'),
            output_slm=put(output, at, 1, output[at] ^ 1))
    for at in range(64, 96):
        add('byte %d of the undo file, output_digest, is another' % at, stale,
            exactly('digest_mismatch', 'undo_stale'), undo=seal(put(data, at, 1, data[at] ^ 1)))
    for at in range(32, 64):
        add('byte %d of the undo file, base_digest, is another' % at, restores,
            exactly('digest_mismatch'), undo=seal(put(data, at, 1, data[at] ^ 1)))
    at = HEADER
    while at < len(data):
        _, at = undo_file.read_number(data, at)
        length, at = undo_file.read_number(data, at)
        for k in range(at, at + length):
            add('byte %d of the undo file, of a run, is another' % k, restores,
                exactly('digest_mismatch'), undo=seal(put(data, k, 1, data[k] ^ 1)))
        at += length
    for at in range(len(data)):
        expected = judge(put(data, at, 1, data[at] ^ 0xff))
        add('byte %d of the undo file is another, not sealed' % at,
            'what validate refuses, revert refuses', expected, undo=put(data, at, 1, data[at] ^ 0xff))
