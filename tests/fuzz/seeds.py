#!/usr/bin/env python3
"""Writes the inputs that fuzzing starts from, a folder for each target: the conformance vectors,
documents made from the specification alone, and what earlier runs found to reach more than those
(corpus/TARGET.tar.gz). Small, so that many runs fit in a second.

usage: seeds.py FOLDER
"""
import json
import os
import struct
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TESTS, name) for name in ('documents', 'support')]
import bundle  # noqa: E402
import undo_file  # noqa: E402

VECTORS = os.path.join(TESTS, 'conformance', 'vectors')
DOCUMENTS = ['registry', 'module_plan', 'model_manifest', 'adapter_manifest', 'family', 'assembly',
             'apply_receipt', 'ledger']
EVIDENCE = ['review', 'recipe', 'operator', 'candidate', 'promotion', 'runtime']
LARGEST = 70_000


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def vectors(folder, largest=LARGEST):
    root = os.path.join(VECTORS, folder)
    return {name: read(os.path.join(root, name)) for name in sorted(os.listdir(root))
            if os.path.getsize(os.path.join(root, name)) <= largest}


def tokenizers():
    """Sections of the models, each with a text behind it."""
    text = b'the thin hen'
    found = {}
    for name, model in vectors('models').items():
        offset, length = struct.unpack_from('<2Q', model, 64)
        found[name] = bytes([len(text)]) + model[offset:offset + length] + text
    return found


def safetensors():
    header = {'__metadata__': {'format': 'pt'},
              'a': {'dtype': 'F32', 'shape': [2, 2], 'data_offsets': [0, 16]},
              'b': {'dtype': 'BF16', 'shape': [3], 'data_offsets': [16, 22]},
              'c': {'dtype': 'F16', 'shape': [], 'data_offsets': [22, 24]}}
    text = json.dumps(header).encode()
    return {'three': struct.pack('<Q', len(text)) + text + bytes(24),
            'none': struct.pack('<Q', 2) + b'{}'}


def undo_files():
    """Without their checksum: the target's mutator puts it right."""
    base = bytes(range(200)) * 5
    changed = bytearray(base)
    for at in (0, 3, 4, 500, 999):
        changed[at] ^= 1
    return {'some': undo_file.make(base, bytes(changed)),
            'longer': undo_file.make(base, base + b'tail'),
            'shorter': undo_file.make(base, base[:300])}


def kind_of(path):
    """The number by which the target knows a document of a bundle, or nothing."""
    name = os.path.basename(path)
    if name == bundle.REGISTRY:
        return 0
    for part, kind in (('module-plan', 1), ('family.receipt', 4), ('assembly.receipt', 5),
                       ('ledger', 7)):
        if part in name:
            return kind
    if 'manifest' in name:
        return 3 if 'adapters' in path else 2
    for number, kind in enumerate(EVIDENCE):
        if kind in name:
            return 8 + number
    return None


def documents(files):
    found = {}
    for path, content in files.items():
        kind = kind_of(path)
        if kind is not None and len(content) < LARGEST:
            found['%02d-%s' % (kind, path.replace('/', '-'))] = bytes([kind]) + content
    return found


def packed(files):
    parts = []
    for path, content in files.items():
        name = path.encode()
        parts.append(bytes([len(name)]) + name + struct.pack('<I', len(content)) + content)
    return b''.join(parts)


def command_lines():
    """One a command, over the files that the target lays out."""
    lines = ['validate m d s b l', 'validate d --model m --json', 'inspect m --json', 'inspect l',
             'apply m d=0.5 s -o out --undo u --receipt r', 'apply q8 l -o out --rounding stochastic --seed 7',
             'apply m d --dry-run --json', 'digest m d', 'explain bad_magic', 'limits --json', 'version',
             'diff m m -o out', 'merge d d -o out', 'compose-check d s', 'convert m -o out --dtype q8_0',
             'verify . --json', 'replay r', 'revert out u', 'bundle create r -o out', '--help']
    return {'%02d' % i: line.replace(' ', '\n').encode() for i, line in enumerate(lines)}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    made = bundle.Bundle()
    made.seal()
    files = {path: made.content(path) for path in made.paths()}
    corpora = {
        'model': vectors('models', 35_000),
        'package': vectors('adapters'),
        'tokenizer': tokenizers(),
        'document': documents(files),
        'safetensors': safetensors(),
        'undo': undo_files(),
        'bundle': {'whole': packed(files)},
        'arguments': command_lines(),
    }
    for target, inputs in corpora.items():
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        assert inputs, target
        for name, content in inputs.items():
            with open(os.path.join(folder, name), 'wb') as file:
                file.write(content)
        found = os.path.join(HERE, 'corpus', target + '.tar.gz')
        if os.path.exists(found):
            with tarfile.open(found) as archive:
                archive.extractall(folder)


if __name__ == '__main__':
    main()
