"""A bundle whose files are not what they should be: gone, cut, changed, links, pipes, folders, other
files, too many, too large, or changing while they are looked at."""
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bundle as made  # noqa: E402
from bundle import ADAPTERS, ASSEMBLY, FAMILY, LEDGER, MANIFEST, MODEL, PLAN, REGISTRY, Bundle  # noqa: E402
import support  # noqa: E402
from support import CANNOT_CHECK, DRIFT, INVALID, OK, POLICY, USAGE  # noqa: E402

GATES = ['registry', 'module-plan', 'model-bytes', 'model-manifest', 'assembly-receipt', 'evidence',
         'adapter-family', 'adapter-manifests', 'adapter-artifacts', 'validate', 'apply',
         'diagnostics']
NEEDS = {'module-plan': ['registry'], 'model-bytes': ['module-plan'],
         'model-manifest': ['model-bytes'], 'assembly-receipt': ['module-plan'],
         'evidence': ['assembly-receipt'], 'adapter-family': ['module-plan'],
         'adapter-manifests': ['adapter-family'], 'adapter-artifacts': ['adapter-manifests'],
         'validate': ['model-manifest', 'adapter-artifacts'], 'apply': ['validate'],
         'diagnostics': ['apply']}


def gate_of(path):
    """The gate that a file stands behind."""
    fixed = {REGISTRY: 'registry', PLAN: 'module-plan', MODEL: 'model-bytes',
             MANIFEST: 'model-manifest', ASSEMBLY: 'assembly-receipt', FAMILY: 'adapter-family'}
    if path in fixed:
        return fixed[path]
    if path.startswith('evidence/'):
        return 'evidence'
    return 'adapter-manifests' if path.endswith('.json') else 'adapter-artifacts'


class HostileTest(support.Case):
    def setUp(self):
        super().setUp()
        self.bundle = Bundle()
        self.bundle.write(self.folder)

    def verify(self, *arguments, **options):
        return self.run_json('verify', '.', *arguments, **options)

    def judge(self, run, exit_code, path, code, gate=None):
        """One finding, one failed gate, those that need it blocked, all others passed."""
        self.assertEqual([(f['code'], f['file']) for f in run.document['findings']
                          if f['severity'] == 'error'], [(code, path)], run)
        self.assertEqual(run.code, exit_code, run)
        statuses = {}
        for name in GATES:
            blocked = any(statuses[need] != 'passed' for need in NEEDS.get(name, []))
            failed = name == (gate or gate_of(path))
            statuses[name] = 'blocked' if blocked else 'failed' if failed else 'passed'
        self.assertEqual({g['gate']: g['status'] for g in run.result['gates']}, statuses, run)
        self.judge_opened(run, statuses)

    def judge_opened(self, run, statuses):
        """Files are opened in the order of their gates, and none of a gate that is blocked."""
        order = [GATES.index(gate_of(p)) for p in run.result['opened']]
        self.assertEqual(order, sorted(order), run)
        for path in run.result['opened']:
            self.assertNotEqual(statuses[gate_of(path)], 'blocked', (path, run))

    def each_file(self):
        """Every file of the bundle but the registry, which nothing vouches for."""
        for path in self.bundle.paths():
            if path == REGISTRY:
                continue
            with self.subTest(path):
                target = self.path(path)
                yield path, target
                if os.path.islink(target) or not os.path.isdir(target):
                    if os.path.lexists(target):
                        os.remove(target)
                else:
                    shutil.rmtree(target)
                support.write(target, self.bundle.content(path))

    def test_whole(self):
        run = self.verify()
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.document['findings'], [])
        self.assertEqual(run.result['gates'], [{'gate': g, 'status': 'passed'} for g in GATES])
        self.assertEqual(sorted(run.result['opened']), self.bundle.paths())
        self.assertEqual(run.result['entry'], 'tiny')
        family = self.bundle.documents[FAMILY]
        self.assertEqual(run.result['state'], family['stacks'][0]['expected_state'])
        self.judge_opened(run, {g: 'passed' for g in GATES})
        self.assertEqual(self.verify().out, run.out)  # byte for byte, again

    def test_without_adapters(self):
        shutil.rmtree(self.folder)
        bare = Bundle(family=False)
        bare.write(self.folder)
        run = self.verify()
        self.assertEqual(run.code, OK, run)
        status = {g['gate']: g['status'] for g in run.result['gates']}
        self.assertEqual([g for g in GATES if status[g] == 'not-applicable'], GATES[6:11])
        self.assertEqual([g for g in GATES if status[g] == 'passed'], GATES[:6] + GATES[11:])
        state = support.expected()['models'][MODEL]['state0']
        self.assertEqual(run.result['state'], 'xxh3-64:' + state)

    def test_deleted(self):
        for path, target in self.each_file():
            os.remove(target)
            self.judge(self.verify(), CANNOT_CHECK, path, 'file_missing')

    def test_truncated(self):
        for path, target in self.each_file():
            support.write(target, self.bundle.content(path)[:-1])
            self.judge(self.verify(), DRIFT, path, 'size_mismatch')

    def test_longer(self):
        for path, target in self.each_file():
            support.write(target, self.bundle.content(path) + b'\n')
            self.judge(self.verify(), DRIFT, path, 'size_mismatch')

    def test_one_bit(self):
        for path, target in self.each_file():
            content = bytearray(self.bundle.content(path))
            content[len(content) // 2] ^= 1
            support.write(target, bytes(content))
            self.judge(self.verify(), DRIFT, path, 'digest_mismatch')

    def test_another_file_of_equal_size(self):
        for path, target in self.each_file():
            support.write(target, bytes(len(self.bundle.content(path))))
            self.judge(self.verify(), DRIFT, path, 'digest_mismatch')

    def test_folder(self):
        for path, target in self.each_file():
            os.remove(target)
            os.mkdir(target)
            self.judge(self.verify(), INVALID, path, 'path_escape')

    def test_symbolic_link(self):
        for path, target in self.each_file():
            os.rename(target, self.path('.aside'))
            os.symlink(self.path('.aside'), target)
            run = self.verify()
            self.judge(run, INVALID, path, 'path_escape')
            os.remove(self.path('.aside'))

    def test_symbolic_link_to_a_folder(self):
        os.rename(self.path('evidence'), self.path('elsewhere'))
        os.symlink('elsewhere', self.path('evidence'))
        run = self.verify()
        self.assertEqual(run.code, INVALID, run)
        self.assertEqual(set(run.codes('error')), {'path_escape'}, run)

    def test_pipe(self):
        for path, target in self.each_file():
            os.remove(target)
            os.mkfifo(target)
            self.judge(self.verify(), INVALID, path, 'path_escape')

    def test_other_case(self):
        for path, target in self.each_file():
            other = os.path.join(os.path.dirname(target), os.path.basename(target).upper())
            os.rename(target, other)
            run = self.verify()
            self.judge(run, CANNOT_CHECK, path, 'file_missing')
            if gate_of(path) != 'module-plan':  # without a plan there is no telling
                self.assertEqual(run.codes('warning'), ['unlisted_file'], run)
            os.remove(other)

    @unittest.skipIf(os.geteuid() == 0, 'root may read every file')
    def test_no_permission(self):
        for path, target in self.each_file():
            os.chmod(target, 0)
            self.judge(self.verify(), CANNOT_CHECK, path, 'file_unreadable')

    def test_registry_that_cannot_be_read(self):
        target = self.path(REGISTRY)
        content = self.bundle.content(REGISTRY)
        for change, code, exit_code in (
                (lambda: os.remove(target), 'file_missing', CANNOT_CHECK),
                (lambda: support.write(target, b''), 'bad_json', INVALID),
                (lambda: support.write(target, content[:100]), 'bad_json', INVALID),
                (lambda: support.write(target, b'{"a":' * 100000 + b'}' * 100000),
                 'limit_exceeded', INVALID),
                (lambda: support.write(target, b'[' * 100000), 'bad_json', INVALID),
                (lambda: support.write(target, b' ' * (1 << 20) + content), 'limit_exceeded',
                 INVALID)):
            change()
            run = self.verify()
            self.assert_refused(run, exit_code, code)
            self.assertEqual({g['status'] for g in run.result['gates'][1:]}, {'blocked'}, run)
            support.write(target, content)

    def test_unlisted_files(self):
        support.write(self.path('adapters/extra.adp1'), b'left over')
        os.symlink('/etc/passwd', self.path('link'))
        run = self.verify()
        self.assertEqual(run.code, OK, run)
        self.assertEqual([(f['code'], f['file'], f['severity']) for f in run.document['findings']],
                         [('unlisted_file', p, 'warning') for p in ('adapters/extra.adp1', 'link')])
        self.assertNotIn('adapters/extra.adp1', run.result['opened'])
        run = self.verify('--strict')
        self.assert_refused(run, POLICY, 'unlisted_file', 'unlisted_file')
        self.assertEqual({g['status'] for g in run.result['gates']}, {'passed'}, run)

    def test_other_entries(self):
        """What another entry leads to is listed, and not opened but for its plan."""
        registry = self.bundle.documents[REGISTRY]
        entry = json.loads(json.dumps(registry['entries'][0]))
        plan = json.loads(json.dumps(self.bundle.documents[PLAN]))
        plan['entry_id'] = entry['id'] = 'second'
        for module in plan['modules']:
            if module['role'] == 'evidence-review':
                module['path'] = 'evidence/second-review.json'
        content = made.to_bytes(plan)
        entry['module_plan'] = {'path': 'second.module-plan.json', 'bytes': len(content),
                                'digest': made.digest(content)}
        registry['entries'].append(entry)
        self.bundle.raw[REGISTRY] = made.to_bytes(registry)
        self.bundle.files['second.module-plan.json'] = content
        self.bundle.files['evidence/second-review.json'] = b'{}'
        self.bundle.write(self.folder)
        run = self.verify('--strict')
        self.assertEqual((run.code, run.document['findings']), (OK, []), run)
        self.assertEqual(run.result['opened'][-1], 'second.module-plan.json')
        self.assertNotIn('evidence/second-review.json', run.result['opened'])
        # A plan that is not the registry's leads nowhere.
        support.write(self.path('second.module-plan.json'), content.replace(b'second', b'sekond'))
        self.assert_refused(self.verify('--strict'), POLICY, 'unlisted_file')

    def test_entry(self):
        self.assertEqual(self.verify('--entry', 'tiny').code, OK)
        self.assert_refused(self.verify('--entry', 'nobody'), USAGE, 'usage_error')

    def test_large_sidecar(self):
        """A gigabyte where a short text is meant is not read."""
        with open(self.path('evidence/review.json'), 'r+b') as file:
            file.truncate(1 << 30)
        code, memory = self.peak_memory('verify', '.')
        self.assertEqual(code, DRIFT)
        self.assertLess(memory, 300 << 20)  # sanitizers take some by themselves
        review = self.bundle.documents[PLAN]['modules']
        module, = [m for m in review if m['role'] == 'evidence-review']
        module['bytes'] = 1 << 30
        self.bundle.kept.add((PLAN, review.index(module), 'bytes'))
        self.bundle.seal()
        self.bundle.write(self.folder)
        run = self.verify()
        self.assertEqual(set(run.codes('error')), {'budget_exceeded'}, run)
        self.assertEqual(run.result['opened'], [REGISTRY, PLAN])

    def test_large_sidecar_that_the_budgets_allow(self):
        """A text is at most a mebibyte long, whatever the budgets say."""
        size = (1 << 20) + 1
        for document in (REGISTRY, PLAN):
            budgets = self.bundle.documents[document]['budgets']
            budgets['text_sidecar_bytes'] = size
            if 'total_bytes' in budgets:
                budgets['total_bytes'] = 10 * size
        self.bundle.raw['evidence/review.json'] = b' ' * size
        self.bundle.seal()
        self.bundle.write(self.folder)
        self.judge(self.verify(), INVALID, 'evidence/review.json', 'limit_exceeded')

    def test_deep_document(self):
        for depth, code in ((32 - 1, None), (32, 'limit_exceeded')):  # the object is a level, too
            body = 'x'
            for _ in range(depth):
                body = [body]
            self.bundle.documents['evidence/review.json']['body'] = body
            self.bundle.seal()
            self.bundle.write(self.folder)
            run = self.verify()
            self.assertEqual(run.codes('error'), [code] if code else [], run)

    def test_weak_digest(self):
        weak = 'xxh3-128:' + '0' * 32
        self.bundle.documents[REGISTRY]['entries'][0]['model']['digest'] = weak
        self.bundle.write(self.folder)
        run = self.verify()
        self.assertIn('weak_digest', run.codes('error'), run)
        run = self.verify('--allow-weak-digests')
        self.assertIn('weak_digest', run.codes('warning'), run)
        self.assertNotIn('weak_digest', run.codes('error'), run)
        self.assertEqual(run.codes('error'), ['unplanned_file'], run)  # the plan has the strong one

    def test_adapter_of_another_model(self):
        """A whole and rightly sealed package that does not fit this model."""
        self.bundle.files['adapters/lowrank.alr1'] = support.read(
            support.vector('adapters', 'gqa_lowrank.alr1'))
        figures = support.expected()['adapters']['adapters/gqa_lowrank.alr1']
        manifest = self.bundle.documents['adapters/lowrank.manifest.json']
        manifest['internal_checksum'] = 'xxh3-64:' + figures['checksum']
        manifest['entry_count'] = figures['entry_count']
        self.bundle.seal()
        self.bundle.write(self.folder)
        run = self.verify()
        self.assertEqual(run.code, DRIFT, run)  # its manifest states the identity of this model
        self.assertEqual(set(run.codes('error')), {'value_drift'}, run)

    def test_changing_while_it_is_read(self):
        """Either the verified bytes or a finding: never another result, never a crash."""
        content = self.bundle.content(MODEL)
        other = bytearray(content)
        other[40000] ^= 0xff
        target = self.path(MODEL)
        stop = threading.Event()

        def change():
            index = 0
            while not stop.is_set():
                with open(target, 'r+b') as file:
                    if index % 3 == 0:
                        file.write(other)
                    elif index % 3 == 1:
                        file.truncate(1000 * (index % 60))
                    else:
                        file.write(content)
                        file.truncate(len(content))
                index += 1
                time.sleep(0.0005)
        thread = threading.Thread(target=change)
        thread.start()
        try:
            state = self.bundle.documents[FAMILY]['stacks'][0]['expected_state']
            for _ in range(40):
                run = self.verify()
                if run.code == OK:
                    self.assertEqual(run.result['state'], state, run)
                else:
                    self.assertIn(run.codes('error'), [['size_mismatch'], ['digest_mismatch']], run)
        finally:
            stop.set()
            thread.join()

    @unittest.skipUnless(shutil.which('strace'), 'strace is not installed')
    def test_system_calls(self):
        """As the kernel sees it: no model or adapter byte before the plan was read and found good."""
        log = self.folder + '.strace'
        self.addCleanup(lambda: os.path.exists(log) and os.remove(log))

        def opened():
            process = subprocess.run(
                ['strace', '-f', '-e', 'trace=openat,open,openat2', '-o', log, support.cli,
                 'verify', '.'], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if b'ptrace' in process.stderr and process.returncode == 1:
                self.skipTest('tracing is not allowed here')
            with open(log) as file:
                names = re.findall(r'openat?2?\([^"]*"([^"]*)"', file.read())
            return process.returncode, [os.path.basename(n) for n in names]
        code, names = opened()
        self.assertEqual(code, OK)
        of_bundle = [n for n in names if n in {os.path.basename(p) for p in self.bundle.paths()}]
        self.assertEqual(of_bundle[:3], [REGISTRY, PLAN, os.path.basename(MODEL)])
        self.assertEqual(len(of_bundle), len(set(of_bundle)))  # no second open
        self.bundle.documents[PLAN]['modules'][0]['depends_on'] = ['nobody']
        self.bundle.seal()
        self.bundle.write(self.folder)
        code, names = opened()
        self.assertEqual(code, INVALID)
        self.assertIn(PLAN, names)
        for path in [MODEL, FAMILY, MANIFEST, ASSEMBLY, LEDGER] + ADAPTERS:
            self.assertNotIn(os.path.basename(path), names)

    def test_folder_that_is_none(self):
        self.assert_refused(self.run_json('verify', 'nowhere'), CANNOT_CHECK, 'file_missing')
        self.assert_refused(self.run_json('verify', PLAN), CANNOT_CHECK, 'file_unreadable')
        os.mkdir(self.path('empty'))
        run = self.run_json('verify', 'empty')
        self.assert_refused(run, CANNOT_CHECK, 'file_missing')

    def test_bad_registry_digest(self):
        for text in ('', 'sha256:12', 'xxh3-128:' + '0' * 32):
            self.assert_refused(self.verify('--registry-digest', text) if text else
                                self.verify('--registry-digest='), USAGE, 'usage_error')


if __name__ == '__main__':
    support.main()
