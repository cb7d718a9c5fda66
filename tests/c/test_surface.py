#!/usr/bin/env python3
"""What include/trlm_adapt.h declares is what the shared library exports and the tests use.

usage: test_surface.py NM LIBRARY [unittest arguments]
"""
import glob
import os
import re
import subprocess
import sys
import unittest

import binding
from cases import ROOT

nm, library = sys.argv[1:3]
HERE = os.path.dirname(os.path.abspath(__file__))


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def declared():
    """(name, what stands before it) of each function."""
    header = read(os.path.join(ROOT, 'include', 'trlm_adapt.h'))
    return [(match.group(2), header[:match.start()].rstrip('\n').split('\n')[-1])
            for match in re.finditer(r'^(?:\w+[ *]+)+?(trlm_adapt_(\w+))\(', header, flags=re.M)]


class Surface(unittest.TestCase):
    def test_every_function_is_exported(self):
        lines = subprocess.run([nm, '-D', '--defined-only', library], capture_output=True,
                               text=True, check=True).stdout.split('\n')
        exported = {line.split()[2].split('@')[0] for line in lines if ' T ' in line}
        functions = {'trlm_adapt_' + name for name, _ in declared()}
        self.assertGreater(len(functions), 20)
        self.assertEqual({name for name in exported if name.startswith('trlm_adapt_')}, functions)

    def test_every_function_is_used_in_c_and_in_python(self):
        programs = '\n'.join(read(path) for path in glob.glob(os.path.join(HERE, '*.c')))
        script = read(os.path.join(HERE, 'test_ctypes.py'))
        for name, _ in declared():
            self.assertRegex(programs, r'\btrlm_adapt_%s\(' % name)
            self.assertRegex(script, r'\blibrary\.%s\b' % name)
            self.assertIn(name, binding.FUNCTIONS)

    def test_every_declaration_is_documented(self):
        for name, before in declared():
            self.assertTrue(before.startswith('///'), name)
        header = read(os.path.join(ROOT, 'include', 'trlm_adapt.h'))
        for body in re.findall(r'^typedef struct \w+ \{\n(.*?)^\}', header, flags=re.M | re.S):
            self.assertTrue(body.lstrip().startswith('size_t size;'), body)
        bodies = re.findall(r'^(?:typedef )?(?:struct|enum)(?: \w+)? \{\n(.*?)^\}', header,
                            flags=re.M | re.S)
        self.assertGreater(len(bodies), 20)
        for body in bodies:
            documented, depth = False, 0
            for line in body.rstrip('\n').split('\n'):
                if line.strip().startswith('///'):
                    documented = True
                    continue
                self.assertTrue(documented or '///<' in line, line)
                depth += line.count('(') - line.count(')')
                if depth == 0:  # one above a declaration is for all its lines
                    documented = False


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
