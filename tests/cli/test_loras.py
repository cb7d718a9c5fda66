"""trlm-adapt convert on PEFT LoRAs: each rule of docs/making-adapters.md, broken alone."""
import os
import struct

import checkpoints
import support
from checkpoints import (ABSENT, ADAPTER, changed, checkpoint_tensors, lora_tensors, put_json,
                         put_tensors, values)
from support import CANNOT_CHECK, INCOMPATIBLE, INVALID, OK, read, write


class Loras(checkpoints.Case):
    Q, UP = 'model.layers.%d.self_attn.q_proj', 'model.layers.%d.mlp.up_proj'

    def setUp(self):
        super().setUp()
        self.good(output='base.slm')

    def convert_lora(self, source='lora', *arguments, output='out', base='base.slm'):
        return self.convert(source, '--base', base, *arguments, output=output)

    def configure(self, changes):
        put_json(self.path('lora/adapter_config.json'), changed(ADAPTER, changes))

    def package(self, changes=None, tensors=None, source='lora'):
        """The package's bytes, and its entries by module."""
        self.put_lora(tensors)
        self.configure(changes or {})
        run = self.convert_lora(source, '--force', output='package')
        self.assertEqual((run.code, run.codes()), (OK, []), run)
        return read(self.path('package')), {e['module']: e for e in run.result['entries']}

    def payload(self, changes=None, tensors=None):
        """The package without its header, which has a checksum of the file it was made from."""
        return self.package(changes, tensors)[0][128:]

    def check(self, changes, exit_code, *findings, tensors=None, base='base.slm'):
        with self.subTest(changes):
            self.put_lora(tensors)
            self.configure(changes)
            self.refused(self.convert_lora(base=base), exit_code, *findings)


class LoraSettings(Loras):
    def test_settings_that_are_not_in_use(self):
        expected, entries = self.package()
        self.assertEqual(sorted(entries), sorted([self.Q % 0, self.Q % 1, self.UP % 0, self.UP % 1]))
        self.assertEqual({(e['rank'], e['scale']) for e in entries.values()}, {(2, 2)})
        for changes in (
                {'use_dora': False, 'lora_bias': None, 'modules_to_save': [], 'rank_pattern': {},
                 'trainable_token_indices': {}, 'layer_replication': None, 'bias': None},
                {'a_later_setting': None}, {'a_later_setting': False}, {'a_later_setting': ''},
                {'a_later_setting': {}}, {'a_later_setting': []},
                {'init_lora_weights': True}, {'init_lora_weights': False},
                {'init_lora_weights': 'gaussian'}, {'init_lora_weights': 'eva'},
                {'init_lora_weights': 'orthogonal'}, {'loftq_config': {'bits': 4}},
                {'target_modules': 'all-linear'}, {'target_modules': None},
                {'target_modules': ABSENT}, {'layers_to_transform': []},
                {'layers_to_transform': [0, 1]}, {'exclude_modules': ['v_proj']},
                {'target_modules': ['q_proj', 'mlp.up_proj']}):
            with self.subTest(changes):
                self.assertEqual(self.package(changes)[0], expected)

    def test_a_file_stands_for_its_folder(self):
        self.assertEqual(self.package(source='lora/adapter_model.safetensors')[0],
                         self.package()[0])

    def test_names_without_the_prefix(self):
        prefix = 'base_model.model.'
        tensors = {name[len(prefix):]: tensor for name, tensor in lora_tensors().items()}
        self.assertEqual(self.payload(tensors=tensors), self.payload())

    def test_patterns(self):
        one = lora_tensors({self.Q % 0: (8, 8)}, rank=1)
        for pattern in ('layers.0.self_attn.q_proj', 'layers\\.0\\.self_attn\\.q_proj',
                        '^model\\.layers\\.0\\.self_attn\\.q_proj$'):
            entries = self.package({'rank_pattern': {pattern: 1}},
                                   dict(lora_tensors(), **one))[1]
            self.assertEqual({m: (e['rank'], e['scale']) for m, e in entries.items()},
                             {self.Q % 0: (1, 4), self.Q % 1: (2, 2), self.UP % 0: (2, 2),
                              self.UP % 1: (2, 2)})
        # A name ends a module's name behind a dot only, and one of no module changes nothing.
        for pattern in ('proj', 'A-Z_9.other', 'a_q_proj', 'Q_proj'):
            entries = self.package({'alpha_pattern': {pattern: 1}})[1]
            self.assertEqual({e['scale'] for e in entries.values()}, {2}, pattern)
        entries = self.package({'alpha_pattern': {'up_proj': -1}})[1]
        self.assertEqual(entries[self.UP % 0]['scale'], -0.5)

    def test_some_layers(self):
        chosen = lora_tensors({self.Q % 0: (8, 8), self.UP % 0: (12, 8)})
        for layers in (0, [0]):
            entries = self.package({'layers_to_transform': layers}, chosen)[1]
            self.assertEqual(sorted(entries), sorted([self.Q % 0, self.UP % 0]))
        self.check({}, INVALID, ('missing_tensor', None, self.Q % 1),
                   ('missing_tensor', None, self.UP % 1), tensors=chosen)
        self.check({'layers_to_transform': 1}, INVALID,
                   ('missing_tensor', None, self.Q % 1), ('missing_tensor', None, self.UP % 1),
                   ('unexpected_tensor', None, self.Q % 0),
                   ('unexpected_tensor', None, self.UP % 0), tensors=chosen)

    def test_modules_that_are_excluded(self):
        rest = lora_tensors({self.Q % 0: (8, 8), self.UP % 0: (12, 8), self.UP % 1: (12, 8)})
        for names in ([self.Q % 1], ['layers.1.self_attn.q_proj']):
            self.assertEqual(len(self.package({'exclude_modules': names}, rest)[1]), 3)
        # A text is a regular expression, which is not judged.
        self.assertEqual(len(self.package({'exclude_modules': '.*1.*q_proj'}, rest)[1]), 3)
        self.check({'exclude_modules': ['q_proj']}, INVALID,
                   ('unexpected_tensor', None, self.Q % 0), tensors=rest)
        for value in ([3], 3, {}):
            self.check({'exclude_modules': value}, INVALID, ('bad_value', '/exclude_modules'))

    def test_wrong_values(self):
        for changes, pointer in (
                ({'peft_type': 5}, '/peft_type'), ({'r': '2'}, '/r'), ({'r': 2.0}, '/r'),
                ({'lora_alpha': '4'}, '/lora_alpha'), ({'use_rslora': 1}, '/use_rslora'),
                ({'fan_in_fan_out': 'x'}, '/fan_in_fan_out'), ({'bias': False}, '/bias'),
                ({'rank_pattern': ['q_proj']}, '/rank_pattern'),
                ({'rank_pattern': {'q_proj': 0}}, '/rank_pattern/q_proj'),
                ({'alpha_pattern': 'q_proj'}, '/alpha_pattern'),
                ({'alpha_pattern': {'q_proj': 0}}, '/alpha_pattern/q_proj'),
                ({'alpha_pattern': {'q_proj': 'x'}}, '/alpha_pattern/q_proj'),
                ({'target_modules': ['q_proj', 'up_proj', 3]}, '/target_modules'),
                ({'target_modules': 3}, '/target_modules'),
                ({'layers_to_transform': 'x'}, '/layers_to_transform'),
                ({'layers_to_transform': [0, 'x']}, '/layers_to_transform'),
                ({'layers_to_transform': [0, 1, -1]}, '/layers_to_transform')):
            self.check(changes, INVALID, ('bad_value', pointer))
        for key in ('peft_type', 'lora_alpha', 'r'):
            for value in (ABSENT, None):
                self.check({key: value}, INVALID, ('missing_key', '/' + key))

    def test_what_no_low_rank_delta_says(self):
        for changes in ({'peft_type': 'LOHA'}, {'bias': 'lora_only'}, {'use_qalora': True},
                        {'target_parameters': ['experts']}, {'alora_invocation_tokens': [1]},
                        {'arrow_config': {'top_k': 3}}, {'init_lora_weights': 3},
                        {'init_lora_weights': 'olora'}, {'a_later_setting': 'x'},
                        {'a_later_setting': 2}, {'a_later_setting': {'a': 1}}):
            key, = changes
            self.check(changes, CANNOT_CHECK, ('unsupported_source', '/' + key))
        for pattern in ('a+', '', '^', 'q\\_proj', 'q_proj\\', '[a]', 'b{2}', '.*@', 'a/b'):
            pointer = '/rank_pattern/' + pattern.replace('/', '~1')
            self.check({'rank_pattern': {pattern: 2}}, CANNOT_CHECK, ('unsupported_source', pointer))

    def test_a_scale_that_an_f32_does_not_hold(self):
        for alpha in (1e-60, 1e60):
            self.check({'lora_alpha': alpha}, INVALID,
                       *[('bad_low_rank', None, module % layer) for module in (self.Q, self.UP)
                         for layer in range(2)])

    def test_files_that_cannot_be_read(self):
        weights = self.path('lora/adapter_model.safetensors')
        write(weights, read(weights)[:50])
        run = self.convert_lora()
        self.refused(run, INVALID, ('truncated', None))
        self.assertEqual(run.document['findings'][0]['file'], 'lora/adapter_model.safetensors')
        os.remove(weights)
        os.mkdir(weights)
        self.refused(self.convert_lora(), CANNOT_CHECK, ('file_unreadable', None))
        os.rmdir(weights)
        self.put_lora()
        write(self.path('lora/adapter_config.json'), b'{"r": 2')
        self.refused(self.convert_lora(), INVALID, ('bad_json', None))
        os.remove(self.path('lora/adapter_config.json'))
        for source in ('lora', 'lora/adapter_model.safetensors'):
            run = self.convert_lora(source)
            self.refused(run, CANNOT_CHECK, ('file_missing', None))
            self.assertEqual(run.document['findings'][0]['file'], 'lora/adapter_config.json')

    def test_an_output_without_a_folder(self):
        self.assert_refused(self.convert_lora(output='nowhere/out'), CANNOT_CHECK, 'output_failed')


class LoraTensors(Loras):
    def name(self, module, part):
        return 'base_model.model.%s.lora_%s.weight' % (module, part)

    def check_tensor(self, name, tensor, exit_code, *findings):
        """One tensor of the good LoRA is another, or taken away where it is None."""
        tensors = dict(lora_tensors(), **{name: tensor})
        self.check({}, exit_code, *findings,
                   tensors={key: value for key, value in tensors.items() if value is not None})

    def test_tensors_without_a_place(self):
        for name, code, exit_code in (
                ('base_model.model.model.layers.0.mlp.up_proj.bias', 'unsupported_source',
                 CANNOT_CHECK),
                ('base_model.model.model.embed_tokens.lora_embedding_A', 'unsupported_source',
                 CANNOT_CHECK),
                (self.Q % 0 + '.lora_B.default.weight', 'unexpected_tensor', INVALID),
                ('lora_A.weight', 'unexpected_tensor', INVALID),
                (self.name('model.layers.2.self_attn.q_proj', 'A'), 'tensor_unknown', INCOMPATIBLE),
                (self.name('lm_headless', 'B'), 'tensor_unknown', INCOMPATIBLE)):
            self.check_tensor(name, values(name, (2, 8)), exit_code, (code, None, name))

    def test_one_factor_of_two(self):
        for part in 'AB':
            name = self.name(self.UP % 1, part)
            self.check_tensor(name, None, INVALID, ('missing_tensor', None, name))

    def test_no_factors(self):
        self.check({}, INVALID, ('unexpected_tensor', None, 'extra'),
                   *[('missing_tensor', None, module % layer) for module in (self.Q, self.UP)
                     for layer in range(2)], tensors={'extra': values('extra', (2, 8))})
        put_tensors(self.path('lora/adapter_model.safetensors'), {})
        self.configure({'target_modules': 'all-linear'})
        self.refused(self.convert_lora(), INVALID, ('missing_tensor', None))

    def test_a_tied_output_cannot_be_adapted(self):
        tensors = checkpoint_tensors()
        tensors.pop('lm_head.weight')
        self.put_checkpoint(tensors, tie_word_embeddings=True)
        self.good(output='tied.slm')
        lora = dict(lora_tensors(), **lora_tensors({'lm_head': (260, 8)}))
        self.check({}, INCOMPATIBLE,
                   *[('tensor_unknown', None, self.name('lm_head', part)) for part in 'AB'],
                   tensors=lora, base='tied.slm')
        # It can where it has a matrix of its own.
        entries = self.package({'target_modules': ['q_proj', 'up_proj', 'lm_head']}, lora)[1]
        self.assertIn('lm_head', entries)

    def test_types_and_shapes(self):
        name = self.name(self.UP % 0, 'A')
        self.check_tensor(name, ('I32', [2, 8], bytes(64)), CANNOT_CHECK,
                          ('unsupported_dtype', None, name))
        for dims in ([16], [1, 2, 8], []):
            content = bytes(4 * checkpoints.count(dims))
            self.check_tensor(name, ('F32', dims, content), INVALID, ('bad_low_rank', None, name))
        name = self.name(self.UP % 0, 'B')
        self.check_tensor(name, values(name, (24,)), INVALID, ('bad_low_rank', None, name))
        # A is [2, columns] and B [rows, 2].
        for part, dims in (('A', (2, 7)), ('B', (11, 2)), ('B', (12, 1)), ('A', (1, 8)),
                           ('B', (2, 12))):
            name = self.name(self.UP % 0, part)
            self.check_tensor(name, values(name, dims), INCOMPATIBLE,
                              ('tensor_shape_differs', None, self.UP % 0))

    def test_only_matrices_have_factors(self):
        for module in ('model.norm', 'model.layers.1.input_layernorm'):
            lora = dict(lora_tensors(), **lora_tensors({module: (8, 8)}))
            self.check({'target_modules': 'all-linear'}, INVALID,
                       ('bad_low_rank', None, self.name(module, 'A')), tensors=lora)

    def test_the_largest_rank(self):
        # k is a matrix of 4 x 8.
        name = 'model.layers.0.self_attn.k_proj'
        changes = {'target_modules': '.*k_proj'}
        self.package(dict(changes, r=4), lora_tensors({name: (4, 8)}, rank=4))
        self.check(dict(changes, r=5), INVALID, ('bad_low_rank', None, self.name(name, 'A')),
                   tensors=lora_tensors({name: (4, 8)}, rank=5))

    def test_half_precision_is_the_same_values(self):
        halves = {}
        for name, (_, dims, content) in lora_tensors().items():
            numbers = struct.unpack('<%df' % (len(content) // 4), content)
            halves[name] = ('F16', dims, struct.pack('<%de' % len(numbers), *numbers))
        self.assertEqual(self.payload(tensors=halves), self.payload())


class TransposedFactors(Loras):
    """fan_in_fan_out: (B A)^T = A^T B^T, so that A' is B^T and B' is A^T."""

    MODULES = {'model.layers.0.mlp.up_proj': (12, 8), 'model.layers.0.self_attn.k_proj': (4, 8),
               'model.layers.1.mlp.down_proj': (8, 12)}
    CHANGES = {'target_modules': 'any', 'fan_in_fan_out': True}

    @staticmethod
    def transposed(tensor):
        dtype, (rows, cols), content = tensor
        cells = [content[4 * i:4 * i + 4] for i in range(rows * cols)]
        return dtype, [cols, rows], b''.join(cells[row * cols + col] for col in range(cols)
                                             for row in range(rows))

    def turned(self, modules):
        """The factors of the transposed matrices."""
        tensors = lora_tensors(modules)
        turned = {}
        for name, tensor in tensors.items():
            other = name.replace('lora_A', 'lora_B') if 'lora_A' in name else \
                name.replace('lora_B', 'lora_A')
            turned[name] = self.transposed(tensors[other])
        return turned

    def test_factors_are_turned_round(self):
        direct = self.payload(self.CHANGES, lora_tensors(self.MODULES))
        self.assertEqual(self.payload(self.CHANGES, self.turned(self.MODULES)), direct)

    def test_without_the_setting_they_do_not_fit(self):
        self.check({'target_modules': 'any'}, INCOMPATIBLE,
                   *[('tensor_shape_differs', None, module) for module in self.MODULES],
                   tensors=self.turned(self.MODULES))

    def test_shapes_that_fit_neither_way(self):
        module = 'model.layers.0.mlp.up_proj'
        for part, dims in (('A', (2, 9)), ('B', (9, 2)), ('B', (8, 1))):
            tensors = self.turned(self.MODULES)
            name = 'base_model.model.%s.lora_%s.weight' % (module, part)
            self.check(self.CHANGES, INCOMPATIBLE, ('tensor_shape_differs', None, module),
                       tensors=dict(tensors, **{name: values(name, dims)}))

    def test_all_or_none_are_turned_round(self):
        # up_proj as the setting has it, the others as they are: no file of PEFT is like that.
        module = 'model.layers.0.mlp.up_proj'
        tensors = dict(lora_tensors(self.MODULES), **self.turned({module: (12, 8)}))
        self.check(self.CHANGES, INCOMPATIBLE,
                   *[('tensor_shape_differs', None, other) for other in self.MODULES
                     if other != module], tensors=tensors)


if __name__ == '__main__':
    support.main()
