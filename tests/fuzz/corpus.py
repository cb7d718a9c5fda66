#!/usr/bin/env python3
"""Packs the inputs of a folder into one small archive, the same bytes for the same inputs.

usage: corpus.py FOLDER ARCHIVE
"""
import gzip
import io
import os
import sys
import tarfile

LARGEST = 300_000  # of an archive, in bytes: of a larger one the largest inputs are left out


def packed(folder, names):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode='w') as tar:
        for name in sorted(names):
            with open(os.path.join(folder, name), 'rb') as file:
                content = file.read()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(archive.getvalue(), 9, mtime=0)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    folder, archive = sys.argv[1:]
    names = sorted(os.listdir(folder), key=lambda name: os.path.getsize(os.path.join(folder, name)))
    content = packed(folder, names)
    while len(content) > LARGEST:
        names = names[:len(names) * 9 // 10]
        content = packed(folder, names)
    with open(archive, 'wb') as file:
        file.write(content)
    print('%s: %d inputs, %d bytes' % (archive, len(names), len(content)))


if __name__ == '__main__':
    main()
