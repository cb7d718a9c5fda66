#!/usr/bin/env python3
"""Every limit of the limits table, at it and one past it, and what hostile files cost.

usage: test_limits.py CLI [--bounded] [unittest arguments]

With --bounded no file of at most a mebibyte may take more than a second of processor time, or more
than 64 MiB to be refused; builds with sanitizers take more. Exits with 77 where NumPy or xxHash is
missing.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import run

HERE = os.path.dirname(os.path.abspath(__file__))
INVALID, DRIFT = 1, 3
cli, bounded = '', False

# The table of docs/formats.md, section 5, by the names of `trlm-adapt limits`, with what is at and
# past each in large.py, in this file, or in the corpus.
TESTED = {'tensors', 'tensor-rank', 'dim', 'elements', 'sparse-elements', 'low-rank',
          'metadata-bytes', 'metadata-depth', 'json-bytes', 'json-depth', 'stack-members', 'findings',
          'budget-model-bytes', 'budget-adapter-stack-bytes', 'budget-text-sidecar-bytes'}


def setUpModule():
    """Another process makes the files, so that this one stays small: the memory of what it starts
    is measured from its own."""
    global folder
    folder = tempfile.mkdtemp(prefix='trlm-limits-')
    for script in ('large.py', 'attacks.py'):
        made = subprocess.run([sys.executable, os.path.join(HERE, script),
                               os.path.join(folder, script[:-3])])
        if made.returncode == run.SKIPPED:
            sys.exit(run.SKIPPED)
        assert made.returncode == 0, script


def tearDownModule():
    shutil.rmtree(folder)


def read_index(name):
    with open(os.path.join(folder, name, 'index.json')) as file:
        return json.load(file)


class LimitsTest(unittest.TestCase):
    def tool(self, *words, where='large'):
        return run.Run([cli, *words], os.path.join(folder, where))

    def test_the_table(self):
        table = self.tool('limits').document['result']['limits']
        self.assertEqual({limit['name'] for limit in table}, TESTED)

    def test_at_each_limit_and_past_it(self):
        """large.py says what each file or folder has to give."""
        tested = set()
        for name, limit, words, codes in read_index('large'):
            with self.subTest(name):
                result = self.tool(*words)
                self.assertIsNotNone(result.document, name)
                found = {f['code'] for f in result.errors()}
                self.assertEqual(found, set(codes), result.document['findings'][:5])
                self.assertEqual(result.code, result.document['exit_code'])
                self.assertEqual(result.code == 0, not codes)
                tested.add((limit, bool(codes)))
        for limit in TESTED - {'findings'}:
            self.assertIn((limit, False), tested, 'at the limit')
            self.assertIn((limit, True), tested, 'past the limit')

    def test_findings(self):
        """1,000 are kept. One more is counted, and decides the exit code all the same."""
        names = []
        for number in range(1000):
            names.append('bad%d' % number)
            with open(os.path.join(folder, 'large', names[-1]), 'wb') as file:
                file.write(b'none of them')
        result = self.tool('validate', *names)
        self.assertEqual(len(result.document['findings']), 1000)
        self.assertEqual({f['file'] for f in result.errors()}, set(names))
        self.assertEqual(result.code, INVALID)
        result = self.tool('validate', *names, 'changed.adp1')
        self.assertEqual(len(result.document['findings']), 1000)
        self.assertEqual({f['code'] for f in result.errors()}, {'bad_magic'})
        self.assertEqual(result.code, DRIFT)


class CostTest(unittest.TestCase):
    """What an attack on the running time or the memory of a reader costs."""

    def test_attacks(self):
        index = read_index('attacks')
        self.assertGreater(len(index), 250)
        measured = []
        for name, words in index:
            with self.subTest(name):
                result = run.Run([cli, *words], os.path.join(folder, 'attacks'))
                self.assertEqual(result.problems(bounded), [])
                measured.append((result.seconds, result.mebibytes, name))
        print('slowest: %.3f s, %s' % max((s, n) for s, _, n in measured))
        print('largest: %.1f MiB, %s' % max((m, n) for _, m, n in measured))


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cli = os.path.abspath(sys.argv.pop(1))
    if '--bounded' in sys.argv:
        sys.argv.remove('--bounded')
        bounded = True
    unittest.main()
