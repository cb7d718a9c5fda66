#!/usr/bin/env python3
"""Runs the C programs on models of every storage, against what the tool writes.

usage: test_programs.py TOOL FOLDER-OF-THE-PROGRAMS [unittest arguments]
"""
import json
import os
import subprocess
import sys
import unittest

from cases import CASES, Folder

cli, programs = (os.path.abspath(argument) for argument in sys.argv[1:3])


class Programs(unittest.TestCase):
    def run_program(self, name, case):
        with Folder(cli, case) as folder:
            done = subprocess.run([os.path.join(programs, 'c_' + name), folder.path],
                                  capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r'^[1-9]\d* checks, 0 failed\n$')

    def test_transactions(self):
        for case in CASES:
            with self.subTest(case):
                self.run_program('transactions', case)

    def test_refusals(self):
        for case in ('f32', 'q8_0', 'q4_0'):
            with self.subTest(case):
                self.run_program('refusals', case)

    def test_growth(self):
        for case in ('f32', 'q8_0', 'q4_0'):
            with self.subTest(case):
                self.run_program('growth', case)

    def test_example(self):
        with Folder(cli, 'whale') as folder:
            def run(*names):
                return subprocess.run(
                    [os.path.join(programs, 'c_example'), *map(folder.at, names)],
                    capture_output=True, text=True, timeout=600, check=False)

            def told(*arguments):
                done = subprocess.run([cli, *arguments, '--json'], cwd=folder.path,
                                      capture_output=True, text=True, timeout=600, check=True)
                return json.loads(done.stdout)['result']['state']

            done = run('base.slm', 'first.adapter')
            self.assertEqual(done.stdout, 'applied: state %s\nundone: state %s\n' % (
                told('apply', 'base.slm', 'first.adapter', '--dry-run'),
                told('inspect', 'base.slm')))
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            done = run('base.slm', 'other.adapter')
            self.assertEqual((done.returncode, done.stdout), (4, ''))
            self.assertIn('[tensor_count_differs]', done.stderr)
            done = run('nothing.slm', 'first.adapter')
            self.assertEqual((done.returncode, done.stdout), (2, ''))


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
