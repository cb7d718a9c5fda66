"""trlm-adapt replay: the same again, to the last bit, or the difference by name."""
import hashlib
import os
import shutil

import bundles
import support
from bundles import LORA_OUTPUT, flip_bit, read_json
from support import CANNOT_CHECK, DRIFT, INVALID, OK, POLICY, USAGE, data, read, sha256, write

MODEL, LORA, TOP5 = 'union.q8_0.slm', 'whale-lora.alr1', 'whale-top5.asp1'
RECEIPT = 'whale.apply-receipt.json'
OUTPUT = 'whale.slm'


class Case(bundles.Case):
    def apply(self, model, *stack, folder='.', options=()):
        """Applies and leaves a receipt; its name."""
        receipt = os.path.normpath(os.path.join(folder, RECEIPT))
        run = self.run_tool('apply', model, *stack, '-o', os.path.join(folder, OUTPUT), '--receipt',
                            receipt, '--quiet', *options)
        self.assertEqual(run.code, OK, run)
        return receipt

    def apply_here(self):
        return self.apply(self.take(data(MODEL)), self.take(data(LORA)))


class Same(Case):
    def test_the_same_again(self):
        receipt = self.apply_here()
        before = bundles.contents(self.folder)
        run = self.run_json('replay', receipt)
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.document['findings'], [])
        self.assertEqual(list(run.result), ['receipt', 'same', 'state', 'output'])
        self.assertEqual(run.result['receipt'], receipt)
        self.assertIs(run.result['same'], True)
        self.assertEqual(run.result['state'], read_json(self.path(receipt))['state'])
        self.assertEqual(run.result['output'], {'path': OUTPUT,
                                                'bytes': os.path.getsize(data(MODEL)),
                                                'digest': LORA_OUTPUT})
        self.assertEqual(bundles.contents(self.folder), before)

    def test_a_stack_with_strengths_and_another_rounding(self):
        receipt = self.apply(self.take(data(MODEL)), self.take(data(LORA)), self.take(data(TOP5)),
                             options=('--strength', LORA + '=0.1', '--strength', TOP5 + '=-0.7',
                                      '--rounding', 'stochastic:18446744073709551615'))
        self.assertEqual(self.run_json('replay', receipt).code, OK)

    def test_every_target_and_number_of_threads(self):
        receipt = self.apply_here()
        first = self.run_tool('replay', receipt, '--json')
        targets = self.run_json('version').result['simd']['available']
        runs = [self.run_tool('replay', receipt, '--json', '--threads', n) for n in ('1', '3')]
        runs += [self.run_tool('replay', receipt, '--json', env={'TRLM_ADAPT_TARGET': target})
                 for target in targets]
        for run in runs:
            self.assertEqual((run.code, run.out), (OK, first.out))

    def test_text(self):
        receipt = self.apply_here()
        run = self.run_tool('replay', receipt)
        self.assertEqual((run.code, run.err), (OK, ''), run)
        lines = run.out.splitlines()
        # A digest is not broken, however wide the line is.
        self.assert_narrow('\n'.join(line for line in lines if 'sha256' not in line))
        self.assertEqual(lines[0], 'Replayed ' + receipt)
        self.assertIn(LORA_OUTPUT, run.out)
        self.assertEqual(lines[-1], 'the same, to the last bit')
        self.assertEqual(self.run_tool('replay', receipt, '--quiet').out, '')


class WhereFilesAre(Case):
    def test_a_receipt_moves_with_its_files(self):
        os.makedirs(self.path('a/deep'))
        receipt = self.apply(self.take(data(MODEL), 'a/deep/' + MODEL),
                             self.take(data(LORA), 'a/' + LORA), folder='a')
        self.assertEqual(read_json(self.path(receipt))['base']['path'], 'deep/' + MODEL)
        os.rename(self.path('a'), self.path('b'))
        self.assertEqual(self.run_json('replay', 'b/' + RECEIPT).code, OK)

    def test_files_elsewhere_are_found_beneath_the_root(self):
        self.take_bundle()
        os.mkdir(self.path('out'))
        receipt = self.apply('bundle/models/' + MODEL, 'bundle/adapters/' + LORA, folder='out')
        self.assertEqual(read_json(self.path(receipt))['base']['path'], MODEL)
        run = self.run_json('replay', receipt)
        self.assert_refused(run, CANNOT_CHECK, 'file_missing', 'file_missing')
        self.assertIsNone(run.result)
        for root in ('bundle', '.'):
            run = self.run_json('replay', receipt, '--root', root)
            self.assertEqual(run.code, OK, run)
        self.assert_refused(self.run_json('replay', receipt, '--root', 'nowhere'), CANNOT_CHECK,
                            'file_missing')

    def test_a_path_is_tried_from_the_root(self):
        os.makedirs(self.path('a/models'))
        receipt = self.apply(self.take(data(MODEL), 'a/models/' + MODEL),
                             self.take(data(LORA), 'a/' + LORA), folder='a')
        os.rename(self.path(receipt), self.path(RECEIPT))
        self.assertEqual(self.run_json('replay', RECEIPT, '--root', 'a').code, OK)
        # A path that names a folder is not looked for in others.
        os.mkdir(self.path('c'))
        os.rename(self.path('a'), self.path('c/a'))
        run = self.run_json('replay', RECEIPT, '--root', 'c')
        self.assert_refused(run, CANNOT_CHECK, 'file_missing')
        self.assertEqual(run.document['findings'][0]['file'], 'models/' + MODEL)

    def test_of_several_files_with_the_name_the_right_one_is_taken(self):
        self.take_bundle()
        os.mkdir(self.path('out'))
        receipt = self.apply('bundle/models/' + MODEL, 'bundle/adapters/' + LORA, folder='out')
        shutil.copytree(self.path('bundle/adapters'), self.path('bundle/a-copy'))
        flip_bit(self.path('bundle/a-copy/' + LORA), 1000)
        self.assertEqual(self.run_json('replay', receipt, '--root', 'bundle').code, OK)
        flip_bit(self.path('bundle/adapters/' + LORA), 1000)
        run = self.run_json('replay', receipt, '--root', 'bundle')
        self.assert_refused(run, DRIFT, 'digest_mismatch')


class Different(Case):
    def setUp(self):
        super().setUp()
        self.receipt = self.apply_here()

    def refuse(self, change, exit_code, expected):
        """Replays a receipt with one change: exactly these codes and pointers."""
        self.take(self.path(self.receipt), 'edited.json')
        self.edit('edited.json', change)
        run = self.run_json('replay', 'edited.json')
        self.assertEqual(run.code, exit_code, run)
        self.assertEqual([(f['code'], f.get('pointer')) for f in run.document['findings']],
                         expected)
        return run

    def test_an_edited_result(self):
        zero = 'xxh3-64:' + '0' * 16
        run = self.refuse(lambda r: r.update(state=zero), DRIFT, [('replay_differs', '/state')])
        self.assertIs(run.result['same'], False)
        self.assertEqual(run.result['state'], read_json(self.path(self.receipt))['state'])
        self.assertEqual(run.document['findings'][0]['file'], 'edited.json')
        # The output lies there too, and is not the one that the edited receipt names.
        self.refuse(lambda r: r['output'].update(digest='sha256:' + '0' * 64), DRIFT,
                    [('replay_differs', '/output/digest'), ('digest_mismatch', None)])
        for key in ('kept', 'cosine', 'snr_db', 'max_abs_delta', 'rms_delta'):
            self.refuse(lambda r, key=key: r['tensors'][3].update({key: 0.5}), DRIFT,
                        [('replay_differs', '/tensors/3/' + key)])
        for key in ('elements', 'touched', 'changed'):
            self.refuse(lambda r, key=key: r['tensors'][3].update({key: 5}), DRIFT,
                        [('replay_differs', '/tensors/3/' + key)])
        self.refuse(lambda r: r['tensors'].pop(), DRIFT, [('replay_differs', '/tensors')])

    def test_an_edited_cause_gives_another_result(self):
        self.take(self.path(self.receipt), 'edited.json')
        self.edit('edited.json', lambda r: r['stack'][0].update(strength=0.5))
        run = self.run_json('replay', 'edited.json')
        self.assertEqual(run.code, DRIFT, run)
        self.assertEqual(set(run.codes()), {'replay_differs'})
        pointers = [f['pointer'] for f in run.document['findings']]
        self.assertEqual(pointers[:2], ['/state', '/output/digest'])
        text = self.run_tool('replay', 'edited.json')
        self.assertIn('NOT the same', text.out)
        self.assertIn('[replay_differs]', text.err)

    def test_an_edited_input(self):
        self.refuse(lambda r: r['base'].update(digest='sha256:' + '0' * 64), DRIFT,
                    [('digest_mismatch', None)])
        self.refuse(lambda r: r['base'].update(bytes=1), DRIFT, [('size_mismatch', None)])
        # Nothing is not a model's digest, whatever else the receipt states of it.
        nothing = 'sha256:' + hashlib.sha256(b'').hexdigest()
        self.refuse(lambda r: r['base'].update(bytes=0, digest=nothing), DRIFT,
                    [('size_mismatch', None)])
        self.refuse(lambda r: r['stack'][0].update(internal_checksum='xxh3-64:' + '0' * 16), DRIFT,
                    [('value_drift', '/stack/0/internal_checksum')])
        self.refuse(lambda r: r['stack'][0].update(format='ADP1'), DRIFT,
                    [('value_drift', '/stack/0/format')])

    def test_files_that_changed(self):
        for name in (MODEL, LORA):
            original = read(self.path(name))
            flip_bit(self.path(name), 100_000)
            run = self.run_json('replay', self.receipt)
            self.assert_refused(run, DRIFT, 'digest_mismatch')
            finding = run.document['findings'][0]
            self.assertEqual([finding['file'], finding['actual']], [name, sha256(self.path(name))])
            write(self.path(name), original)

    def test_the_output_need_not_be_there_but_not_another(self):
        flip_bit(self.path(OUTPUT), 100_000)
        run = self.run_json('replay', self.receipt)
        self.assert_refused(run, DRIFT, 'digest_mismatch')
        self.assertEqual(run.document['findings'][0]['file'], OUTPUT)
        self.assertIs(run.result['same'], False)
        os.remove(self.path(OUTPUT))
        self.assertEqual(self.run_json('replay', self.receipt).code, OK)

    def test_another_arithmetic_cannot_be_checked(self):
        self.refuse(lambda r: r.update(arithmetic='trlm-f32-fused@1'), CANNOT_CHECK,
                    [('unsupported_version', '/arithmetic')])
        # Another program with the same arithmetic has to give the same.
        self.refuse(lambda r: r.update(tool='another 7'), OK, [])

    def test_strict_reading(self):
        self.refuse(lambda r: r.pop('rounding'), INVALID, [('missing_key', '/rounding')])
        self.refuse(lambda r: r.update(when='now'), INVALID, [('unknown_key', '/when')])
        self.refuse(lambda r: r['base'].update(path='../' + MODEL), INVALID,
                    [('path_escape', '/base/path')])
        self.refuse(lambda r: r['base'].update(bytes=1.5), INVALID, [('bad_value', '/base/bytes')])
        self.refuse(lambda r: r.update(schema='trlm/apply-receipt@2'), CANNOT_CHECK,
                    [('schema_unsupported', '/schema')])
        write(self.path('twice.json'), read(self.path(self.receipt)).replace(
            b'"state":', b'"state": "xxh3-64:0000000000000000",\n  "state":', 1))
        self.assert_refused(self.run_json('replay', 'twice.json'), INVALID, 'duplicate_key')

    def test_weak_digests_need_leave(self):
        self.edit(self.receipt, lambda r: r['base'].update(digest='xxh3-128:' + '0' * 32))
        run = self.run_json('replay', self.receipt)
        self.assert_refused(run, POLICY, 'weak_digest')
        run = self.run_json('replay', self.receipt, '--allow-weak-digests')
        self.assert_refused(run, DRIFT, 'digest_mismatch')
        self.assertEqual(run.codes('warning'), ['weak_digest'])


class Usage(Case):
    def test_wrong_command_lines(self):
        for arguments in ([], ['a', 'b'], ['a', '--output', 'b'], ['a', '--threads', 'x']):
            run = self.run_json('replay', *arguments)
            self.assert_refused(run, USAGE, 'usage_error')
            self.assertEqual(run.document['command'], 'replay')
            self.assertIsNone(run.result)

    def test_what_is_no_receipt(self):
        self.assert_refused(self.run_json('replay', 'nothing.json'), CANNOT_CHECK, 'file_missing')
        self.assert_refused(self.run_json('replay', data(MODEL)), INVALID, 'bad_json')


if __name__ == '__main__':
    support.main()
