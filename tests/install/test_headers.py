#!/usr/bin/env python3
"""Each public header compiles alone, quickly, and in hosts that do without exceptions.

usage: test_headers.py BUILD

  BUILD   a configured build: its compiler is used

Time is not measured, which would depend on the machine, but what time depends on: which headers of
the standard library are read, and how much text in all.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import unittest

from test_symbols import headers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INCLUDE = os.path.join(ROOT, 'include')

# What a public header may include. Headers of the standard library that start threads, touch files,
# print, or take long to read are the sources' business.
ALLOWED = {
    'array', 'bit', 'cstddef', 'cstdint', 'cstring', 'functional', 'limits', 'map', 'memory',
    'optional', 'span', 'string', 'string_view', 'type_traits', 'utility', 'variant', 'vector',
    'tl/expected.hpp',
    'stddef.h', 'stdint.h', 'stdbool.h',  # the C header
}
# These must not come in by any way. Others may, through the standard library's own headers.
NOWHERE = {'iostream', 'fstream', 'sstream', 'iomanip', 'locale', 'regex', 'filesystem', 'thread',
           'mutex', 'future', 'condition_variable', 'chrono', 'random', 'deque', 'list', 'set'}
# What one header may come to, in bytes of preprocessed text, all that it includes with it. A g++ 12
# of 2022 reads 2 MB to 3 MB of declarations a second; <string> and <functional>, which every header
# with a Result needs, are 1.3 MB of them.
TEXT_LIMIT = 2_200_000

compiler = ''


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False, timeout=300, **options)


def compile_alone(path, *options):
    """What the compiler says of a file that includes this header alone."""
    name = os.path.relpath(path, INCLUDE)
    language = 'c++'
    done = run(compiler, '-std=c++20', '-x', language, '-I' + INCLUDE, *options, '-',
               input='#include <%s>\n' % name)
    return name, done.returncode, done.stdout, done.stderr


def for_each_header(*options):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda path: compile_alone(path, *options), headers()))


class Headers(unittest.TestCase):
    def test_each_compiles_alone(self):
        """In a host without exceptions, without RTTI and with fast-math, which asks for most."""
        results = for_each_header('-fsyntax-only', '-fno-exceptions', '-fno-rtti', '-ffast-math',
                                  '-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wshadow',
                                  '-Werror')
        self.assertGreater(len(results), 40)
        self.assertEqual([(name, errors) for name, code, _, errors in results
                          if code != 0 or errors], [])

    def test_the_whole_compiles_in_a_host_with_exceptions(self):
        _, code, _, errors = compile_alone(os.path.join(INCLUDE, 'trlm', 'adapt.hpp'),
                                           '-fsyntax-only', '-Wall', '-Wextra', '-Werror')
        self.assertEqual((code, errors), (0, ''))

    def test_what_they_include(self):
        found = set()
        for path in headers():
            with open(path, encoding='utf-8') as file:
                names = re.findall(r'^ *# *include *[<"]([^>"]+)[>"]', file.read(), re.M)
            for name in names:
                if name.startswith('trlm'):
                    self.assertTrue(os.path.exists(os.path.join(INCLUDE, name)), name)
                else:
                    found.add(name)
        self.assertLessEqual(found, ALLOWED)
        # A header that is allowed and not needed any more would make room for itself.
        self.assertGreaterEqual(found, {'span', 'tl/expected.hpp'})

    def test_what_is_read_with_them(self):
        texts = for_each_header('-M')
        for name, code, rule, errors in texts:
            self.assertEqual(code, 0, errors)
            read = rule.replace('\\\n', ' ').split()[1:]
            ours = [path for path in read if path.startswith(INCLUDE)]
            self.assertGreaterEqual(len(ours), 1, name)
            outside = {os.path.basename(path) for path in read
                       if '/bits/' not in path and not path.startswith(INCLUDE)}
            self.assertEqual(outside & NOWHERE, set(), name)
            self.assertEqual([path for path in read if re.search(
                'nlohmann|CLI11|/CLI/|/fmt/|/hwy/|xxhash|Eigen|openssl', path)], [], name)

    def test_how_much_is_read_with_them(self):
        sizes = {name: len(text) for name, _, text, _ in for_each_header('-E', '-P')}
        self.assertGreater(sizes['trlm/adapt.hpp'], 100_000)
        self.assertEqual({name: size for name, size in sizes.items() if size > TEXT_LIMIT}, {})

    def test_each_declares_what_is_visible(self):
        """A header without the pragma declares what a shared library does not export."""
        for path in headers():
            with open(path, encoding='utf-8') as file:
                text = file.read()
            if re.search('^namespace trlm::adapt|^extern "C"', text, re.M):
                self.assertEqual(text.count('#pragma GCC visibility push(default)'),
                                 text.count('#pragma GCC visibility pop'), path)
                self.assertIn('#pragma GCC visibility push(default)\n', text, path)


def main():
    global compiler
    if len(sys.argv) < 2 or not os.path.isfile(os.path.join(sys.argv[1], 'CMakeCache.txt')):
        sys.exit(__doc__)
    with open(os.path.join(sys.argv[1], 'CMakeCache.txt'), encoding='utf-8') as file:
        compiler = re.search(r'^CMAKE_CXX_COMPILER:\w+=(.*)$', file.read(), re.M).group(1)
    unittest.main(module='__main__', argv=[sys.argv[0]] + sys.argv[2:])


if __name__ == '__main__':
    main()
