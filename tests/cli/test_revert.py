"""trlm-adapt apply --undo and revert: the base comes back, bit for bit, or nothing is written."""
import hashlib
import itertools
import os
import random
import struct
import sys
import unittest

import support
from support import (CANNOT_CHECK, DRIFT, INVALID, OK, POLICY, USAGE, data, foreign_model, read,
                     sha256, vector, write)

sys.path.insert(0, os.path.join(support.ROOT, 'tests', 'support'))
import undo_file  # noqa: E402

CHECKSUM = slice(152, 160)


def without_checksum(undo):
    return undo[:152] + undo[160:]


class Reverting(support.Case):
    """The base comes back from every stack and storage, by the tool and by a second reader."""

    def apply(self, base, *stack, undo='undo', out='out.slm', code=OK):
        run = self.run_json('apply', base, *stack, '-o', out, '--undo', undo)
        self.assertEqual(run.code, code, run)
        return run

    def check_round_trip(self, base, *stack):
        """Applies, compares the undo file with one made by the second implementation, reverts."""
        run = self.apply(base, *stack, '--force')
        before, after = read(self.path(base)), read(self.path('out.slm'))
        undo = read(self.path('undo'))
        self.assertEqual(without_checksum(undo), without_checksum(undo_file.make(before, after)))
        self.assertNotEqual(undo[CHECKSUM], bytes(8))
        self.assertEqual(undo_file.restore(undo, after), before)
        runs = list(undo_file.runs(before, after))
        self.assertEqual(run.result['undo'], {
            'path': 'undo', 'bytes': len(undo), 'digest': sha256(self.path('undo')),
            'runs': len(runs), 'restored_bytes': sum(length for _, length in runs)})
        reverted = self.run_json('revert', 'out.slm', '--undo', 'undo', '-o', 'back', '--force')
        self.assertEqual(reverted.code, OK, reverted)
        self.assertEqual(read(self.path('back')), before)
        digest = sha256(self.path(base))
        self.assertEqual(reverted.result, {
            'output': {'path': 'back', 'bytes': len(before), 'digest': digest},
            'base_digest': digest, 'runs': len(runs),
            'restored_bytes': sum(length for _, length in runs)})
        self.assertEqual(list(reverted.result), ['output', 'base_digest', 'runs', 'restored_bytes'])
        return undo

    def test_every_kind_of_package_on_every_dtype(self):
        packages = [self.take(vector('adapters', name))
                    for name in ('dense.adp1', 'sparse.asp1', 'mask.asp1', 'lowrank.alr1')]
        for dtype in ('f32', 'q8_0', 'q4_0'):
            base = self.take(vector('models', 'base_%s.slm' % dtype))
            for package in packages:
                with self.subTest(dtype=dtype, package=package):
                    self.check_round_trip(base, package)

    def test_a_stack_is_undone_as_a_whole(self):
        stack = [self.take(vector('adapters', name))
                 for name in ('dense.adp1', 'sparse.asp1', 'lowrank.alr1', 'mask.asp1')]
        for dtype, how in itertools.product(('f32', 'q8_0', 'q4_0'), ('nearest', 'stochastic:7')):
            base = self.take(vector('models', 'base_%s.slm' % dtype))
            with self.subTest(dtype=dtype, rounding=how):
                self.check_round_trip(base, *stack, '--rounding', how, '--strength',
                                      'lowrank.alr1=-0.5')

    def test_the_bundled_model(self):
        base = self.take(data('union.q8_0.slm'))
        stack = [self.take(data(name))
                 for name in ('whale-full.adp1', 'whale-lora.alr1', 'whale-top5.asp1')]
        for package in stack:
            self.check_round_trip(base, package)
        self.check_round_trip(base, *stack)

    def test_applications_one_after_the_other_are_undone_in_reverse_order(self):
        base = self.take(vector('models', 'base_q8_0.slm'), 'base.slm')
        first = self.take(vector('adapters', 'dense.adp1'))
        second = self.take(vector('adapters', 'sparse.asp1'))
        self.apply(base, first, out='one', undo='undo1')
        self.apply('one', second, out='two', undo='undo2')
        run = self.run_json('revert', 'two', '--undo', 'undo1', '-o', 'wrong')
        self.assert_refused(run, DRIFT, 'digest_mismatch', 'undo_stale')
        run = self.run_tool('revert', 'two', '--undo', 'undo2', '-o', 'one.again')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(read(self.path('one.again')), read(self.path('one')))
        run = self.run_tool('revert', 'one.again', '--undo', 'undo1', '-o', 'zero')
        self.assertEqual(read(self.path('zero')), read(self.path(base)), run)
        self.assertNotIn('wrong', self.names())

    def test_a_foreign_base_comes_back_as_it_was(self):
        package = self.take(vector('adapters', 'dense.adp1'))
        for dtype in ('f32', 'q4_0'):
            write(self.path('foreign'), foreign_model(read(vector('models', 'base_%s.slm' % dtype))))
            self.check_round_trip('foreign', package, '--accept-foreign-checksum')

    def test_a_base_longer_than_its_output_comes_back(self):
        # A foreign base is written anew, up to a multiple of 64 bytes and no further.
        package = self.take(vector('adapters', 'dense.adp1'))
        content = foreign_model(read(vector('models', 'base_q8_0.slm')))
        write(self.path('longer'), content + bytes(15))
        self.check_round_trip('longer', package, '--accept-foreign-checksum')
        undo = read(self.path('undo'))
        base_length, output_length = struct.unpack_from('<QQ', undo, 16)
        self.assertEqual(base_length, output_length + 15)

    def test_an_application_without_effect_has_an_empty_undo_file(self):
        base = self.take(vector('models', 'base_q8_0.slm'))
        zero = self.take(vector('adapters', 'zero.adp1'))
        run = self.run_json('apply', base, zero, '-o', 'out.slm', '--undo', 'undo')
        self.assert_refused(run, POLICY, 'zero_effect')
        self.assertEqual(self.names(), [base, zero])
        undo = self.check_round_trip(base, zero, '--allow-no-effect')
        self.assertEqual(len(undo), 160)

    def test_the_same_undo_file_with_every_number_of_threads(self):
        base = self.take(data('union.q8_0.slm'))
        package = self.take(data('whale-top5.asp1'))
        undos = set()
        for threads in ('1', '2', '3', '7'):
            self.apply(base, package, '--force', '--threads', threads)
            undos.add(sha256(self.path('undo')))
        self.assertEqual(len(undos), 1)

    def test_sparse_changes_take_little(self):
        # Of each f32 at most 4 bytes, 1 for the length and 2 for the gap, which is below 16,384;
        # few gaps lead from one tensor to another. The model's checksum is one run more.
        model = self.take(vector('models', 'base_f32.slm'))
        for package in ('sparse.asp1', 'mask.asp1'):
            self.take(vector('adapters', package))
            count = sum(entry['count'] for entry in
                        self.run_json('inspect', package).result['entries'])
            self.apply(model, package, '--force')
            self.assertLess(os.path.getsize(self.path('undo')), 160 + 16 + 7 * count + 3)

    def test_changes_of_everything_take_hardly_more_than_the_base(self):
        base = self.take(data('union.q8_0.slm'))
        package = self.take(data('whale-full.adp1'))
        self.apply(base, package)
        self.assertLess(os.path.getsize(self.path('undo')), os.path.getsize(self.path(base)))

    @unittest.skipIf(os.environ.get('TRLM_ADAPT_SANITIZE') == 'thread',
                     'the thread sanitizer keeps four bytes for each byte that is read')
    def test_memory_does_not_grow_with_the_files(self):
        # Zeros from one end to the other, all of them to be turned into something else.
        size, length = 256 << 20, undo_file.LONGEST_RUN
        zeros, ones = hashlib.sha256(), hashlib.sha256()
        run = undo_file.number(0) + undo_file.number(length) + b'\1' * length
        for _ in range(size // length):
            zeros.update(bytes(length))
            ones.update(b'\1' * length)
        total = undo_file.HEADER.size + size // length * len(run)
        with open(self.path('undo'), 'wb') as file:
            # The checksum is wrong, which is seen at the end of reading.
            file.write(undo_file.HEADER.pack(b'UND1', 1, 160, 0, size, size, ones.digest(),
                                             zeros.digest(), size // length, size, total, bytes(32),
                                             1))
            for _ in range(size // length):
                file.write(run)
        write(self.path('zeros'), b'')
        os.truncate(self.path('zeros'), size)
        code, memory = self.peak_memory('revert', 'zeros', '--undo', 'undo', '-o', 'ones')
        self.assertEqual(code, DRIFT)
        self.assertLess(memory, 200 << 20)
        seal = self.run_json('validate', 'undo').document['findings'][0]
        with open(self.path('undo'), 'r+b') as file:
            file.seek(152)
            file.write(struct.pack('<Q', int(seal['actual'].split(':')[1], 16)))
        code, memory = self.peak_memory('revert', 'zeros', '--undo', 'undo', '-o', 'ones')
        self.assertEqual(code, OK)
        self.assertLess(memory, 200 << 20)
        self.assertEqual(sha256(self.path('ones')), 'sha256:' + ones.hexdigest())

    def test_default_output_names(self):
        base = self.take(vector('models', 'base_q8_0.slm'), 'base.slm')
        package = self.take(vector('adapters', 'dense.adp1'))
        run = self.run_json('apply', base, package, '--undo', 'undo')
        self.assertEqual(run.code, OK, run)
        os.rename(self.path('base.adapted.slm'), self.path('plain'))
        for name, output in (('base.adapted.slm', 'base.adapted.reverted.slm'),
                             ('plain', 'plain.reverted')):
            if name != 'plain':
                self.take(self.path('plain'), name)
            run = self.run_json('revert', name, '--undo', 'undo')
            self.assertEqual(run.code, OK, run)
            self.assertEqual(run.result['output']['path'], output)
            self.assertEqual(read(self.path(output)), read(self.path(base)))

    def test_text(self):
        base = self.take(vector('models', 'base_q8_0.slm'), 'base.slm')
        package = self.take(vector('adapters', 'dense.adp1'))
        run = self.run_tool('apply', base, package, '-o', 'out.slm', '--undo', 'undo')
        self.assertRegex(run.out, r'\n  undo file          undo, [\d,]+ bytes')
        run = self.run_tool('revert', 'out.slm', '--undo', 'undo', '-o', 'back')
        self.assertEqual(run.code, OK, run)
        self.assertIn(sha256(self.path(base)), run.out)
        self.assert_narrow(run.out)
        self.assertEqual(run.err, '')
        self.assertEqual(self.run_tool('revert', 'out.slm', '--undo', 'undo', '--quiet').out, '')


class Looking(support.Case):
    """validate and inspect know undo files."""

    def setUp(self):
        super().setUp()
        self.base = self.take(vector('models', 'base_q4_0.slm'), 'base.slm')
        self.package = self.take(vector('adapters', 'sparse.asp1'))
        run = self.run_json('apply', self.base, self.package, '-o', 'out.slm', '--undo', 'undo')
        self.assertEqual(run.code, OK, run)
        self.undo = run.result['undo']

    def test_inspect(self):
        run = self.run_json('inspect', 'undo')
        self.assertEqual(run.code, OK, run)
        checksum = struct.unpack_from('<Q', read(self.path('undo')), 152)[0]
        size = os.path.getsize(self.path(self.base))
        self.assertEqual(run.result, {
            'file': 'undo', 'format': 'UND1', 'bytes': self.undo['bytes'],
            'internal_checksum': 'xxh3-64:%016x' % checksum,
            'base': {'bytes': size, 'digest': sha256(self.path(self.base))},
            'output': {'bytes': size, 'digest': sha256(self.path('out.slm'))},
            'runs': self.undo['runs'], 'restored_bytes': self.undo['restored_bytes']})
        run = self.run_tool('inspect', 'undo')
        self.assertIn(sha256(self.path('out.slm')), run.out)
        self.assert_narrow(run.out)

    def test_validate(self):
        run = self.run_json('validate', 'undo', self.package, '--model', self.base)
        self.assertEqual(run.code, OK, run)
        self.assertEqual([(f['file'], f['format'], f['ok']) for f in run.result['files']],
                         [(self.base, 'SLM1', True), ('undo', 'UND1', True),
                          (self.package, 'ASP1', True)])
        content = bytearray(read(self.path('undo')))
        content[-1] ^= 1
        write(self.path('undo'), content)
        run = self.run_json('validate', 'undo')
        self.assert_refused(run, DRIFT, 'checksum_mismatch')
        self.assertEqual(run.result['files'], [{'file': 'undo', 'format': 'UND1', 'ok': False}])

    def test_other_files_in_its_place(self):
        for arguments in (['revert', 'out.slm', '--undo', self.base],
                          ['revert', 'out.slm', '--undo', self.package],
                          ['apply', 'undo', self.package], ['apply', self.base, 'undo']):
            run = self.run_json(*arguments)
            self.assert_refused(run, INVALID, 'bad_magic')
        self.assertEqual(len(self.names()), 4)


class Refusals(support.Case):
    """What revert and apply --undo refuse, and that nothing is written then."""

    def setUp(self):
        super().setUp()
        self.base = self.take(vector('models', 'base_q8_0.slm'), 'base.slm')
        self.package = self.take(vector('adapters', 'sparse.asp1'))
        run = self.run_tool('apply', self.base, self.package, '-o', 'out.slm', '--undo', 'undo')
        self.assertEqual(run.code, OK, run)
        self.before = self.names()

    def refuse(self, exit_code, codes, *arguments, files=None):
        run = self.run_json(*arguments)
        self.assert_refused(run, exit_code, *codes)
        self.assertIsNone(run.result)
        self.assertEqual(self.names(), files or self.before)
        return run

    def revert(self, *arguments, file='out.slm', undo='undo'):
        return ['revert', file, '--undo', undo, '-o', 'back', *arguments]

    def test_a_drifted_file(self):
        content = read(self.path('out.slm'))
        for at in (0, 100, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[at] ^= 0x10
            write(self.path('out.slm'), changed)
            run = self.refuse(DRIFT, ['digest_mismatch', 'undo_stale'], *self.revert())
            files = {f['code']: f['file'] for f in run.document['findings']}
            self.assertEqual(files, {'digest_mismatch': 'out.slm', 'undo_stale': 'undo'})

    def test_a_file_of_another_size(self):
        content = read(self.path('out.slm'))
        for changed in (content[:-1], content + b'\0', b''):
            write(self.path('out.slm'), changed)
            self.refuse(DRIFT, ['size_mismatch', 'undo_stale'], *self.revert())

    def test_the_base_itself(self):
        run = self.refuse(DRIFT, ['digest_mismatch', 'undo_stale'], *self.revert(file=self.base))
        self.assertIn('base already', run.document['findings'][0]['message'])

    def test_an_undo_file_of_another_application(self):
        run = self.run_tool('apply', self.base, self.package, '--strength', 'sparse.asp1=2', '-o',
                            'other.slm', '--undo', 'other.undo')
        self.assertEqual(run.code, OK, run)
        files = self.names()
        for file, undo in (('out.slm', 'other.undo'), ('other.slm', 'undo')):
            self.refuse(DRIFT, ['digest_mismatch', 'undo_stale'],
                        *self.revert(file=file, undo=undo), files=files)

    def test_an_undo_file_that_was_changed(self):
        content = read(self.path('undo'))
        generator = random.Random(5)
        for at in [12, 40, 159, 160] + generator.sample(range(161, len(content)), 40):
            changed = bytearray(content)
            changed[at] ^= 1 << generator.randrange(8)
            write(self.path('undo'), changed)
            run = self.run_json(*self.revert())
            self.assertEqual(run.code, DRIFT, run)
            self.assertIn('checksum_mismatch', run.codes())
            self.assertEqual(self.names(), self.before)

    def test_missing_files(self):
        self.refuse(CANNOT_CHECK, ['file_missing'], *self.revert(file='no'))
        self.refuse(CANNOT_CHECK, ['file_missing'], *self.revert(undo='no'))
        self.refuse(CANNOT_CHECK, ['file_missing', 'file_missing'],
                    *self.revert(file='no', undo='neither'))
        self.refuse(CANNOT_CHECK, ['output_failed'], 'revert', 'out.slm', '--undo', 'undo', '-o',
                    'no/back')

    def test_places_of_the_restored_model(self):
        os.link(self.path('out.slm'), self.path('link'))
        write(self.path('taken'), b'mine')
        files = self.names()
        for output in ('out.slm', './out.slm', 'undo', 'link', 'taken', '.'):
            for force in ([], ['--force']):
                if output == 'taken' and force:
                    continue
                self.refuse(USAGE, ['usage_error'], 'revert', 'out.slm', '--undo', 'undo', '-o',
                            output, *force, files=files)
        self.assertEqual(read(self.path('taken')), b'mine')
        run = self.run_json('revert', 'out.slm', '--undo', 'undo', '-o', 'taken', '--force')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(read(self.path('taken')), read(self.path(self.base)))

    def test_places_of_the_undo_file(self):
        write(self.path('taken'), b'mine')
        files = self.names()
        stack = ['apply', self.base, self.package, '-o', 'new.slm', '--receipt', 'r.json']
        for undo in (self.base, self.package, 'new.slm', './r.json', '.'):
            for force in ([], ['--force']):
                self.refuse(USAGE, ['usage_error'], *stack, '--undo', undo, *force, files=files)
        self.refuse(USAGE, ['usage_error'], *stack, '--undo', 'taken', files=files)
        self.refuse(USAGE, ['usage_error'], *stack[:3], '--dry-run', '--undo', 'new.undo',
                    files=files)
        self.refuse(CANNOT_CHECK, ['output_failed'], *stack, '--undo', 'no/undo', files=files)
        self.assertEqual(read(self.path('taken')), b'mine')
        run = self.run_json(*stack, '--undo', 'taken', '--force')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(read(self.path('taken'))[:4], b'UND1')

    def test_a_failed_application_leaves_no_undo_file(self):
        huge = self.take(vector('adapters', 'huge.adp1'))
        files = self.names()
        run = self.run_json('apply', self.base, huge, '-o', 'new.slm', '--undo', 'new.undo')
        self.assertNotEqual(run.code, OK, run)
        self.assertEqual(self.names(), files)
        run = self.run_json('apply', self.base, self.package, '-o', 'new.slm', '--undo', 'new.undo',
                            '--min-survival', '2')
        self.assert_refused(run, POLICY, 'survival_below_threshold')
        self.assertEqual(self.names(), files)


if __name__ == '__main__':
    support.main()
