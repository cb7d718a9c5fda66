"""Every system call of every command fails, one after the other.

usage: test_calls.py TRLM-ADAPT FAILING-CALLS.so [unittest arguments]

A run is recorded first: which calls it makes, and on which files. Then it is repeated once for each
call, with the errors that such a call can have in turn; FAILING_CALLS_ALL=1 takes every error for
every call, which takes minutes. What must come of it follows from what the call was for,
and is stated in `expected_codes`. Whatever happens: the tool ends by itself, an output is whole and
right or absent, what was there before is there still, and nothing else is left.
"""
import collections
import errno
import json
import os
import re
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'cli'))
import support
from support import CANNOT_CHECK, OK, data, read, vector, write

library = ''

Call = collections.namedtuple('Call', 'name number path')

# What each call can run into.
ERRORS = {
    'open': [errno.EACCES, errno.EIO, errno.EMFILE], 'read': [errno.EIO],
    'write': [errno.ENOSPC, errno.EIO, errno.EFBIG], 'print': [errno.ENOSPC, errno.EIO],
    'sync': [errno.EIO, errno.ENOSPC], 'rename': [errno.EIO, errno.ENOSPC, errno.EACCES],
    'rename_new': [errno.EIO, errno.ENOSPC, errno.EACCES],
    'link': [errno.EIO], 'unlink': [errno.EIO], 'mkdir': [errno.ENOSPC, errno.EACCES],
    'stat': [errno.EIO, errno.EACCES], 'mmap': [errno.ENOMEM, errno.EAGAIN],
    'advise': [errno.EINVAL], 'truncate': [errno.EIO], 'reserve': [errno.ENOSPC, errno.EIO],
    'close': [errno.EIO], 'random': [errno.EIO], 'list': [errno.EMFILE, errno.ENOMEM],
    'next_entry': [errno.EIO], 'write_back': [errno.EIO], 'lock': [errno.ENOLCK],
    'mode': [errno.EPERM], 'duplicate': [errno.EMFILE], 'thread': [errno.EAGAIN]}

# What some file systems do not have: the work is done without it.
DISPENSABLE = {'sync': [errno.EINVAL, errno.EROFS], 'reserve': [errno.EOPNOTSUPP, errno.ENOSYS],
               'rename_new': [errno.EINVAL, errno.ENOSYS], 'lock': [errno.EOPNOTSUPP]}

# What makes things quicker or tidier: the work is done without it.
NOT_NEEDED = ('advise', 'write_back', 'thread', 'lock', 'duplicate', 'link', 'unlink')

# Where a new file keeps what it replaces until it is complete.
NOTE = re.compile(r'(^|/)\.[^/]*\.trlm-[^/]*\.(old|new)$')
TEMPORARY = re.compile(r'(^|/)\.[^/]*\.trlm-[^/]*\.tmp(/|$)')


class Commands(support.Case):
    """A folder with small files, and runs in it that start from the same names and bytes."""

    arguments = []
    outputs = ()

    def setUp(self):
        super().setUp()
        self.take(vector('models', 'gqa_q4_0.slm'), 'base.slm')
        self.take(vector('adapters', 'gqa_sparse.asp1'), 'a.asp1')
        self.take(vector('adapters', 'gqa_lowrank.alr1'), 'b.alr1')

    def contents(self):
        found = {}
        for at, folders, files in os.walk(self.folder):
            for name in folders:
                found[os.path.relpath(os.path.join(at, name), self.folder) + '/'] = None
            for name in files:
                path = os.path.join(at, name)
                found[os.path.relpath(path, self.folder)] = read(path)
        return found

    def restore(self, before):
        """Puts the folder's content back to what it was."""
        now = self.contents()
        for name in sorted(now, reverse=True):
            if name not in before:
                path = self.path(name)
                if not os.path.lexists(path):
                    continue
                shutil.rmtree(path) if name.endswith('/') else os.remove(path)
        for name in sorted(before):
            if name.endswith('/'):
                os.makedirs(self.path(name), exist_ok=True)
            elif now.get(name) != before[name]:
                write(self.path(name), before[name])

    def run_with(self, plan=None, log=None):
        environment = {'LD_PRELOAD': library}
        if plan is not None:
            environment['FAILING_CALLS'] = plan
        if log is not None:
            environment['FAILING_CALLS_LOG'] = log
        return self.run_tool(*self.arguments, '--json', env=environment)

    def record(self):
        """The calls of a run in which nothing fails; what it leaves is the right result."""
        log = self.folder + '.log'
        self.addCleanup(lambda: os.path.exists(log) and os.remove(log))
        self.before = self.contents()
        run = self.run_with(log=log)
        self.assertEqual(run.code, OK, run)
        self.right = run.document
        self.after = self.contents()
        self.assertEqual(set(self.after) - set(self.before) -
                         {n for n in self.after if n.startswith(tuple(self.outputs))}, set())
        with open(log) as file:
            lines = [line.rstrip('\n').split('\t') for line in file]
        self.restore(self.before)
        calls = [Call(name, int(number), os.path.relpath(path, self.folder)
                      if path.startswith('/') else os.path.normpath(path) if path else '')
                 for name, number, path in lines]
        # A temporary file is made when it is opened first, and closed by its writer at last.
        self.made = {c.path: c for c in reversed(calls) if c.name == 'open'}
        self.completed = {c.path: c for c in calls if c.name == 'close'}
        self.paths = {c.path for c in calls}
        return calls

    def is_output(self, path):
        return TEMPORARY.search(path) is not None or \
            any(path == name or path.startswith(name + '/') for name in self.outputs)

    def is_input(self, path):
        return path in self.before and not self.is_output(path)

    def is_folder(self, path):
        return any(other.startswith(path + '/') for other in self.paths)

    def expected_codes(self, call, error):
        """The codes that a failed run may have, and whether the run may work as if nothing had
        failed."""
        if error in DISPENSABLE.get(call.name, ()) or call.name in NOT_NEEDED:
            return set(), True
        if NOTE.search(call.path):
            return set(), True
        if call.name == 'print':
            return None, False
        new_file = call.path.endswith('.tmp') and not self.is_folder(call.path)
        if call.name == 'close':
            matters = new_file and self.completed[call.path] is call
            return ({'output_failed'}, False) if matters else (set(), True)
        if call.name == 'mmap':
            return {'out_of_memory' if error == errno.ENOMEM else 'file_unreadable'}, False
        if call.name in ('open', 'read') and self.is_input(call.path):
            return {'file_unreadable'}, False
        if call.name in ('write', 'sync', 'rename', 'rename_new', 'truncate', 'reserve', 'random', 'mkdir'):
            return {'output_failed'}, False
        if call.name == 'read':  # of what was just written
            return {'output_failed', 'file_unreadable'}, False
        if call.name == 'open' and new_file and self.made[call.path] is call:
            return {'output_failed'}, False
        # What looks at names before any work, or lists a folder for a warning.
        return {'file_unreadable', 'output_failed', 'usage_error', 'out_of_memory',
                'file_missing'}, True

    def judge(self, call, error, run):
        what = '%s %d of %s: %s\n%s' % (call.name, call.number, call.path, errno.errorcode[error],
                                        run)
        self.assertGreaterEqual(run.code, 0, what)
        codes, may_work = self.expected_codes(call, error)
        now = self.contents()
        if call.name == 'unlink':  # a note that cannot be removed stays
            now = {name: content for name, content in now.items() if not NOTE.search(name)}
        if codes is None:  # nothing could be printed
            self.assertEqual(run.code, CANNOT_CHECK, what)
            self.assertEqual(now, self.after, what)
            return
        document = run.document
        self.assertEqual(document['exit_code'], run.code, what)
        if run.code == OK:
            self.assertTrue(may_work, what)
            self.assertEqual(document['result'], self.right['result'], what)
            self.assertEqual(now, self.after, what)
            return
        found = set(run.codes('error'))
        self.assertTrue(codes, what)
        self.assertLessEqual(found, codes, what)
        self.assertTrue(found, what)
        if found != {'usage_error'}:
            self.assertEqual(run.code, CANNOT_CHECK, what)
        self.assertEqual(sorted(now), sorted(self.before), what)
        self.assertEqual(now, self.before, what)

    def errors_of(self, call):
        all_errors = ERRORS[call.name] + DISPENSABLE.get(call.name, [])
        if os.environ.get('FAILING_CALLS_ALL') == '1':
            return all_errors
        return [all_errors[call.number % len(all_errors)]]

    def fail_every_call(self, chosen):
        calls = [call for call in self.record() if chosen(call)]
        self.assertGreater(len(calls), 5)
        runs = 0
        for call in calls:
            for error in self.errors_of(call):
                with self.subTest(call=call, error=errno.errorcode[error]):
                    plans = ['%s:%d:%d' % (call.name, call.number, error)]
                    if call.name == 'write' and error == errno.ENOSPC:
                        plans.append('%s:%d+:%d' % (call.name, call.number, error))
                    for plan in plans:
                        runs += 1
                        try:
                            self.judge(call, error, self.run_with(plan))
                        finally:
                            self.restore(self.before)
        print('%s: %d calls, %d runs' % (self.id(), len(calls), runs))

    def interrupt_and_shorten(self):
        self.record()
        for plan in ('interrupt', 'short:1', 'short:1021'):
            run = self.run_with(plan)
            self.assertEqual(run.code, OK, (plan, run))
            self.assertEqual(run.document, self.right, plan)
            self.assertEqual(self.contents(), self.after, plan)
            self.restore(self.before)

    def check(self, *arguments, outputs=(), chosen=lambda call: True):
        self.arguments, self.outputs = arguments, outputs
        self.interrupt_and_shorten()
        self.fail_every_call(chosen)

    def cut_at_every_call(self, *arguments, outputs=(), victims=()):
        """Cuts each input at each call. Either nothing is told and nothing is left, or all is right:
        what happens to an input after its output has been made does not matter."""
        self.arguments, self.outputs = arguments, outputs
        calls = self.record()
        codes = collections.Counter()
        for victim in sorted(victims or (name for name in self.before if name in arguments)):
            write(self.path(victim), self.before[victim][:len(self.before[victim]) // 2])
            right = (self.right, self.run_with().document)  # the other when it was cut in time
            self.restore(self.before)
            for number in range(1, len(calls) + 1):
                with self.subTest(victim=victim, number=number, call=calls[number - 1]):
                    run = self.run_with('cut:%d:%s' % (number, victim))
                    now = self.contents()
                    self.assertEqual(len(now.pop(victim)), len(self.before[victim]) // 2)
                    self.assertGreaterEqual(run.code, OK, run)
                    codes[run.code] += 1
                    left = self.after if run.code == OK else self.before
                    self.assertEqual(now, {n: c for n, c in left.items() if n != victim}, run)
                    if run.code == OK:
                        self.assertIn(run.document, right)
                self.restore(self.before)
        # The last call is that which prints; before the first, files are cut before they are read.
        self.assertGreater(codes[OK], 0)
        self.assertGreater(codes[CANNOT_CHECK], 0)
        print('%s: %s' % (self.id(), dict(codes)))

    def prepare(self, *arguments):
        run = self.run_tool(*arguments, '--quiet')
        self.assertEqual(run.code, OK, run)


class Readers(Commands):
    def test_validate(self):
        self.check('validate', 'base.slm', 'a.asp1', '--model', 'base.slm', '--threads', '1')

    def test_inspect(self):
        self.check('inspect', 'base.slm', '--stats')
        self.check('inspect', 'a.asp1')

    def test_compose_check(self):
        self.check('compose-check', 'a.asp1', 'b.alr1')

    def test_digest(self):
        self.check('digest', 'base.slm', 'a.asp1')


class Apply(Commands):
    def test_apply(self):
        self.check('apply', 'base.slm', 'a.asp1', 'b.alr1', '-o', 'out', '--threads', '2',
                   outputs=['out'])

    def test_apply_with_everything(self):
        self.check('apply', 'base.slm', 'a.asp1', '-o', 'out', '--receipt', 'receipt', '--undo',
                   'undo', '--threads', '1', outputs=['out', 'receipt', 'undo'])

    def test_apply_over_old_files(self):
        for name in ('out', 'receipt', 'undo'):
            write(self.path(name), name.encode())
        self.check('apply', 'base.slm', 'a.asp1', '-o', 'out', '--receipt', 'receipt', '--undo',
                   'undo', '--force', '--threads', '1', outputs=['out', 'receipt', 'undo'])

    def test_prediction(self):
        self.check('apply', 'base.slm', 'a.asp1', '--dry-run', '--threads', '1')

    def test_folder(self):
        os.mkdir(self.path('stack'))
        for name in ('a.asp1', 'b.alr1'):
            os.rename(self.path(name), self.path('stack/' + name))
        self.check('apply', 'base.slm', 'stack', '-o', 'out', '--threads', '1', outputs=['out'])

    def test_revert(self):
        self.prepare('apply', 'base.slm', 'a.asp1', '-o', 'adapted', '--undo', 'undo')
        self.check('revert', 'adapted', '--undo', 'undo', '-o', 'out', outputs=['out'])
        self.check('inspect', 'undo')

    def test_replay(self):
        self.prepare('apply', 'base.slm', 'a.asp1', '-o', 'adapted', '--receipt', 'receipt')
        self.check('replay', 'receipt', '--threads', '1')


class Producers(Commands):
    def test_diff(self):
        self.prepare('apply', 'base.slm', 'b.alr1', '-o', 'tuned')
        self.check('diff', 'base.slm', 'tuned', '-o', 'out.adp1', outputs=['out.adp1'])
        self.check('diff', 'base.slm', 'tuned', '-o', 'out.asp1', '--density', '0.1',
                   outputs=['out.asp1'])

    def test_merge(self):
        self.take(vector('adapters', 'sparse.asp1'), 'c.asp1')
        self.take(vector('adapters', 'mask.asp1'), 'd.asp1')
        self.check('merge', 'c.asp1', 'd.asp1', '-o', 'out', outputs=['out'])

    def test_convert(self):
        self.check('convert', 'base.slm', '-o', 'out', '--dtype', 'f32', outputs=['out'])


class InputsThatAreCut(Commands):
    """Another process shortens a file that is being read."""

    def test_readers(self):
        self.cut_at_every_call('validate', 'base.slm', 'a.asp1', '--model', 'base.slm',
                               '--threads', '1')
        self.cut_at_every_call('inspect', 'base.slm', '--stats')
        self.cut_at_every_call('digest', 'base.slm')
        self.cut_at_every_call('compose-check', 'a.asp1', 'b.alr1')

    def test_apply(self):
        self.cut_at_every_call('apply', 'base.slm', 'a.asp1', 'b.alr1', '-o', 'out', '--receipt',
                               'receipt', '--undo', 'undo', '--threads', '1',
                               outputs=['out', 'receipt', 'undo'])

    def test_revert(self):
        self.prepare('apply', 'base.slm', 'a.asp1', '-o', 'adapted', '--undo', 'undo')
        self.cut_at_every_call('revert', 'adapted', '--undo', 'undo', '-o', 'out', outputs=['out'])

    def test_diff(self):
        self.prepare('apply', 'base.slm', 'b.alr1', '-o', 'tuned')
        self.cut_at_every_call('diff', 'base.slm', 'tuned', '-o', 'out.adp1',
                               outputs=['out.adp1'])

    def test_merge(self):
        self.take(vector('adapters', 'sparse.asp1'), 'c.asp1')
        self.take(vector('adapters', 'mask.asp1'), 'd.asp1')
        self.cut_at_every_call('merge', 'c.asp1', 'd.asp1', '-o', 'out', outputs=['out'])

    def test_convert(self):
        self.cut_at_every_call('convert', 'base.slm', '-o', 'out', '--dtype', 'f32',
                               outputs=['out'])

    def test_convert_folders(self):
        for folder in ('checkpoint', 'peft-lora'):
            shutil.copytree(data(folder), self.path(folder))
        self.take(data('union.q8_0.slm'), 'union.slm')
        for name in os.listdir(self.path('checkpoint')):
            self.cut_at_every_call('convert', 'checkpoint', '-o', 'out', outputs=['out'],
                                   victims=['checkpoint/' + name])
        for name in os.listdir(self.path('peft-lora')):
            self.cut_at_every_call('convert', 'peft-lora', '--base', 'union.slm', '-o', 'out',
                                   outputs=['out'], victims=['peft-lora/' + name])


class BundleCommands(Commands):
    RECIPE = {
        'schema': 'trlm/bundle-recipe@1', 'id': 'small', 'model': 'base.slm', 'strategy': 'manual',
        'budgets': {'model_bytes': 1 << 20, 'text_sidecar_bytes': 1 << 16,
                    'adapter_stack_bytes': 1 << 20, 'fetch_count': 32},
        'source_kind': 'trained', 'quality_claim': 'none', 'trained_quality_claim': None,
        'license': 'CC0-1.0',
        'adapters': [{'id': name[0], 'package': name, 'strength_range': [0.1, 1.5],
                      'license': 'CC0-1.0', 'source': 'random numbers'}
                     for name in ('a.asp1', 'b.alr1')],
        'stacks': [{'id': 'first', 'preferred': True, 'rounding': 'adaptive:0',
                    'order': [{'member': 'a', 'strength': 0.5}]}],
        'evidence': {
            'review': {'by': 'nobody'}, 'recipe': {'method': 'none'}, 'operator': {'role': 'test'},
            'candidate': {'replaces': None}, 'promotion': {'channel': 'tests'},
            'runtime': {'arithmetic': 'trlm-f32-unfused@1'},
            'eval': {'cases': 1, 'failures': 0, 'body': {}},
            'admission': {'status': 'admitted', 'body': {}}, 'eval_cases': {'texts': ['a']}},
        'ledger': [{'event': 'made'}, {'event': 'admitted'}]}

    def setUp(self):
        super().setUp()
        write(self.path('recipe.json'), json.dumps(self.RECIPE).encode())


class Creating(BundleCommands):
    def test_create(self):
        # All documents of evidence are written and read alike: one will do.
        self.check('bundle', 'create', 'recipe.json', '-o', 'out', '--threads', '1',
                   outputs=['out'],
                   chosen=lambda call: not re.search(r'/evidence/(?!\.?review)', call.path))

    def test_create_in_a_folder_that_is_empty(self):
        os.mkdir(self.path('out'))
        self.check('bundle', 'create', 'recipe.json', '-o', 'out', '--threads', '1',
                   outputs=['out'],
                   chosen=lambda call: call.path in ('.', 'out') or call.name.startswith('rename'))


class Bundles(BundleCommands):
    def test_verify(self):
        self.prepare('bundle', 'create', 'recipe.json', '-o', 'bundle')
        self.check('verify', 'bundle', '--threads', '1')

    def test_family(self):
        self.prepare('bundle', 'create', 'recipe.json', '-o', 'bundle')
        self.check('apply', 'base.slm', 'bundle/adapters', '-o', 'out', '--threads', '1',
                   outputs=['out'])


if __name__ == '__main__':
    library = os.path.abspath(sys.argv.pop(2))
    # Thousands of calls of fsync take their time on a disk.
    if os.access('/dev/shm', os.W_OK):
        tempfile.tempdir = '/dev/shm'
    support.main()
