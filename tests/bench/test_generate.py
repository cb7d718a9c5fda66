"""Tests of the generator of random models and adapters.

usage: test_generate.py GENERATE TRLM-ADAPT [unittest arguments]
"""
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import unittest

generate = ''
cli = ''


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


class GenerateTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, *arguments):
        done = run(generate, *arguments)
        self.assertEqual((0, '', ''), (done.returncode, done.stdout, done.stderr))

    def make_model(self, name='model.slm', *options):
        path = self.path(name)
        self.make('model', path, '--bytes', '600KiB', *options)
        return path

    def inspect(self, path):
        done = run(cli, 'inspect', '--json', path)
        self.assertEqual(0, done.returncode, done.stdout)
        return json.loads(done.stdout)['result']

    def assert_valid(self, *paths):
        done = run(cli, 'validate', *paths)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def assert_refused(self, what, *arguments):
        """One line that names what is wrong, exit code 2, and nothing written."""
        before = sorted(os.listdir(self.folder))
        done = run(generate, *arguments)
        self.assertEqual((2, ''), (done.returncode, done.stdout))
        self.assertRegex(done.stderr, r'\Agenerate: [^\n]*%s[^\n]*\n\Z' % what)
        self.assertEqual(before, sorted(os.listdir(self.folder)))


class Models(GenerateTest):
    def test_every_storage_is_valid_and_close_to_its_size(self):
        for dtype in ('f32', 'q8_0', 'q4_0'):
            for size in (600 * 1024, 3 * 1024 * 1024):
                with self.subTest(dtype=dtype, size=size):
                    path = self.path('m.slm')
                    self.make('model', path, '--bytes', str(size), '--dtype', dtype)
                    self.assert_valid(path)
                    self.assertLessEqual(os.path.getsize(path), size)
                    self.assertGreater(os.path.getsize(path), 0.8 * size)

    def test_hidden_and_layers(self):
        path = self.path('m.slm')
        self.make('model', path, '--hidden', '128', '--layers', '3')
        self.assert_valid(path)
        # 4 * 128^2 and 3 * 128 * 320 a layer, norms, embedding and output of 260 tokens.
        parameters = 3 * (4 * 128 ** 2 + 3 * 128 * 320 + 2 * 128) + 128 + 2 * 260 * 128
        self.assertGreaterEqual(os.path.getsize(path), 4 * parameters)
        self.assertLess(os.path.getsize(path), 4 * parameters + 8192)

    def test_the_seed_decides(self):
        first = self.make_model('a.slm', '--seed', '7')
        again = self.make_model('b.slm', '--seed', '7')
        other = self.make_model('c.slm', '--seed', '8')
        self.assertTrue(filecmp.cmp(first, again, shallow=False))
        self.assertFalse(filecmp.cmp(first, other, shallow=False))


class Adapters(GenerateTest):
    def adapter(self, name, *options):
        path = self.path(name)
        self.make('adapter', path, '--model', self.model, *options)
        self.assert_valid(path)
        return path

    def setUp(self):
        super().setUp()
        self.model = self.make_model()

    def test_every_kind_is_valid_and_applies(self):
        stack = [self.adapter('a.adp1', '--kind', 'dense'),
                 self.adapter('b.asp1', '--kind', 'sparse', '--density', '0.001'),
                 self.adapter('c.asp1', '--kind', 'sparse', '--density', '0.3'),
                 self.adapter('d.asp1', '--kind', 'sparse', '--density', '1'),
                 self.adapter('e.alr1', '--kind', 'lowrank', '--rank', '3')]
        done = run(cli, 'apply', self.model, *stack, '-o', self.path('out.slm'))
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def test_a_dense_adapter_has_every_value_of_the_model(self):
        path = self.adapter('a.adp1', '--kind', 'dense')
        self.assertGreater(os.path.getsize(path), 0.99 * os.path.getsize(self.model))

    def test_density_decides_the_size(self):
        tenth = os.path.getsize(self.adapter('a.asp1', '--kind', 'sparse', '--density', '0.1'))
        half = os.path.getsize(self.adapter('b.asp1', '--kind', 'sparse', '--density', '0.5'))
        parameters = os.path.getsize(self.model) / 4
        self.assertAlmostEqual(parameters * (4 * 0.1 + 1 / 8), tenth, delta=0.1 * tenth)
        self.assertAlmostEqual(parameters * (4 * 0.5 + 1 / 8), half, delta=0.1 * half)

    def test_tensors_and_size_choose(self):
        few = self.adapter('a.alr1', '--kind', 'lowrank', '--tensors', 'layers.1.w')
        all_of_them = self.adapter('b.alr1', '--kind', 'lowrank')
        limited = self.adapter('c.alr1', '--kind', 'lowrank', '--size', '20KiB')
        self.assertLess(os.path.getsize(few), os.path.getsize(all_of_them))
        self.assertLessEqual(os.path.getsize(limited), 20 * 1024)

    def test_a_stack_has_different_members(self):
        folder = self.path('stack')
        self.make('stack', folder, '--model', self.model, '--kind', 'lowrank', '--count', '3')
        names = sorted(os.listdir(folder))
        self.assertEqual(['01.alr1', '02.alr1', '03.alr1'], names)
        paths = [os.path.join(folder, name) for name in names]
        self.assert_valid(*paths)
        self.assertFalse(filecmp.cmp(paths[0], paths[1], shallow=False))


class Nonsense(GenerateTest):
    def test_forms_and_options(self):
        out = self.path('x')
        for what, arguments in (
                ('missing', []),
                ('not nonsense', ['nonsense', out]),
                ('output is missing', ['model']),
                ('output comes before', ['model', '--bytes', '1MiB', out]),
                ('needs --bytes', ['model', out]),
                ('unknown option --nonsense', ['model', out, '--nonsense']),
                ('unexpected argument more', ['model', out, '--bytes', '1MiB', 'more']),
                ('--seed needs a value', ['model', out, '--bytes', '1MiB', '--seed']),
                ('one or the other', ['model', out, '--bytes', '1MiB', '--hidden', '64']),
                ('has only', ['model', out, '--bytes', '1MiB', '--rank', '4']),
                ('needs --bytes', ['model', out, '--layers', '3'])):
            with self.subTest(arguments=arguments):
                self.assert_refused(what, *arguments)

    def test_values(self):
        out = self.path('x')
        for option, value in (('--bytes', '0'), ('--bytes', '-5'), ('--bytes', '1GB'),
                              ('--bytes', 'GiB'), ('--bytes', '99999999999GiB'),
                              ('--hidden', '0'), ('--hidden', '6.5'), ('--layers', '99999'),
                              ('--dtype', 'f16'), ('--kind', 'quantum'), ('--rank', '0'),
                              ('--rank', '4097'), ('--density', '0'), ('--density', '1.5'),
                              ('--density', 'nan'), ('--density', 'inf'), ('--count', '65'),
                              ('--seed', '-1'), ('--seed', '99999999999999999999')):
            with self.subTest(option=option, value=value):
                self.assert_refused(option, 'model', out, option, value)
        self.assert_refused('too small', 'model', out, '--bytes', '1KiB')
        self.assert_refused('multiple of 64', 'model', out, '--hidden', '100', '--layers', '2')

    def test_adapters(self):
        model = self.make_model()
        out = self.path('x')
        for what, arguments in (
                ('needs --model', ['adapter', out, '--kind', 'dense']),
                ('needs --kind', ['adapter', out, '--model', model]),
                ('those of a model', ['adapter', out, '--model', model, '--dtype', 'f32']),
                ('lowrank adapter', ['adapter', out, '--model', model, '--kind', 'dense',
                                     '--rank', '4']),
                ('sparse adapter', ['adapter', out, '--model', model, '--kind', 'dense',
                                    '--density', '0.5']),
                ('that of a stack', ['adapter', out, '--model', model, '--kind', 'dense',
                                     '--count', '2']),
                ('needs --count', ['stack', out, '--model', model, '--kind', 'dense']),
                ('no tensor', ['adapter', out, '--model', model, '--kind', 'dense', '--tensors',
                               'nonsense']),
                ('no tensor', ['adapter', out, '--model', model, '--kind', 'lowrank', '--rank',
                               '4096']),
                ('replace the model', ['adapter', model, '--model', model, '--kind', 'dense'])):
            with self.subTest(arguments=arguments):
                self.assert_refused(what, *arguments)

    def test_files_that_cannot_be_used(self):
        for arguments in (
                ['adapter', self.path('x'), '--model', self.path('none'), '--kind', 'dense'],
                ['model', self.path('no-folder/x'), '--bytes', '1MiB']):
            with self.subTest(arguments=arguments):
                done = run(generate, *arguments)
                self.assertIn(done.returncode, (1, 2))
                self.assertRegex(done.stderr, r'\Agenerate: [^\n]+\n\Z')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip().split('\n')[-1])
    generate, cli = map(os.path.abspath, sys.argv[1:3])
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
