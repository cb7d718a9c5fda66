#!/usr/bin/env python3
"""Writes the hostile corpus into a new folder, from the specification alone.

usage: generate.py FOLDER [--only GROUPS] [--every N]

The same on every machine: the last line is the digest of the manifest, which stands for every byte.
docs/conformance.md says what is in the folder and how to use it. Needs NumPy, and xxhash as a Python
module or as a C library; exits with 77 where one is missing.
"""
import argparse
import sys

try:
    import numpy  # noqa: F401
    from second import spec
    available = spec.have_xxh3()
except ImportError:
    available = False
if not available:
    print('skipped: the corpus needs NumPy and the xxHash library')
    sys.exit(77)

import binary  # noqa: E402
import corpus  # noqa: E402
import documents  # noqa: E402
import metadata  # noqa: E402
import receipts  # noqa: E402
import safetensors  # noqa: E402
import tokenizers  # noqa: E402
import undo  # noqa: E402

PARTS = {'slm1': binary.slm1_cases, 'packages': binary.package_cases,
         'tokenizer': tokenizers.cases, 'undo': undo.cases, 'metadata': metadata.cases,
         'safetensors': safetensors.cases,
         'documents': documents.cases, 'receipts': receipts.cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='the corpus; must not exist, or be empty')
    parser.add_argument('--only', choices=PARTS, action='append', help='a part of it')
    parser.add_argument('--every', type=int, default=1, help='the files of each N-th case alone')
    options = parser.parse_args()
    made = corpus.Corpus(options.folder, options.every)
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            part(made)
    digest = made.close()
    for name, group in made.groups.items():
        print('%-16s %6d' % (name, group['cases']))
    print('%-16s %6d cases' % ('all', made.count))
    print('manifest %s' % digest)


if __name__ == '__main__':
    main()
