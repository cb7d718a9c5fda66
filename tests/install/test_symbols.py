#!/usr/bin/env python3
"""The shared library exports what the public headers declare, all of it and nothing else, and the
archives bring no static initializers.

usage: test_symbols.py SHARED_LIBRARY ARCHIVE CORE_ARCHIVE
"""
import collections
import glob
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMESPACE = 'trlm::adapt::'

library = ''
archives = []


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                          timeout=120).stdout


def headers():
    return sorted(path for pattern in ('*.h', '*.hpp') for path in
                  glob.glob(os.path.join(ROOT, 'include', '**', pattern), recursive=True))


def statements(text):
    """(scope, statement) of each declaration that ends in ";", outside of bodies.

    The scope is the namespaces and classes around it.
    """
    text = re.sub(r'/\*.*?\*/', '', text, flags=re.S)
    text = re.sub(r'//.*', '', text)
    text = re.sub(r'^ *#(.*\\\n)*.*$', '', text, flags=re.M)
    text = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    text = re.sub(r'\b(public|private|protected):', '', text)
    scopes, start, parentheses = [], 0, 0
    for place, sign in enumerate(text):
        if sign in '()':
            parentheses += 1 if sign == '(' else -1
        elif parentheses:
            continue
        elif sign == '{':
            head = text[start:place].strip()
            named = re.fullmatch(r'(?:template.*>\s*)?(?:class|struct)\s+(?:\[\[.*\]\]\s*)?(\w+)'
                                 r'(?:\s*:.*)?', head, re.S)
            space = re.fullmatch(r'(?:inline )?namespace ([\w:]+)|extern ""', head)
            if space:
                scopes.append(space.group(1) or '')
            else:  # None: a body, an initializer, an enumeration
                scopes.append(named.group(1) if named else None)
            start = place + 1
        elif sign == '}':
            # What stands between the end of a body and ";" belongs to nothing else.
            start = place + 1
            scopes.pop()
        elif sign == ';':
            if None not in scopes:
                yield '::'.join(filter(None, scopes)), text[start:place].strip()
            start = place + 1


def without_template_arguments(text):
    while re.search(r'<[^<>]*>', text):
        text = re.sub(r'<[^<>]*>', '', text, count=1)
    return text


def declared_function(statement):
    """The name of the function that a statement declares without defining it, or nothing."""
    statement = re.sub(r'\[\[.*?\]\]', '', statement).strip()
    if re.match(r'(using|friend|typedef|template|static_assert|class|struct|enum)\b', statement):
        return ''
    if re.search(r'=\s*(default|delete)$', statement):
        return ''
    statement = without_template_arguments(statement)  # std::function<bool(int)>
    found = re.match(r'[^=(]*?(~?\w+|operator[^\w\s(]+)\s*\((?!\*)', statement)
    return found.group(1) if found else ''


def declared_functions():
    """How often each function is declared, by its whole name."""
    found = collections.Counter()
    for path in headers():
        with open(path, encoding='utf-8') as file:
            for scope, statement in statements(file.read()):
                name = declared_function(statement)
                if name:
                    found[(scope + '::' if scope else '') + name] += 1
    return found


def exported_functions():
    """How often each function is exported, and the names of those that are inline, which are weak
    symbols: clang++ exports them where they stand in no class. Constructors and destructors have
    several symbols."""
    found, weak = collections.Counter(), set()
    symbols = {}
    for line in output_of('nm', '-D', '--defined-only', library).splitlines():
        _, kind, name = line.split()
        symbols[name] = kind
    demangled = subprocess.run(['c++filt'], input='\n'.join(symbols), stdout=subprocess.PIPE,
                               text=True, check=True, timeout=60).stdout.splitlines()
    for name, text in zip(symbols, demangled):
        whole = re.sub(r'\[abi:\w+\]', '', text)
        text = whole.split('(')[0]
        if symbols[name] == 'W':
            whole = without_template_arguments(whole)
            weak.add(whole.split('(')[0].split()[-1])
            continue
        constructor = re.search(r'(\w+)::~?\1$', text)
        # The complete object's constructor stands for both.
        if not constructor or not re.search(r'[CD]1E', name):
            found[text] += 1
    return found, weak


def defined_inline(name):
    """Whether a header defines a function or a function template of this name."""
    for path in headers():
        with open(path, encoding='utf-8') as file:
            if re.search(r'(inline|constexpr|template)\b[^;{]*\b%s\([^;{]*\{' % name, file.read()):
                return True
    return False


class Symbols(unittest.TestCase):
    def test_the_headers_were_understood(self):
        declared = declared_functions()
        for name in ('read_model', 'Findings::add', 'OutputFile::~OutputFile',
                     'OutputFile::operator=', 'to_string', 'Source::open'):
            self.assertIn(NAMESPACE + name, declared)
        self.assertGreater(declared[NAMESPACE + 'to_string'], 10)
        # Defined where it is declared; a constant; a type of the sources; a member's type.
        for name in ('Findings::empty', 'version', 'Sha256::State', 'failure', 'ParallelFor',
                     'TileAccess::bool', 'Allocator::void'):
            self.assertNotIn(NAMESPACE + name, declared)

    def test_exports_are_declarations(self):
        declared, (exported, weak) = declared_functions(), exported_functions()
        self.assertEqual({name: count for name, count in exported.items()
                          if declared[name] < count}, {}, 'exported, and not declared so often')
        self.assertEqual({name: count for name, count in declared.items()
                          if exported[name] < count}, {}, 'declared, and not exported so often')
        self.assertEqual([name for name in weak if not name.startswith(NAMESPACE)
                          or not defined_inline(name.removeprefix(NAMESPACE))], [])

    def test_soname(self):
        dynamic = output_of('readelf', '-d', library)
        self.assertRegex(dynamic, r'\(SONAME\).*\[libtrlm_adapt\.so\.\d+\]')
        self.assertNotIn('TEXTREL', dynamic)

    def test_no_static_initializers(self):
        for archive in archives:
            sections = output_of('readelf', '-SW', archive)
            self.assertGreater(sections.count('File: '), 5)
            self.assertEqual(re.findall(r'\s(\.(?:init_array|ctors|preinit_array)\S*)', sections),
                             [])
            self.assertNotIn('_GLOBAL__sub_I', output_of('nm', archive))


def main():
    global library, archives
    if len(sys.argv) < 4 or not all(map(os.path.isfile, sys.argv[1:4])):
        sys.exit(__doc__)
    library, *archives = sys.argv[1:4]
    unittest.main(module='__main__', argv=[sys.argv[0]] + sys.argv[4:])


if __name__ == '__main__':
    main()
