#!/usr/bin/env python3
"""Files at the limits of docs/formats.md, section 5, and one past them.

usage: large.py FOLDER

Writes them and index.json: [what, limit, command line, codes that must be found] each.
"""
import json
import os
import struct
import sys

import generate  # noqa: F401: it ends with 77 where NumPy or xxHash is missing
import binary
import bundle as made
from binary import np
from bundle import PLAN, REGISTRY, Bundle
from second import mutate, spec

TENSORS, DIM, ELEMENTS, SPARSE, LOW_RANK = 65536, 2 ** 31 - 1, 2 ** 40, 2 ** 32, 4096
METADATA = JSON_BYTES = 1 << 20
MODEL_BUDGET, ADAPTER_BUDGET, TEXT_BUDGET = 33_554_432, 1_048_576, 262_144
IDENTITY = dict(model_flags=0, tensor_count=65536, parameter_count=1, tensor_layout_checksum=2,
                tokenizer_checksum=3)


class Writer:
    def __init__(self, folder):
        self.folder, self.index = folder, []

    def put(self, path, content):
        target = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'wb') as file:
            file.write(content)

    def add(self, what, limit, words, *codes):
        self.index.append([what, limit, words, codes])

    def file(self, what, limit, content, *codes):
        path = 'file%d' % len(self.index)
        self.put(path, content)
        self.add(what, limit, ['validate', path], *codes)


def dense(count, kind=b'ADP1'):
    """A package of so many entries of one value."""
    out = bytearray(128 + 64 * count) + struct.pack('<f', 1) + bytes(60)
    out = out[:128 + 64 * count] + (struct.pack('<f', 1) + bytes(60)) * (count - 1) + struct.pack(
        '<f', 1)
    start, one = 128 + 64 * count, spec.checksum(struct.pack('<f', 1))
    struct.pack_into('<4s5I3Q2I5Q', out, 0, kind, 1, 128, 0, 0, count, 1, 2, 3, count, 0, 128, 0, 0,
                     start, len(out))
    for i in range(count):
        spec.PACKAGE_ENTRY.pack_into(out, 128 + 64 * i, i, 1, 0, 1, 1, 1, 1, start + 64 * i, 4, 0, one)
    return bytes(spec.seal_package(out))


def sparse(dims):
    entry = spec.PackageEntry('a', dims, values=np.ones(1, '<f4'), indexes=np.array([0]), encoding=1)
    return spec.write_package(b'ASP1', IDENTITY, [entry])


def low_rank(rows, cols, r):
    entry = spec.PackageEntry('a', (rows, cols), a=np.ones((r, cols), '<f4'),
                              b=np.ones((rows, r), '<f4'), scale=np.float32(1))
    return spec.write_package(b'ALR1', IDENTITY, [entry])


def with_metadata(metadata):
    entry = spec.PackageEntry('a', (1,), values=np.ones(1, '<f4'))
    return spec.write_package(b'ADP1', IDENTITY, [entry], metadata)


def tensors(writer):
    """A model has two tensors and nine for each layer: 65,531 is the nearest to the limit."""
    layers = (TENSORS - 2) // 9
    model = binary.model(hidden_size=1, head_dim=1, ffn_size=1, layer_count=layers)
    data = spec.write_model(model)
    writer.file('65,531 tensors of a model', 'tensors', data)
    more = mutate.reseal(mutate.put(data, 88, 4, TENSORS + 1))
    writer.file('65,537 tensors of a model', 'tensors', more, 'limit_exceeded')
    writer.file('65,536 entries of a package', 'tensors', dense(TENSORS))
    past = mutate.put(dense(TENSORS), 20, 4, TENSORS + 1)
    writer.file('a package for 65,537 tensors', 'tensors', bytes(spec.seal_package(bytearray(past))),
                'limit_exceeded')


def shapes(writer):
    def dense_of(dims):
        entry = spec.PackageEntry('a', dims, values=np.ones(1, '<f4'))
        return spec.write_package(b'ADP1', IDENTITY, [entry])
    writer.file('rank 4', 'tensor-rank', dense_of((1, 1, 1, 1)))
    rank = mutate.put(dense_of((1, 1, 1, 1)), 136, 4, 5)
    writer.file('rank 5', 'tensor-rank', mutate.reseal(rank), 'bad_rank')
    writer.file('a dimension of 2^31 - 1', 'dim', sparse((DIM,)))
    writer.file('a dimension of 2^31', 'dim', mutate.reseal(
        mutate.put(sparse((DIM,)), 144, 4, DIM + 1)), 'bad_dim')
    writer.file('2^32 elements of ASP1', 'sparse-elements', sparse((65536, 65536)))
    past = sparse((65536, 65536))
    writer.file('2^32 + 2^16 elements of ASP1', 'sparse-elements', mutate.reseal(
        mutate.put(past, 144, 4, 65537), mask=False), 'limit_exceeded')
    writer.file('2^40 elements', 'elements', low_rank(2 ** 20, 2 ** 20, 1))
    writer.file('2^40 + 2^20 elements', 'elements', low_rank(2 ** 20, 2 ** 20 + 1, 1),
                'limit_exceeded')
    writer.file('r of 4,096', 'low-rank', low_rank(LOW_RANK, LOW_RANK, LOW_RANK))
    past = mutate.put(low_rank(LOW_RANK + 1, LOW_RANK + 1, 1), 176, 4, LOW_RANK + 1)
    writer.file('r of 4,097', 'low-rank', mutate.reseal(past), 'bad_low_rank', 'limit_exceeded')


def texts(writer):
    for past in (0, 1):
        codes = ['bad_metadata'] * past
        text = b'{"a":"' + b'x' * (METADATA - 8 + past) + b'"}'
        writer.file('%d bytes of metadata' % len(text), 'metadata-bytes', with_metadata(text), *codes)
        text = b'{"a":' * (16 + past) + b'1' + b'}' * (16 + past)
        writer.file('%d levels of metadata' % (16 + past), 'metadata-depth', with_metadata(text),
                    *codes)
        for limit, body in (('json-bytes', None), ('json-depth', '[' * (31 + past) + ']' * (31 + past))):
            name = '%s%d' % (limit, past)
            in_bundle(writer, name, body, JSON_BYTES + past)
            writer.add('%s, %d past it' % (limit, past), limit, ['verify', name],
                       *['limit_exceeded'] * past)


def in_bundle(writer, name, body, size):
    """A bundle whose review has this body, or so many bytes."""
    bundle = Bundle()
    for document in (REGISTRY, PLAN):
        budgets = bundle.documents[document]['budgets']
        for key in budgets:
            budgets[key] = 1 << 30
    path = 'evidence/review.json'
    bundle.documents[path]['body'] = '(body)'
    text = made.to_bytes(bundle.documents[path]).replace(b'"(body)"', (body or '0').encode())
    bundle.raw[path] = text if body else text + b' ' * (size - len(text))
    bundle.seal()
    for path in bundle.paths():
        writer.put('%s/%s' % (name, path), bundle.content(path))


def stacks(writer):
    model = binary.model(hidden_size=1, head_dim=1, ffn_size=1)
    writer.put('small.slm', spec.write_model(model))
    entry = spec.PackageEntry('norm.weight', (1,), values=np.ones(1, '<f4'))
    data = spec.write_package(b'ADP1', model.identity(), [entry])
    names = ['stack%d.adp1' % i for i in range(65)]
    for name in names:
        writer.put(name, data)
    for count in (64, 65):
        writer.add('a stack of %d' % count, 'stack-members',
                   ['apply', 'small.slm', *names[:count], '--dry-run'],
                   *['limit_exceeded'] * (count - 64))
    changed = bytearray(data)
    changed[-1] ^= 1
    writer.put('changed.adp1', bytes(changed))


# --- Default budgets ------------------------------------------------------------------------------

def recipe(writer, name, model, review, packages=()):
    writer.put('%s/model.slm' % name, model)
    document = {'schema': 'trlm/bundle-recipe@1', 'id': 'x', 'model': 'model.slm',
                'evidence': {'eval': {'cases': 1, 'failures': 0, 'body': {}},
                             'admission': {'status': 'admitted', 'body': {}}, 'review': review},
                'ledger': [{'event': 'made'}]}
    if packages:
        document['adapters'] = []
        for i, data in enumerate(packages):
            writer.put('%s/%d.adp1' % (name, i), data)
            document['adapters'].append({'id': '%d' % i, 'package': '%d.adp1' % i})
        document['stacks'] = [{'id': 's', 'preferred': True,
                               'order': [{'member': '0', 'strength': 1}]}]
    writer.put('%s/recipe.json' % name, json.dumps(document).encode())


def budgets(writer):
    model = binary.model(hidden_size=16, head_dim=16, ffn_size=1)
    small = spec.write_model(model)
    rest = len(small) - 128
    largest = spec.write_model(model, header_length=MODEL_BUDGET - rest)
    assert len(largest) == MODEL_BUDGET, len(largest)
    past = bytes(spec.seal_model(bytearray(largest + b'\0')))
    whole = package(model, ADAPTER_BUDGET)
    for name, limit, codes, parts in (
            ('model0', 'budget-model-bytes', [], (largest, {})),
            ('model1', 'budget-model-bytes', ['budget_exceeded'], (past, {})),
            ('adapters0', 'budget-adapter-stack-bytes', [], (small, {}, [whole])),
            ('adapters1', 'budget-adapter-stack-bytes', ['budget_exceeded'],
             (small, {}, [package(model, ADAPTER_BUDGET + 64)]))):
        recipe(writer, name, *parts)
        writer.add(name, limit, ['bundle', 'create', name + '/recipe.json', '-o', name + '-out'],
                   *codes)
    for past in (0, 1):
        name = 'text%d' % past
        # What the tool writes around the body: two spaces of indentation, one key a line.
        frame = json.dumps({'schema': 'trlm/evidence-review@1', 'kind': 'review',
                            'subject': 'sha256:' + '0' * 64, 'body': ''}, indent=2) + '\n'
        recipe(writer, name, small, 'x' * (TEXT_BUDGET - len(frame) + past))
        writer.add(name, 'budget-text-sidecar-bytes',
                   ['bundle', 'create', name + '/recipe.json', '-o', name + '-out'],
                   *['budget_exceeded'] * past)


def package(model, size):
    """A package of so many bytes, most of them metadata."""
    entry = spec.PackageEntry('norm.weight', (16,), values=np.ones(16, '<f4'))
    frame = 128 + 64 + 64 + len(b'{"a":""}')
    data = spec.write_package(b'ADP1', model.identity(), [entry],
                              b'{"a":"' + b'x' * (size - frame) + b'"}')
    assert len(data) == size, len(data)
    return data


def main():
    writer = Writer(sys.argv[1])
    for part in (tensors, shapes, texts, stacks, budgets):
        part(writer)
    writer.put('index.json', json.dumps(writer.index).encode())


if __name__ == '__main__':
    main()
