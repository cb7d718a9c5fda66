#!/usr/bin/env python3
"""The core, in a program without exceptions or a heap, against the vectors and the tool.

usage: test_core.py CLI ENGINE VECTORS
"""
import json
import os
import subprocess
import sys
import tempfile

CHECKSUM = slice(100, 108)  # of the file; the engine has no business with it


def weights(path):
    with open(path, 'rb') as file:
        content = bytearray(file.read())
    content[CHECKSUM] = bytes(8)
    return bytes(content)


def main():
    cli, engine, vectors = map(os.path.abspath, sys.argv[1:])
    applied = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, model, packages in cases(vectors):
            ours, theirs = os.path.join(folder, 'core.slm'), os.path.join(folder, 'tool.slm')
            for path in (ours, theirs):
                if os.path.exists(path):
                    os.remove(path)
            core = subprocess.run([engine, model, ours, *packages], capture_output=True, text=True)
            tool = subprocess.run([cli, 'apply', model, *packages, '-o', theirs, '--rounding',
                                   'nearest', '--allow-no-effect', '--json'],
                                  capture_output=True, text=True)
            report = json.loads(tool.stdout)
            if tool.returncode == 0:
                assert core.returncode == 0, (name, core)
                assert weights(ours) == weights(theirs), name
                assert core.stdout.split()[1] == report['result']['state'].split(':')[-1], name
                applied += 1
            else:
                assert core.returncode == 3, (name, core, tool.stdout)
                assert not os.path.exists(ours), name
                refused += 1
    print('%d stacks applied, %d refused, as by the tool' % (applied, refused))
    assert applied >= 10 and refused >= 1


def cases(vectors):
    models = sorted(os.listdir(os.path.join(vectors, 'models')))
    adapters = sorted(os.listdir(os.path.join(vectors, 'adapters')))
    for model in models:
        path = os.path.join(vectors, 'models', model)
        for adapter in adapters:
            yield model + ' ' + adapter, path, [os.path.join(vectors, 'adapters', adapter)]
        yield model + ' all', path, [os.path.join(vectors, 'adapters', one) for one in adapters[:2]]


main()
