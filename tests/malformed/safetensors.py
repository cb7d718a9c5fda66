"""A checkpoint whose weights are in a safetensors file with one field, byte or length changed. The
rules are those of the format's own description: eight bytes of length, a JSON header that begins with
a brace, and data that its tensors cover without overlap, hole or rest."""
import json
import struct

import boundaries
import text
from corpus import Expected

NAME = 'model.safetensors'
CONFIG = {'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'hidden_size': 2,
          'intermediate_size': 2, 'num_hidden_layers': 1, 'num_attention_heads': 1,
          'num_key_value_heads': 1, 'head_dim': 2, 'vocab_size': 260, 'max_position_embeddings': 8,
          'rms_norm_eps': 1e-05, 'rope_theta': 10000.0, 'rope_scaling': None, 'hidden_act': 'silu',
          'attention_bias': False, 'mlp_bias': False, 'tie_word_embeddings': True,
          'bos_token_id': 256, 'eos_token_id': 257, 'pad_token_id': 258, 'torch_dtype': 'float32'}
HEADER_LIMIT = 100_000_000
# What the checkpoint then lacks, has too much of, or has in another shape.
OF_THE_CHECKPOINT = frozenset({'missing_tensor', 'unexpected_tensor', 'shape_mismatch',
                               'unsupported_source', 'unsupported_dtype', 'non_finite'})
SIZES = {'F16': 2, 'BF16': 2, 'F32': 4, 'F64': 8, 'I8': 1, 'U8': 1, 'I16': 2, 'U16': 2, 'I32': 4,
         'U32': 4, 'I64': 8, 'U64': 8, 'BOOL': 1}


def shapes():
    layer = 'model.layers.0.'
    yield 'model.embed_tokens.weight', [260, 2]
    yield layer + 'input_layernorm.weight', [2]
    for part in ('q', 'k', 'v', 'o'):
        yield layer + 'self_attn.%s_proj.weight' % part, [2, 2]
    yield layer + 'post_attention_layernorm.weight', [2]
    for part in ('gate', 'up', 'down'):
        yield layer + 'mlp.%s_proj.weight' % part, [2, 2]
    yield 'model.norm.weight', [2]


def valid():
    """(header, data): the norms in F32, the matrices in F16, and one in BF16."""
    header, data = {'__metadata__': {'format': 'pt'}}, b''
    for name, shape in shapes():
        dtype = 'F32' if len(shape) == 1 else 'BF16' if 'down' in name else 'F16'
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        value = {'F32': struct.pack('<f', 0.5), 'F16': b'\x00\x38', 'BF16': b'\x00\x3f'}[dtype]
        header[name] = {'dtype': dtype, 'shape': shape,
                        'data_offsets': [len(data), len(data) + len(value) * count]}
        data += value * count
    return header, data


def file_of(header, data, length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(raw) if length is None else length) + raw + data


def changed(header, name, **fields):
    copy = json.loads(json.dumps(header))
    copy[name].update(fields)
    return copy


def cases(corpus):
    header, data = valid()
    whole = file_of(header, data)
    corpus.group('safetensors', 'A checkpoint whose safetensors file has one field, byte or length '
                 'changed.', ['convert', '{folder}', '-o', '{output}'],
                 {'config.json': json.dumps(CONFIG).encode(), NAME: whole})

    def add(name, rule, content, *must, may=frozenset()):
        expected = Expected(frozenset(must), frozenset(may) - set(must))
        corpus.add('safetensors', name, rule, expected, {NAME: content})

    add('as it is', 'valid', whole)
    length_cases(add, header, data, whole)
    text_cases(add, header, data)
    for name in ('model.embed_tokens.weight', 'model.norm.weight'):
        entry_cases(add, header, data, name)
    value_cases(add, header, data)
    names_and_metadata(add, header, data)


def length_cases(add, header, data, whole):
    raw = len(json.dumps(header))
    rule = 'the header ends in the file (truncated) and has at most 100,000,000 bytes (limit_exceeded)'
    for value in boundaries.numbers(8, raw, len(whole), len(whole) - 8, HEADER_LIMIT):
        if value == raw:
            continue
        content = struct.pack('<Q', value) + whole[8:]
        if value > HEADER_LIMIT:
            add('length of the header = %#x' % value, rule, content, 'limit_exceeded')
        elif value > len(whole) - 8:
            add('length of the header = %#x' % value, rule, content, 'truncated')
        else:   # the text ends too early or too late
            add('length of the header = %#x' % value, 'the header is one JSON object', content,
                'bad_json')
    for length in range(len(whole)):
        must = 'truncated' if length < 8 + raw else 'range_out_of_file'
        add('the first %d bytes' % length, 'the header (truncated) and the data (range_out_of_file) '
            'are whole', whole[:length], must)
    for count in (1, 2, 8, 1000):
        add('%d bytes more' % count, 'no byte follows the data, else trailing_bytes',
            whole + bytes(count), 'trailing_bytes')


def text_cases(add, header, data):
    raw = json.dumps(header).encode()
    rule = 'the header is one JSON object'
    for name, value, good in text.VALUES:
        changed_header = raw[:-1] + b', "__extra__": ' + value + b'}'
        if not good:
            add('a value: %s' % name, rule, file_of(changed_header, data), 'bad_json')
    for name, value in text.DUPLICATES:
        add('a key twice: %s' % name, 'no key stands twice, else duplicate_key',
            file_of(raw[:-1] + b', "__extra__": ' + value + b'}', data),
            'duplicate_key')
    for name, change in text.WHOLE:
        add('the whole header: %s' % name, rule, file_of(change(raw), data), 'bad_json')
    for spaces in (1, 7, 64):
        add('%d spaces behind the header' % spaces, 'spaces may follow the header',
            file_of(raw + b' ' * spaces, data))
    add('a space before the header', 'the header begins with {', file_of(b' ' + raw, data), 'bad_json')


def entry_cases(add, header, data, name):
    entry = header[name]
    begin, end = entry['data_offsets']
    size = SIZES[entry['dtype']]
    short = name.split('.')[1]

    def put(what, rule, *must, may=frozenset(), **fields):
        add('%s: %s' % (short, what), rule, file_of(changed(header, name, **fields), data), *must,
            may=may)

    regions = frozenset({'overlap', 'hole', 'trailing_bytes'})
    lengths = 'shape and dtype give the length of the data, else length_mismatch'
    for dtype, width in SIZES.items():
        if dtype == entry['dtype']:
            continue
        if width == size:
            put('dtype = %s' % dtype, 'a float of 16 or 32 bits, else unsupported_dtype',
                *([] if dtype in ('F16', 'BF16', 'F32') else ['unsupported_dtype']), dtype=dtype)
        else:
            put('dtype = %s' % dtype, lengths, 'length_mismatch', dtype=dtype, may=OF_THE_CHECKPOINT)
    for dtype in ('F99', 'f32', '', 'F32 ', 'F16\0'):
        put('dtype = %r' % dtype, 'a known name, else unsupported_dtype', 'unsupported_dtype',
            dtype=dtype, may=OF_THE_CHECKPOINT)
    types = (None, True, 1, -1, 1.5, {}, 'x')
    for value in types[:-1] + ([],):
        put('dtype = %s' % json.dumps(value), 'a text, else bad_value', 'bad_value', dtype=value,
            may=OF_THE_CHECKPOINT)
    for value in types:
        put('shape = %s' % json.dumps(value), 'a list of whole numbers, else bad_value', 'bad_value',
            shape=value, may=OF_THE_CHECKPOINT)
        put('data_offsets = %s' % json.dumps(value), 'two whole numbers, else bad_value', 'bad_value',
            data_offsets=value, may=OF_THE_CHECKPOINT | regions)
        if value != 1:
            put('shape with %s' % json.dumps(value), 'whole numbers, else bad_value', 'bad_value',
                shape=[value] + entry['shape'][1:], may=OF_THE_CHECKPOINT)
            put('an offset %s' % json.dumps(value), 'whole numbers, else bad_value', 'bad_value',
                data_offsets=[begin, value], may=OF_THE_CHECKPOINT | regions)
    for offsets in ([], [begin], [begin, end, end], [end, begin]):
        if offsets != [begin, end]:
            put('data_offsets = %s' % offsets, 'a begin and an end that is not before it, else '
                'bad_value', 'bad_value', data_offsets=offsets, may=OF_THE_CHECKPOINT | regions)
    for value in boundaries.numbers(8, entry['shape'][0]):
        shape = [value] + entry['shape'][1:]
        total = size
        for dim in shape:
            total *= dim
        if value != entry['shape'][0]:
            put('the first dimension is %#x' % value, lengths + ', or size_overflow past 2^64',
                'size_overflow' if total >= 2 ** 64 else 'length_mismatch', shape=shape,
                may=OF_THE_CHECKPOINT)
    product = [2 ** 32, 2 ** 32, 0]
    put('dimensions that wrap to zero', lengths, shape=product,
        may=OF_THE_CHECKPOINT | {'size_overflow', 'length_mismatch'})
    put('a transposed or longer shape', 'the shape that the configuration asks for, else '
        'shape_mismatch', 'shape_mismatch', shape=entry['shape'][::-1] if len(entry['shape']) > 1
        else [1] + entry['shape'])
    for value in boundaries.numbers(8, end, len(data)):
        if value != end:
            code = ('range_out_of_file' if value > len(data) else 'bad_value' if value < begin
                    else 'length_mismatch')
            put('the data end at %#x' % value, 'the data lie in the file (range_out_of_file), end '
                'behind their begin (bad_value) and have the length of the shape (length_mismatch)',
                code, data_offsets=[begin, value], may=OF_THE_CHECKPOINT | regions)
    for move in (-1, 1, size, -size):
        if begin + move >= 0 and end + move <= len(data):
            put('the data moved by %d' % move, 'no two tensors share a byte, and no byte is left '
                'over', data_offsets=[begin + move, end + move], *['overlap'],
                may=OF_THE_CHECKPOINT | regions)
    for key in ('dtype', 'shape', 'data_offsets'):
        copy = json.loads(json.dumps(header))
        del copy[name][key]
        add('%s: without %s' % (short, key), 'an entry has all three keys, else missing_key',
            file_of(copy, data), 'missing_key', may=OF_THE_CHECKPOINT | regions)
    put('an unknown key', 'an entry has no other key, else unknown_key', 'unknown_key', extra=1)
    for value in types[:-2] + ([], 'x'):
        copy = dict(header, **{name: value})
        add('%s = %s' % (short, json.dumps(value)), 'an entry is an object, else bad_value',
            file_of(copy, data), 'bad_value', may=OF_THE_CHECKPOINT | regions)


def value_cases(add, header, data):
    """Stored values at the boundaries of their types."""
    start, end = header['model.norm.weight']['data_offsets']
    for label, bits in boundaries.FLOATS.items():
        must = [] if boundaries.finite(bits) else ['non_finite']
        for at in (start, end - 4):
            content = data[:at] + struct.pack('<I', bits) + data[at + 4:]
            add('F32 value at %d = %s' % (at, label), 'a weight is finite, else non_finite',
                file_of(header, content), *must)
    halves = {'F16': ('embed_tokens', 0x7c00), 'BF16': ('down_proj', 0x7f80)}
    for dtype, (part, infinity) in halves.items():
        name = next(n for n in header if part in n)
        start, end = header[name]['data_offsets']
        for bits in (0, 1, 0x8000, 0x8001, infinity - 1, infinity, infinity + 1, infinity | 0x8000,
                     0x7fff, 0xffff):
            must = ['non_finite'] if bits & 0x7fff >= infinity else []
            for at in (start, end - 2):
                content = data[:at] + struct.pack('<H', bits) + data[at + 2:]
                add('%s value at %d = %#x' % (dtype, at, bits), 'a weight is finite, else non_finite',
                    file_of(header, content), *must)


def names_and_metadata(add, header, data):
    for name in list(header)[1:]:
        copy = {('x' + k if k == name else k): v for k, v in header.items()}
        add('%s renamed' % name, 'exactly the tensors of the architecture', file_of(copy, data),
            'missing_tensor', 'unexpected_tensor')
    for value in (None, True, 1, [], 'x'):
        add('__metadata__ = %s' % json.dumps(value), 'an object of texts, else bad_value',
            file_of(dict(header, __metadata__=value), data), 'bad_value')
        if value != 'x':
            add('__metadata__ with %s' % json.dumps(value), 'an object of texts, else bad_value',
                file_of(dict(header, __metadata__={'format': value}), data), 'bad_value')
    without = {k: v for k, v in header.items() if k != '__metadata__'}
    add('without __metadata__', 'it may be missing', file_of(without, data))
    empty = dict(header, extra={'dtype': 'F32', 'shape': [0], 'data_offsets': [0, 0]})
    add('a tensor without elements', 'exactly the tensors of the architecture',
        file_of(empty, data), 'unexpected_tensor')
