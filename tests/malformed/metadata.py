"""Metadata of packages: text that is no JSON, not an object, too long or too deep, and the keys that
have a meaning. Any defect is bad_metadata."""
import json

import binary
import text
from corpus import exactly
from second import spec

RULE = ('one JSON object of at most 1 MiB and 16 levels, without duplicate keys, whose known keys have '
        'their types, else bad_metadata')


def package(metadata):
    values = binary.np.ones(3, '<f4')
    identity = dict(model_flags=1, tensor_count=11, parameter_count=564,
                    tensor_layout_checksum=5, tokenizer_checksum=3)
    entries = [spec.PackageEntry(name, (3,), values=values) for name in names()]
    return spec.write_package(b'ADP1', identity, entries, metadata)


def names():
    return sorted(('norm.weight', 'layers.0.attn_norm.weight'), key=spec.fnv1a)


def keys():
    """(what, object, whether it is right) of the keys with a meaning."""
    right = names()
    yield 'no key', {}, True
    yield 'tensor_names', {'tensor_names': right}, True
    yield 'every key', {'tensor_names': right, 'name': '', 'description': 'x', 'license': 'MIT',
                        'source': 's', 'more': [1, {'name': 1}]}, True
    yield 'inner keys of other types', {'more': {'name': 1, 'tensor_names': 'x'}}, True
    yield 'another case', {'Name': 1, 'TENSOR_NAMES': 0}, True
    for what, value in (('null', None), ('a text', 'x'), ('a number', 2), ('an object', {}),
                        ('no names', []), ('one name', right[:1]), ('three names', right + ['x']),
                        ('another order', right[::-1]), ('a number for a name', [right[0], 1]),
                        ('null for a name', [right[0], None]), ('the same name twice', right[:1] * 2),
                        ('another name', [right[0], 'other']),
                        ('a name with a NUL', [right[0], right[1] + '\0']),
                        ('a name in capitals', [right[0], right[1].upper()])):
        yield 'tensor_names, %s' % what, {'tensor_names': value}, False
    for key in ('name', 'description', 'license', 'source'):
        for value in (None, 1, True, [], {}, ['x']):
            yield '%s = %s' % (key, json.dumps(value)), {key: value}, False


def cases(corpus):
    corpus.group('metadata', 'An ADP1 package with other metadata.', ['validate', '{input}'])

    def add(name, content, good):
        corpus.add('metadata', name, RULE, exactly() if good else exactly('bad_metadata'),
                   package(content))
    for name, value, good in text.VALUES:
        add('a value: %s' % name, b'{"a":' + value + b'}', good)
    for name, value in text.DUPLICATES:
        add('a key twice: %s' % name, b'{"x":' + value + b'}', False)
    for name, value in text.NOT_DUPLICATES:
        add('no key twice: %s' % name, b'{"x":' + value + b'}', True)
    for name, change in text.WHOLE:
        if name != 'nothing':       # no metadata is right
            add('the whole text: %s' % name, change(b'{"a":"b"}'), False)
    add('spaces around', b' \t\r\n{"a":1} \t\r\n', True)
    for name, value, good in keys():
        add('keys: %s' % name, json.dumps(value).encode(), good)
    for depth in (15, 16, 17, 100, 10000):
        add('arrays, %d levels' % depth, b'{"a":' + text.nested(depth - 1) + b'}', depth <= 16)
        add('objects, %d levels' % depth, b'{"a":' * depth + b'1' + b'}' * depth, depth <= 16)
    limit = 1 << 20
    for length in (limit - 1, limit, limit + 1):
        add('%d bytes' % length, b'{"a":"' + b'x' * (length - 8) + b'"}', length <= limit)
    whole = json.dumps({'tensor_names': names(), 'name': 'n'}).encode()
    for length in range(1, len(whole)):
        add('the first %d bytes' % length, whole[:length], False)
    # Bytes 80 to ff are no UTF-8 by themselves, those below 20 and NUL no JSON.
    for byte in range(256):
        good = 0x20 <= byte < 0x80 and byte not in b'"\\'
        add('byte %#x in a text' % byte, b'{"a":"' + bytes([byte]) + b'"}', good)
