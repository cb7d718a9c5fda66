"""Whenever a run is killed: old files or new ones, whole; the next run tidies up and works.

usage: test_kills.py TRLM-ADAPT [FAILING-CALLS.so] [unittest arguments]

Runs of two commands are killed at 100 random moments each (KILLS_MOMENTS=N: at N; KILLS_SEED=N
repeats them), and, with FAILING-CALLS.so, right before their system calls: each one from the first
that gives a new file a name on, every eighth of those before.
"""
import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'cli'))
import bundles
import support
from support import OK, data, read, vector, write

library = None

UNFINISHED = re.compile(r'\.(?P<name>.+)\.trlm-[0-9a-v]{8}\.(tmp|old|new)')
MOMENTS = int(os.environ.get('KILLS_MOMENTS', '100'))


class Killed(bundles.Case):
    """A command that is killed at some moments, and what has to hold afterwards."""

    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get('KILLS_SEED', '20260101'))
        self.random = random.Random(self.seed)

    def start(self, arguments, **environment):
        return subprocess.Popen([support.cli, *arguments, '--quiet'], cwd=self.folder,
                                env=dict(os.environ, **environment), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill_at_random(self, arguments, prepare, judge, moments=MOMENTS):
        """Kills runs at moments of an undisturbed one's time."""
        prepare()
        begin = time.monotonic()
        self.assertEqual(self.start(arguments).wait(timeout=120), OK)
        duration = time.monotonic() - begin
        killed = 0
        for moment in range(moments):
            prepare()
            wait = self.random.random() * duration
            process = self.start(arguments)
            time.sleep(wait)
            process.kill()
            killed += process.wait(timeout=120) == -signal.SIGKILL
            with self.subTest(seed=self.seed, moment=moment, wait=wait):
                judge()
        print('%s: seed %d, %d of %d runs were killed' % (self.id(), self.seed, killed, moments))
        self.assertGreater(killed, 0)

    def kill_at_every_call(self, arguments, prepare, judge):
        prepare()
        log = self.folder + '.log'
        self.addCleanup(os.remove, log)
        run = self.start(arguments, LD_PRELOAD=library, FAILING_CALLS_LOG=log)
        self.assertEqual(run.wait(timeout=120), OK)
        calls = read(log).decode().splitlines()
        first = next(i for i, call in enumerate(calls, 1) if call.startswith(('link', 'rename')))
        numbers = [*range(1, first, 8), *range(first, len(calls) + 1)]
        for number in numbers:
            prepare()
            process = self.start(arguments, LD_PRELOAD=library, FAILING_CALLS='kill:%d' % number)
            with self.subTest(call=calls[number - 1]):
                self.assertEqual(process.wait(timeout=120), -signal.SIGKILL)
                judge()
        print('%s: killed at %d calls' % (self.id(), len(numbers)))

    def assert_recognisable(self, outputs):
        """Nothing but inputs, outputs and what can be told by its name."""
        for name in self.names():
            unfinished = UNFINISHED.fullmatch(name)
            if unfinished:
                self.assertIn(unfinished['name'], outputs)
            else:
                self.assertIn(name, list(outputs) + self.inputs)


class Apply(Killed):
    OUTPUTS = ('out', 'undo', 'receipt')

    def setUp(self):
        super().setUp()
        self.take(vector('models', 'gqa_q4_0.slm'), 'base.slm')
        self.take(vector('adapters', 'gqa_sparse.asp1'), 'a.asp1')
        self.take(vector('adapters', 'gqa_lowrank.alr1'), 'b.alr1')
        self.inputs = self.names()
        self.options = ['-o', 'out', '--undo', 'undo', '--receipt', 'receipt', '--threads', '1']
        self.old = self.made_by(['apply', 'base.slm', 'b.alr1', *self.options])
        self.new = self.made_by(['apply', 'base.slm', 'a.asp1', *self.options])

    def made_by(self, arguments):
        self.assertEqual(self.start(arguments).wait(), OK)
        made = {name: read(self.path(name)) for name in self.OUTPUTS}
        self.put({})
        return made

    def put(self, files):
        for name in self.names():
            if name not in self.inputs:
                os.remove(self.path(name))
        for name, content in files.items():
            write(self.path(name), content)

    def now(self):
        return {name: read(self.path(name)) for name in self.names() if name not in self.inputs}

    def judge_replacing(self):
        self.assert_recognisable(self.OUTPUTS)
        for name in self.OUTPUTS:
            self.assertIn(read(self.path(name)), (self.old[name], self.new[name]), name)
        # What lies there can be undone, and is of one run.
        run = self.run_tool('revert', 'out', '--undo', 'undo', '-o', 'back')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(read(self.path('back')), read(self.path('base.slm')))
        os.remove(self.path('back'))
        self.assertIn(self.now(), (self.old, self.new))
        self.assertEqual(self.start(self.replacing).wait(), OK)
        self.assertEqual(self.now(), self.new)

    def judge_fresh(self):
        self.assert_recognisable(self.OUTPUTS)
        now = self.now()
        for name in self.OUTPUTS:
            self.assertIn(now.get(name), (None, self.new[name]), name)
        if 'out' in now:
            self.assertLessEqual({'undo', 'receipt'}, set(now))
            os.remove(self.path('out'))
            os.remove(self.path('undo'))
            os.remove(self.path('receipt'))
        self.assertEqual(self.start(self.fresh).wait(), OK)
        self.assertEqual(self.now(), self.new)

    @property
    def fresh(self):
        return ['apply', 'base.slm', 'a.asp1', *self.options]

    @property
    def replacing(self):
        return [*self.fresh, '--force']

    def test_over_old_files_at_random(self):
        self.kill_at_random(self.replacing, lambda: self.put(self.old), self.judge_replacing)

    def test_over_old_files_at_every_call(self):
        if library is None:
            self.skipTest('this build replaces the system calls itself')
        self.kill_at_every_call(self.replacing, lambda: self.put(self.old), self.judge_replacing)

    def test_into_an_empty_place_at_every_call(self):
        if library is None:
            self.skipTest('this build replaces the system calls itself')
        self.kill_at_every_call(self.fresh, lambda: self.put({}), self.judge_fresh)

    def test_an_old_output_that_had_no_undo_file(self):
        if library is None:
            self.skipTest('this build replaces the system calls itself')
        old = {'out': self.old['out']}

        def judge():
            self.assertIn(read(self.path('out')), (self.old['out'], self.new['out']))
            # Any run that writes into the folder tidies up.
            self.assertEqual(self.start(['apply', 'base.slm', 'b.alr1', '-o', 'x']).wait(), OK)
            os.remove(self.path('x'))
            self.assertIn(self.now(), (old, self.new))
        self.kill_at_every_call(self.replacing, lambda: self.put(old), judge)


class Bundle(Killed):
    def setUp(self):
        super().setUp()
        self.take_recipe(folder='data')
        self.inputs = ['data']
        self.arguments = ['bundle', 'create', 'data/' + bundles.RECIPE, '-o', 'out', '--threads',
                          '1']

    def test_create_at_random(self):
        self.assertEqual(self.start(self.arguments).wait(), OK)
        whole = bundles.contents(self.path('out'))

        def prepare():
            for name in self.names():
                if name != 'data':
                    shutil.rmtree(self.path(name))

        def judge():
            self.assert_recognisable(['out'])
            if 'out' in self.names():
                self.assertEqual(bundles.contents(self.path('out')), whole)
                return
            # One run in four costs as much as the test can afford.
            if self.random.random() < 0.25:
                self.assertEqual(self.start(self.arguments).wait(), OK)
                self.assertEqual(self.names(), ['data', 'out'])
                self.assertEqual(bundles.contents(self.path('out')), whole)
        self.kill_at_random(self.arguments, prepare, judge)


class Leftovers(support.Case):
    """What is removed, and what is not."""

    def write_something(self):
        self.take(vector('models', 'gqa_q4_0.slm'), 'base.slm')
        run = self.run_tool('apply', 'base.slm', vector('adapters', 'gqa_sparse.asp1'), '-o', 'out',
                            '--force')
        self.assertEqual(run.code, OK, run)

    def test_other_names_and_kinds_stay(self):
        stay = ['.x.trlm-1234567.tmp', '.x.trlm-123456789.tmp', '.x.trlm-ABCDEFGH.tmp',
                'x.trlm-12345678.tmp', '.trlm-12345678.tmp', '.x.trlm-z2345678.tmp',
                '.x.trlm-12345678.tmp~', '.x.trml-12345678.tmp', '.x.trlm-1234567w.tmp']
        for name in stay:
            write(self.path(name), b'mine')
        write(self.path('target'), b'mine')
        os.symlink('target', self.path('.link.trlm-12345678.tmp'))
        os.mkfifo(self.path('.pipe.trlm-12345678.tmp'))
        before = self.names()
        self.write_something()
        self.assertEqual(self.names(), sorted(before + ['base.slm', 'out']))
        self.assertEqual(read(self.path('target')), b'mine')

    def test_what_nobody_has_locked_goes(self):
        write(self.path('.x.trlm-0123cdef.tmp'), b'left')
        write(self.path('.x y.z.trlm-ghijklmn.old'), b'left')
        write(self.path('.x.trlm-opqrstuv.new'), b'')
        os.makedirs(self.path('.bundle.trlm-00000000.tmp/a/b'))
        write(self.path('.bundle.trlm-00000000.tmp/a/b/c'), b'left')
        write(self.path('outside'), b'mine')
        os.symlink(self.path('outside'), self.path('.bundle.trlm-00000000.tmp/a/link'))
        os.symlink(self.folder, self.path('.bundle.trlm-00000000.tmp/a/folder'))
        self.write_something()
        self.assertEqual(self.names(), ['base.slm', 'out', 'outside'])
        self.assertEqual(read(self.path('outside')), b'mine')

    def test_what_a_living_process_has_locked_stays(self):
        name = '.x.trlm-12345678.tmp'
        write(self.path(name), b'at work')
        with open(self.path(name), 'rb') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.write_something()
            self.assertIn(name, self.names())
        self.write_something()
        self.assertNotIn(name, self.names())

    def test_two_runs_into_one_folder(self):
        self.take(data('union.q8_0.slm'), 'slow.slm')
        slow = subprocess.Popen([support.cli, 'apply', 'slow.slm', *[data('whale-lora.alr1')] * 32,
                                 '-o', 'slow.out', '--undo', 'slow.undo', '--threads', '1'],
                                cwd=self.folder, env=dict(os.environ, TRLM_ADAPT_TARGET='scalar'),
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        runs = 0
        while slow.poll() is None:
            self.write_something()
            runs += 1
        self.assertEqual(slow.returncode, OK)
        self.assertGreater(runs, 0)
        self.assertEqual(self.names(), ['base.slm', 'out', 'slow.out', 'slow.slm', 'slow.undo'])


if __name__ == '__main__':
    if len(sys.argv) > 2 and sys.argv[2].endswith(('.so', '.dylib')):
        library = os.path.abspath(sys.argv.pop(2))
    # Only the process is killed: nothing has to outlive the machine.
    if os.access('/dev/shm', os.W_OK):
        tempfile.tempdir = '/dev/shm'
    support.main()
