"""trlm-adapt verify: the verdict on a bundle, as text and as JSON. What each gate finds in each
document is tested in tests/documents; here it is how the command asks and answers."""
import os

import bundles
import support
from bundles import REGISTRY, flip_bit
from support import CANNOT_CHECK, DRIFT, OK, POLICY, USAGE, foreign_model, read, sha256, write

GATES = ['registry', 'module-plan', 'model-bytes', 'model-manifest', 'assembly-receipt', 'evidence',
         'adapter-family', 'adapter-manifests', 'adapter-artifacts', 'validate', 'apply',
         'diagnostics']
LORA = 'adapters/whale-lora.alr1'

# The order of the gates, and within one that of the document that names the files.
OPENED = [REGISTRY, 'whale.module-plan.json', 'models/union.q8_0.slm', 'models/whale.manifest.json',
          'assembly.receipt.json', 'evidence/ledger.jsonl', 'evidence/review.json',
          'evidence/recipe.json', 'evidence/operator.json', 'evidence/candidate.json',
          'evidence/promotion.json', 'evidence/runtime.json', 'evidence/eval.json',
          'evidence/admission.json', 'evidence/eval_cases.json', 'adapters/family.receipt.json',
          'adapters/whale-lora.manifest.json', 'adapters/whale-top5.manifest.json',
          'adapters/whale-full.manifest.json', LORA, 'adapters/whale-top5.asp1',
          'adapters/whale-full.adp1']


class Case(bundles.Case):
    def statuses(self, run):
        self.assertEqual([g['gate'] for g in run.result['gates']], GATES)
        return [g['status'] for g in run.result['gates']]


class Whole(Case):
    def setUp(self):
        super().setUp()
        self.take_bundle()

    def test_twelve_of_twelve(self):
        run = self.run_json('verify', 'bundle')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.document['findings'], [])
        self.assertEqual(list(run.result), ['gates', 'opened', 'state', 'entry'])
        self.assertEqual(self.statuses(run), ['passed'] * 12)
        self.assertEqual(run.result['opened'], OPENED)
        self.assertEqual(sorted(OPENED), bundles.files_beneath(self.path('bundle')))
        self.assertEqual(run.result['entry'], 'whale')
        applied = self.run_json('apply', 'bundle/models/union.q8_0.slm', 'bundle/' + LORA,
                                '--dry-run')
        self.assertEqual(run.result['state'], applied.result['state'])

    def test_the_same_report_every_time(self):
        first = self.run_tool('verify', 'bundle', '--json')
        targets = self.run_json('version').result['simd']['available']
        runs = [self.run_tool('verify', 'bundle', '--json')]
        runs += [self.run_tool('verify', 'bundle', '--json', '--threads', n) for n in ('1', '3')]
        runs += [self.run_tool('verify', 'bundle', '--json', env={'TRLM_ADAPT_TARGET': target})
                 for target in targets]
        for run in runs:
            self.assertEqual((run.code, run.out), (OK, first.out))
        os.rename(self.path('bundle'), self.path('moved'))
        self.assertEqual(self.run_tool('verify', 'moved', '--json').out, first.out)

    def test_nothing_is_written(self):
        before = bundles.contents(self.path('bundle'))
        self.assertEqual(self.run_tool('verify', 'bundle').code, OK)
        self.assertEqual(bundles.contents(self.path('bundle')), before)
        self.assertEqual(self.names(), ['bundle'])

    def test_text(self):
        run = self.run_tool('verify', 'bundle')
        self.assertEqual((run.code, run.err), (OK, ''), run)
        self.assert_narrow(run.out)
        lines = run.out.splitlines()
        self.assertEqual(lines[0], 'bundle, entry whale')
        self.assertEqual([line.split() for line in lines[1:13]],
                         [[str(i + 1), gate, 'passed'] for i, gate in enumerate(GATES)])
        self.assertEqual(lines[13], '12 of 12 gates passed; 22 files opened')
        self.assertRegex(lines[14], r'^assembly state xxh3-64:[0-9a-f]{16}$')
        self.assertEqual(len(lines), 15)
        self.assertEqual(self.run_tool('verify', 'bundle', '--quiet').out, '')
        colored = self.run_tool('verify', 'bundle', '--color', 'always').out
        self.assertEqual(colored.count('\x1b[32m'), 12)

    def test_the_registry_can_be_pinned(self):
        right = sha256(self.path('bundle/' + REGISTRY))
        run = self.run_json('verify', 'bundle', '--registry-digest', right)
        self.assertEqual(run.code, OK, run)
        wrong = 'sha256:' + '0' * 64
        run = self.run_json('verify', 'bundle', '--registry-digest', wrong)
        self.assert_refused(run, DRIFT, 'digest_mismatch')
        finding = run.document['findings'][0]
        self.assertEqual([finding['file'], finding['expected'], finding['actual']],
                         [REGISTRY, wrong, right])
        self.assertEqual(run.result['opened'], [REGISTRY])
        self.assertEqual(self.statuses(run), ['failed'] + ['blocked'] * 11)
        self.assertEqual([run.result['state'], run.result['entry']], [None, None])

    def test_a_digest_that_is_none(self):
        for text in ('', 'abc', 'sha256:', 'sha256:' + 'A' * 64, 'sha256:' + '0' * 63,
                     '0' * 64, 'xxh3-128:' + '0' * 32):
            run = self.run_json('verify', 'bundle', '--registry-digest', text)
            self.assert_refused(run, USAGE, 'usage_error')
            self.assertIsNone(run.result)

    def test_an_entry_by_name(self):
        self.assertEqual(self.run_json('verify', 'bundle', '--entry', 'whale').code, OK)
        run = self.run_json('verify', 'bundle', '--entry', 'minnow')
        self.assert_refused(run, USAGE, 'usage_error')
        self.assertIn('minnow', run.document['findings'][0]['message'])
        self.assertEqual(run.result['opened'], [REGISTRY])

        def add_entry(registry):
            registry['entries'].append(dict(registry['entries'][0], id='spare',
                                            admission='pending'))
        self.edit('bundle/' + REGISTRY, add_entry)
        run = self.run_json('verify', 'bundle', '--entry', 'spare')
        self.assert_refused(run, POLICY, 'not_admitted')
        self.assertEqual(run.document['findings'][0]['pointer'], '/entries/1/admission')
        self.assertEqual(run.result['entry'], 'spare')
        self.assertEqual(self.run_json('verify', 'bundle').code, OK)

    def test_wrong_command_lines(self):
        for arguments in ([], ['bundle', 'bundle'], ['bundle', '--root', 'x'],
                          ['bundle', '--threads', '-1']):
            run = self.run_json('verify', *arguments)
            self.assert_refused(run, USAGE, 'usage_error')
            self.assertEqual(run.document['command'], 'verify')
            self.assertIsNone(run.result)

    def test_what_is_no_bundle(self):
        run = self.run_json('verify', 'nowhere')
        self.assert_refused(run, CANNOT_CHECK, 'file_missing')
        self.assertIsNone(run.result)
        run = self.run_json('verify', 'bundle/' + REGISTRY)
        self.assert_refused(run, CANNOT_CHECK, 'file_unreadable')
        os.mkdir(self.path('empty'))
        run = self.run_json('verify', 'empty')
        self.assert_refused(run, CANNOT_CHECK, 'file_missing')
        self.assertEqual(run.document['findings'][0]['file'], REGISTRY)
        self.assertEqual(run.result['opened'], [])


class Drifted(Case):
    def setUp(self):
        super().setUp()
        self.take_bundle()

    def test_a_package_with_one_bit_changed(self):
        before = sha256(self.path('bundle/' + LORA))
        flip_bit(self.path('bundle/' + LORA), 100_000)
        run = self.run_json('verify', 'bundle')
        self.assert_refused(run, DRIFT, 'digest_mismatch')
        finding = run.document['findings'][0]
        self.assertEqual([finding['file'], finding['expected'], finding['actual']],
                         [LORA, before, sha256(self.path('bundle/' + LORA))])
        self.assertEqual(self.statuses(run), ['passed'] * 8 + ['failed'] + ['blocked'] * 3)
        self.assertIsNone(run.result['state'])

        run = self.run_tool('verify', 'bundle')
        self.assertEqual(run.code, DRIFT)
        self.assert_narrow(run.out)
        self.assertIn('8 of 12 gates passed, 1 failed, 3 blocked; 22 files opened', run.out)
        self.assertIn('[digest_mismatch]', run.err)
        quiet = self.run_tool('verify', 'bundle', '--quiet')
        self.assertEqual((quiet.code, quiet.out, quiet.err), (DRIFT, '', run.err))

    def test_a_package_cut_short_is_not_read(self):
        write(self.path('bundle/' + LORA), read(self.path('bundle/' + LORA))[:-1])
        run = self.run_json('verify', 'bundle')
        self.assert_refused(run, DRIFT, 'size_mismatch')

    def test_every_defect_is_reported_and_what_depends_on_one_is_not_opened(self):
        flip_bit(self.path('bundle/models/union.q8_0.slm'), 500_000)
        os.remove(self.path('bundle/evidence/review.json'))
        flip_bit(self.path('bundle/adapters/whale-full.adp1'), 1_000_000)
        run = self.run_json('verify', 'bundle')
        self.assert_refused(run, DRIFT, 'digest_mismatch', 'digest_mismatch', 'file_missing')
        self.assertEqual([f['file'] for f in run.document['findings']],
                         ['models/union.q8_0.slm', 'evidence/review.json',
                          'adapters/whale-full.adp1'])
        self.assertEqual(self.statuses(run),
                         ['passed', 'passed', 'failed', 'blocked', 'passed', 'failed', 'passed',
                          'passed', 'failed', 'blocked', 'blocked', 'blocked'])
        # The manifest of the model waits for the model.
        self.assertEqual(run.result['opened'],
                         [path for path in OPENED
                          if path not in ('models/whale.manifest.json', 'evidence/review.json')])

    def test_no_model_byte_before_the_plan_has_passed(self):
        flip_bit(self.path('bundle/whale.module-plan.json'), 1000)
        run = self.run_json('verify', 'bundle')
        self.assert_refused(run, DRIFT, 'digest_mismatch')
        self.assertEqual(run.result['opened'], [REGISTRY, 'whale.module-plan.json'])
        self.assertEqual(self.statuses(run), ['passed', 'failed'] + ['blocked'] * 10)

    def test_a_file_that_nothing_names(self):
        write(self.path('bundle/adapters/notes.txt'), b'mine')
        run = self.run_json('verify', 'bundle')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['unlisted_file'])
        self.assertEqual(run.document['findings'][0]['file'], 'adapters/notes.txt')
        self.assertNotIn('adapters/notes.txt', run.result['opened'])
        run = self.run_json('verify', 'bundle', '--strict')
        self.assert_refused(run, POLICY, 'unlisted_file')
        self.assertEqual(self.statuses(run), ['passed'] * 12)

    def test_a_link_in_place_of_a_file(self):
        os.rename(self.path('bundle/' + LORA), self.path('elsewhere'))
        os.symlink(self.path('elsewhere'), self.path('bundle/' + LORA))
        run = self.run_json('verify', 'bundle')
        self.assertEqual(run.codes('error'), ['path_escape'], run)
        self.assertNotIn(LORA, run.result['opened'])

    def test_weak_digests_need_leave(self):
        # Any 32 digits: whether the digest is right is judged after whether it may be used.
        def weaken(registry):
            registry['entries'][0]['module_plan']['digest'] = 'xxh3-128:' + '0' * 32
        self.edit('bundle/' + REGISTRY, weaken)
        run = self.run_json('verify', 'bundle')
        self.assert_refused(run, POLICY, 'weak_digest')
        self.assertEqual(run.document['findings'][0]['pointer'], '/entries/0/module_plan/digest')
        self.assertEqual(run.result['opened'], [REGISTRY])
        run = self.run_json('verify', 'bundle', '--allow-weak-digests')
        self.assert_refused(run, DRIFT, 'digest_mismatch')
        self.assertEqual(run.codes('warning'), ['weak_digest'])


class Foreign(Case):
    def test_a_model_whose_checksum_nobody_can_verify(self):
        recipe = self.take_recipe()
        model = 'data/union.q8_0.slm'
        write(self.path(model), foreign_model(read(self.path(model))))
        run = self.run_json('bundle', 'create', recipe, '-o', 'bundle')
        self.assert_refused(run, CANNOT_CHECK, 'checksum_unverifiable')
        self.assertEqual(self.names(), ['data'])
        run = self.run_json('bundle', 'create', recipe, '-o', 'bundle', '--accept-foreign-checksum')
        self.assertEqual(run.code, OK, run)
        run = self.run_json('verify', 'bundle')
        self.assert_refused(run, CANNOT_CHECK, 'checksum_unverifiable')
        self.assertEqual(self.statuses(run)[3], 'failed')
        run = self.run_json('verify', 'bundle', '--accept-foreign-checksum')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(set(run.codes()), {'checksum_unverifiable'})


class WithoutFamily(Case):
    def test_five_gates_are_not_applicable(self):
        def drop(recipe):
            recipe['adapters'], recipe['stacks'] = [], []
        run = self.run_json('bundle', 'create', self.take_recipe(drop), '-o', 'bundle')
        self.assertEqual(run.code, OK, run)
        run = self.run_json('verify', 'bundle')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(self.statuses(run),
                         ['passed'] * 6 + ['not-applicable'] * 5 + ['passed'])
        base = self.run_json('inspect', 'bundle/models/union.q8_0.slm').result
        self.assertEqual(run.result['state'], base['state'])
        text = self.run_tool('verify', 'bundle').out
        self.assertIn('7 of 12 gates passed, 5 not-applicable; 15 files opened', text)


if __name__ == '__main__':
    support.main()
