"""Prints the README's table: bits per byte before and after, for each storage, adapter, output dtype.

    /usr/bin/python3 tests/produce/bits_per_byte.py build/release/trlm-adapt

Runs the tool on examples/data, and the models with engine.py. Takes a few minutes; needs NumPy.
"""
import os
import subprocess
import sys
import tempfile

import engine

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, 'examples', 'data')
ADAPTERS = (('whale-lora.alr1', '1'), ('whale-full.adp1', '1'), ('whale-top5.asp1', '1'),
            ('whale-lora.alr1', '0.1'), ('whale-full.adp1', '0.1'))
COLUMNS = (('nearest', 'keep'), ('adaptive:0', 'keep'), ('adaptive:0', 'q8_0'),
           ('adaptive:0', 'f32'))
FINENESS = ('q4_0', 'q8_0', 'f32')


def changes(storage, rounding, dtype):
    """Whether a column means anything else for this storage than the one before it."""
    if dtype == 'keep':
        return rounding == 'adaptive:0' or storage != 'f32'
    return FINENESS.index(dtype) > FINENESS.index(storage)


def main():
    cli = os.path.abspath(sys.argv[1])
    with open(os.path.join(DATA, 'texts', 'whale.txt'), 'rb') as file:
        text = file.read()

    def run(*arguments):
        subprocess.run([cli, *arguments, '--quiet', '--force'], check=True)

    with tempfile.TemporaryDirectory() as folder:
        def measure(model):
            return '%.3f' % engine.read_slm1(model).bits_per_byte(text)

        print('| base | adapter | strength | before | nearest | adaptive | `q8_0` | `f32` |')
        print('|---|---|---|---|---|---|---|---|')
        for storage in ('f32', 'q8_0', 'q4_0'):
            base, out = (os.path.join(folder, name) for name in ('base.slm', 'out.slm'))
            run('convert', os.path.join(DATA, 'checkpoint'), '-o', base, '--dtype', storage)
            before = measure(base)
            for adapter, strength in ADAPTERS:
                cells = []
                for rounding, dtype in COLUMNS:
                    if not changes(storage, rounding, dtype):
                        cells.append('')
                        continue
                    run('apply', base, os.path.join(DATA, adapter), '-o', out, '--rounding',
                        rounding, '--output-dtype', dtype, '--strength',
                        '%s=%s' % (adapter, strength))
                    cells.append(measure(out))
                print('| %s | `%s` | %s | %s | %s |' % (storage, adapter, strength, before,
                                                       ' | '.join(cells)), flush=True)


if __name__ == '__main__':
    main()
