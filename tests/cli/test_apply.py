"""trlm-adapt apply: what it writes, and what it refuses before any work."""
import json
import math
import os
import struct
import unittest

import support
from support import (CANNOT_CHECK, DRIFT, INCOMPATIBLE, INVALID, OK, POLICY, USAGE, data,
                     foreign_model, read, sha256, vector, write)

TENSOR_KEYS = ['name', 'elements', 'touched', 'changed', 'kept', 'cosine', 'snr_db',
               'max_abs_delta', 'rms_delta']


def apply_vector(model, stack, rounding='adaptive:0'):
    """The expectation of the independent implementation for one application."""
    for case in support.expected()['applies']:
        if (case['model'], case['stack'], case['rounding']) == (model, stack, rounding):
            return case
    raise KeyError((model, stack, rounding))


class Applying(support.Case):
    """Applications whose result an independent implementation computed."""

    def setUp(self):
        super().setUp()
        self.take(vector('models', 'base_q8_0.slm'), 'base.q8_0.slm')
        self.take(vector('adapters', 'dense.adp1'))
        self.case = apply_vector('models/base_q8_0.slm', [['adapters/dense.adp1', 0.3]])
        self.stack = ['dense.adp1', '--strength', 'dense.adp1=0.3']

    def test_default_output_and_result(self):
        run = self.run_json('apply', 'base.q8_0.slm', *self.stack)
        self.assertEqual(run.code, OK, run)
        self.assertEqual(self.names(), ['base.q8_0.adapted.slm', 'base.q8_0.slm', 'dense.adp1'])
        self.assertEqual(sha256(self.path('base.q8_0.adapted.slm')), self.case['output_sha256'])
        result = run.result
        self.assertEqual(list(result), ['output', 'internal_checksum', 'state', 'zero_effect',
                                        'rounding', 'kept', 'tensors'])
        self.assertEqual(result['output'], {'path': 'base.q8_0.adapted.slm',
                                            'bytes': os.path.getsize(self.path('base.q8_0.slm')),
                                            'digest': self.case['output_sha256']})
        self.assertEqual(result['internal_checksum'], 'xxh3-64:' + self.case['output_checksum'])
        self.assertEqual(result['state'], 'xxh3-64:' + self.case['state'])
        self.assertIs(result['zero_effect'], False)
        self.assertEqual(result['rounding'], 'adaptive:0')
        for tensor in result['tensors']:
            self.assertEqual(list(tensor), TENSOR_KEYS)
            want = self.case['tensors'][tensor['name']]
            for key in ('elements', 'touched'):
                self.assertEqual(tensor[key], want[key], tensor)
            for key in ('kept', 'cosine', 'max_abs_delta', 'rms_delta'):
                self.assertTrue(math.isclose(tensor[key], want[key], rel_tol=1e-5, abs_tol=2e-6),
                                (key, tensor, want))
        self.assertEqual({t['name'] for t in result['tensors']}, set(self.case['tensors']))

    def test_the_base_is_not_changed(self):
        before = sha256(self.path('base.q8_0.slm'))
        self.assertEqual(self.run_tool('apply', 'base.q8_0.slm', *self.stack).code, OK)
        self.assertEqual(sha256(self.path('base.q8_0.slm')), before)

    def test_default_output_names(self):
        os.mkdir(self.path('a.b'))
        for model, output in (('model', 'model.adapted'), ('a.b/model', 'a.b/model.adapted'),
                              ('.slm', '.slm.adapted'), ('x.', 'x.adapted.')):
            self.take(vector('models', 'base_q8_0.slm'), model)
            run = self.run_json('apply', model, *self.stack)
            self.assertEqual(run.code, OK, run)
            self.assertEqual(run.result['output']['path'], output)
            self.assertEqual(sha256(self.path(output)), self.case['output_sha256'])

    def test_same_bytes_on_every_instruction_set_and_number_of_threads(self):
        targets = self.run_json('version').result['simd']['available']
        for target in targets:
            for threads in ('1', '2', '5'):
                run = self.run_json('apply', 'base.q8_0.slm', *self.stack, '-o', 'out', '--force',
                                    '--threads', threads, env={'TRLM_ADAPT_TARGET': target})
                self.assertEqual(run.code, OK, run)
                self.assertEqual(sha256(self.path('out')), self.case['output_sha256'])
        run = self.run_json('apply', 'base.q8_0.slm', *self.stack, '-o', 'out2',
                            env={'TRLM_ADAPT_TARGET': 'avx2 '})
        self.assert_refused(run, USAGE, 'usage_error')

    def test_dry_run_predicts_and_writes_nothing(self):
        run = self.run_json('apply', 'base.q8_0.slm', *self.stack, '--dry-run')
        self.assertEqual(run.code, OK, run)
        self.assertIsNone(run.result['output'])
        self.assertEqual(run.result['predicted_digest'], self.case['output_sha256'])
        self.assertEqual(run.result['internal_checksum'],
                         'xxh3-64:' + self.case['output_checksum'])
        self.assertEqual(self.names(), ['base.q8_0.slm', 'dense.adp1'])
        # An output that exists is in nobody's way, as nothing is written.
        write(self.path('base.q8_0.adapted.slm'), b'mine')
        run = self.run_json('apply', 'base.q8_0.slm', *self.stack, '--dry-run')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(read(self.path('base.q8_0.adapted.slm')), b'mine')

    def test_a_folder_is_a_stack_in_bytewise_order(self):
        os.mkdir(self.path('stack'))
        stack = []
        for name, package in (('B.asp1', 'sparse.asp1'), ('a.adp1', 'dense.adp1')):
            stack.append(self.take(vector('adapters', package), 'stack/' + name))
        write(self.path('stack/readme.txt'), b'not read')
        os.mkdir(self.path('stack/sub.adp1'))
        listed = self.run_json('apply', 'base.q8_0.slm', *stack, '-o', 'listed')
        swapped = self.run_json('apply', 'base.q8_0.slm', *stack[::-1], '-o', 'swapped')
        folder = self.run_json('apply', 'base.q8_0.slm', 'stack', '-o', 'folder')
        self.assertEqual([r.code for r in (listed, swapped, folder)], [OK] * 3)
        self.assertEqual(folder.result['state'], listed.result['state'])
        self.assertNotEqual(folder.result['state'], swapped.result['state'])
        self.assertEqual(read(self.path('folder')), read(self.path('listed')))

    def test_a_foreign_base_is_written_anew_with_a_checksum_that_can_be_verified(self):
        write(self.path('foreign.slm'), foreign_model(read(self.path('base.q8_0.slm'))))
        run = self.run_json('apply', 'foreign.slm', *self.stack)
        self.assert_refused(run, CANNOT_CHECK, 'checksum_unverifiable')
        self.assertFalse(os.path.exists(self.path('foreign.adapted.slm')))
        run = self.run_json('apply', 'foreign.slm', *self.stack, '--accept-foreign-checksum')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['checksum_unverifiable'])
        # The vectors have the layout of section 1, so it is the same file.
        self.assertEqual(sha256(self.path('foreign.adapted.slm')), self.case['output_sha256'])
        self.assertEqual(self.run_tool('validate', 'foreign.adapted.slm').code, OK)

    def test_text(self):
        run = self.run_tool('apply', 'base.q8_0.slm', *self.stack, '--receipt', 'r.json')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.err, '')
        self.assert_narrow(run.out)
        lines = run.out.splitlines()
        self.assertEqual(lines[0], 'Applied to base.q8_0.slm')
        self.assertEqual(lines[1].split(), ['#', 'adapter', 'format', 'tensors', 'strength'])
        self.assertEqual(lines[2].split(), ['1', 'dense.adp1', 'ADP1', '4', '0.3'])
        self.assertIn('Wrote base.q8_0.adapted.slm', lines)
        self.assertIn('  ' + sha256(self.path('base.q8_0.adapted.slm')), lines)
        self.assertIn('  receipt            r.json', lines)


class Strengths(support.Case):
    def setUp(self):
        super().setUp()
        self.take(vector('models', 'base_f32.slm'), 'base.slm')
        self.take(vector('adapters', 'dense.adp1'))

    def apply(self, *arguments):
        return self.run_json('apply', 'base.slm', 'dense.adp1', '--dry-run', *arguments)

    def test_good_ones(self):
        whole = self.apply()
        for text in ('1', '+1', '1.0', '1e0', '.1e1', '10E-1', '1.00000001'):
            run = self.apply('--strength', 'dense.adp1=' + text)
            self.assertEqual(run.code, OK, run)
            self.assertEqual(run.result['predicted_digest'], whole.result['predicted_digest'])
        for text in ('-1', '0.5', '1e-3', '1.0000001'):
            run = self.apply('--strength', 'dense.adp1=' + text)
            self.assertEqual(run.code, OK, run)
            self.assertNotEqual(run.result['predicted_digest'], whole.result['predicted_digest'])

    def test_bad_ones(self):
        for text in ('0', '-0', '0.0', '1e39', '-1e39', '1e-50', 'nan', 'inf', '-inf', '0x1', '',
                     ' 1', '1 ', '1,5', '1f', 'one', '1e', '--1', '1e400'):
            with self.subTest(text):
                run = self.apply('--strength', 'dense.adp1=' + text)
                self.assert_refused(run, USAGE, 'usage_error')
                self.assertIsNone(run.result)

    def test_every_bad_one_is_reported(self):
        run = self.apply('--strength', 'dense.adp1=x', '--strength', 'none.adp1=1',
                         '--strength', 'nothing', '--rounding', 'up', '--min-survival', 'half')
        self.assert_refused(run, USAGE, *['usage_error'] * 5)

    def test_the_name_is_the_file_name_up_to_the_last_equals_sign(self):
        os.mkdir(self.path('sub'))
        self.take(vector('adapters', 'dense.adp1'), 'sub/a=b.adp1')
        run = self.run_json('apply', 'base.slm', 'sub/a=b.adp1', '--dry-run', '--strength',
                            'a=b.adp1=-1')
        self.assertEqual(run.code, OK, run)
        for name in ('sub/a=b.adp1', 'a=b', 'b.adp1', '', 'A=B.adp1'):
            run = self.run_json('apply', 'base.slm', 'sub/a=b.adp1', '--dry-run', '--strength',
                                name + '=2')
            self.assert_refused(run, USAGE, 'usage_error')
            self.assertIn('a=b.adp1', run.document['findings'][0]['message'])

    def test_ambiguous_and_repeated_names(self):
        os.mkdir(self.path('sub'))
        self.take(vector('adapters', 'dense.adp1'), 'sub/dense.adp1')
        run = self.run_json('apply', 'base.slm', 'dense.adp1', 'sub/dense.adp1', '--dry-run',
                            '--strength', 'dense.adp1=2')
        self.assert_refused(run, USAGE, 'usage_error')
        run = self.apply('--strength', 'dense.adp1=2', '--strength', 'dense.adp1=2')
        self.assert_refused(run, USAGE, 'usage_error')

    def test_a_strength_does_not_swallow_the_stack(self):
        run = self.run_json('apply', '--strength', 'dense.adp1=1', 'base.slm', 'dense.adp1',
                            '--dry-run')
        self.assertEqual(run.code, OK, run)


class Policies(support.Case):
    def setUp(self):
        super().setUp()
        self.take(vector('models', 'base_q8_0.slm'), 'base.slm')
        self.take(vector('adapters', 'zero.adp1'))
        self.take(vector('adapters', 'dense.adp1'))

    def test_no_effect(self):
        run = self.run_json('apply', 'base.slm', 'zero.adp1')
        self.assert_refused(run, POLICY, 'zero_effect')
        self.assertIsNone(run.result)
        self.assertNotIn('base.adapted.slm', self.names())
        run = self.run_json('apply', 'base.slm', 'zero.adp1', '--dry-run')
        self.assert_refused(run, POLICY, 'zero_effect')
        run = self.run_json('apply', 'base.slm', 'zero.adp1', '--allow-no-effect')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['zero_effect'])
        self.assertIs(run.result['zero_effect'], True)
        self.assertEqual(read(self.path('base.adapted.slm')), read(self.path('base.slm')))

    def test_least_survival(self):
        kept = self.run_json('apply', 'base.slm', 'dense.adp1', '--dry-run').result['kept']
        for least, code in ((kept, OK), (math.nextafter(kept, 2), POLICY), (-1, OK), (5, POLICY)):
            run = self.run_json('apply', 'base.slm', 'dense.adp1', '-o', 'out', '--force',
                                '--min-survival', repr(least))
            self.assertEqual(run.code, code, (least, run))
            self.assertEqual(run.codes(), [] if code == OK else ['survival_below_threshold'])
        os.remove(self.path('out'))
        self.run_json('apply', 'base.slm', 'dense.adp1', '-o', 'out', '--min-survival', '5')
        self.assertNotIn('out', self.names())

    def test_bad_numbers(self):
        for text in ('nan', 'inf', '-inf', '', '1e999', '0x1', ' 1', '1 ', 'half', '1,5'):
            run = self.run_json('apply', 'base.slm', 'dense.adp1', '--min-survival', text)
            self.assert_refused(run, USAGE, 'usage_error')
        self.assertNotIn('base.adapted.slm', self.names())

    def test_bad_roundings(self):
        for text in ('', 'up', 'nearest:0', 'adaptive', 'adaptive:', 'adaptive:-1', 'adaptive:x',
                     'stochastic:18446744073709551616', 'Nearest', ' nearest', 'adaptive:0x1'):
            run = self.run_json('apply', 'base.slm', 'dense.adp1', '--rounding', text)
            self.assert_refused(run, USAGE, 'usage_error')
        run = self.run_json('apply', 'base.slm', 'dense.adp1', '--rounding',
                            'stochastic:18446744073709551615')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.result['rounding'], 'stochastic:18446744073709551615')

    def test_a_change_that_rounding_swallows_is_pointed_out(self):
        arguments = ['apply', data('union.q8_0.slm'), data('whale-full.adp1'), '--dry-run',
                     '--strength', 'whale-full.adp1=0.01']
        run = self.run_tool(*arguments, '--rounding', 'nearest')
        self.assertEqual(run.code, OK, run)
        self.assertLess(self.run_json(*arguments, '--rounding', 'nearest').result['kept'], 0.5)
        for way_out in ('--rounding adaptive:0', '--output-dtype q8_0 or f32', 'beside the model'):
            self.assertIn(way_out, ' '.join(run.err.split()))

    def test_promotion(self):
        # A weak adapter, of which nearest rounding on q4_0 leaves next to nothing.
        arguments = ['apply', data('union.q4_0.slm'), data('whale-lora.alr1'), '--strength',
                     'whale-lora.alr1=0.1', '--rounding', 'nearest']
        self.assertLess(self.run_json(*arguments, '--dry-run').result['kept'], 0.5)
        before = self.run_json('inspect', data('union.q4_0.slm')).result['tensors']
        # A whale of 28 matrices: their bytes by hand, scales included.
        for dtype, matrix in (('q8_0', lambda rows, cols: rows * cols + 4 * rows),
                              ('f32', lambda rows, cols: 4 * rows * cols)):
            outputs = []
            for threads in ('1', '2'):
                output = '%s.%s' % (dtype, threads)
                run = self.run_json(*arguments, '--output-dtype', dtype, '-o', output, '--threads',
                                    threads, '--receipt', output + '.json', '--undo',
                                    output + '.undo')
                self.assertEqual(run.code, OK, run)
                outputs.append(read(self.path(output)))
            self.assertEqual(outputs[0], outputs[1])
            dry = self.run_json(*arguments, '--output-dtype', dtype, '--dry-run').result
            self.assertEqual(dry['predicted_digest'], run.result['output']['digest'])
            self.assertAlmostEqual(run.result['kept'], 1, delta=0.001 if dtype == 'f32' else 0.1)
            self.assertEqual(json.loads(read(self.path(output + '.json')))['output_dtype'], dtype)
            after = self.run_json('inspect', output).result['tensors']
            named = {t['name'] for t in run.result['tensors']}
            for old, new in zip(sorted(before, key=lambda t: t['name']),
                                sorted(after, key=lambda t: t['name'])):
                promoted = new['name'] in named
                self.assertEqual(new['dtype'], dtype if promoted else 'q4_0')
                self.assertEqual(new['bytes'],
                                 matrix(*new['dims']) if promoted else old['bytes'])
            self.assertEqual(self.run_json('validate', output).code, OK)
            self.take(data('union.q4_0.slm'))
            self.take(data('whale-lora.alr1'))
            self.assertEqual(self.run_json('replay', output + '.json').code, OK)
            back = self.run_json('revert', output, '--undo', output + '.undo', '-o', 'b', '--force')
            self.assertEqual(back.code, OK, back)
            self.assertEqual(read(self.path('b')), read(data('union.q4_0.slm')))

    def test_nothing_is_demoted(self):
        for dtype in ('q8_0', 'keep'):
            run = self.run_json('apply', data('union.q8_0.slm'), data('whale-lora.alr1'), '-o', dtype,
                                '--output-dtype', dtype)
            self.assertEqual(run.code, OK, run)
        self.assertEqual(read(self.path('q8_0')), read(self.path('keep')))
        for text in ('q4_0', 'F32', '', 'f16'):
            run = self.run_json('apply', data('union.q8_0.slm'), data('whale-lora.alr1'), '-o', 'x',
                                '--output-dtype', text)
            self.assert_refused(run, USAGE, 'usage_error')

    def test_more_noise_than_change_is_pointed_out(self):
        # Adaptive rounding keeps the change on average, but each weight moves by a whole step.
        arguments = ['apply', data('union.q8_0.slm'), data('whale-full.adp1'), '--dry-run']
        weak = self.run_json(*arguments, '--strength', 'whale-full.adp1=0.01')
        self.assertEqual(weak.code, OK, weak)
        self.assertGreater(weak.result['kept'], 0.5)
        self.assertEqual(weak.codes('warning'), ['survival_below_threshold'])
        self.assertIn('dB', weak.document['findings'][0]['message'])
        self.assertEqual(self.run_json(*arguments).codes(), [])


class Inputs(support.Case):
    """Wrong inputs; none of them leaves an output."""

    def setUp(self):
        super().setUp()
        self.take(vector('models', 'base_f32.slm'), 'base.slm')
        self.take(vector('adapters', 'dense.adp1'))

    def tearDown(self):
        self.assertFalse([n for n in self.names() if 'adapted' in n or 'trlm-' in n])

    def test_another_model(self):
        for model in ('gqa_f32.slm', 'tied_f32.slm', 'bpe_f32.slm'):
            self.take(vector('models', model))
            run = self.run_json('apply', model, 'dense.adp1')
            self.assertEqual(run.code, INCOMPATIBLE)
            self.assertIn('layout_differs', run.codes())
            self.assertEqual({f['file'] for f in run.document['findings']}, {'dense.adp1'})
            self.assertIsNone(run.result)

    def test_swapped_files(self):
        run = self.run_json('apply', 'dense.adp1', 'base.slm')
        self.assert_refused(run, INVALID, 'bad_magic', 'bad_magic')
        self.assertEqual([f['file'] for f in run.document['findings']], ['dense.adp1', 'base.slm'])
        self.assertIn('the model comes first', run.document['findings'][0]['message'])

    def test_values_that_overflow_on_fusing(self):
        self.take(vector('adapters', 'huge.adp1'), 'a.adp1')
        self.take(vector('adapters', 'huge.adp1'), 'b.adp1')
        run = self.run_json('apply', 'base.slm', 'a.adp1', 'b.adp1')
        self.assert_refused(run, INCOMPATIBLE, 'fused_non_finite')
        finding = run.document['findings'][0]
        self.assertTrue(finding['tensor'])
        self.assertIn('element', finding)
        run = self.run_json('apply', 'base.slm', 'a.adp1', 'b.adp1', '--dry-run')
        self.assert_refused(run, INCOMPATIBLE, 'fused_non_finite')

    def test_nan_and_inf_in_a_package(self):
        for name, case in support.expected()['invalid'].items():
            if case['code'] != 'non_finite':
                continue
            with self.subTest(name):
                package = os.path.basename(name)
                if name.endswith('.slm'):
                    run = self.run_json('apply', vector(name), 'dense.adp1', '-o', 'adapted')
                else:
                    run = self.run_json('apply', 'base.slm', vector(name))
                self.assertIn('non_finite', run.codes(), package)
                self.assertEqual(run.code, case['exit'], run)

    def test_all_inputs_are_read_even_if_one_fails(self):
        self.take(vector('invalid', 'adp_bitflip.adp1'), 'flipped.adp1')
        self.take(vector('adapters', 'gqa_sparse.asp1'), 'other.asp1')
        run = self.run_json('apply', 'base.slm', 'none.adp1', 'flipped.adp1', 'other.asp1')
        self.assertEqual(run.code, DRIFT)
        found = {(f['file'], f['code']) for f in run.document['findings']}
        self.assertLessEqual({('none.adp1', 'file_missing'), ('flipped.adp1', 'checksum_mismatch'),
                              ('other.asp1', 'layout_differs')}, found)
        run = self.run_json('apply', 'none.slm', 'none.adp1', 'flipped.adp1')
        self.assertLessEqual({'file_missing', 'checksum_mismatch'}, set(run.codes()))
        self.assertEqual(run.codes().count('file_missing'), 2)

    def test_folders(self):
        os.mkdir(self.path('empty'))
        self.assert_refused(self.run_json('apply', 'base.slm', 'empty'), CANNOT_CHECK,
                            'file_missing')
        self.assert_refused(self.run_json('apply', 'empty', 'dense.adp1'), CANNOT_CHECK,
                            'file_unreadable')
        self.assert_refused(self.run_json('apply', 'base.slm', 'empty', 'dense.adp1'), USAGE,
                            'usage_error')
        self.assert_refused(self.run_json('apply', 'base.slm', 'empty', 'empty'), USAGE,
                            'usage_error', 'usage_error')

    def test_a_family_receipt_is_not_overlooked(self):
        os.mkdir(self.path('family'))
        self.take(vector('adapters', 'dense.adp1'), 'family/a.adp1')
        os.symlink('nowhere', self.path('family/family.receipt.json'))
        run = self.run_json('apply', 'base.slm', 'family')
        self.assert_refused(run, INVALID, 'path_escape')
        self.assertEqual(run.document['findings'][0]['file'], 'family/family.receipt.json')
        self.assertFalse(os.path.exists(self.path('base.adapted.slm')))

    def test_what_is_no_regular_file(self):
        os.mkfifo(self.path('pipe'))
        for arguments in (['pipe', 'dense.adp1'], ['base.slm', 'pipe'],
                          ['/dev/zero', 'dense.adp1']):
            run = self.run_json('apply', *arguments, '-o', 'adapted')
            self.assert_refused(run, CANNOT_CHECK, 'file_unreadable')

    @unittest.skipIf(os.geteuid() == 0, 'root reads every file')
    def test_files_without_permission(self):
        os.chmod(self.path('dense.adp1'), 0)
        self.assert_refused(self.run_json('apply', 'base.slm', 'dense.adp1'), CANNOT_CHECK,
                            'file_unreadable')

    def test_too_many_adapters(self):
        run = self.run_json('apply', 'base.slm', *['dense.adp1'] * 65)
        self.assert_refused(run, INVALID, 'limit_exceeded')
        run = self.run_json('apply', 'base.slm', *['dense.adp1'] * 64, '--dry-run')
        self.assertEqual(run.code, OK, run)


class Places(support.Case):
    """Where an output may not go; nothing is touched there."""

    def setUp(self):
        super().setUp()
        self.take(vector('models', 'base_f32.slm'), 'base.slm')
        self.take(vector('adapters', 'dense.adp1'))
        self.model = sha256(self.path('base.slm'))
        self.package = sha256(self.path('dense.adp1'))

    def refused(self, output, *arguments, exit_code=USAGE, code='usage_error'):
        before = self.names()
        run = self.run_json('apply', 'base.slm', 'dense.adp1', '-o', output, *arguments)
        self.assert_refused(run, exit_code, code)
        self.assertEqual(self.names(), before)
        self.assertEqual(sha256(self.path('base.slm')), self.model)
        self.assertEqual(sha256(self.path('dense.adp1')), self.package)
        return run

    def test_the_model_itself(self):
        os.symlink('base.slm', self.path('link.slm'))
        os.link(self.path('base.slm'), self.path('hard.slm'))
        os.symlink('.', self.path('here'))
        for output in ('base.slm', './base.slm', self.path('base.slm'), 'link.slm', 'hard.slm',
                       'here/base.slm'):
            with self.subTest(output):
                self.refused(output)
                self.refused(output, '--force')
                self.refused(output, '--dry-run')

    def test_a_package(self):
        os.symlink('dense.adp1', self.path('link.adp1'))
        for output in ('dense.adp1', 'link.adp1'):
            self.refused(output)
            self.refused(output, '--force')

    def test_a_package_of_a_folder(self):
        os.mkdir(self.path('stack'))
        self.take(vector('adapters', 'dense.adp1'), 'stack/a.adp1')
        run = self.run_json('apply', 'base.slm', 'stack', '-o', 'stack/a.adp1', '--force')
        self.assert_refused(run, USAGE, 'usage_error')

    def test_a_file_that_exists(self):
        write(self.path('out'), b'mine')
        self.refused('out')
        self.assertEqual(read(self.path('out')), b'mine')
        os.symlink('nothing', self.path('dangling'))
        self.refused('dangling')
        run = self.run_json('apply', 'base.slm', 'dense.adp1', '-o', 'out', '--force')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(sha256(self.path('out')), run.result['output']['digest'])

    def test_the_default_output_exists(self):
        write(self.path('base.adapted.slm'), b'mine')
        self.assert_refused(self.run_json('apply', 'base.slm', 'dense.adp1'), USAGE, 'usage_error')
        self.assertEqual(read(self.path('base.adapted.slm')), b'mine')

    def test_folders_and_devices(self):
        os.mkdir(self.path('folder'))
        os.mkfifo(self.path('pipe'))
        for output in ('folder', 'folder/', '.', '..', '', 'folder/../', 'pipe', '/dev/null'):
            with self.subTest(output):
                self.refused(output, '--force')
        self.assertTrue(os.path.exists('/dev/null'))

    def test_a_folder_that_is_missing(self):
        self.refused('none/out', exit_code=CANNOT_CHECK, code='output_failed')
        self.refused('base.slm/out', exit_code=CANNOT_CHECK, code='output_failed')

    @unittest.skipIf(os.geteuid() == 0, 'root writes everywhere')
    def test_a_folder_that_may_not_be_written(self):
        os.mkdir(self.path('locked'), 0o500)
        self.refused('locked/out', exit_code=CANNOT_CHECK, code='output_failed')

    def test_a_name_that_is_too_long(self):
        self.refused('n' * 256, exit_code=CANNOT_CHECK, code='output_failed')
        run = self.run_json('apply', 'base.slm', 'dense.adp1', '-o', 'n' * 255)
        self.assertEqual(run.code, OK, run)

    def test_names_that_look_like_options(self):
        self.take(vector('models', 'base_f32.slm'), '--model.slm')
        run = self.run_json('apply', '-o', 'out', '--json', '--', '--model.slm', 'dense.adp1')
        # run_json adds --json at the end, behind the two dashes: a file of the stack.
        self.assertEqual(run.code, CANNOT_CHECK)
        self.assertEqual(run.document['findings'][0]['file'], '--json')
        run = self.run_tool('apply', '-o', 'out', '--', '--model.slm', 'dense.adp1')
        self.assertEqual(run.code, OK, run)


class Receipts(support.Case):
    def setUp(self):
        super().setUp()
        self.take(vector('models', 'base_q8_0.slm'), 'base.slm')
        os.mkdir(self.path('adapters'))
        self.take(vector('adapters', 'dense.adp1'), 'adapters/a.adp1')
        self.take(vector('adapters', 'lowrank.alr1'), 'adapters/b.alr1')
        self.arguments = ['apply', 'base.slm', 'adapters/a.adp1', 'adapters/b.alr1', '--strength',
                          'b.alr1=0.1', '--rounding', 'stochastic:7']

    def reference(self, name, path):
        return {'path': name, 'bytes': os.path.getsize(path), 'digest': sha256(path)}

    def test_content(self):
        run = self.run_json(*self.arguments, '-o', 'out.slm', '--receipt', 'r.json')
        self.assertEqual(run.code, OK, run)
        text = read(self.path('r.json')).decode()
        receipt = json.loads(text)
        self.assertEqual(list(receipt), ['schema', 'tool', 'arithmetic', 'rounding',
                                         'output_dtype', 'base', 'stack', 'state', 'output',
                                         'tensors'])
        self.assertEqual(receipt['schema'], 'trlm/apply-receipt@1')
        self.assertEqual(receipt['arithmetic'], 'trlm-f32-unfused@1')
        self.assertEqual(receipt['rounding'], 'stochastic:7')
        self.assertEqual(receipt['output_dtype'], 'keep')
        self.assertEqual(receipt['base'], self.reference('base.slm', self.path('base.slm')))
        self.assertEqual(receipt['output'], self.reference('out.slm', self.path('out.slm')))
        self.assertEqual(receipt['output']['digest'], run.result['output']['digest'])
        self.assertEqual(receipt['state'], run.result['state'])
        checksums = [self.run_json('inspect', 'adapters/' + n).result['internal_checksum']
                     for n in ('a.adp1', 'b.alr1')]
        self.assertEqual(receipt['stack'], [
            {'package': self.reference('adapters/a.adp1', self.path('adapters/a.adp1')),
             'format': 'ADP1', 'internal_checksum': checksums[0], 'strength': 1},
            {'package': self.reference('adapters/b.alr1', self.path('adapters/b.alr1')),
             'format': 'ALR1', 'internal_checksum': checksums[1], 'strength': 0.1}])
        self.assertEqual(len(receipt['tensors']), len(run.result['tensors']))
        for tensor, reported in zip(receipt['tensors'], run.result['tensors']):
            self.assertEqual(list(tensor), TENSOR_KEYS)
            for key in TENSOR_KEYS:
                if key == 'snr_db' and reported[key] is not None:
                    self.assertAlmostEqual(tensor[key], reported[key], delta=0.00051)
                    self.assertEqual(tensor[key], round(tensor[key], 3))
                else:
                    self.assertEqual(tensor[key], reported[key])
        self.assertNotIn(self.folder, text)
        self.assertTrue(text.endswith('}\n'))

    def test_the_same_inputs_give_the_same_bytes(self):
        for folder in ('one', 'two'):
            os.mkdir(self.path(folder))
            run = self.run_json(*self.arguments, '-o', folder + '/out.slm', '--receipt',
                                self.path(folder + '/r.json'), '--threads', str(len(folder)))
            self.assertEqual(run.code, OK, run)
        self.assertEqual(read(self.path('one/r.json')), read(self.path('two/r.json')))
        receipt = json.loads(read(self.path('one/r.json')))
        # What does not lie beneath the receipt's folder is named by its bare name.
        self.assertEqual(receipt['base']['path'], 'base.slm')
        self.assertEqual(receipt['output']['path'], 'out.slm')
        self.assertEqual(receipt['stack'][0]['package']['path'], 'a.adp1')

    def refused(self, *arguments, exit_code=USAGE, code='usage_error'):
        before = self.names()
        run = self.run_json(*self.arguments, '-o', 'out.slm', *arguments)
        self.assert_refused(run, exit_code, code)
        self.assertEqual(self.names(), before)
        return run

    def test_where_a_receipt_may_not_go(self):
        os.mkdir(self.path('folder'))
        os.symlink('base.slm', self.path('link'))
        write(self.path('old.json'), b'{}')
        for receipt in ('base.slm', 'link', 'adapters/a.adp1', 'out.slm', './out.slm',
                        'adapters/../out.slm', 'folder', ''):
            with self.subTest(receipt):
                self.refused('--receipt', receipt)
                self.refused('--receipt', receipt, '--force')
        self.refused('--receipt', 'old.json')
        self.refused('--receipt', 'none/r.json', exit_code=CANNOT_CHECK, code='output_failed')
        self.refused('--receipt', 'r.json', '--dry-run')
        run = self.run_json(*self.arguments, '-o', 'out.slm', '--receipt', 'old.json', '--force')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(json.loads(read(self.path('old.json')))['output']['path'], 'out.slm')

    def test_names_that_a_receipt_cannot_hold(self):
        for name in ('my model.slm', 'caf\u00e9.slm', 'n' * 101, 'a:b.slm'):
            self.take(vector('models', 'base_q8_0.slm'), name)
            run = self.run_json('apply', name, 'adapters/a.adp1', '-o', 'out.slm', '--receipt',
                                'r.json')
            self.assert_refused(run, USAGE, 'usage_error')
            self.assertEqual(run.document['findings'][0]['file'], name)
            run = self.run_json('apply', name, 'adapters/a.adp1', '-o', 'out.slm')
            self.assertEqual(run.code, OK, run)  # it is fine without a receipt
            os.remove(self.path('out.slm'))
        self.arguments[1] = 'base.slm'
        self.assert_refused(self.run_json(*self.arguments, '-o', 'o u t', '--receipt', 'r.json'),
                            USAGE, 'usage_error')
        self.assertNotIn('o u t', self.names())

    def test_two_files_of_one_name(self):
        for folder in ('x', 'y', 'z'):
            os.mkdir(self.path(folder))
        self.take(vector('adapters', 'dense.adp1'), 'x/p.adp1')
        self.take(vector('adapters', 'sparse.asp1'), 'y/p.adp1')
        self.take(vector('adapters', 'sparse.asp1'), 'y/P.adp1')
        for other in ('y/p.adp1', 'y/P.adp1'):
            run = self.run_json('apply', 'base.slm', 'x/p.adp1', other, '-o', 'z/out.slm',
                                '--receipt', 'z/r.json')
            self.assert_refused(run, USAGE, 'usage_error')
        self.assertEqual(self.names('z'), [])
        run = self.run_json('apply', 'base.slm', 'x/p.adp1', 'y/p.adp1', '-o', 'z/out.slm',
                            '--receipt', 'r.json')
        self.assertEqual(run.code, OK, run)
        # One file that stands twice in the stack is one name.
        run = self.run_json('apply', 'base.slm', 'x/p.adp1', 'x/p.adp1', '-o', 'z/twice.slm',
                            '--receipt', 'z/r.json')
        self.assertEqual(run.code, OK, run)

    def test_no_receipt_of_an_application_that_failed(self):
        self.take(vector('adapters', 'zero.adp1'), 'adapters/zero.adp1')
        run = self.run_json('apply', 'base.slm', 'adapters/zero.adp1', '-o', 'out.slm',
                            '--receipt', 'r.json')
        self.assert_refused(run, POLICY, 'zero_effect')
        self.assertEqual(self.names(), ['adapters', 'base.slm'])


if __name__ == '__main__':
    support.main()
