"""trlm-adapt validate."""
import os
import shutil
import unittest

import support
from support import (CANNOT_CHECK, DRIFT, INCOMPATIBLE, INVALID, OK, USAGE, data, foreign_model,
                     read, vector, write)


class Files(support.Case):
    def test_good_files(self):
        run = self.run_json('validate', vector('models', 'base_q8_0.slm'),
                            vector('adapters', 'dense.adp1'), vector('adapters', 'mask.asp1'),
                            vector('adapters', 'lowrank.alr1'))
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.document['command'], 'validate')
        self.assertEqual(run.document['findings'], [])
        self.assertEqual(list(run.result), ['files'])
        self.assertEqual([list(f) for f in run.result['files']], [['file', 'format', 'ok']] * 4)
        self.assertEqual([(f['format'], f['ok']) for f in run.result['files']],
                         [('SLM1', True), ('ADP1', True), ('ASP1', True), ('ALR1', True)])
        self.assertEqual(run.result['files'][1]['file'], vector('adapters', 'dense.adp1'))

    def test_the_name_does_not_matter(self):
        self.take(vector('models', 'base_q8_0.slm'), 'model.adp1')
        run = self.run_json('validate', 'model.adp1')
        self.assertEqual(run.result['files'], [{'file': 'model.adp1', 'format': 'SLM1', 'ok': True}])

    def test_each_file_is_judged_and_all_defects_are_reported(self):
        self.take(vector('invalid', 'adp_bitflip.adp1'), 'flipped.adp1')
        self.take(vector('adapters', 'dense.adp1'), 'good.adp1')
        write(self.path('text'), b'hello there')
        write(self.path('short'), b'AD')
        run = self.run_json('validate', 'flipped.adp1', 'none', 'good.adp1', 'text', 'short', '.')
        self.assertEqual(run.code, DRIFT)
        self.assertEqual([(f['file'], f['format'], f['ok']) for f in run.result['files'][:5]],
                         [('flipped.adp1', 'ADP1', False), ('none', None, False),
                          ('good.adp1', 'ADP1', True), ('text', None, False),
                          ('short', None, False)])
        # The folder stands for the packages in it.
        self.assertEqual([(f['file'], f['ok']) for f in run.result['files'][5:]],
                         [('./flipped.adp1', False), ('./good.adp1', True)])
        found = {(f['file'], f['code']) for f in run.document['findings']}
        self.assertLessEqual({('flipped.adp1', 'checksum_mismatch'), ('none', 'file_missing'),
                              ('text', 'bad_magic'), ('short', 'truncated'),
                              ('./flipped.adp1', 'checksum_mismatch')}, found)

    def test_what_is_no_regular_file(self):
        os.mkfifo(self.path('pipe'))
        self.assert_refused(self.run_json('validate', 'pipe'), CANNOT_CHECK, 'file_unreadable')
        self.assert_refused(self.run_json('validate', '/dev/null'), CANNOT_CHECK, 'file_unreadable')

    @unittest.skipIf(os.geteuid() == 0, 'root reads every file')
    def test_a_file_without_permission(self):
        self.take(vector('adapters', 'dense.adp1'), 'a.adp1')
        os.chmod(self.path('a.adp1'), 0)
        self.assert_refused(self.run_json('validate', 'a.adp1'), CANNOT_CHECK, 'file_unreadable')

    def test_folders(self):
        os.mkdir(self.path('empty'))
        self.assert_refused(self.run_json('validate', 'empty'), CANNOT_CHECK, 'file_missing')
        os.mkdir(self.path('family'))
        self.take(vector('adapters', 'dense.adp1'), 'family/a.adp1')
        write(self.path('family/family.receipt.json'), b'{}')
        run = self.run_json('validate', 'family')
        self.assert_refused(run, INVALID, 'missing_key')
        finding = run.document['findings'][0]
        self.assertEqual([finding['file'], finding['pointer']],
                         ['family/family.receipt.json', '/schema'])

    def test_a_foreign_checksum_is_refused_unless_it_is_accepted(self):
        write(self.path('foreign.slm'), foreign_model(read(vector('models', 'base_q8_0.slm'))))
        run = self.run_json('validate', 'foreign.slm')
        self.assert_refused(run, CANNOT_CHECK, 'checksum_unverifiable')
        run = self.run_json('validate', 'foreign.slm', '--accept-foreign-checksum')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['checksum_unverifiable'])
        self.assertEqual(run.document['findings'][0]['file'], 'foreign.slm')
        self.assertTrue(run.result['files'][0]['ok'])
        # --strict makes other warnings errors, not this one.
        run = self.run_json('validate', 'foreign.slm', '--accept-foreign-checksum', '--strict')
        self.assertEqual(run.code, OK, run)

    def test_memory_does_not_grow_with_the_file(self):
        # A hole in place of most of it: wrong, but read to its end.
        for source, name in ((vector('models', 'base_f32.slm'), 'large.slm'),
                             (vector('adapters', 'dense.adp1'), 'large.adp1')):
            self.take(source, name)
            os.truncate(self.path(name), 400 << 20)
            code, memory = self.peak_memory('validate', name)
            self.assertIn(code, (INVALID, DRIFT))
            self.assertLess(memory, 200 << 20)
            _, memory = self.peak_memory('digest', name)
            self.assertLess(memory, 200 << 20)
            # Nothing but the headers is touched.
            _, memory = self.peak_memory('inspect', name)
            self.assertLess(memory, 40 << 20)


class WithModel(support.Case):
    def test_adapters_that_fit(self):
        model = data('union.q8_0.slm')
        run = self.run_json('validate', support.DATA, data('whale-lora.alr1'), '--model', model)
        self.assertEqual(run.code, OK, run)
        files = run.result['files']
        self.assertEqual(files[0], {'file': model, 'format': 'SLM1', 'ok': True})
        self.assertEqual([os.path.basename(f['file']) for f in files[1:]],
                         ['whale-full.adp1', 'whale-lora.alr1', 'whale-top5.asp1',
                          'whale-lora.alr1'])
        self.assertTrue(all(f['ok'] for f in files))

    def test_vectors_that_do_not_fit(self):
        for case in support.expected()['incompatible']:
            stack = [p for p, _ in case['stack']]
            if len(stack) > 1:
                continue
            with self.subTest(case=case):
                run = self.run_json('validate', vector(stack[0]), '--model', vector(case['model']))
                self.assertEqual(run.code, INCOMPATIBLE, run)
                self.assertIn(case['code'], run.codes())
                self.assertEqual([f['ok'] for f in run.result['files']], [True, False])
                self.assertEqual({f['file'] for f in run.document['findings']}, {vector(stack[0])})

    def test_files_are_stacks_of_their_own_but_a_folder_is_one(self):
        # One of them alone keeps an f32 base finite, two do not (expected.json).
        for name in ('a.adp1', 'b.adp1'):
            os.makedirs(self.path('stack'), exist_ok=True)
            self.take(vector('adapters', 'huge.adp1'), 'stack/' + name)
        model = vector('models', 'base_f32.slm')
        run = self.run_json('validate', 'stack/a.adp1', 'stack/b.adp1', '--model', model)
        self.assertEqual(run.code, OK, run)
        run = self.run_json('validate', 'stack', '--model', model)
        self.assert_refused(run, INCOMPATIBLE, 'fused_non_finite')
        self.assertEqual([f['ok'] for f in run.result['files']], [True, False, False])
        self.assertEqual(run.document['findings'][0]['file'], 'stack')

    def test_a_broken_member_does_not_hide_that_another_does_not_fit(self):
        os.mkdir(self.path('stack'))
        self.take(vector('invalid', 'adp_bitflip.adp1'), 'stack/a.adp1')
        self.take(vector('adapters', 'dense.adp1'), 'stack/b.adp1')
        run = self.run_json('validate', 'stack', '--model', vector('models', 'gqa_f32.slm'))
        self.assertEqual(run.code, DRIFT)
        self.assertIn('checksum_mismatch', run.codes())
        self.assertIn('layout_differs', run.codes())
        self.assertEqual([f['ok'] for f in run.result['files']], [True, False, False])

    def test_a_model_that_is_none(self):
        run = self.run_json('validate', vector('adapters', 'dense.adp1'), '--model',
                            vector('adapters', 'dense.adp1'))
        self.assert_refused(run, INVALID, 'bad_magic')
        self.assertEqual([f['ok'] for f in run.result['files']], [False, True])
        run = self.run_json('validate', vector('adapters', 'dense.adp1'), '--model', '.')
        self.assert_refused(run, CANNOT_CHECK, 'file_unreadable')
        run = self.run_json('validate', vector('adapters', 'dense.adp1'), '--model', 'none')
        self.assert_refused(run, CANNOT_CHECK, 'file_missing')

    def test_every_instruction_set_and_number_of_threads(self):
        targets = self.run_json('version').result['simd']['available']
        self.assertEqual(targets[-1], 'scalar')
        for target in targets:
            for threads in ('0', '1', '3'):
                run = self.run_json('validate', data('whale-top5.asp1'), '--model',
                                    data('union.q8_0.slm'), '--threads', threads,
                                    env={'TRLM_ADAPT_TARGET': target})
                self.assertEqual(run.code, OK, run)

    def test_bad_options(self):
        file = vector('adapters', 'dense.adp1')
        for threads in ('-1', 'x', '', '1.5', '99999', ' 1', '0x1'):
            self.assert_refused(self.run_json('validate', file, '--threads=' + threads),
                                USAGE, 'usage_error')
        run = self.run_json('validate', file, env={'TRLM_ADAPT_TARGET': 'MMX'})
        self.assert_refused(run, USAGE, 'usage_error')
        self.assertIn('scalar', run.document['findings'][0]['message'])
        self.assertIsNone(run.result)


class ManyFindings(support.Case):
    def test_the_first_thousand_are_shown_and_the_rest_counted(self):
        arguments = ['validate', '--model', data('union.q8_0.slm')]
        each = len(self.run_json(*arguments, vector('adapters', 'dense.adp1'))
                   .document['findings'])
        copies = 1000 // each + 7
        arguments += [vector('adapters', 'dense.adp1')] * copies
        run = self.run_json(*arguments)
        self.assertEqual(run.code, INCOMPATIBLE)
        self.assertEqual(len(run.document['findings']), 1000)
        self.assertEqual([f['ok'] for f in run.result['files']], [True] + [False] * copies)
        run = self.run_tool(*arguments)
        lines = run.err.splitlines()
        self.assertEqual(lines[-2], 'and %d more' % (each * copies - 1000))
        self.assertTrue(lines[-1].startswith('{:,} errors; '.format(each * copies)), lines[-1])


class Text(support.Case):
    def test_a_table_and_a_summary(self):
        run = self.run_tool('validate', data('whale-lora.alr1'), '--model', data('union.q8_0.slm'))
        self.assertEqual(run.code, OK, run)
        lines = run.out.splitlines()
        self.assertRegex(lines[0], r'^ok  SLM1  925\.4 KiB  .*union\.q8_0\.slm$')
        self.assertRegex(lines[1], r'^ok  ALR1  322\.6 KiB  .*whale-lora\.alr1$')
        self.assertRegex(lines[2], r'^2 files, all valid; every adapter fits .*union\.q8_0\.slm$')
        self.assertEqual(run.err, '')

    def test_a_finding_names_file_tensor_place_and_code(self):
        self.take(vector('invalid', 'asp_range.asp1'), 'a.asp1')
        run = self.run_tool('validate', 'a.asp1')
        self.assertEqual(run.code, INVALID)
        self.assertTrue(run.out.startswith('FAILED  ASP1'), run)
        finding = self.run_json('validate', 'a.asp1').document['findings'][0]
        first = run.err.splitlines()[0]
        self.assertTrue(first.startswith('error: a.asp1: '), run)
        self.assertTrue(first.endswith('[index_out_of_range]'), run)
        self.assertIn(finding['tensor'], first)
        self.assertIn('offset %d' % finding['offset'], first)
        self.assertEqual(run.err.splitlines()[-1],
                         '1 error; exit code 1 (invalid); see trlm-adapt explain '
                         'index_out_of_range')

    def test_long_paths_stay_within_80_columns(self):
        name = 'a' * 60 + '/' + 'b' * 60 + '.adp1'
        os.mkdir(self.path('a' * 60))
        shutil.copyfile(vector('adapters', 'dense.adp1'), self.path(name))
        run = self.run_tool('validate', name)
        self.assertEqual(run.code, OK)
        self.assert_narrow(run.out)
        self.assertIn('...', run.out)

    def test_names_cannot_command_the_terminal(self):
        name = 'evil\x1b[31m\n\u202e.adp1'
        run = self.run_tool('validate', name)
        self.assertEqual(run.code, CANNOT_CHECK)
        for character in ('\x1b', '\u202e'):
            self.assertNotIn(character, run.out + run.err)
        self.assertIn('evil\\x1b[31m\\x0a\\xe2\\x80\\xae.adp1', run.err)
        self.assertEqual(self.run_json('validate', name).result['files'][0]['file'], name)

    def test_names_that_are_not_utf8(self):
        name = b'a\xff.adp1'
        write(os.path.join(self.folder.encode(), name), read(vector('adapters', 'dense.adp1')))
        run = self.run_json('validate', name)
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.result['files'][0]['file'], 'a\ufffd.adp1')


if __name__ == '__main__':
    support.main()
