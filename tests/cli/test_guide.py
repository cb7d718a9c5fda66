#!/usr/bin/env python3
"""The manual page and the shells' completions name every command and option, and no others.

usage: test_guide.py PATH-OF-TRLM-ADAPT

What the tool has is read from its --help once more here, without tools/guide, which writes them. bash
completes in earnest; so do fish and zsh where they are installed.
"""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import support

GUIDE = os.path.join(support.ROOT, 'tools', 'trlm-adapt', 'guide')


def output_of(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                          timeout=120, **options).stdout


def help_of(*command):
    return output_of(support.cli, *command, '--help')


def options_in(text):
    """The names of the options that a help describes: "-o", "--output"."""
    return {name for names in re.findall(r'^  (-\S+)', text, re.M) for name in names.split(',')}


def commands_in(text):
    """The commands that a help lists: they stand where neither an option nor an argument does."""
    return re.findall(r'^  ([a-z][a-z-]+)  ', text.split('Exit codes:')[0], re.M)


def all_commands():
    """Every command by its whole name, with its options."""
    found = {}
    for name in commands_in(help_of()):
        inner = commands_in(help_of(name))
        for command in [[name, each] for each in inner] or [[name]]:
            found[' '.join(command)] = options_in(help_of(*command))
    return found


def guide(name):
    with open(os.path.join(GUIDE, name), encoding='utf-8') as file:
        return file.read()


class Guide(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.commands = all_commands()
        cls.top_options = options_in(help_of())


class Files(Guide):
    def test_the_help_was_understood(self):
        self.assertIn('bundle create', self.commands)
        self.assertGreaterEqual(self.commands['apply'], {'-o', '--output', '--strength', '--json'})
        self.assertGreaterEqual(len(self.commands), 15)

    def test_the_files_are_what_is_written(self):
        done = subprocess.run([os.path.join(support.ROOT, 'tools', 'guide'), support.cli, '--check'],
                              capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, ''))


class Manual(Guide):
    def sections(self):
        """The options of each heading of the page."""
        found = {}
        for line in guide('trlm-adapt.1').replace('\\-', '-').split('\n'):
            if line.startswith(('.SH ', '.SS ')):
                options = found.setdefault(line[4:], set())
            elif line.startswith('\\fB-'):
                options |= set(re.findall(r'\\fB(-[\w-]+)\\fR', line))
        return found

    def test_commands_and_options(self):
        sections = self.sections()
        reading = sections['OPTIONS FOR READING']
        output = sections['OPTIONS FOR OUTPUT']
        self.assertEqual(output, self.top_options)
        for command, options in self.commands.items():
            described = sections['trlm-adapt ' + command] | (output - {'--version'})
            if '--strict' in options:
                described |= reading
            self.assertEqual(described, options, command)
        self.assertEqual({name[len('trlm-adapt '):] for name in sections
                          if name.startswith('trlm-adapt ')}, set(self.commands))

    @unittest.skipUnless(shutil.which('mandoc'), 'mandoc is not installed')
    def test_mandoc_finds_nothing(self):
        page = os.path.join(GUIDE, 'trlm-adapt.1')
        done = subprocess.run(['mandoc', '-T', 'lint', page], capture_output=True, text=True,
                              check=False, timeout=60)
        # A date would make a new page of the same text; the version stands for it.
        remarks = [line for line in (done.stdout + done.stderr).splitlines()
                   if 'missing date' not in line]
        self.assertEqual(remarks, [])


class Completion(Guide):
    """The completions, asked as a person asks them."""
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ('model.slm', 'adapter.alr1'):
            with open(os.path.join(self.folder, name), 'w', encoding='utf-8'):
                pass

    def bash(self, *words):
        """What bash offers for the last word."""
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _trlm_adapt; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return output_of('bash', '--norc', '-c', script, 'bash',
                         os.path.join(GUIDE, 'trlm-adapt.bash'), 'trlm-adapt', *words,
                         cwd=self.folder).split()

    def fish(self, line):
        script = 'source %s; complete -C "trlm-adapt %s"' % (
            os.path.join(GUIDE, 'trlm-adapt.fish'), line)
        environment = dict(os.environ, HOME=self.folder, XDG_CONFIG_HOME=self.folder,
                           XDG_DATA_HOME=self.folder)
        lines = output_of('fish', '--no-config', '-c', script, cwd=self.folder,
                          env=environment).splitlines()
        return [line.split('\t')[0] for line in lines]

    def test_bash_commands(self):
        first = {command.split()[0] for command in self.commands}
        self.assertEqual(set(self.bash('')), first)
        self.assertEqual(self.bash('compo'), ['compose-check'])
        self.assertEqual(set(self.bash('-')), self.top_options)
        self.assertEqual(self.bash('bundle', 'cr'), ['create'])

    def test_bash_options(self):
        for command, options in self.commands.items():
            self.assertEqual(set(self.bash(*command.split(), '-')), options, command)
            self.assertEqual(set(self.bash(*command.split(), 'model.slm', '--')),
                             {option for option in options if option.startswith('--')}, command)

    def test_bash_values(self):
        self.assertEqual(self.bash('apply', '--color', ''), ['auto', 'always', 'never'])
        self.assertEqual(self.bash('--color', '=', 'al'), ['always'])
        self.assertEqual(self.bash('apply', 'm'), ['model.slm'])
        self.assertEqual(self.bash('validate', '--model', ''), ['adapter.alr1', 'model.slm'])
        self.assertEqual(self.bash('validate', '--threads', ''), [])
        self.assertEqual(self.bash('limits', ''), [])
        codes = output_of(support.cli, 'explain', '--json')
        self.assertEqual(set(self.bash('explain', '')), set(re.findall(r'"code":"(\w+)"', codes)))

    @unittest.skipUnless(shutil.which('fish'), 'fish is not installed')
    def test_fish(self):
        first = {command.split()[0] for command in self.commands}
        self.assertEqual(set(self.fish('')), first)
        for command, options in self.commands.items():
            self.assertEqual({name for name in self.fish(command + ' -') if name[1:2] != '-'},
                             {name for name in options if len(name) == 2}, command)
            self.assertEqual(set(self.fish(command + ' --')),
                             {name for name in options if len(name) > 2}, command)
        self.assertEqual(self.fish('apply --color a'), ['always', 'auto'])
        self.assertEqual(self.fish('apply mod'), ['model.slm'])

    @unittest.skipUnless(shutil.which('zsh'), 'zsh is not installed')
    def test_zsh(self):
        text = guide('trlm-adapt.zsh')
        output_of('zsh', '-n', os.path.join(GUIDE, 'trlm-adapt.zsh'))
        cases = dict(re.findall(r'^ {16}([a-z-]+)\)\n(.*?)^ {20};;', text, re.M | re.S))
        self.assertEqual(set(cases), {command.split()[0] for command in self.commands})
        for command, options in self.commands.items():
            named = set()
            for line in cases[command.split()[0]].splitlines():
                several = re.match(r"\s+'\([^)]*\)'\{([^}]*)\}", line)
                one = re.match(r"\s+'\*?(--?[\w-]+)", line)
                if several or one:
                    named |= {name.rstrip('=') for name in
                              (several or one).group(1).split(',')}
            self.assertEqual(named, options, command)
        self.assertEqual(set(re.findall(r"^ {8}'([a-z-]+):", text, re.M)), set(cases))


if __name__ == '__main__':
    support.main()
