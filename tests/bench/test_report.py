"""Tests that the benchmarks run and that the page is written. Times are not looked at.

usage: test_report.py BUILD-FOLDER [unittest arguments]
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from xml.etree import ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
build = ''


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=570, check=False)


def program(name):
    return os.path.join(build, 'tests', 'bench', name)


class Report(unittest.TestCase):
    def test_everything_runs_and_hand_written_text_stays(self):
        with tempfile.TemporaryDirectory() as folder:
            page = os.path.join(folder, 'performance.md')
            with open(page, 'w') as file:
                file.write('Before.\n<!-- generated: goals -->\nto be replaced\n'
                           '<!-- end of generated: goals -->\nAfter.\n')
            done = run(sys.executable, os.path.join(HERE, 'report'), '--tiny', '--build', build,
                       '--results', folder, '--output', folder)
            self.assertEqual(0, done.returncode, done.stderr)
            with open(page) as file:
                text = file.read()
            self.assertTrue(text.startswith('Before.\n'))
            self.assertTrue(text.endswith('After.\n'))
            self.assertNotIn('to be replaced', text)
            self.assertNotIn('not measured', text)
            charts = os.listdir(os.path.join(folder, 'performance'))
            self.assertEqual(8, len(charts))
            for name in charts:
                ElementTree.parse(os.path.join(folder, 'performance', name))


class Nonsense(unittest.TestCase):
    def test_one_line_and_exit_code_2(self):
        for command in ([program('ratios'), '--rounds', '0'],
                        [program('ratios'), '--filter', 'nonsense'],
                        [program('ratios'), '--job', 'nonsense'],
                        [program('ratios'), '--cols', '7'],
                        [program('ratios'), '--nonsense'],
                        [program('kernels'), '--nonsense'],
                        [sys.executable, os.path.join(HERE, 'report'), '--nonsense'],
                        [sys.executable, os.path.join(HERE, 'report'), '--build', 'nonsense'],
                        [sys.executable, os.path.join(HERE, 'report'), '--only', 'nonsense'],
                        [sys.executable, os.path.join(HERE, 'commands.py'), '--build', 'nonsense'],
                        [sys.executable, os.path.join(HERE, 'commands.py'), '--build', build,
                         '--work', 'nonsense'],
                        [sys.executable, os.path.join(HERE, 'commands.py'), '--build', build,
                         '--only', 'nonsense']):
            with self.subTest(command=command):
                done = run(*command)
                self.assertEqual(2, done.returncode, done.stderr)
                self.assertTrue(re.fullmatch(r'[^\n]+\n', done.stderr), done.stderr)


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip().split('\n')[-1])
    build = os.path.abspath(sys.argv[1])
    unittest.main(argv=[sys.argv[0]] + sys.argv[2:])
