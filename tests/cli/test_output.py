"""What every command prints where: JSON, text, colours, help, and streams that fail."""
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import support
from support import CANNOT_CHECK, INVALID, OK, USAGE, data, vector, write

COMMANDS = ['validate', 'inspect', 'apply', 'revert', 'verify', 'bundle', 'replay', 'digest',
            'explain', 'limits', 'version']
ESCAPE = '\x1b'


def read_to_end(descriptor, size=65536):
    text = b''
    while True:
        try:
            part = os.read(descriptor, size)
        except OSError:  # how Linux tells the end of a terminal
            part = b''
        if not part:
            os.close(descriptor)
            return text
        text += part


class Usage(support.Case):
    def test_no_command(self):
        run = self.run_tool()
        self.assertEqual(run.code, USAGE)
        self.assertEqual(run.out, '')
        for command in COMMANDS:
            self.assertIn('  %s ' % command, run.err)
        run = self.run_json()
        self.assert_refused(run, USAGE, 'usage_error')
        self.assertIsNone(run.document['command'])

    def test_wrong_command_lines(self):
        cases = [(['frobnicate'], None), (['--frobnicate'], None), (['validate'], 'validate'),
                 (['validate', '--frobnicate', 'x'], 'validate'), (['inspect'], 'inspect'),
                 (['inspect', 'a', 'b'], 'inspect'), (['apply'], 'apply'),
                 (['apply', 'model'], 'apply'), (['digest'], 'digest'),
                 (['apply', 'a', 'b', '--undo='], 'apply'), (['revert', 'a'], 'revert'),
                 (['revert', '--undo', 'a'], 'revert'), (['revert', 'a', 'b', '--undo', 'c'], 'revert'),
                 (['apply', 'a', 'b', '--output-dtype', 'f16'], 'apply'),
                 (['apply', 'a', 'b', '--output='], 'apply'),
                 (['limits', 'x'], 'limits'), (['version', '--color', 'blue'], 'version')]
        for arguments, command in cases:
            with self.subTest(arguments):
                run = self.run_json(*arguments)
                self.assert_refused(run, USAGE, 'usage_error')
                self.assertEqual(run.document['command'], command)
                self.assertIsNone(run.result)
                self.assertIsNone(run.document['findings'][0]['file'])
                run = self.run_tool(*arguments)
                self.assertEqual(run.code, USAGE)
                self.assertEqual(run.out, '')
                self.assertRegex(run.err, r'\Aerror: .*\[usage_error\]\n')
                self.assertIn('--help', run.err)
        self.assertEqual(self.names(), [])

    def test_an_option_without_its_value(self):
        for option in ('-o', '--output', '--strength', '--receipt', '--threads'):
            run = self.run_tool('apply', 'a', 'b', option)
            self.assertEqual(run.code, USAGE, run)
            self.assertIn('[usage_error]', run.err)

    def test_the_nearest_command_is_suggested(self):
        for word, command in (('aply', 'apply'), ('verison', 'version'), ('digests', 'digest'),
                              ('verfy', 'verify'), ('bundel', 'bundle')):
            self.assertIn('did you mean %s?' % command, self.run_tool(word).err)

    def test_options_of_every_command_may_stand_before_it(self):
        run = self.run_tool('--json', 'digest', data('README.md'))
        self.assertEqual(run.document['command'], 'digest')

    def test_a_file_named_like_a_command(self):
        write(self.path('version'), b'x')
        run = self.run_json('digest', 'version')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.result['files'][0]['file'], 'version')

    def test_odd_file_names(self):
        for name in ('[a,b]', 'a b', 'a,b', '{}', '%%', '"q"', "'q'", 'a=b', '\\', '#'):
            with self.subTest(name):
                write(self.path(name), b'x')
                run = self.run_json('digest', './' + name)
                self.assertEqual(run.code, OK, run)
                self.assertEqual([f['file'] for f in run.result['files']], ['./' + name])

    def test_help(self):
        tool = self.run_tool('--help')
        self.assertEqual((tool.code, tool.err), (OK, ''))
        for text in [tool.out] + [self.run_tool(*c.split(), '--help').out
                                 for c in COMMANDS + ['bundle create']]:
            self.assertIn('Usage: trlm-adapt', text)
            self.assertIn('Example:\n  trlm-adapt ', text)
            self.assert_narrow(text)
            self.assertNotRegex(text, r'\n\n\n| \n')
        for command in COMMANDS:
            self.assertIn('  %s ' % command, tool.out)
            run = self.run_tool(command, '-h')
            self.assertEqual(run.code, OK)
            self.assertTrue(run.out.count('\n') > 8)
            for option in ('--json', '--quiet', '--color', '--help'):
                self.assertIn(option, run.out)
        for option in ('--output', '--strength', '--receipt', '--dry-run', '--min-survival',
                       '--allow-no-effect', '--rounding', '--threads', '--force',
                       '--accept-foreign-checksum', '--strict'):
            self.assertIn(option, self.run_tool('apply', '--help').out)


class Quiet(support.Case):
    def test_nothing_but_errors(self):
        self.take(vector('models', 'base_q8_0.slm'), 'base.slm')
        self.take(vector('adapters', 'zero.adp1'))
        for arguments in (['validate', 'base.slm'], ['inspect', 'base.slm'],
                          ['digest', 'base.slm'], ['explain'], ['limits'], ['version'],
                          ['apply', 'base.slm', 'zero.adp1', '--allow-no-effect']):
            run = self.run_tool(*arguments, '--quiet')
            self.assertEqual((run.code, run.out, run.err), (OK, '', ''), arguments)
        self.assertTrue(os.path.exists(self.path('base.adapted.slm')))

    def test_errors_stay(self):
        run = self.run_tool('validate', 'none', '--quiet')
        self.assertEqual((run.code, run.out), (CANNOT_CHECK, ''))
        self.assertIn('[file_missing]', run.err)

    def test_json_is_what_was_asked_for(self):
        self.assertEqual(self.run_json('version', '--quiet').code, OK)


class Terminal(support.Case):
    def run_on_terminal(self, *arguments, columns=100, env=None):
        """stdout and stderr on one terminal; what it got."""
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
        environment = {'TERM': 'xterm'}
        environment.update(env or {})
        run = self.run_tool(*arguments, stdout=terminal, stderr=terminal, env=environment)
        os.close(terminal)
        text = read_to_end(controller)
        return run.code, text.decode()


class Colors(Terminal):

    def test_none_when_no_terminal_is_there(self):
        for arguments in (['validate', 'none'], ['inspect', data('union.q8_0.slm')], ['explain']):
            run = self.run_tool(*arguments, env={'TERM': 'xterm'})
            self.assertNotIn(ESCAPE, run.out + run.err)

    def test_always_and_never(self):
        run = self.run_tool('validate', 'none', '--color', 'always', env={'NO_COLOR': '1'})
        self.assertIn(ESCAPE + '[1;31merror:' + ESCAPE + '[0m none: ', run.err)
        self.assertIn(ESCAPE, run.out)
        _, text = self.run_on_terminal('validate', 'none', '--color=never')
        self.assertNotIn(ESCAPE, text)

    def test_colors_change_nothing_else(self):
        for arguments in (['inspect', data('union.q8_0.slm')], ['validate', data('README.md')],
                          ['apply', data('union.q8_0.slm'), data('whale-lora.alr1'), '--dry-run']):
            plain = self.run_tool(*arguments)
            colored = self.run_tool(*arguments, '--color', 'always')
            self.assertEqual(re.sub('\x1b\\[[0-9;]*m', '', colored.out), plain.out)
            self.assertEqual(re.sub('\x1b\\[[0-9;]*m', '', colored.err), plain.err)

    def test_a_terminal_has_colors_unless_it_or_the_user_does_not_want_them(self):
        code, text = self.run_on_terminal('validate', 'none')
        self.assertEqual(code, CANNOT_CHECK)
        self.assertIn(ESCAPE + '[1;31merror:', text)
        for env in ({'NO_COLOR': '1'}, {'TERM': 'dumb'}):
            self.assertNotIn(ESCAPE, self.run_on_terminal('validate', 'none', env=env)[1], env)
        self.assertIn(ESCAPE, self.run_on_terminal('validate', 'none', env={'NO_COLOR': ''})[1])

    def test_json_has_no_colors(self):
        run = self.run_json('validate', 'none', '--color', 'always')
        self.assertNotIn(ESCAPE, run.out)

    def test_a_wide_terminal_is_used_within_reason(self):
        arguments = ['inspect', data('union.q8_0.slm'), '--color', 'never']
        for columns, widest in ((20, 80), (100, 100), (500, 120)):
            text = self.run_on_terminal(*arguments, columns=columns)[1].replace('\r', '')
            self.assert_narrow(text.split('\n', 1)[1], widest)


class Progress(Terminal):
    def test_a_bar_on_a_terminal_that_clears_itself_and_none_elsewhere(self):
        # Takes over half a second to hash, and no room on the disk.
        size = 5 << 28
        with open(self.path('large'), 'wb') as file:
            file.truncate(size)
        code, text = self.run_on_terminal('digest', 'large')
        self.assertEqual(code, OK)
        lines = text.split('\r\x1b[K')
        self.assertEqual(lines[0], '')
        self.assertGreater(len(lines), 2, text)
        for line in lines[1:-1]:
            self.assertRegex(line, r'\Ahashing \[=* *\] +\d+ %  [\d.]+ [KMGT]iB/s  \d+ s left\Z')
            self.assertLess(len(line), 80)
        self.assertRegex(lines[-1], r'\Asha256:[0-9a-f]{64}  %d  large\r\n\Z' % size)

        self.assertEqual(self.run_on_terminal('digest', 'large', '--quiet'), (OK, ''))
        self.assertEqual(self.run_tool('digest', 'large').err, '')


class Streams(support.Case):
    """Results that cannot be printed are failures."""

    ARGUMENTS = [['version'], ['version', '--json'], ['explain'], ['--help'],
                 ['inspect', data('union.q8_0.slm')], ['digest', data('union.q8_0.slm')]]

    def test_a_full_device(self):
        if not os.path.exists('/dev/full'):
            self.skipTest('this system has no /dev/full')
        for arguments in self.ARGUMENTS:
            with open('/dev/full', 'wb') as full:
                run = self.run_tool(*arguments, stdout=full)
            self.assertEqual(run.code, CANNOT_CHECK, arguments)

    def test_a_pipe_that_nobody_reads(self):
        for arguments in self.ARGUMENTS:
            reader, writer = os.pipe()
            os.close(reader)
            run = self.run_tool(*arguments, stdout=writer)
            os.close(writer)
            self.assertEqual(run.code, CANNOT_CHECK, arguments)

    def test_a_closed_stdout(self):
        for arguments in self.ARGUMENTS:
            run = self.run_tool(*arguments, stdout=None, preexec_fn=lambda: os.close(1))
            self.assertEqual(run.code, CANNOT_CHECK, arguments)

    def test_closed_streams_do_not_get_into_the_model(self):
        self.take(data('union.q8_0.slm'), 'base.slm')
        good = self.run_json('apply', 'base.slm', data('whale-lora.alr1'), '-o', 'good')
        self.assertEqual(good.code, OK)

        def close_streams():
            for stream in (0, 1, 2):
                os.close(stream)

        run = self.run_tool('apply', 'base.slm', data('whale-lora.alr1'), '-o', 'out',
                            stdin=None, stdout=None, stderr=None, preexec_fn=close_streams)
        self.assertEqual(run.code, CANNOT_CHECK)  # nowhere to print
        self.assertEqual(support.sha256(self.path('out')), good.result['output']['digest'])

    def test_a_failure_keeps_its_exit_code(self):
        reader, writer = os.pipe()
        os.close(reader)
        run = self.run_tool('validate', data('README.md'), stdout=writer)
        os.close(writer)
        self.assertEqual(run.code, INVALID)

    def test_a_stderr_that_takes_nothing_is_no_failure(self):
        run = self.run_tool('version', stderr=None, preexec_fn=lambda: os.close(2))
        self.assertEqual(run.code, OK)
        self.assertIn('trlm-adapt', run.out)

    def test_a_pipe_that_is_slow_and_does_not_wait(self):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        process = subprocess.Popen([support.cli, 'inspect', data('union.q8_0.slm'), '--json',
                                    '--stats'], stdout=writer)
        os.close(writer)
        text = read_to_end(reader, 512)
        self.assertEqual(process.wait(timeout=60), OK)
        self.assertTrue(text.endswith(b'}\n'))


if __name__ == '__main__':
    support.main()
