#!/usr/bin/env python3
"""Checks that what the documents show is what the program does.

usage: check_docs.py --cli PATH --repo ROOT [--program PATH]... [--only NAME]

Needs nothing but Python 3 and bash. Two checks need more and say so when they are skipped: the JSON
schemas are validated with python3-jsonschema, hashes are recomputed with the xxHash library.

What the documents may hold:
  ```console                commands after "$ ", run one after the other in a scratch folder that has
                            the repository's examples and tests/conformance; then their output,
                            stdout and stderr together. A line "..." stands for any lines, "..."
                            inside a line for any text. A command must exit with 0, unless the next
                            one is "echo $?".
  <!-- needs: NAME -->      the document's commands run only where `--program` gives NAME; `python3`
                            is one that can make the hostile corpus, where there is one.
  ```hexdump FILE           offset, 16 bytes, text, remark; compared with the file. "..." skips.
  ```hexdump apply ARGS     the same for the output of that command.
  <!-- file: PATH -->       the next code block is that file, or whole lines of it.
  <!-- made: PATH -->       the next code block is a file that the document's commands made; a line "..."
                            stands for any lines, "..." inside a line for any text.
  <!-- kept: MODEL -->      the next table holds package, strength, then `kept` for each rounding.
"""
import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings

import reference

HERE = os.path.dirname(os.path.abspath(__file__))
COMMANDS = ('validate', 'inspect', 'apply', 'revert', 'convert', 'diff', 'merge', 'compose-check',
            'verify', 'bundle create', 'replay', 'digest', 'explain', 'limits', 'version')
VECTORS = 'tests/conformance/vectors'


class Skipped(Exception):
    """A check that cannot be done here, with the reason."""


def read(path, mode='r'):
    with open(path, mode, **({} if 'b' in mode else {'encoding': 'utf-8'})) as file:
        return file.read()


class Document:
    """A Markdown file and its parts."""
    def __init__(self, root, path):
        self.path = path
        self.text = read(os.path.join(root, path))
        self.lines = self.text.split('\n')

    def blocks(self, language):
        """(line number, words after the language, lines, comment before) of code blocks."""
        start = None
        for number, line in enumerate(self.lines):
            if start is None and line.startswith('```') and len(line) > 3:
                start, words = number, line[3:].split()
            elif start is not None and line == '```':
                if words[0] == language:
                    before = self.lines[start - 1] if start else ''
                    yield start + 1, words[1:], self.lines[start + 1:number], before
                start = None

    def prose(self):
        """The text without code blocks."""
        return re.sub(r'^```.*?^```$', '', self.text, flags=re.M | re.S)

    def section(self, heading):
        """The lines from a heading to the next of the same or a higher level."""
        first = self.lines.index(heading)
        level = heading.index(' ')
        for last in range(first + 1, len(self.lines)):
            if re.match('#{1,%d} ' % level, self.lines[last]):
                return self.lines[first:last]
        return self.lines[first:]

    def comments(self, key):
        """(line number, value, lines after) of each <!-- key: value -->."""
        for number, line in enumerate(self.lines):
            match = re.fullmatch(r'<!-- %s: (\S+) -->' % key, line)
            if match:
                yield number + 1, match.group(1), self.lines[number + 1:]


def table_rows(lines):
    """Cells of the first table's rows, without heading and rule."""
    rows = []
    for line in lines:
        if line.startswith('|'):
            rows.append([cell.strip() for cell in line.strip('|').split('|')])
        elif rows:
            break
    return rows[2:]


def table_options(lines):
    """The options that stand in first cells."""
    cells = [line.split('|')[1] for line in lines if line.startswith('| `-')]
    return set(re.findall(r'(?<![\w-])--[a-z][a-z-]*', ' '.join(cells)))


class Checker:
    def __init__(self, cli, root, programs=()):
        self.cli = os.path.abspath(cli)
        self.programs = {'trlm-adapt': self.cli}
        self.programs.update((os.path.basename(p), os.path.abspath(p)) for p in programs)
        self.root = os.path.abspath(root)
        paths = subprocess.run(['git', '-C', self.root, 'ls-files', '--cached', '--others',
                                '--exclude-standard', '*.md'],
                               capture_output=True, text=True, check=False).stdout.split()
        if not paths:  # not a checkout: a source archive
            paths = [os.path.relpath(os.path.join(folder, name), self.root)
                     for start in ('docs', 'examples') for folder, _, names
                     in os.walk(os.path.join(self.root, start)) for name in names]
            paths += os.listdir(self.root)
        self.documents = {path: Document(self.root, path) for path in sorted(set(paths))
                          if path.endswith('.md') and os.path.exists(self.at(path))}
        self.problems = []
        self.count = 0
        for python in filter(None, (shutil.which('python3'), '/usr/bin/python3')):
            if 'python3' not in self.programs and self.makes_corpus(python):
                self.programs['python3'] = python

    def makes_corpus(self, python):
        """Whether this Python has what the hostile corpus needs: NumPy and xxHash."""
        generator = self.at('tests/malformed/generate.py')
        return os.path.exists(python) and subprocess.run(
            [python, generator, '--help'], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False).returncode == 0

    def at(self, path):
        return os.path.join(self.root, path)

    def expect(self, good, place, what):
        self.count += 1
        if not good:
            self.problems.append('%s: %s' % (place, what))

    def run(self, *arguments, folder=None):
        return subprocess.run([self.cli, *arguments], cwd=folder or self.root, capture_output=True,
                              text=True, timeout=300, check=False)

    def run_json(self, *arguments, folder=None):
        done = self.run(*arguments, '--json', folder=folder)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            self.expect(False, 'trlm-adapt ' + ' '.join(arguments), 'prints no JSON')
            return done.returncode, {}

    @contextlib.contextmanager
    def scratch(self):
        """A folder in which commands of the documents find what they name."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(self.at('examples'), os.path.join(folder, 'examples'))
            shutil.copytree(self.at('tests/conformance'),
                            os.path.join(folder, 'tests/conformance'))
            for name in ('malformed', 'differential', 'documents', 'support', 'cli'):
                os.symlink(self.at('tests/' + name), os.path.join(folder, 'tests', name))
            os.makedirs(os.path.join(folder, '.bin'))
            for name, path in self.programs.items():
                os.symlink(path, os.path.join(folder, '.bin', name))
            yield folder

    # ------------------------------------------------------------------------------- hex dumps

    def check_hexdumps(self):
        for document in self.documents.values():
            for number, words, lines, _ in document.blocks('hexdump'):
                data = self.dumped_bytes(words)
                for i, line in enumerate(lines):
                    if line == '...':
                        continue
                    place = '%s:%d' % (document.path, number + 1 + i)
                    offset = int(line[:8], 16)
                    row = data[offset:offset + 16]
                    text = ''.join(chr(b) if 32 <= b < 127 else '.' for b in row)
                    right = '%08x  %s  %s  |%s|' % (offset, row[:8].hex(' '), row[8:].hex(' '), text)
                    rest = line[len(right):]
                    self.expect(line.startswith(right) and (not rest or rest.startswith('  ')),
                                place, 'the file has %s' % right)

    def dumped_bytes(self, words):
        if words[0] not in ('apply', 'undo'):
            return read(self.at(words[0]), 'rb')
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, 'output.slm')
            undo = os.path.join(folder, 'output.undo')
            done = self.run('apply', *words[1:], '-o', output, '--undo', undo)
            self.expect(done.returncode == 0, ' '.join(words), done.stderr)
            shown = undo if words[0] == 'undo' else output
            return read(shown, 'rb') if done.returncode == 0 else b''

    # ------------------------------------------------------------------------- worked examples

    def check_arithmetic(self):
        """The numbers of docs/formats.md, and that its rules give the conformance vectors."""
        if reference.XXHASH is None:
            raise Skipped('there is no xxHash library for Python to load')
        count, wrong = reference.disagreements(self.at(VECTORS))
        self.count += count
        self.problems += wrong

        document = self.documents['docs/formats.md']
        name = 'layers.0.wk.weight'
        key = reference.random_key(0, reference.name_hash(name))
        self.expect('k is 0x%016x' % key in document.text, document.path, 'k is 0x%016x' % key)
        start = document.lines.index('| i | h | u |')
        for i, h, u in table_rows(document.lines[start:]):
            bits = reference.random_bits(key, int(i))
            right = ['0x%08x' % bits, '%.8f' % ((bits >> 8) * 2.0**-24)]
            self.expect([h, u] == right, document.path, 'random number of %s is %s' % (i, right))

        tied = reference.Model(read(self.at(VECTORS + '/models/tied_q4_0.slm'), 'rb'))
        base = reference.Model(read(self.at(VECTORS + '/models/base_q8_0.slm'), 'rb'))
        package = reference.Package(read(self.at(VECTORS + '/adapters/lowrank1.alr1'), 'rb'))
        for value in (tied.layout, tied.tokenizer, tied.state(), base.state(), package.checksum):
            text = 'xxh3-64:%016x' % value
            self.expect(text in document.text, document.path, text + ' is not there')
        for strength in (1, 0.5):
            state = reference.xxh3_64(reference.struct.pack('<2Qf', base.state(),
                                                            package.checksum, strength))
            text = 'xxh3-64:%016x' % state
            self.expect(text in document.text, document.path, text + ' is not there')

    # -------------------------------------------------------------------------------- findings

    def check_findings(self):
        """docs/findings.md says of every code what `explain` says, in the same words."""
        document = self.documents['docs/findings.md']
        explained = self.run_json('explain')[1]['result']['codes']
        shown = {}
        for class_ in {row['class'] for row in explained}:
            lines = document.section('## ' + class_)
            for code, *texts in table_rows(lines):
                shown[code.strip('`')] = [class_, *texts]
            exit_codes = {row['exit_code'] for row in explained if row['class'] == class_}
            for exit_code in exit_codes:
                self.expect(any(line.startswith('Exit code %d.' % exit_code) for line in lines),
                            document.path, '%s has exit code %d' % (class_, exit_code))
        for row in explained:
            right = [row['class'], row['meaning'], row['cause'], row['remedy']]
            self.expect(shown.get(row['code']) == right, document.path,
                        '%s is %s, not %s' % (row['code'], right, shown.get(row['code'])))
        for code in set(shown) - {row['code'] for row in explained}:
            self.expect(False, document.path, 'there is no code ' + code)

    def check_exit_codes(self):
        right = {row['class']: str(row['exit_code'])
                 for row in self.run_json('explain')[1]['result']['codes']}
        right['ok'] = '0'
        document = self.documents['docs/findings.md']
        rows = table_rows(document.section('## Exit codes'))
        self.expect({row[1]: row[0] for row in rows} == right, document.path,
                    'exit codes are %s' % right)

    def check_code_names(self):
        """A finding code that a document names exists."""
        codes = {row['code'] for row in self.run_json('explain')[1]['result']['codes']}
        endings = tuple({code.rsplit('_', 1)[-1] for code in codes if '_' in code})
        for document in self.documents.values():
            for line in document.lines:
                for code in re.findall(r'\[([a-z]+(?:_[a-z]+)+)\]$', line):
                    self.expect(code in codes, document.path, 'there is no code ' + code)
        text = self.documents['docs/formats.md'].text
        for code in set(re.findall(r'`((?:bad|missing|unexpected|duplicate|unsupported)_[a-z_]+)`',
                                   text)):
            self.expect(code in codes and code.endswith(endings), 'docs/formats.md',
                        'there is no code ' + code)

    # ---------------------------------------------------------------------------------- limits

    def check_limits(self):
        document = self.documents['docs/formats.md']
        rows = table_rows(document.section('## 5. Limits'))
        limits = self.run_json('limits')[1]['result']['limits']
        self.expect(len(rows) == len(limits), document.path, 'there are %d limits' % len(limits))
        for row, limit in zip(rows, limits):
            number = re.match(r'[\d,]+', row[1]).group().replace(',', '')
            self.expect(int(number) == limit['value'], document.path,
                        '%s: the limit %s is %d' % (row[0], limit['name'], limit['value']))

    # ------------------------------------------------------------------------------- console

    def check_console(self):
        for document in self.documents.values():
            blocks = list(document.blocks('console'))
            needed = {name for _, name, _ in document.comments('needs')}
            if not blocks or not needed <= set(self.programs):
                continue
            with self.scratch() as folder:
                for number, _, lines, _ in blocks:
                    self.run_block('%s:%d' % (document.path, number), lines, folder)
                for number, path, after in document.comments('made'):
                    place = '%s:%d' % (document.path, number)
                    self.expect(after[0].startswith('```'), place, 'no code block follows')
                    made = read(os.path.join(folder, path))
                    self.expect(matches(after[1:after.index('```')], made), place,
                                '%s is\n%s' % (path, made))

    def run_block(self, place, lines, folder):
        steps = []  # command, expected output
        for line in lines:
            if steps and steps[-1][0].endswith('\\'):
                steps[-1][0] = steps[-1][0][:-1] + line.strip()
            elif line.startswith('$ '):
                steps.append([line[2:], []])
            elif not steps:
                self.expect(False, place, 'output before any command: ' + line)
            else:
                steps[-1][1].append(line)
        environment = {'PATH': os.path.join(folder, '.bin') + os.pathsep + os.environ['PATH'],
                       'LC_ALL': 'C', 'HOME': folder, 'TMPDIR': folder}
        for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS'):
            if name in os.environ:
                environment[name] = os.environ[name]
        exit_code = 0
        for i, (command, expected) in enumerate(steps):
            if command == 'echo $?':
                output = '%d\n' % exit_code
            else:
                done = subprocess.run(['bash', '-c', command], cwd=folder, env=environment,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      timeout=300, check=False)
                exit_code, output = done.returncode, done.stdout
                shown = i + 1 < len(steps) and steps[i + 1][0] == 'echo $?'
                self.expect(exit_code == 0 or shown, place,
                            '"%s" exits with %d:\n%s' % (command, exit_code, output))
            if expected or command == 'echo $?':
                self.expect(matches(expected, output), place,
                            '"%s" prints\n%s' % (command, output))

    # ----------------------------------------------------------------------------- cli options

    def check_options(self):
        """docs/cli.md has a section for every command, with every option of its --help."""
        document = self.documents['docs/cli.md']
        common = table_options(document.section('## Options of every command'))
        listed = re.findall(r'^  ([a-z][a-z-]*) ', self.run('--help').stdout, flags=re.M)
        listed.remove('trlm-adapt')  # the example
        self.expect({command.split()[0] for command in COMMANDS} == set(listed),
                    'trlm-adapt --help', 'lists %s' % listed)
        for command in COMMANDS:
            own = table_options(document.section('## ' + command))
            help_text = self.run(*command.split(), '--help').stdout.split('Example:')[0]
            options = set(re.findall(r'(?<![\w-])--[a-z][a-z-]*', help_text))
            self.expect(options, 'trlm-adapt %s --help' % command, 'names no option')
            for option in options:
                self.expect(option in own | common, document.path,
                            '%s lacks %s' % (command, option))
            for option in own - options:
                self.expect(False, document.path, '%s has no %s' % (command, option))

    # ------------------------------------------------------------------------------- schemas

    def check_schemas(self):
        """Outputs of every command follow docs/schemas/cli, and nothing beyond them passes."""
        folder = self.at('docs/schemas/cli')
        schemas = {name: json.loads(read(os.path.join(folder, name)))
                   for name in sorted(os.listdir(folder)) if name.endswith('.json')}
        for name, schema in schemas.items():
            self.judge_strictness(name, schema)
        codes = [row['code'] for row in self.run_json('explain')[1]['result']['codes']]
        self.expect(schemas['common.schema.json']['$defs']['code']['enum'] == codes,
                    'common.schema.json', 'the codes are %s' % codes)
        if sys.executable != '/usr/bin/python3' and os.path.exists('/usr/bin/python3'):
            sys.path.append('/usr/lib/python3/dist-packages')  # Debian's, for other interpreters
        try:
            import jsonschema
        except ImportError:
            raise Skipped('python3-jsonschema is not installed') from None
        if not hasattr(jsonschema, 'Draft202012Validator'):
            raise Skipped('python3-jsonschema is older than draft 2020-12')
        validators = {}
        for name, schema in schemas.items():
            jsonschema.Draft202012Validator.check_schema(schema)
            base = 'file://%s/' % folder
            with warnings.catch_warnings():  # later versions have another way, 4.10 only this one
                warnings.simplefilter('ignore', DeprecationWarning)
                resolver = jsonschema.RefResolver(
                    base + name, schema, {base + other: body for other, body in schemas.items()})
            validators[name] = jsonschema.Draft202012Validator(schema, resolver=resolver)
        with self.scratch() as scratch:
            for arguments, right in schema_cases():
                exit_code, output = self.run_json(*arguments, folder=scratch)
                place = 'trlm-adapt ' + ' '.join(arguments)
                self.expect(exit_code == right, place,
                            'exits with %d, not %d: %s' % (exit_code, right, output))
                name = '%s.schema.json' % arguments[0]
                validator = validators[name if name in validators else 'usage.schema.json']
                for error in validator.iter_errors(output):
                    self.expect(False, place, '%s: %s' % (
                        '/'.join(map(str, error.absolute_path)), error.message))
                self.expect(output.get('exit_code') == exit_code, place, 'exit_code differs')
                for changed in with_unknown_keys(output):
                    self.expect(not validator.is_valid(changed), place,
                                'the schema lets an unknown key pass')

    def judge_strictness(self, place, schema):
        if isinstance(schema, dict):
            if 'properties' in schema:
                self.expect(schema.get('additionalProperties') is False
                            or schema.get('unevaluatedProperties') is False, place,
                            'additional properties of %s' % list(schema['properties']))
            for value in schema.values():
                self.judge_strictness(place, value)
        elif isinstance(schema, list):
            for value in schema:
                self.judge_strictness(place, value)

    # ----------------------------------------------------------------------- files and tables

    def check_snippets(self):
        for document in self.documents.values():
            for number, path, after in document.comments('file'):
                place = '%s:%d' % (document.path, number)
                self.expect(after[0].startswith('```'), place, 'no code block follows')
                block = '\n'.join(after[1:after.index('```')]) + '\n'
                self.expect(block in read(self.at(path)), place, 'differs from ' + path)

    def check_kept(self):
        """Tables of `kept` are what the program measures."""
        for document in self.documents.values():
            for number, model, after in document.comments('kept'):
                heading = next(line for line in after if line.startswith('|'))
                roundings = [cell.strip(' `') for cell in heading.strip('|').split('|')][2:]
                for package, strength, *shown in table_rows(after):
                    package = package.strip('`')
                    for rounding, value in zip(roundings, shown):
                        arguments = ['apply', model, os.path.join(os.path.dirname(model), package),
                                     '--dry-run', '--rounding', rounding]
                        if float(strength) != 1:
                            arguments += ['--strength', '%s=%s' % (package, strength)]
                        _, output = self.run_json(*arguments)
                        kept = '%.3f' % (output.get('result') or {}).get('kept', -1)
                        self.expect(kept == value, '%s:%d' % (document.path, number),
                                    'kept of %s is %s' % (' '.join(arguments[2:]), kept))

    def check_links(self):
        for document in self.documents.values():
            for target in re.findall(r'\]\(([^)\s]+)\)', document.prose()):
                if re.match(r'[a-z]+:', target):
                    continue
                path, _, anchor = target.partition('#')
                full = os.path.normpath(os.path.join(os.path.dirname(document.path), path)) \
                    if path else document.path
                self.expect(os.path.exists(self.at(full)), document.path, 'no file ' + target)
                if anchor and full in self.documents:
                    self.expect(anchor in anchors(self.documents[full]), document.path,
                                'no heading ' + target)


def anchors(document):
    """The names by which a page's headings are linked to."""
    found = set()
    for line in document.prose().split('\n'):
        if re.match('#+ ', line):
            words = re.sub(r'[^\w\- ]', '', line.lstrip('#').strip().lower())
            found.add(words.replace(' ', '-'))
    return found


def matches(expected, output):
    """Compares lines; "..." alone stands for any lines, inside a line for any text."""
    pattern = ''
    for line in expected:
        if line.strip() == '...':
            pattern += r'(?:.*\n)*?'
        else:
            pattern += '.*'.join(map(re.escape, line.rstrip().split('...'))) + r'[ ]*\n'
    text = output if output.endswith('\n') or not output else output + '\n'
    return re.fullmatch(pattern, text) is not None


def schema_cases():
    """Arguments and exit codes, over every command and kind of file."""
    data, vectors = 'examples/data/', VECTORS + '/'
    model, lora = data + 'union.q8_0.slm', data + 'whale-lora.alr1'
    small, zero = vectors + 'models/base_q4_0.slm', vectors + 'adapters/zero.adp1'
    yield ['validate', model, lora, data + 'whale-full.adp1', data + 'whale-top5.asp1'], 0
    yield ['validate', data, '--model', model], 0
    yield ['validate', vectors + 'invalid/adp_nan.adp1', vectors + 'invalid/adp_bitflip.adp1'], 3
    yield ['validate', vectors + 'invalid/meta_dup_key.adp1'], 1
    yield ['validate', lora, '--model', small], 4
    yield ['validate', 'nothing.slm'], 5
    for path in (model, lora, data + 'whale-full.adp1', data + 'whale-top5.asp1', small,
                 vectors + 'models/bpe_f32.slm', vectors + 'adapters/dense_meta.adp1',
                 vectors + 'adapters/mask.asp1', vectors + 'adapters/sparse.asp1'):
        yield ['inspect', path], 0
        yield ['inspect', path, '--stats'], 0
    yield ['inspect', vectors + 'invalid/adp_magic.adp1'], 1
    yield ['inspect', 'nothing.slm'], 5
    yield ['apply', model, lora, '--dry-run'], 0
    yield ['apply', model, lora, '-o', 'a.slm', '--receipt', 'a.apply-receipt.json'], 0
    yield ['apply', model, lora, '-o', 'a.slm'], 2
    yield ['apply', small, zero, '-o', 'z.slm'], 6
    yield ['apply', small, zero, '-o', 'z.slm', '--allow-no-effect'], 0
    yield ['apply', small, lora, '-o', 'y.slm'], 4
    yield ['apply', model, lora, '-o', 'u.slm', '--undo', 'u.undo'], 0
    yield ['apply', small, zero, '-o', 'n.slm', '--undo', 'n.undo', '--allow-no-effect'], 0
    yield ['validate', 'u.undo'], 0
    yield ['inspect', 'u.undo'], 0
    yield ['revert', 'u.slm', '--undo', 'u.undo', '-o', 'r.slm'], 0
    yield ['revert', 'u.slm', '--undo', 'u.undo', '-o', 'r.slm'], 2
    yield ['revert', 'a.slm', '--undo', 'n.undo', '-o', 's.slm'], 3
    yield ['bundle', 'create', data + 'whale.recipe.json', '-o', 'bundle'], 0
    yield ['bundle', 'create', data + 'whale.recipe.json', '-o', 'bundle'], 2
    yield ['bundle', 'create', 'nothing.json', '-o', 'other'], 5
    yield ['bundle'], 2
    yield ['verify', 'bundle'], 0
    yield ['verify', 'bundle', '--entry', 'minnow'], 2
    yield ['verify', 'bundle', '--registry-digest', 'sha256:' + '0' * 64], 3
    yield ['verify', data], 5
    yield ['verify', 'nothing'], 5
    yield ['replay', 'a.apply-receipt.json'], 0
    yield ['replay', 'nothing.json'], 5
    yield ['replay', data + 'whale.recipe.json'], 5
    yield ['convert', data + 'checkpoint', '-o', 'c.slm'], 0
    yield ['convert', 'c.slm', '-o', 'd.slm', '--dtype', 'q4_0'], 0
    yield ['convert', data + 'peft-lora', '-o', 'c.alr1', '--base', model], 0
    yield ['convert', data + 'peft-lora', '-o', 'd.alr1', '--base', model, '--target', model], 0
    yield ['convert', data + 'peft-lora', '-o', 'e.alr1', '--base', small], 4
    yield ['convert', data + 'peft-lora', '-o', 'e.alr1'], 2
    yield ['convert', lora, '-o', 'e.slm'], 1
    yield ['convert', 'nothing', '-o', 'e.slm'], 5
    yield ['apply', model, data + 'whale-top5.asp1', '-o', 'tuned.slm'], 0
    for out, *options in (('d.adp1',), ('d.asp1', '--density', '0.1'),
                          ('d.alr1', '--rank', '2')):
        yield ['diff', model, 'tuned.slm', '-o', out, *options, '--force'], 0
    yield ['diff', model, 'tuned.slm', '-o', 'd.adp1', '--force', '--target', model], 0
    yield ['merge', 'd.asp1', data + 'whale-top5.asp1', '-o', 'm.asp1'], 0
    yield ['merge', 'd.alr1', lora, '-o', 'm.alr1'], 0
    yield ['merge', 'd.asp1', data + 'whale-top5.asp1', '-o', 'm.asp1'], 2
    yield ['compose-check', 'd.alr1', 'd.adp1', data + 'whale-top5.asp1'], 0
    yield ['compose-check', 'd.adp1', vectors + 'adapters/dense.adp1'], 4
    yield ['diff', model, 'tuned.slm', '-o', 'd.adp1'], 2
    yield ['diff', model, model, '-o', 'e.adp1'], 6
    yield ['diff', model, small, '-o', 'e.adp1'], 4
    yield ['digest', model, lora], 0
    yield ['digest', 'nothing.slm'], 5
    yield ['explain'], 0
    yield ['explain', 'zero_effect'], 0
    yield ['explain', 'zero_efect'], 2
    yield ['limits'], 0
    yield ['version'], 0
    yield ['nonsense'], 2


def with_unknown_keys(output):
    """Copies of the output with one unknown key each: at the top, in the result, in a list's item."""
    text = json.dumps(output)
    places = [[], ['result']]
    result = output.get('result') or {}
    places += [['result', key, 0] for key, value in result.items()
               if isinstance(value, list) and value and isinstance(value[0], dict)]
    if output.get('findings'):
        places.append(['findings', 0])
    for place in places:
        copy = json.loads(text)
        target = copy
        for step in place:
            target = target[step]
        if isinstance(target, dict):
            target['no_such_key'] = 1
            yield copy


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cli', required=True)
    parser.add_argument('--repo', required=True)
    parser.add_argument('--program', action='append', default=[])
    parser.add_argument('--only', default='')
    options = parser.parse_args()
    failed = False
    checks = [name for name in dir(Checker)
              if name.startswith('check_') and options.only in name]
    for name in checks:
        checker = Checker(options.cli, options.repo, options.program)
        skipped = ''
        try:
            getattr(checker, name)()
        except Skipped as reason:
            skipped = '; the rest skipped: %s' % reason
        except (KeyError, ValueError, IndexError, OSError) as error:
            checker.problems.append('%s: %s' % (type(error).__name__, error))
        # A check that looked at nothing has proved nothing.
        if not checker.count and not skipped:
            checker.problems.append('found nothing to check')
        for problem in checker.problems:
            print('  ' + problem.rstrip().replace('\n', '\n  '))
        print('%-18s %s, %d checked%s' % (name[len('check_'):],
                                          'FAILED' if checker.problems else 'ok', checker.count,
                                          skipped))
        failed = failed or bool(checker.problems)
    sys.exit(1 if failed or not checks else 0)


if __name__ == '__main__':
    main()
