"""Full disks, signals, inputs that shrink: whatever happens, an output is whole or absent."""
import os
import resource
import signal
import subprocess
import sys
import time
import unittest

import support
from support import CANNOT_CHECK, OK, data, read, sha256, vector, write


def limit_file_size(size):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return limit


class FullDisk(support.Case):
    def setUp(self):
        super().setUp()
        self.take(vector('models', 'base_f32.slm'), 'base.slm')
        self.take(vector('adapters', 'dense.adp1'))
        self.before = self.names()

    def test_the_largest_file_is_too_small(self):
        sizes = [0, 1, 4096, 400_000]
        if os.environ.get('TRLM_ADAPT_SANITIZE') == 'thread':
            sizes = [400_000]  # that sanitizer's runtime writes a small file before main begins
        for size in sizes:
            run = self.run_json('apply', 'base.slm', 'dense.adp1', preexec_fn=limit_file_size(size))
            self.assert_refused(run, CANNOT_CHECK, 'output_failed')
            self.assertEqual(run.document['findings'][0]['file'], 'base.adapted.slm')
            self.assertEqual(self.names(), self.before)

    def test_an_output_that_exists_stays(self):
        write(self.path('base.adapted.slm'), b'mine')
        run = self.run_json('apply', 'base.slm', 'dense.adp1', '--force',
                            preexec_fn=limit_file_size(4096))
        self.assert_refused(run, CANNOT_CHECK, 'output_failed')
        self.assertEqual(read(self.path('base.adapted.slm')), b'mine')

    def test_what_is_made_is_whole_or_absent_too(self):
        self.take(data('union.q8_0.slm'), 'union.slm')
        tuned = self.run_tool('apply', 'base.slm', 'dense.adp1', '-o', 'tuned.slm')
        self.assertEqual(tuned.code, OK, tuned)
        before = self.names()
        for arguments in (['convert', 'base.slm'], ['convert', data('checkpoint')],
                          ['convert', data('peft-lora'), '--base', 'union.slm'],
                          ['diff', 'base.slm', 'tuned.slm', '--kind', 'adp1'],
                          ['merge', 'dense.adp1', 'dense.adp1']):
            for size in (4096, 12_288):
                run = self.run_json(*arguments, '-o', 'out.adp1',
                                    preexec_fn=limit_file_size(size))
                self.assert_refused(run, CANNOT_CHECK, 'output_failed')
                self.assertEqual(run.document['findings'][0]['file'], 'out.adp1')
                self.assertEqual(self.names(), before)

    def test_no_room_for_the_receipt(self):
        # A small model, and a receipt that names many files with long paths.
        folder = 'a' * 90 + '/' + 'b' * 90
        os.makedirs(self.path(folder))
        stack = [self.take(vector('adapters', 'gqa_sparse.asp1'), '%s/%02d.asp1' % (folder, number))
                 for number in range(64)]
        self.take(vector('models', 'gqa_q4_0.slm'), 'small.slm')
        before = self.names()
        arguments = ['apply', 'small.slm', *stack, '-o', 'out', '--receipt', 'r.json']
        run = self.run_json(*arguments)
        self.assertEqual(run.code, OK, run)
        model, receipt = (os.path.getsize(self.path(name)) for name in ('out', 'r.json'))
        self.assertGreater(receipt, model)
        os.remove(self.path('out'))
        os.remove(self.path('r.json'))

        run = self.run_json(*arguments, preexec_fn=limit_file_size(model))
        self.assert_refused(run, CANNOT_CHECK, 'output_failed')
        self.assertEqual(run.document['findings'][0]['file'], 'r.json')
        self.assertEqual(self.names(), before)

        write(self.path('out'), b'mine')
        run = self.run_json(*arguments, '--force', preexec_fn=limit_file_size(model))
        self.assert_refused(run, CANNOT_CHECK, 'output_failed')
        self.assertEqual(read(self.path('out')), b'mine')
        self.assertEqual(self.names(), sorted(before + ['out']))

    def test_no_room_for_the_receipt_leaves_no_undo_file(self):
        os.makedirs(self.path('a' * 90 + '/' + 'b' * 90))
        stack = [self.take(vector('adapters', 'gqa_sparse.asp1'),
                           'a' * 90 + '/' + 'b' * 90 + '/%02d.asp1' % number)
                 for number in range(64)]
        self.take(vector('models', 'gqa_q4_0.slm'), 'small.slm')
        before = self.names()
        size = os.path.getsize(self.path('small.slm'))
        arguments = ['apply', 'small.slm', *stack, '-o', 'out', '--undo', 'undo', '--receipt', 'r']
        run = self.run_json(*arguments, preexec_fn=limit_file_size(size))
        self.assert_refused(run, CANNOT_CHECK, 'output_failed')
        self.assertEqual(run.document['findings'][0]['file'], 'r')
        self.assertEqual(self.names(), before)
        # What was to be replaced is there still.
        for name in ('out', 'undo', 'r'):
            write(self.path(name), b'mine')
        run = self.run_json(*arguments, '--force', preexec_fn=limit_file_size(size))
        self.assert_refused(run, CANNOT_CHECK, 'output_failed')
        self.assertEqual(self.names(), sorted(before + ['out', 'undo', 'r']))
        for name in ('out', 'undo', 'r'):
            self.assertEqual(read(self.path(name)), b'mine')

    def test_no_room_for_the_restored_model(self):
        run = self.run_json('apply', 'base.slm', 'dense.adp1', '-o', 'out', '--undo', 'undo')
        self.assertEqual(run.code, OK, run)
        before = self.names()
        for size in (4096, 400_000):
            run = self.run_json('revert', 'out', '--undo', 'undo', '-o', 'back',
                                preexec_fn=limit_file_size(size))
            self.assert_refused(run, CANNOT_CHECK, 'output_failed')
            self.assertEqual(run.document['findings'][0]['file'], 'back')
            self.assertEqual(self.names(), before)

    @unittest.skipUnless(sys.platform == 'linux', 'mounts a file system of Linux')
    def test_a_disk_that_is_full(self):
        disk = self.path('disk')
        os.mkdir(disk)
        mount = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if mount.returncode != 0:
            self.skipTest('a small file system cannot be mounted here')
        try:
            run = self.run_json('apply', 'base.slm', 'dense.adp1', '-o', 'disk/out')
            self.assert_refused(run, CANNOT_CHECK, 'output_failed')
            self.assertIn('No space left', run.document['findings'][0]['message'])
            self.assertEqual(os.listdir(disk), [])
            # Room for the model, none for its receipt.
            self.take(vector('models', 'base_q8_0.slm'), 'small.slm')
            write(os.path.join(disk, 'filler'), bytes(256 * 1024 - 28 * 4096))
            run = self.run_json('apply', 'small.slm', 'dense.adp1', '-o', 'disk/out', '--receipt',
                                'disk/r.json')
            self.assert_refused(run, CANNOT_CHECK, 'output_failed')
            self.assertEqual(os.listdir(disk), ['filler'])
            # None for the undo file, and room enough elsewhere for the model.
            before = self.names()
            write(os.path.join(disk, 'filler'), bytes(256 * 1024 - 4096))
            run = self.run_json('apply', 'small.slm', 'dense.adp1', '-o', 'out', '--undo',
                                'disk/undo')
            self.assert_refused(run, CANNOT_CHECK, 'output_failed')
            self.assertEqual(run.document['findings'][0]['file'], 'disk/undo')
            self.assertEqual(os.listdir(disk), ['filler'])
            self.assertEqual(self.names(), before)
        finally:
            subprocess.run(['umount', disk], check=True)


class Interruptions(support.Case):
    """A stack of 64 adapters on the slowest instruction set takes long enough to be stopped."""

    def setUp(self):
        super().setUp()
        self.take(data('union.q8_0.slm'), 'base.slm')
        self.environment = dict(os.environ, TRLM_ADAPT_TARGET='scalar')
        self.arguments = ['apply', 'base.slm', *[data('whale-lora.alr1')] * 64, '--threads', '1',
                          '-o', 'out.slm']

    def start(self, *arguments, **options):
        return subprocess.Popen([support.cli, *self.arguments, *arguments], cwd=self.folder,
                                env=self.environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)

    def temporary_files(self):
        return [n for n in self.names() if n.startswith('.out.slm.trlm-') and n.endswith('.tmp')]

    def wait_for_temporary_file(self, process):
        """True when the tool is in the middle of its work; False when it was too quick."""
        while process.poll() is None:
            if self.temporary_files():
                return True
            time.sleep(0.001)
        return False

    def in_the_middle(self, action, *arguments, attempts=20, **options):
        """Does `action` to a process that is writing; the process, ended."""
        for _ in range(attempts):
            process = self.start(*arguments, **options)
            seen = self.wait_for_temporary_file(process)
            if seen:
                action(process)
            process.output, process.errors = process.communicate(timeout=120)
            if seen and process.returncode != OK:
                return process
            for name in self.names():
                if name != 'base.slm':
                    os.remove(self.path(name))
        self.fail('the tool was quicker than the test in %d attempts' % attempts)

    def test_signals_leave_nothing_and_end_the_process(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for arguments in ([], ['--json'], ['--receipt', 'r.json'], ['--undo', 'undo'],
                              ['--quiet']):
                process = self.in_the_middle(lambda p: p.send_signal(number), *arguments)
                self.assertEqual(process.returncode, -number, process.errors)
                self.assertEqual(self.names(), ['base.slm'])
                self.assertEqual(process.output, b'')

    def test_several_signals_at_once(self):
        def send(process):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP) * 3:
                process.send_signal(number)
        process = self.in_the_middle(send)
        self.assertLess(process.returncode, 0)
        self.assertEqual(self.names(), ['base.slm'])

    def test_a_signal_leaves_an_output_that_existed(self):
        write(self.path('out.slm'), b'mine')
        for _ in range(20):
            process = self.start('--force')
            if self.wait_for_temporary_file(process):
                process.terminate()
            process.communicate(timeout=120)
            if process.returncode == -signal.SIGTERM:
                break
            write(self.path('out.slm'), b'mine')
        self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertEqual(read(self.path('out.slm')), b'mine')
        self.assertEqual(self.names(), ['base.slm', 'out.slm'])

    def test_signals_that_are_ignored_stay_so(self):
        def ignore():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        process = self.start(preexec_fn=ignore)
        self.wait_for_temporary_file(process)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=120)
        self.assertEqual(process.returncode, OK)
        self.assertEqual(self.names(), ['base.slm', 'out.slm'])

    def test_at_any_time_the_output_is_whole_or_absent(self):
        self.arguments = self.arguments[:10] + self.arguments[-4:]
        start = time.monotonic()
        process = self.start()
        process.communicate(timeout=120)
        duration = time.monotonic() - start
        whole = sha256(self.path('out.slm'))
        os.remove(self.path('out.slm'))
        steps = 60
        for step in range(steps):
            process = self.start()
            time.sleep(duration * step / steps)
            process.terminate()
            process.communicate(timeout=120)
            self.assertIn(process.returncode, (OK, -signal.SIGTERM))
            self.assertIn(self.names(), (['base.slm'], ['base.slm', 'out.slm']))
            if 'out.slm' in self.names():
                self.assertEqual(sha256(self.path('out.slm')), whole)
                os.remove(self.path('out.slm'))
            else:
                self.assertEqual(process.returncode, -signal.SIGTERM)

    def test_no_model_lies_there_without_its_undo_file(self):
        # Not even after an end that nobody can prepare for.
        self.arguments = self.arguments[:4] + self.arguments[-4:] + ['--undo', 'undo']
        start = time.monotonic()
        self.start().communicate(timeout=120)
        duration = time.monotonic() - start
        whole = [read(self.path(name)) for name in ('out.slm', 'undo')]
        steps = 60
        for step in range(steps):
            for name in self.names():
                if name != 'base.slm':
                    os.remove(self.path(name))
            process = self.start()
            time.sleep(duration * step / steps)
            process.kill()
            process.communicate(timeout=120)
            for name, content in zip(('out.slm', 'undo'), whole):
                if name in self.names():
                    self.assertEqual(read(self.path(name)), content)
            if 'out.slm' in self.names():
                self.assertIn('undo', self.names())

    def test_a_base_that_shrinks_meanwhile(self):
        def shrink(_):
            os.truncate(self.path('base.slm'), 4096)

        process = self.in_the_middle(shrink, '--json')
        self.assertEqual(process.returncode, CANNOT_CHECK, process.errors)
        self.assertIn(b'file_unreadable', process.output)
        self.assertEqual(self.names(), ['base.slm'])

    def test_a_base_that_is_written_to_meanwhile(self):
        def write_again(_):  # what was there, so that the base stays good for another attempt
            content = read(self.path('base.slm'))
            with open(self.path('base.slm'), 'r+b') as file:
                file.write(content)

        process = self.in_the_middle(write_again, '--json')
        self.assertEqual(process.returncode, CANNOT_CHECK, process.errors)
        self.assertIn(b'file_unreadable', process.output)
        self.assertEqual(self.names(), ['base.slm'])


class ShrinkingInputs(support.Case):
    """Every command that reads lives on when a file gets shorter under its hands."""

    def commands(self):
        self.take(data('union.q8_0.slm'), 'base.slm')
        self.take(data('whale-full.adp1'), 'full.adp1')
        self.take(data('whale-lora.alr1'), 'lora.alr1')
        run = self.run_tool('apply', 'base.slm', 'full.adp1', '-o', 'tuned.slm', '--undo', 'undo')
        self.assertEqual(run.code, OK, run)
        return [('validate', 'base.slm', 'full.adp1'), ('inspect', 'base.slm', '--stats'),
                ('digest', 'base.slm'), ('revert', 'tuned.slm', '--undo', 'undo', '-o', 'out'),
                ('diff', 'base.slm', 'tuned.slm', '-o', 'out.alr1', '--rank', '2'),
                ('convert', 'base.slm', '-o', 'out', '--dtype', 'f32'),
                ('merge', 'full.adp1', 'full.adp1', '-o', 'out')]

    def test_no_command_ends_by_a_signal(self):
        commands = self.commands()
        before = {name: read(self.path(name)) for name in self.names()}
        for command in commands:
            victim = next(name for name in command[1:] if name in before)
            for wait in (0.002, 0.006, 0.012, 0.03):
                process = subprocess.Popen([support.cli, *command, '--json'], cwd=self.folder,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                time.sleep(wait)
                os.truncate(self.path(victim), 4096)
                output, errors = process.communicate(timeout=120)
                with self.subTest(command=command, wait=wait):
                    self.assertGreaterEqual(process.returncode, 0, errors)
                    if process.returncode != OK:
                        self.assertEqual([n for n in self.names() if n not in before], [], output)
                for name in self.names():
                    if name not in before:
                        os.remove(self.path(name))
                for name, content in before.items():
                    write(self.path(name), content)


if __name__ == '__main__':
    support.main()
