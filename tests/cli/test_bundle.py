"""trlm-adapt bundle create: what it writes, and what it refuses without leaving anything."""
import os
import resource
import signal
import subprocess
import time

import bundles
import support
from bundles import FULL_OUTPUT, LORA_OUTPUT, RECIPE, REGISTRY, digest, read_json
from support import CANNOT_CHECK, INVALID, OK, POLICY, USAGE, data, read, vector, write

FAMILY = 'adapters/family.receipt.json'


def file_refs(value):
    """Every object in a document that names a file."""
    if isinstance(value, dict):
        if {'path', 'bytes', 'digest'} <= set(value):
            yield value
        for member in value.values():
            yield from file_refs(member)
    elif isinstance(value, list):
        for member in value:
            yield from file_refs(member)


class Created(bundles.Case):
    def test_the_result(self):
        run = self.run_json('bundle', 'create', data(RECIPE), '-o', 'bundle')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.document['command'], 'bundle')
        result = run.result
        self.assertEqual(list(result), ['folder', 'files', 'bytes', 'registry_digest', 'entry',
                                        'state'])
        files = bundles.contents(self.path('bundle'))
        self.assertEqual(result['folder'], 'bundle')
        self.assertEqual(result['files'], list(files))
        self.assertEqual(result['bytes'], sum(map(len, files.values())))
        self.assertEqual(result['registry_digest'], digest(files[REGISTRY]))
        self.assertEqual(result['entry'], 'whale')
        verified = self.run_json('verify', 'bundle', '--strict',
                                 '--registry-digest', result['registry_digest'])
        self.assertEqual(verified.code, OK, verified)
        self.assertEqual(verified.result['state'], result['state'])
        self.assertEqual(self.names(), ['bundle'])

    def test_every_document_states_the_size_and_digest_of_what_it_names(self):
        folder = self.take_bundle()
        files = bundles.contents(self.path(folder))
        count = 0
        for document in files:
            if not document.endswith('.json'):
                continue
            for ref in file_refs(read_json(self.path(os.path.join(folder, document)))):
                target = files[os.path.join(os.path.dirname(document), ref['path'])]
                self.assertEqual((ref['bytes'], ref['digest']), (len(target), digest(target)))
                count += 1
        # 5 in the registry, 20 modules, 12 bindings, 4 manifests, 6 in the family.
        self.assertEqual(count, 47)

    def test_inputs_are_taken_byte_by_byte(self):
        self.take_bundle()
        for name in bundles.INPUTS:
            folder = 'models' if name.endswith('.slm') else 'adapters'
            self.assertEqual(read(self.path('bundle/%s/%s' % (folder, name))), read(data(name)))

    def test_the_outputs_that_stacks_are_expected_to_give(self):
        self.take_bundle()
        stacks = {s['id']: s for s in read_json(self.path('bundle/' + FAMILY))['stacks']}
        self.assertEqual(stacks['lora']['expected_output']['digest'], LORA_OUTPUT)
        self.assertEqual(stacks['full']['expected_output']['digest'], FULL_OUTPUT)
        self.assertEqual([i for i in stacks if stacks[i]['preferred']], ['lora'])

    def test_created_twice_it_is_byte_identical(self):
        self.take_bundle()
        recipe = self.take_recipe(folder='other')
        scalar = {'TRLM_ADAPT_TARGET': 'scalar'}
        self.assertEqual(self.run_tool('bundle', 'create', recipe, '-o', 'again',
                                       '--threads', '1').code, OK)
        self.assertEqual(self.run_tool('bundle', 'create', RECIPE, '-o', '../third', '--threads',
                                       '3', env=scalar, cwd=self.path('other')).code, OK)
        first = bundles.contents(self.path('bundle'))
        self.assertEqual(bundles.contents(self.path('again')), first)
        self.assertEqual(bundles.contents(self.path('third')), first)

    def test_text(self):
        run = self.run_tool('bundle', 'create', data(RECIPE), '-o', 'bundle')
        self.assertEqual((run.code, run.err), (OK, ''), run)
        # A digest is not broken, however wide the line is.
        self.assert_narrow('\n'.join(line for line in run.out.splitlines() if 'sha256' not in line))
        self.assertIn('bundle', run.out.splitlines()[0])
        for path in bundles.files_beneath(self.path('bundle')):
            self.assertIn('  %s\n' % path, run.out)
        self.assertIn(support.sha256(self.path('bundle/' + REGISTRY)), run.out)
        run = self.run_tool('bundle', 'create', data(RECIPE), '-o', 'quiet', '--quiet')
        self.assertEqual((run.code, run.out, run.err), (OK, '', ''))

    def test_a_bundle_without_adapters(self):
        def drop(recipe):
            del recipe['adapters'], recipe['stacks']
        run = self.run_json('bundle', 'create', self.take_recipe(drop), '-o', 'bundle')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(len(run.result['files']), 15)
        self.assertIsNone(read_json(self.path('bundle/' + REGISTRY))['entries'][0]['adapter_family'])
        self.assertFalse(os.path.exists(self.path('bundle/adapters')))

    def test_what_may_be_left_out_of_a_recipe(self):
        def shorten(recipe):
            for key in ('strategy', 'source_kind', 'quality_claim', 'trained_quality_claim',
                        'license'):
                del recipe[key]
            for adapter in recipe['adapters']:
                for key in ('strength_range', 'license', 'source'):
                    del adapter[key]
            for stack in recipe['stacks']:
                del stack['rounding']
            recipe['evidence'] = {'eval': {'cases': 1, 'failures': 0},
                                  'admission': {'status': 'admitted'}}
        run = self.run_json('bundle', 'create', self.take_recipe(shorten), '-o', 'bundle')
        self.assertEqual(run.code, OK, run)
        stack = read_json(self.path('bundle/' + FAMILY))['stacks'][0]
        self.assertEqual(stack['rounding'], 'adaptive:0')
        self.assertEqual(stack['expected_output']['digest'], LORA_OUTPUT)
        manifest = read_json(self.path('bundle/models/whale.manifest.json'))
        self.assertEqual([manifest['source_kind'], manifest['quality_claim'], manifest['license']],
                         ['unspecified', None, None])


class TakenFolder(bundles.Case):
    def create(self, folder):
        return self.run_json('bundle', 'create', data(RECIPE), '-o', folder)

    def test_a_folder_that_is_not_empty_is_refused_and_kept(self):
        os.mkdir(self.path('bundle'))
        write(self.path('bundle/mine'), b'mine')
        self.assert_refused(self.create('bundle'), USAGE, 'usage_error')
        self.assertEqual(bundles.contents(self.folder), {'bundle/mine': b'mine'})

    def test_an_empty_folder_is_filled(self):
        os.mkdir(self.path('bundle'))
        self.assertEqual(self.create('bundle/').code, OK)
        self.assertEqual(self.run_json('verify', 'bundle').code, OK)
        self.assertEqual(self.names(), ['bundle'])

    def test_a_file_or_a_link_is_refused_and_kept(self):
        for content in (b'mine', b''):
            write(self.path('file'), content)
            self.assert_refused(self.create('file'), USAGE, 'usage_error')
            self.assertEqual(bundles.contents(self.folder), {'file': content})
        os.remove(self.path('file'))
        os.symlink('nowhere', self.path('link'))
        self.assert_refused(self.create('link'), USAGE, 'usage_error')
        self.assertEqual(os.readlink(self.path('link')), 'nowhere')
        self.assertEqual(self.names(), ['link'])

    def test_a_folder_in_which_nothing_can_be_made(self):
        self.assert_refused(self.create('no/such/folder'), CANNOT_CHECK, 'output_failed')
        self.assertEqual(self.names(), [])

    def test_wrong_command_lines(self):
        for arguments in ([], ['creat'], ['create'], ['create', data(RECIPE)],
                          ['create', '-o', 'bundle'],
                          ['create', data(RECIPE), data(RECIPE), '-o', 'bundle'],
                          ['create', data(RECIPE), '-o', 'bundle', '--force']):
            run = self.run_json('bundle', *arguments)
            self.assert_refused(run, USAGE, 'usage_error')
            self.assertEqual(run.document['command'], 'bundle')
            self.assertIsNone(run.result)
        self.assertEqual(self.names(), [])


class Refused(bundles.Case):
    """`create` refuses what `verify` would, and then there is no bundle."""

    def refuse(self, change, exit_code, code, pointer=None):
        recipe = self.take_recipe(change)
        run = self.run_json('bundle', 'create', recipe, '-o', 'bundle')
        self.assertEqual(run.code, exit_code, run)
        self.assertIn(code, run.codes('error'), run)
        if pointer is not None:
            self.assertIn((recipe, pointer), [(f['file'], f.get('pointer'))
                                              for f in run.document['findings']])
        self.assertIsNone(run.result)
        self.assertEqual(self.names(), ['data'])
        return run

    def test_strict_reading(self):
        def put(key, value):
            return lambda recipe: recipe.update({key: value})
        self.refuse(lambda r: r.pop('evidence'), INVALID, 'missing_key', '/evidence')
        self.refuse(put('modell', 1), INVALID, 'unknown_key', '/modell')
        self.refuse(put('schema', 'trlm/bundle-recipe@2'), CANNOT_CHECK, 'schema_unsupported',
                    '/schema')
        self.refuse(put('strategy', 'always'), INVALID, 'bad_value', '/strategy')
        self.refuse(put('ledger', []), INVALID, 'bad_value', '/ledger')
        self.refuse(put('stacks', []), INVALID, 'bad_value', '/stacks')
        self.refuse(lambda r: r['budgets'].update(model_bytes=-1), INVALID, 'bad_value',
                    '/budgets/model_bytes')
        self.refuse(lambda r: r['stacks'][0]['order'][0].update(strength=0), INVALID, 'bad_value',
                    '/stacks/0/order/0/strength')
        self.refuse(lambda r: r['adapters'][1].update(id='whale-lora'), INVALID, 'duplicate_id',
                    '/adapters/1/id')
        for text, code in ((b'{"schema": 1, "schema": 1}', 'duplicate_key'), (b'[]', 'bad_json'),
                           (b'', 'bad_json'), (b'{} {}', 'bad_json')):
            write(self.path('recipe.json'), text)
            run = self.run_json('bundle', 'create', 'recipe.json', '-o', 'bundle')
            self.assert_refused(run, INVALID, code)
        self.assertFalse(os.path.exists(self.path('bundle')))

    def test_what_policy_excludes(self):
        self.refuse(lambda r: r['evidence']['eval'].update(failures=1), POLICY, 'eval_failed')
        self.refuse(lambda r: r['evidence']['eval'].update(cases=0), POLICY, 'eval_failed')
        self.refuse(lambda r: r['evidence']['admission'].update(status='pending'), POLICY,
                    'not_admitted')
        self.refuse(lambda r: r['stacks'][0]['order'][0].update(strength=1.75), POLICY,
                    'strength_out_of_range')
        self.refuse(lambda r: r['budgets'].update(model_bytes=947_647), POLICY, 'budget_exceeded')
        self.refuse(lambda r: r['budgets'].update(fetch_count=19), POLICY, 'budget_exceeded')
        self.refuse(lambda r: r['budgets'].update(total_bytes=1_000_000), POLICY,
                    'budget_exceeded')
        # As much as it takes and no more is enough.
        adapters = sum(os.path.getsize(data(name)) for name in bundles.INPUTS[1:])
        recipe = self.take_recipe(lambda r: r['budgets'].update(
            model_bytes=947_648, fetch_count=20, adapter_stack_bytes=adapters))
        self.assertEqual(self.run_json('bundle', 'create', recipe, '-o', 'bundle').code, OK)

    def test_stacks_that_contradict_themselves(self):
        self.refuse(lambda r: r['stacks'][1].update(preferred=True), INVALID, 'bad_value')
        self.refuse(lambda r: r['stacks'][0].update(preferred=False), INVALID, 'bad_value')
        self.refuse(lambda r: r['stacks'][0]['order'][0].update(member='narwhal'), INVALID,
                    'dependency_unknown')
        self.refuse(lambda r: r['stacks'][0]['order'].append(r['stacks'][0]['order'][0]), INVALID,
                    'duplicate_id')

    def test_names_that_a_document_cannot_hold(self):
        self.refuse(lambda r: r.update(id='a b'), INVALID, 'bad_value')
        self.refuse(lambda r: r.update(id='a/b'), INVALID, 'bad_value')
        self.refuse(lambda r: r['adapters'][0].update(id='a/b'), INVALID, 'bad_value')
        recipe = self.take_recipe(lambda r: r.update(model='a model.slm'))
        self.take(data('union.q8_0.slm'), 'data/a model.slm')
        run = self.run_json('bundle', 'create', recipe, '-o', 'bundle')
        self.assert_refused(run, USAGE, 'usage_error')

    def test_files_that_are_missing_or_damaged_are_reported_together(self):
        def change(recipe):
            recipe['model'] = 'nowhere.slm'
            recipe['adapters'][0]['package'] = 'nothing.alr1'
            recipe['adapters'][1]['package'] = 'damaged.adp1'
        recipe = self.take_recipe(change)
        self.take(vector('invalid', 'adp_nan.adp1'), 'data/damaged.adp1')
        run = self.run_json('bundle', 'create', recipe, '-o', 'bundle')
        self.assertEqual(run.code, INVALID, run)
        self.assertEqual([(f['file'], f['code']) for f in run.document['findings']],
                         [('data/nowhere.slm', 'file_missing'),
                          ('data/nothing.alr1', 'file_missing'),
                          ('data/damaged.adp1', 'non_finite')])
        self.assertEqual(self.names(), ['data'])

    def test_an_adapter_of_another_model(self):
        def change(recipe):
            recipe['model'] = 'other.slm'
        recipe = self.take_recipe(change)
        self.take(vector('models', 'base_q8_0.slm'), 'data/other.slm')
        run = self.run_json('bundle', 'create', recipe, '-o', 'bundle')
        self.assertEqual(run.code, support.INCOMPATIBLE, run)
        self.assertIn('tensor_count_differs', run.codes('error'))
        self.assertEqual(self.names(), ['data'])


class Interrupted(bundles.Case):
    def test_a_full_disk_leaves_nothing(self):
        for size in (100_000, 500_000, 1_000_000):
            def limit(size=size):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            run = self.run_json('bundle', 'create', data(RECIPE), '-o', 'bundle', preexec_fn=limit)
            self.assert_refused(run, CANNOT_CHECK, 'output_failed')
            self.assertTrue(run.document['findings'][0]['file'].startswith('bundle/'), run)
            self.assertEqual(self.names(), [])

    def test_a_signal_leaves_a_whole_bundle_or_nothing(self):
        for step in range(8):
            process = subprocess.Popen([support.cli, 'bundle', 'create', data(RECIPE), '-o',
                                        'bundle', '--quiet'], cwd=self.folder,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.02 * step)
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            self.assertIn(code, (OK, -signal.SIGTERM))
            self.assertIn(self.names(), ([], ['bundle']))
            if self.names():
                self.assertEqual(self.run_json('verify', 'bundle', '--strict').code, OK)
                break
            self.assertEqual(code, -signal.SIGTERM)


if __name__ == '__main__':
    support.main()
