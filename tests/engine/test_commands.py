"""The engine's commands: adapters in and out, what is printed, what is refused."""
import json
import os
import re
import subprocess

import support

BASE = support.data('union.q8_0.slm')
LORA, FULL, TOP5 = (support.data('whale-' + name)
                    for name in ('lora.alr1', 'full.adp1', 'top5.asp1'))
TEXT = support.data('texts', 'whale.txt')


class Adapters(support.Case):
    def adapted(self, name, *packages):
        """The model that the tool makes, and its state."""
        path = self.path(name)
        self.assertFalse(os.path.exists(path))
        strengths = [x for p in packages if ':' in p for x in
                     ('--strength', os.path.basename(p).replace(':', '='))]
        report = json.loads(self.tool('apply', BASE, *(p.split(':')[0] for p in packages), '-o',
                                      path, '--json', *strengths))
        return path, report['result']['state']

    def test_a_stack_in_memory_is_the_stack_in_a_file(self):
        stacks = (LORA,), (LORA + ':0.5', TOP5), (FULL + ':-0.25',)
        for i, packages in enumerate(stacks):
            path, _ = self.adapted('%d.slm' % i, *packages)
            expected = self.generate(path, 'It was ')
            self.assertEqual(self.generate(BASE, 'It was ', '--stack', *packages), expected)
            self.assertNotEqual(self.generate(BASE, 'It was '), expected)

    def test_chat_demo(self):
        packages = [LORA, FULL + ':0.5', TOP5]
        answers = self.chat_demo(BASE, *packages)
        self.assertEqual([a[0] for a in answers],
                         ['base', *map(os.path.basename, packages), 'base again'])
        self.assertEqual(answers[0][1:], answers[-1][1:])
        # Each answer is that of a model which never had another adapter.
        self.assertEqual(answers[0][3], self.generate(BASE, 'In the ').decode() + '\n')
        for package, (name, weights, state, text) in zip(packages, answers[1:-1]):
            path, expected_state = self.adapted(name, package)
            self.assertEqual(state, expected_state)
            alone = self.chat_demo(path, TOP5)[0]
            self.assertEqual((weights, text), (alone[1], alone[3]))
        self.assertEqual(len({a[1] for a in answers}), 4)

    def test_prompts_with_the_same_beginning(self):
        prompts = 'The whole of the ', 'The ', 'The wharf ', 'A'
        answers = self.chat_demo(*(x for p in prompts for x in ('--prompt', p)), BASE, LORA)
        for adapters, (*_, text) in zip(((), ('--stack', LORA), ()), answers):
            alone = [self.generate(BASE, prompt, *adapters).decode() + '\n' for prompt in prompts]
            self.assertEqual(text, ''.join(alone))

    def chat_demo(self, *arguments):
        """(name, weights, state, text) of each moment."""
        output = self.engine('chat-demo', *arguments).decode()
        count = max(1, arguments.count('--prompt'))
        answers = re.findall(r'^\[(.*)\]  weights (xxh3-64:[0-9a-f]{16})  '
                             r'state (xxh3-64:[0-9a-f]{16})\n((?:.*\n){%d})\n' % count, output,
                             flags=re.M)
        self.assertEqual(len(answers) * (count + 2) + 1, output.count('\n'), output)
        self.assertTrue(output.endswith('The base is restored: the same weights, byte for byte, '
                                        'and the same text.\n'), output)
        return answers

    def test_from_presidents_to_whales(self):
        base, whale, again = (a[3] for a in self.chat_demo(BASE, LORA, '--tokens', '400'))
        self.assertEqual(base, again)
        sea = r'\b(whale|sea|ship|boat|captain|water|deck)'
        state = r'\b(congress|state|government|nation|act|public|people)'
        for text, more, fewer in ((base, state, sea), (whale, sea, state)):
            self.assertGreater(len(re.findall(more, text.lower())),
                               2 * len(re.findall(fewer, text.lower())), text)


class Text(support.Case):
    def test_the_same_seed_gives_the_same_text(self):
        texts = [self.generate(BASE, 'We ', '--seed', seed, '--threads', threads)
                 for seed, threads in (('1', '1'), ('1', '2'), ('2', '2'))]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_the_number_of_threads_does_not_matter(self):
        support.write(self.path('text'), support.read(TEXT)[:2000])
        runs = {self.engine('evaluate', BASE, self.path('text'), '--threads', n) for n in '0123'}
        self.assertEqual(len(runs), 1)

    def test_no_tokens(self):
        self.assertEqual(self.engine('generate', BASE, 'We', '--tokens', '0'), b'We\n')

    def test_help(self):
        for command in ('generate', 'evaluate', 'chat-demo'):
            output = self.engine(command, '--help').decode()
            self.assertIn('  engine %s union.q8_0.slm' % command, output)
            self.assertIn(command, self.engine('--help').decode())
            self.assertLessEqual(max(map(len, output.split('\n'))), 100)


class Refused(support.Case):
    def refuse(self, exit_code, part, *arguments):
        done = support.call(*arguments)
        self.assertEqual(done.returncode, exit_code, done)
        self.assertEqual(done.stdout, b'', done)
        error = done.stderr.decode()
        self.assertRegex(error, r'\Aerror: [^\n]+\n\Z')
        self.assertIn(part, error)

    def copy(self, source, change):
        path = self.path(os.path.basename(source))
        support.write(path, change(support.read(source)))
        return path

    def test_files(self):
        cut = self.copy(BASE, lambda data: data[:1000])
        flipped = self.copy(LORA, lambda data: data[:5000] + b'?' + data[5001:])
        for command in ('generate', 'evaluate', 'chat-demo'):
            last = (TEXT,) if command == 'evaluate' else (LORA,)
            self.refuse(1, cut + ': ', command, cut, *last)
            self.refuse(1, '[file_missing]', command, self.path('none.slm'), *last)
            self.refuse(1, '[file_unreadable]', command, self.folder, *last)
            self.refuse(1, '[bad_magic]', command, LORA, *last)
        for stack in ((flipped,), (LORA, flipped)):
            self.refuse(1, flipped + ': ', 'generate', BASE, '', '--stack', *stack)
        self.refuse(1, '[file_missing]', 'generate', BASE, '', '--stack', self.path('none.alr1'))
        self.refuse(1, '[bad_magic]', 'generate', BASE, '', '--stack', BASE)
        self.refuse(1, '[file_missing]', 'evaluate', BASE, self.path('none.txt'))

    def test_an_adapter_of_another_model(self):
        other = os.path.join(support.ROOT, 'tests', 'conformance', 'vectors', 'adapters',
                             'lowrank.alr1')
        self.refuse(1, other + ': ', 'generate', BASE, 'We', '--stack', other)
        self.refuse(1, other + ': ', 'generate', BASE, 'We', '--stack', LORA, other)
        done = support.call('chat-demo', BASE, other)
        self.assertEqual((done.returncode, done.stderr.count(b'\n')), (1, 1))

    def test_a_stack_too_strong(self):
        self.refuse(1, '[fused_non_finite]', 'generate', BASE, 'We', '--stack', LORA + ':3e38')
        # Weights that are finite, while what the network makes of them is not.
        self.refuse(1, '[non_finite]', 'evaluate', BASE, TEXT, '--stack', LORA + ':1e38')
        done = support.call('generate', BASE, 'We', '--stack', LORA + ':1e38')
        self.assertEqual((done.returncode, done.stderr.count(b'\n')), (1, 1))

    def test_texts(self):
        support.write(self.path('short'), b'x' * 127)
        self.refuse(1, 'fewer than one window', 'evaluate', BASE, self.path('short'))
        support.write(self.path('empty'), b'')
        self.refuse(1, 'fewer than one window', 'evaluate', BASE, self.path('empty'))
        self.refuse(2, 'does not fit', 'evaluate', BASE, TEXT, '--window', '129')

    def test_options(self):
        for arguments in ([], ['nonsense'], ['generate'], ['generate', BASE], ['evaluate', BASE],
                          ['chat-demo', BASE], ['generate', BASE, 'We', 'more'],
                          ['generate', BASE, 'We', '--nonsense'],
                          ['generate', BASE, 'We', '--stack'],
                          ['generate', BASE, 'We', '--stack', LORA + ':'],
                          ['generate', BASE, 'We', '--stack', LORA + ':strong'],
                          ['generate', BASE, 'We', '--stack', LORA + ':0'],
                          ['generate', BASE, 'We', '--stack', LORA + ':nan'],
                          ['generate', BASE, 'We', '--rounding', 'up'],
                          ['generate', BASE, 'We', '--greedy', '--seed', '1'],
                          ['chat-demo', BASE, LORA, '--temperature', '0'],
                          ['evaluate', BASE, TEXT, '--window', 'x'],
                          ['evaluate', BASE, TEXT, '--threads', '-1'],
                          ['evaluate', BASE, TEXT, '--threads', '1025']):
            self.refuse(2, '', *arguments)
        for name, values in (('--tokens', ('', 'x', '-1', '1.5', '99999999999999999999')),
                             ('--temperature', ('0', '-1', 'nan', 'inf', 'x')),
                             ('--top-k', ('-1', '0.5', '4294967296')),
                             ('--top-p', ('0', '-0.1', '1.01', 'nan')),
                             ('--seed', ('-1', '18446744073709551616', 'x'))):
            for value in values:
                self.refuse(2, '', 'generate', BASE, 'We', name, value)

    def test_output_that_cannot_be_written(self):
        if not os.path.exists('/dev/full'):
            self.skipTest('this system has no /dev/full')
        with open('/dev/full', 'wb') as full:
            done = subprocess.run([support.programs['engine'], 'evaluate', BASE, TEXT, '--window',
                                   '64'], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stderr.count(b'\n')), (1, 1))


if __name__ == '__main__':
    support.main()
