"""A folder with a family receipt is its preferred stack, to apply and to validate; and receipts that
tell that a model has an adapter in it already."""
import os

import bundles
import support
from bundles import LORA_OUTPUT, flip_bit
from support import DRIFT, INCOMPATIBLE, OK, POLICY, USAGE, data, vector, write

MODEL = 'bundle/models/union.q8_0.slm'
ADAPTERS = 'bundle/adapters'
FAMILY = ADAPTERS + '/family.receipt.json'
LORA, TOP5 = ADAPTERS + '/whale-lora.alr1', ADAPTERS + '/whale-top5.asp1'


class PreferredStack(bundles.Case):
    def setUp(self):
        super().setUp()
        self.take_bundle()

    def apply(self, *options, model=MODEL):
        return self.run_json('apply', model, ADAPTERS, '-o', 'out.slm', '--force', *options)

    def prefer(self, chosen):
        def change(family):
            for stack in family['stacks']:
                stack['preferred'] = stack['id'] == chosen
        self.edit(FAMILY, change)

    def test_the_preferred_stack_and_no_other_package(self):
        run = self.apply()
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.result['output']['digest'], LORA_OUTPUT)
        self.assertEqual(run.document['findings'], [])

    def test_order_strengths_and_rounding_are_the_receipts(self):
        self.prefer('half-and-half')
        by_hand = self.run_json('apply', MODEL, LORA, TOP5, '--dry-run', '--strength',
                                'whale-lora.alr1=0.5', '--strength', 'whale-top5.asp1=0.5')
        run = self.apply()
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.result['output']['digest'], by_hand.result['predicted_digest'])
        self.assertEqual(run.result['state'], by_hand.result['state'])

        def round_to_nearest(family):
            family['stacks'][1]['rounding'] = 'nearest'
        self.edit(FAMILY, round_to_nearest)
        self.assertEqual(self.apply().result['rounding'], 'nearest')
        # Options say otherwise.
        run = self.apply('--rounding', 'adaptive:0')
        self.assertEqual(run.result['output']['digest'], by_hand.result['predicted_digest'])

    def test_strengths_by_member_id_and_by_file_name(self):
        by_hand = self.run_json('apply', MODEL, LORA, '--dry-run', '--strength',
                                'whale-lora.alr1=0.5')
        for name in ('whale-lora', 'whale-lora.alr1'):
            run = self.apply('--strength', name + '=0.5')
            self.assertEqual(run.code, OK, run)
            self.assertEqual(run.result['output']['digest'], by_hand.result['predicted_digest'])
        # A member that is not in the preferred stack has no strength to set.
        self.assert_refused(self.apply('--strength', 'whale-top5=0.5'), USAGE, 'usage_error')

    def test_strengths_stay_within_their_range(self):
        for strength in ('0.1', '1.5'):
            self.assertEqual(self.apply('--strength', 'whale-lora=' + strength).code, OK)
        for strength in ('0.09', '1.501', '-0.5'):
            run = self.apply('--strength', 'whale-lora=' + strength)
            self.assert_refused(run, POLICY, 'strength_out_of_range')

    def test_packages_that_are_not_the_familys(self):
        flip_bit(self.path(LORA), 100_000)
        run = self.apply()
        self.assertEqual(run.code, DRIFT, run)
        self.assertFalse(os.path.exists(self.path('out.slm')))
        # Valid, but another one.
        self.take(vector('adapters', 'lowrank.alr1'), LORA)
        run = self.apply()
        self.assertEqual(run.code, DRIFT, run)
        self.assertIn('size_mismatch', run.codes('error'))
        os.remove(self.path(LORA))
        self.assertIn('file_missing', self.apply().codes('error'))

    def test_a_member_that_is_not_in_the_stack_may_be_gone(self):
        os.remove(self.path(TOP5))
        self.assertEqual(self.apply().code, OK)

    def test_documents_that_drifted(self):
        flip_bit(self.path(ADAPTERS + '/whale-lora.manifest.json'), 300)
        run = self.apply()
        self.assert_refused(run, DRIFT, 'digest_mismatch')

        def expect_another_state(family):
            family['stacks'][0]['expected_state'] = 'xxh3-64:' + '1' * 16
        self.take(os.path.join(self.made, 'bundle/adapters/whale-lora.manifest.json'),
                  ADAPTERS + '/whale-lora.manifest.json')
        self.assertEqual(self.apply().code, OK)
        os.remove(self.path('out.slm'))
        self.edit(FAMILY, expect_another_state)
        self.assert_refused(self.apply(), DRIFT, 'value_drift')
        self.assertFalse(os.path.exists(self.path('out.slm')))
        # With other strengths another state is what is to be expected.
        self.assertEqual(self.apply('--strength', 'whale-lora=0.5').code, OK)
        write(self.path(FAMILY), b'{}')
        self.assertNotEqual(self.apply().code, OK)

    def test_a_model_that_no_manifest_lists(self):
        self.assertEqual(self.apply().code, OK)
        os.rename(self.path('out.slm'), self.path('other.slm'))
        run = self.apply(model='other.slm')
        self.assert_refused(run, INCOMPATIBLE, 'base_not_listed')

    def test_validate_takes_the_same_stack(self):
        run = self.run_json('validate', ADAPTERS, '--model', MODEL)
        self.assertEqual(run.code, OK, run)
        self.assertEqual([os.path.basename(f['file']) for f in run.result['files']],
                         ['union.q8_0.slm', 'whale-lora.alr1'])
        flip_bit(self.path(LORA), 100_000)
        self.assertEqual(self.run_json('validate', ADAPTERS).code, DRIFT)

    def test_a_receipt_of_a_family_replays(self):
        run = self.apply('--receipt', 'out.apply-receipt.json')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(self.run_json('replay', 'out.apply-receipt.json').code, OK)


class AppliedAlready(bundles.Case):
    def setUp(self):
        super().setUp()
        for name in ('union.q8_0.slm', 'whale-lora.alr1', 'whale-top5.asp1'):
            self.take(data(name))
        run = self.run_tool('apply', 'union.q8_0.slm', 'whale-lora.alr1', '-o', 'once.slm',
                            '--receipt', 'once.apply-receipt.json')
        self.assertEqual(run.code, OK, run)

    def apply(self, model, package, *options):
        return self.run_json('apply', model, package, '--dry-run', *options)

    def test_the_same_package_twice(self):
        run = self.apply('once.slm', 'whale-lora.alr1')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['already_applied'])
        self.assertEqual(run.document['findings'][0]['file'], 'once.slm')
        run = self.apply('once.slm', 'whale-lora.alr1', '--strict')
        self.assert_refused(run, POLICY, 'already_applied')
        # It is the content that counts, not the name.
        os.rename(self.path('once.slm'), self.path('renamed.slm'))
        os.rename(self.path('whale-lora.alr1'), self.path('other.alr1'))
        run = self.apply('renamed.slm', 'other.alr1', '--strict')
        self.assert_refused(run, POLICY, 'already_applied')

    def test_what_is_not_the_same_twice(self):
        for model, package in (('once.slm', 'whale-top5.asp1'),
                               ('union.q8_0.slm', 'whale-lora.alr1')):
            run = self.apply(model, package, '--strict')
            self.assertEqual(run.code, OK, run)
            self.assertEqual(run.document['findings'], [])
        # Without a receipt nobody knows.
        os.rename(self.path('once.apply-receipt.json'), self.path('once.json'))
        self.assertEqual(self.apply('once.slm', 'whale-lora.alr1', '--strict').code, OK)

    def test_receipts_that_cannot_be_read_tell_nothing(self):
        write(self.path('once.apply-receipt.json'), b'{')
        self.assertEqual(self.apply('once.slm', 'whale-lora.alr1', '--strict').code, OK)


if __name__ == '__main__':
    support.main()
