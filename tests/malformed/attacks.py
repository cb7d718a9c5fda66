"""Files that are made to take long or much memory: each below a mebibyte, each refused or read within
the bounds that test_limits.py sets. No second implementation is needed to make them."""
import json
import os
import struct
import sys

import generate  # noqa: F401: it ends with 77 where NumPy or xxHash is missing
import bundle as made
import safetensors as checkpoint
import text
from bundle import ASSEMBLY, FAMILY, PLAN, REGISTRY, Bundle

MEBIBYTE = 1 << 20
ROOM = MEBIBYTE - 300       # what a text of at most a mebibyte leaves for one value


def repeated(piece, size=ROOM):
    return piece * (size // len(piece))


def listed(piece, size=ROOM):
    """A list of as many copies as there is room for."""
    return b'[' + repeated(piece + b',', size - 2 - len(piece)) + piece + b']'


def numbered(form, size=ROOM):
    """An object of as many keys as there is room for; form: a key of a number."""
    parts, length = [], 2
    while length < size:
        parts.append(b'"' + form(len(parts)) + b'":0')
        length += len(parts[-1]) + 1
    return b'{' + b','.join(parts[:-1]) + b'}'


def json_values():
    """(name, text of a value) of about a mebibyte each."""
    yield 'open arrays', b'[' * ROOM
    yield 'arrays in each other', text.nested(ROOM // 2)
    yield 'open objects', repeated(b'{"":')
    yield 'objects in each other', b'{"":' * (ROOM // 6) + b'0' + b'}' * (ROOM // 6)
    yield 'empty arrays', listed(b'[]')
    yield 'empty objects', listed(b'{}')
    yield 'empty texts', listed(b'""')
    yield 'zeros', listed(b'0')
    yield 'nulls', listed(b'null')
    yield 'short keys', numbered(lambda i: b'%x' % i)
    yield 'keys of one long prefix', numbered(lambda i: b'x' * 1000 + b'%06d' % i)
    yield 'keys that end alike', numbered(lambda i: b'%06d' % i + b'x' * 1000)
    yield 'keys that descend', numbered(lambda i: b'%08d' % (99999999 - i))
    yield 'the same key', b'{' + listed(b'"":0')[1:-1] + b'}'
    yield 'the same long key', b'{' + listed(b'"' + b'k' * 3000 + b'":0')[1:-1] + b'}'
    yield 'the same key of quotes', b'{' + listed(b'"' + b'\\"' * 1500 + b'":0')[1:-1] + b'}'
    yield 'the same key of backslashes', b'{' + listed(b'"' + b'\\\\' * 1500 + b'":0')[1:-1] + b'}'
    yield 'one key of backslashes, twice', b'{' + listed(
        b'"' + b'\\\\' * (ROOM // 5) + b'":0', ROOM)[1:-1] + b'}'
    yield 'one key of quotes, twice', b'{' + listed(
        b'"' + b'\\"' * (ROOM // 5) + b'":0', ROOM)[1:-1] + b'}'
    yield 'objects with the same key twice', listed(b'{"a":0,"a":0}')
    yield 'a number of digits', b'9' * ROOM
    yield 'a fraction of digits', b'0.' + b'9' * (ROOM - 2)
    yield 'zeros behind the point', b'0.' + b'0' * (ROOM - 3) + b'1'
    yield 'an exponent of digits', b'1e' + b'9' * (ROOM - 2)
    yield 'a negative exponent of digits', b'1e-' + b'9' * (ROOM - 3)
    yield 'numbers near a tie', listed(b'8.98846567431157953864652595394512' + b'3' * 700 + b'e307')
    yield 'numbers of 800 digits', listed(b'1.' + b'7' * 800 + b'e-300')
    yield 'many floats', listed(b'1.1e-308')
    yield 'a text', b'"' + b'x' * (ROOM - 2) + b'"'
    yield 'a text of escapes', b'"' + repeated(b'\\u0041', ROOM - 2) + b'"'
    yield 'a text of surrogates', b'"' + repeated(b'\\ud83d\\ude00', ROOM - 2) + b'"'
    yield 'a text of backslashes', b'"' + repeated(b'\\\\', ROOM - 2) + b'"'
    yield 'a text of Unicode', b'"' + repeated('\U0001f600'.encode(), ROOM - 2) + b'"'
    yield 'an open text', b'"' + b'x' * (ROOM - 1)
    yield 'spaces', b' ' * (ROOM - 1) + b'0'
    yield 'line feeds', b'\n' * (ROOM - 1) + b'x'


# --- Tokenizers -----------------------------------------------------------------------------------

def merges_of_one_long_token(size=ROOM - 3000):
    """As many merges as there is room for, each of which gives the same long token."""
    longest = size // 2 // 2
    tail = b'b' * (longest - 1)
    count = (size - 2 * longest - 200) // 25
    tokens = [(260, b'a' + tail), (261, tail)] + [(262 + i, b'a') for i in range(count)]
    return bpe(262 + count, tokens, [(262 + i, 261, 260, i) for i in range(count)])


def chain_of_merges(size=ROOM - 3000):
    """Tokens each one byte longer than the one before, as long as there is room."""
    tokens, merges, length = [], [], 36
    while length + len(tokens) + 26 < size:
        token = 260 + len(tokens)
        bytes_ = b'a' * (len(tokens) + 2)
        tokens.append((token, bytes_))
        merges.append((97 if len(bytes_) == 2 else token - 1, 97, token, len(merges)))
        length += 24 + len(bytes_)
    return bpe(260 + len(tokens), tokens, merges)


def doubling_merges(depth):
    """Tokens of 2, 4, 8 ... bytes, then short ones."""
    tokens = [(260 + i, b'a' * 2 ** (i + 1)) for i in range(depth)]
    merges = [(97 if i == 0 else 259 + i,) * 2 + (260 + i, i) for i in range(depth)]
    return bpe(260 + depth, tokens, merges)


def short_tokens(size=ROOM - 3000):
    count = (size - 36) // 9
    return bpe(260 + count, [(260 + i, b'a') for i in range(count)], [])


def merges_of_nothing(size=ROOM - 3000):
    count = (size - 36) // 16
    return bpe(70000, [], [(i, i, i, i) for i in range(count)])


def same_merge(size=ROOM - 3000):
    count = (size - 100) // 16
    return bpe(261, [(260, b'aa')], [(97, 97, 260, 0)] * count)


def bpe(vocabulary, tokens, merges):
    section = struct.pack('<4s8I', b'BPE1', 1, vocabulary, 256, 257, 258, 259, len(tokens),
                          len(merges))
    section += b''.join(struct.pack('<2I', t, len(b)) + b for t, b in tokens)
    return section + b''.join(struct.pack('<4I', *m) for m in merges)


def tokenizers():
    yield 'merges that give one long token', merges_of_one_long_token()
    yield 'a chain of merges', chain_of_merges()
    yield 'merges that double', doubling_merges(17)
    yield 'short tokens', short_tokens()
    yield 'merges of nothing', merges_of_nothing()
    yield 'the same merge', same_merge()
    yield 'counts of all ones', bpe(2 ** 32 - 1, [], [])[:28] + b'\xff' * 8


def in_model(section):
    """A model around a section. Its other parts are cut off: the tokenizer is judged all the same."""
    header = bytearray(128)
    struct.pack_into('<4s13I2f3QI2Q', header, 0, b'SLM1', 1, 128, 1, 1, 260, 4, 1, 1, 1, 1, 1, 1, 1,
                     1e4, 1e-5, 128, len(section), 0, 1, 0, 0)
    struct.pack_into('<I', header, 20, struct.unpack_from('<I', section, 8)[0])
    struct.pack_into('<I', header, 108, 1)
    return bytes(header) + section


# --- Directories, runs ----------------------------------------------------------------------------

def entries(kind, count=16000):
    """A directory of as many entries as there is room for, every one of them wrong."""
    if kind == b'SLM1':
        head = bytearray(in_model(struct.pack('<7I', *struct.unpack('<7I', b'BTOK' + struct.pack(
            '<6I', 1, 260, 256, 257, 258, 259)))))
        head += bytes(192 - len(head))
        struct.pack_into('<Q', head, 80, 192)
        struct.pack_into('<I', head, 88, count)
        entry = struct.pack('<Q6I3Q2I', 7, 1, 9, 0, 0, 0, 0, 1, 1, 1, 9, 9)
        return bytes(head) + entry * count
    head = bytearray(128)
    struct.pack_into('<4s5I3Q2I5Q', head, 0, kind, 1, 128, 0, 0, count, 0, 0, 0, count, 0, 128, 0, 0,
                     128 + 64 * count, 128 + 64 * count)
    return bytes(head) + struct.pack('<Q6I4Q', 7, 9, 9, 0, 0, 0, 0, 1, 1, 0, 1) * count


def shared_payloads(dtype, count=7000):
    """Tensors whose payloads all lie in one place, most of the file."""
    head = bytearray(entries(b'SLM1', count))
    payload = -(-len(head) // 64) * 64
    room = (ROOM - payload) // 64 * 64
    for i in range(count):
        n = room // 4 if dtype == 1 else room // 8
        scale = 0 if dtype == 1 else payload
        struct.pack_into('<Q6I3Q2I', head, 192 + 64 * i, i, dtype, 2 if dtype == 2 else 1,
                         n, 1, 1, 1, payload, 4 * n if dtype == 1 else n, scale,
                         0 if dtype == 1 else 1, 0)
    return bytes(head) + bytes(payload - len(head)) + struct.pack('<f', 1) * (room // 4)


def runs():
    """An undo file of as many runs as there is room for, of one byte each."""
    body = repeated(b'\x03\x01x', ROOM - 200)
    head = bytearray(160)
    count = len(body) // 3
    struct.pack_into('<4s3I2Q', head, 0, b'UND1', 1, 160, 0, 4 * count, 4 * count)
    struct.pack_into('<3Q', head, 96, count, count, 160 + len(body))
    return bytes(head) + body


def binaries():
    """(name, file)"""
    for name, section in tokenizers():
        yield 'tokenizer, %s' % name, in_model(section)
    for kind in (b'SLM1', b'ADP1', b'ASP1', b'ALR1'):
        yield '%s, 16,000 wrong entries' % kind.decode(), entries(kind)
    yield 'SLM1, 7,000 tensors in one place, f32', shared_payloads(1)
    yield 'SLM1, 7,000 tensors in one place, q8_0', shared_payloads(2)
    yield 'UND1, runs of one byte', runs()
    for name, value in json_values():
        yield 'metadata, %s' % name, with_metadata(b'{"a":' + value + b'}')


def with_metadata(metadata):
    """An ADP1 of one value. Nothing is sealed: metadata is read all the same."""
    end = 192 + len(metadata)
    payload = -(-end // 64) * 64
    head = bytearray(192)
    struct.pack_into('<4s5I3Q2I5Q', head, 0, b'ADP1', 1, 128, 0, 0, 1, 1, 1, 1, 1, 0, 128, 192,
                     len(metadata), payload, payload + 4)
    struct.pack_into('<Q6I4Q', head, 128, 7, 1, 0, 1, 1, 1, 1, payload, 4, 0, 1)
    return bytes(head) + metadata + bytes(payload - end) + struct.pack('<f', 1)


# --- Bundles --------------------------------------------------------------------------------------

def roomy():
    """A bundle whose budgets leave a document a mebibyte."""
    bundle = Bundle()
    for document in (REGISTRY, PLAN):
        for key in bundle.documents[document]['budgets']:
            bundle.documents[document]['budgets'][key] = 1 << 40
    bundle.documents[PLAN]['budgets']['total_bytes'] = 1 << 40
    bundle.documents[FAMILY]['budgets'] = {'stack_bytes': 1 << 40, 'stack_count': 1 << 40}
    return bundle


def compact(document):
    return json.dumps(document, separators=(',', ':')).encode()


def filled(document, pointer, make, size=ROOM):
    """A document whose list at the pointer has as many of make(i) as there is room for."""
    bundle = roomy()
    holder, keys = bundle.documents[document], pointer.split('/')[1:]
    for key in keys[:-1]:
        holder = holder[int(key) if isinstance(holder, list) else key]
    items = list(holder[keys[-1]])
    length = len(compact(bundle.documents[document]))
    while True:
        item = make(len(items))
        length += len(compact(item)) + 1
        if length > size:
            break
        items.append(item)
    holder[keys[-1]] = items
    bundle.seal()
    bundle.raw[document] = compact(bundle.documents[document])
    bundle.seal()
    return bundle


def module(i, depends_on=(), identifier='%d', path='x/%d', digest='sha256:' + '0' * 64):
    return {'id': identifier % i, 'path': path % i, 'bytes': 0, 'digest': digest,
            'class': 'evidence', 'role': 'evidence-review', 'phase': 'evidence', 'slot': None,
            'depends_on': list(depends_on)}


def reference(i):
    return {'path': '%d' % i, 'bytes': 0, 'digest': 'sha256:' + '0' * 64}


def bundles():
    """(name, bundle)"""
    for name, value in json_values():
        bundle = Bundle()
        bundle.raw[REGISTRY] = b'{"a":' + value + b'}'
        yield 'registry, %s' % name, bundle
    for document, pointer in ((REGISTRY, '/entries'), (PLAN, '/modules'), (FAMILY, '/members'),
                              (FAMILY, '/stacks'), (FAMILY, '/stacks/0/order')):
        yield '%s, empty objects in %s' % (document, pointer), filled(document, pointer,
                                                                      lambda i: {})
        yield '%s, nulls in %s' % (document, pointer), filled(document, pointer, lambda i: None)
    first = len(Bundle().documents[PLAN]['modules'])
    yield 'plan, a chain', filled(PLAN, '/modules', lambda i: module(
        i, ['%d' % (i - 1)] if i > first else []))
    yield 'plan, a chain forwards', filled(PLAN, '/modules', lambda i: module(i, ['%d' % (i + 1)]))
    yield 'plan, a circle', filled(PLAN, '/modules', lambda i: module(
        i, ['%d' % (i - 1 if i > first else 3000)]))
    yield 'plan, all on all before', filled(PLAN, '/modules', lambda i: module(
        i, ['%d' % k for k in range(first, i)]))
    yield 'plan, all on all, circles', filled(PLAN, '/modules', lambda i: module(
        i, ['%d' % k for k in range(first, first + 500)]))
    yield 'plan, one on one many times', filled(PLAN, '/modules/0/depends_on', lambda i: 'model')
    yield 'plan, many unknown', filled(PLAN, '/modules/0/depends_on', lambda i: '%d' % i)
    yield 'plan, long ids', filled(PLAN, '/modules', lambda i: module(
        i, identifier='x' * 4000 + '%06d'))
    yield 'plan, the same id', filled(PLAN, '/modules', lambda i: module(0))
    yield 'plan, paths in two spellings', filled(PLAN, '/modules', lambda i: module(
        i // 2, identifier='%d', path='X/%d' if i % 2 else 'x/%d'))
    yield 'plan, long paths', filled(PLAN, '/modules', lambda i: module(
        i, path='/'.join(['y' * 80] * 3) + '%06d'))
    yield 'family, members', filled(FAMILY, '/members', lambda i: {
        'id': '%d' % i, 'manifest': reference(i), 'package': reference(i)})
    yield 'family, stacks', filled(FAMILY, '/stacks', lambda i: {
        'id': '%d' % i, 'preferred': False, 'rounding': 'nearest',
        'order': [{'member': 'lowrank', 'strength': 1}], 'expected_state': 'xxh3-64:' + '0' * 16,
        'expected_output': None})
    yield 'registry, entries', filled(REGISTRY, '/entries', lambda i: {
        'id': '%d' % i, 'dtype': 'f32', 'admission': 'admitted', 'strategy': 'none',
        **{key: reference(i) for key in ('model', 'manifest', 'module_plan', 'assembly_receipt')},
        'adapter_family': None}, ROOM // 3)     # sealing makes them longer
    bundle = roomy()
    bundle.raw[ASSEMBLY] = b'{' + listed(b'"x":0')[1:-1] + b'}'
    bundle.seal()
    yield 'assembly, a key many times', bundle
    bundle = roomy()
    bundle.raw[ASSEMBLY] = numbered(lambda i: b'%x' % i)
    bundle.seal()
    yield 'assembly, unknown keys', bundle
    for name, line in (('empty lines', b'\n'), ('empty objects', b'{}\n'), ('zeros', b'0\n')):
        bundle = roomy()
        bundle.raw[made.LEDGER] = repeated(line)
        bundle.seal()
        yield 'ledger, %s' % name, bundle


def receipts():
    """(name, text of an apply receipt)"""
    head = b'{"schema":"trlm/apply-receipt@1","tensors":'
    yield 'receipt, empty objects', head + listed(b'{}') + b'}'
    yield 'receipt, nulls', head + listed(b'null') + b'}'
    yield 'receipt, packages', b'{"schema":"trlm/apply-receipt@1","stack":' + listed(b'{}') + b'}'
    for name, value in json_values():
        yield 'receipt, %s' % name, b'{"schema":"trlm/apply-receipt@1","tool":' + value + b'}'


def safetensors():
    """(name, file)"""
    def file_of(header):
        return struct.pack('<Q', len(header)) + header
    for name, value in json_values():
        yield 'safetensors, %s' % name, file_of(b'{"a":' + value + b'}')
        yield 'safetensors, metadata, %s' % name, file_of(b'{"__metadata__":{"a":' + value + b'}}')
    entry = b'"%x":{"dtype":"F32","shape":[],"data_offsets":[0,0]}'
    yield 'safetensors, tensors of the same bytes', file_of(b'{' + b','.join(
        entry % i for i in range(ROOM // 60)) + b'}')
    yield 'safetensors, empty entries', file_of(b'{' + b','.join(
        b'"%x":{}' % i for i in range(ROOM // 12)) + b'}')
    yield 'safetensors, a shape of ones', file_of(
        b'{"a":{"dtype":"F32","shape":' + listed(b'1') + b',"data_offsets":[0,0]}}')
    yield 'safetensors, a shape of twos', file_of(
        b'{"a":{"dtype":"F32","shape":' + listed(b'2') + b',"data_offsets":[0,0]}}')


# --- On disk --------------------------------------------------------------------------------------

CONFIG = 'config.json'


def write(folder):
    """Writes all of them; [name, command] each, with paths from the folder."""
    index = []

    def put(path, content):
        assert len(content) <= MEBIBYTE, (path, len(content))
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'wb') as file:
            file.write(content)

    for number, (name, content) in enumerate(binaries()):
        put('files/%d' % number, content)
        index.append([name, ['validate', 'files/%d' % number]])
        index.append([name + ', inspected', ['inspect', 'files/%d' % number]])
    for number, (name, content) in enumerate(receipts()):
        put('receipts/%d' % number, content)
        index.append([name, ['replay', 'receipts/%d' % number]])
    for number, (name, content) in enumerate(safetensors()):
        put('safetensors/%d/model.safetensors' % number, content)
        put('safetensors/%d/%s' % (number, CONFIG), json.dumps(checkpoint.CONFIG).encode())
        index.append([name, ['convert', 'safetensors/%d' % number, '-o', 'output']])
    for number, (name, bundle) in enumerate(bundles()):
        for path in bundle.paths():
            put('bundles/%d/%s' % (number, path), bundle.content(path))
        index.append([name, ['verify', 'bundles/%d' % number]])
    with open(os.path.join(folder, 'index.json'), 'w') as file:
        json.dump(index, file)


if __name__ == '__main__':
    write(sys.argv[1])
