#!/usr/bin/env python3
"""The tool and the shared library were linked so that a defect has little to work with: no fixed
addresses, no table of functions that can be written, no stack that can be executed, and the
compiler's checks of the stack and of buffers in place.

usage: test_hardening.py TOOL SHARED_LIBRARY
"""
import re
import subprocess
import sys
import unittest

tool = ''
library = ''


def read(*options):
    return subprocess.run(['readelf', '--wide', *options], stdout=subprocess.PIPE, text=True,
                          check=True, timeout=120).stdout


class Hardening(unittest.TestCase):
    def test_addresses_are_not_fixed(self):
        for path in (tool, library):
            self.assertRegex(read('--file-header', path), r'Type:\s+DYN', path)
        self.assertRegex(read('--dynamic', tool), r'\(FLAGS_1\).*\bPIE\b')

    def test_relocations_are_read_only_before_the_program_runs(self):
        for path in (tool, library):
            self.assertIn('GNU_RELRO', read('--program-headers', path), path)
            self.assertRegex(read('--dynamic', path), r'\(FLAGS_1\).*\bNOW\b', path)

    def test_nothing_is_both_written_and_executed(self):
        for path in (tool, library):
            headers = read('--program-headers', path)
            self.assertRegex(headers, r'GNU_STACK.* RW ', path)
            self.assertNotRegex(headers, r'\bRWE\b', path)

    def test_the_stack_is_guarded(self):
        for path in (tool, library):
            self.assertIn('__stack_chk_fail', read('--dyn-syms', path), path)

    def test_buffers_are_checked(self):
        # A function of glibc in the form that knows the size of its buffer.
        self.assertTrue(re.search(r'__\w+_chk@GLIBC', read('--dyn-syms', tool)), tool)

    def test_indexes_are_checked(self):
        for path in (tool, library):
            self.assertIn('__glibcxx_assert_fail', read('--dyn-syms', path), path)


if __name__ == '__main__':
    tool, library = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1])
