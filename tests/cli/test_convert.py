"""trlm-adapt convert: checkpoints, LoRAs and models, good and bad."""
import json
import os
import shutil
import struct

import support
from checkpoints import header_of, put
from support import CANNOT_CHECK, INCOMPATIBLE, INVALID, OK, USAGE, data, read, sha256, vector, write

CHECKPOINT, LORA = data('checkpoint'), data('peft-lora')


class Convert(support.Case):
    def setUp(self):
        super().setUp()
        for folder in (CHECKPOINT, LORA):
            shutil.copytree(folder, self.path(os.path.basename(folder)))

    def convert(self, source, *arguments, output='out'):
        return self.run_tool('convert', source, '-o', output, '--json', *arguments)

    def refused(self, run, exit_code, *codes):
        self.assertEqual(run.code, exit_code, run)
        for code in codes:
            self.assertIn(code, run.codes('error'), run)
        self.assertFalse(os.path.exists(self.path('out')), 'a refused conversion left an output')
        self.assertEqual([n for n in self.names() if n.startswith('.')], [])

    def configure(self, folder, **changes):
        name = 'config.json' if folder == 'checkpoint' else 'adapter_config.json'
        path = self.path(os.path.join(folder, name))
        config = json.loads(read(path))
        config.update(changes)
        write(path, json.dumps(config).encode())


class Good(Convert):
    # The digests are those of files from an independent implementation (examples/data/README.md).
    DIGESTS = {'f32': '12cfb970726b905c9a830c24e971c98d7825b6491857c127a3bf4c641b85c473',
               'q8_0': 'ea13af46399497a46e4eabe0003d4d6a747277de6a5919f7bf050688eb9b16ea',
               'q4_0': '7cd89a654eabc955f428acec4dfc00914e36d4355f6ccac7e99382b1475ff02e'}

    def test_a_checkpoint_in_every_storage(self):
        for dtype, digest in self.DIGESTS.items():
            run = self.convert('checkpoint', '--dtype', dtype, output=dtype)
            self.assertEqual(run.code, OK, run)
            self.assertEqual(sha256(self.path(dtype)), 'sha256:' + digest)
            self.assertEqual(run.result['output']['digest'], 'sha256:' + digest)
            self.assertEqual({t['dtype'] for t in run.result['tensors']}, {dtype})
        # A model of f32 becomes the same.
        for dtype in ('q8_0', 'q4_0'):
            run = self.convert('f32', '--dtype', dtype, output='again.' + dtype)
            self.assertEqual(sha256(self.path('again.' + dtype)), 'sha256:' + self.DIGESTS[dtype])

    def test_a_file_stands_for_its_folder(self):
        run = self.convert('checkpoint/model.safetensors')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(sha256(self.path('out')), 'sha256:' + self.DIGESTS['f32'])

    def test_shards(self):
        header, body = header_of(self.path('checkpoint/model.safetensors'))
        os.remove(self.path('checkpoint/model.safetensors'))
        header.pop('__metadata__')
        names, weight_map = sorted(header), {}
        for number, part in enumerate((names[::2], names[1::2])):
            entries, piece = {}, b''
            for name in part:
                begin, end = header[name]['data_offsets']
                entries[name] = dict(header[name],
                                     data_offsets=[len(piece), len(piece) + end - begin])
                piece += body[begin:end]
                weight_map[name] = 'model-%d.safetensors' % number
            put(self.path('checkpoint/model-%d.safetensors' % number), entries, piece)
        index = self.path('checkpoint/model.safetensors.index.json')
        write(index, json.dumps({'metadata': {}, 'weight_map': weight_map}).encode())
        run = self.convert('checkpoint')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(sha256(self.path('out')), 'sha256:' + self.DIGESTS['f32'])
        for file in ('../model-0.safetensors', '/etc/passwd', '..', ''):
            bad = dict(weight_map, **{names[0]: file})
            write(index, json.dumps({'weight_map': bad}).encode())
            self.assertIn('path_escape', self.convert('checkpoint', output='bad').codes())
        write(index, json.dumps({'weight_map': dict(weight_map, extra='model-0.safetensors')})
              .encode())
        self.assertIn('missing_tensor', self.convert('checkpoint', output='bad').codes())

    def test_a_lora_is_the_package_of_another_implementation(self):
        run = self.convert('peft-lora', '--base', data('union.q8_0.slm'), '--target',
                           data('union.q4_0.slm'))
        self.assertEqual(run.code, OK, run)
        payload = 327680  # behind header, directory and metadata, which differ
        self.assertEqual(read(self.path('out'))[-payload:], read(data('whale-lora.alr1'))[-payload:])
        self.assertEqual({(e['rank'], e['scale']) for e in run.result['entries']}, {(8, 2)})
        self.assertGreater(run.result['forecast']['kept'], 0.9)
        applied = self.run_tool('apply', data('union.q8_0.slm'), 'out', '-o', 'a', '--quiet')
        other = self.run_tool('apply', data('union.q8_0.slm'), data('whale-lora.alr1'), '-o', 'b',
                              '--quiet')
        self.assertEqual((applied.code, other.code), (OK, OK))
        self.assertEqual(read(self.path('a')), read(self.path('b')))

    def test_scales(self):
        self.configure('peft-lora', use_rslora=True, alpha_pattern={
            'layers.0.self_attn.q_proj': 4, '^model\\.layers\\.1\\.mlp\\.up_proj': 5})
        run = self.convert('peft-lora', '--base', data('union.q8_0.slm'))
        self.assertEqual(run.code, OK, run)
        scales = {e['module']: e['scale'] for e in run.result['entries']}
        root = 8 ** 0.5
        self.assertAlmostEqual(scales['model.layers.0.self_attn.q_proj'], 4 / root, places=6)
        self.assertAlmostEqual(scales['model.layers.1.mlp.up_proj'], 5 / root, places=6)
        self.assertAlmostEqual(scales['model.layers.2.mlp.up_proj'], 16 / root, places=6)

    def test_a_foreign_model_is_sealed(self):
        model = bytearray(read(data('union.q8_0.slm')))
        # To a header of 108 bytes what follows up to the tokenizer is padding.
        foreign = bytes(model[:8]) + struct.pack('<I', 108) + bytes(model[12:108]) + bytes(20)
        foreign += bytes(model[128:])
        write(self.path('foreign.slm'), foreign)
        self.refused(self.convert('foreign.slm'), CANNOT_CHECK, 'checksum_unverifiable')
        run = self.convert('foreign.slm', '--accept-foreign-checksum')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['checksum_unverifiable'])
        self.assertEqual(sha256(self.path('out')), 'sha256:' + self.DIGESTS['q8_0'])


class Usage(Convert):
    def test_wrong_command_lines(self):
        base = data('union.q8_0.slm')
        self.refused(self.convert('peft-lora'), USAGE, 'usage_error')
        self.refused(self.convert('peft-lora', '--base', base, '--dtype', 'f32'), USAGE)
        self.refused(self.convert('checkpoint', '--base', base), USAGE, 'usage_error')
        self.refused(self.convert('checkpoint', '--target', base), USAGE, 'usage_error')
        self.refused(self.convert('checkpoint', '--dtype', 'f16'), USAGE, 'usage_error')
        run = self.convert('checkpoint/model.safetensors', output='checkpoint/model.safetensors')
        self.assertEqual(run.code, USAGE, run)
        self.refused(self.convert('nothing'), CANNOT_CHECK, 'file_missing')
        self.refused(self.convert(data('whale-lora.alr1')), INVALID, 'bad_magic')
        write(self.path('text'), b'a text of some length')
        self.refused(self.convert('text'), INVALID, 'bad_magic')


class BadSafetensors(Convert):
    def setUp(self):
        super().setUp()
        self.file = self.path('checkpoint/model.safetensors')
        self.header, self.body = header_of(self.file)
        self.first = 'model.embed_tokens.weight'

    def expect(self, code, exit_code=INVALID):
        self.refused(self.convert('checkpoint'), exit_code, code)

    def changed(self, **fields):
        header = json.loads(json.dumps(self.header))
        header[self.first].update(fields)
        return header

    def test_lengths(self):
        raw = read(self.file)
        for cut in (0, 7, 8, 100):
            write(self.file, raw[:cut])
            self.expect('truncated')
        for length in (2**64 - 1, 2**63, len(raw)):
            write(self.file, struct.pack('<Q', length) + raw[8:])
            self.expect('truncated' if length < 10**8 else 'limit_exceeded')
        write(self.file, raw[:-1])
        self.expect('range_out_of_file')
        write(self.file, raw + b'\0')
        self.expect('trailing_bytes')

    def test_header_text(self):
        for text in (b'[]', b' {}', b'{', b'{"a": \xff}', b'\xef\xbb\xbf{}'):
            put(self.file, text, b'')
            self.expect('bad_json')
        text = json.dumps(self.header)
        put(self.file, text.replace('"model.norm.weight"', '"lm_head.weight"').encode(), self.body)
        self.expect('duplicate_key')

    def test_entries(self):
        end = self.header[self.first]['data_offsets'][1]
        for fields, code in (
                ({'dtype': 'F99'}, 'unsupported_dtype'), ({'dtype': 4}, 'bad_value'),
                ({'shape': [260, 127]}, 'length_mismatch'), ({'shape': [-260, 128]}, 'bad_value'),
                ({'shape': '260'}, 'bad_value'), ({'shape': [2**63, 4]}, 'size_overflow'),
                ({'data_offsets': [0]}, 'bad_value'), ({'data_offsets': [4, 0]}, 'bad_value'),
                ({'data_offsets': [0, 2**63]}, 'range_out_of_file'),
                ({'data_offsets': [0, end + 4], 'shape': [end // 4 + 1]}, 'overlap'),
                ({'data_offsets': [0, end - 4], 'shape': [end // 4 - 1]}, 'hole'),
                ({'extra': 1}, 'unknown_key')):
            put(self.file, self.changed(**fields), self.body)
            self.expect(code, CANNOT_CHECK if code == 'unsupported_dtype' else INVALID)
        header = self.changed()
        del header[self.first]['shape']
        put(self.file, header, self.body)
        self.expect('missing_key')
        put(self.file, dict(self.header, __metadata__={'format': 1}), self.body)
        self.expect('bad_value')
        put(self.file, self.changed(dtype='I32'), self.body)  # sound, but no weights
        self.expect('unsupported_dtype', CANNOT_CHECK)

    def test_tensors(self):
        text = json.dumps(self.header)
        put(self.file, text.replace('"model.norm.weight"', '"model.norm.bias"').encode(), self.body)
        run = self.convert('checkpoint')
        self.refused(run, INVALID, 'missing_tensor', 'unexpected_tensor')
        put(self.file, self.changed(shape=[128, 260]), self.body)
        self.expect('shape_mismatch')
        for value in (float('nan'), float('inf')):
            put(self.file, self.header, self.body[:8] + struct.pack('<f', value) + self.body[12:])
            run = self.convert('checkpoint', '--dtype', 'q4_0')
            self.refused(run, INVALID, 'non_finite')
            finding = run.document['findings'][0]
            self.assertEqual((finding['tensor'], finding['element']), ('tok_embeddings.weight', 2))


class BadConfiguration(Convert):
    def test_what_slm1_has_no_place_for(self):
        good = read(self.path('checkpoint/config.json'))
        for changes in (
                {'model_type': 'gpt2'}, {'architectures': ['BertModel']}, {'hidden_act': 'gelu'},
                {'attention_bias': True}, {'mlp_bias': True},
                {'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0}},
                {'rope_scaling': {'type': 'linear', 'factor': 2.0}},
                {'rope_parameters': {'rope_type': 'yarn', 'rope_theta': 1e4}},
                {'quantization_config': {'quant_method': 'gptq'}}, {'sliding_window': 64},
                {'partial_rotary_factor': 0.5}, {'bos_token_id': 1}):
            write(self.path('checkpoint/config.json'), good)
            self.configure('checkpoint', **changes)
            run = self.convert('checkpoint')
            self.refused(run, CANNOT_CHECK, 'unsupported_source')
            key = next(iter(changes))
            self.assertIn('/' + key, [f.get('pointer') for f in run.document['findings']])

    def test_values(self):
        good = json.loads(read(self.path('checkpoint/config.json')))
        path = self.path('checkpoint/config.json')
        for changes, code in (({'hidden_size': None}, 'missing_key'),
                              ({'num_attention_heads': 0}, 'bad_value'),
                              ({'num_key_value_heads': 3}, 'bad_value'),
                              ({'head_dim': 31}, 'bad_value'), ({'rope_theta': -1}, 'bad_value'),
                              ({'rms_norm_eps': 1e-60}, 'bad_value'),
                              ({'num_hidden_layers': 5}, 'missing_tensor'),
                              ({'num_hidden_layers': 3}, 'unexpected_tensor'),
                              ({'intermediate_size': 383}, 'shape_mismatch'),
                              ({'num_hidden_layers': 10**9}, 'limit_exceeded'),
                              ({'tie_word_embeddings': True}, 'unexpected_tensor')):
            write(path, json.dumps(dict(good, **changes)).encode())
            self.refused(self.convert('checkpoint'), INVALID, code)
        write(path, json.dumps(dict(good, vocab_size=300)).encode())
        self.assertIn('unsupported_source', self.convert('checkpoint').codes())
        write(path, b'{"vocab_size": NaN}')
        self.refused(self.convert('checkpoint'), INVALID, 'bad_json')


class BadLora(Convert):
    def expect(self, exit_code, *codes, base='union.q8_0.slm'):
        run = self.convert('peft-lora', '--base', data(base))
        self.refused(run, exit_code, *codes)
        return run

    def test_settings(self):
        good = read(self.path('peft-lora/adapter_config.json'))
        for changes in ({'use_dora': True}, {'bias': 'all'}, {'modules_to_save': ['lm_head']},
                        {'peft_type': 'IA3'}, {'lora_bias': True}, {'layer_replication': [[0, 2]]},
                        {'init_lora_weights': 'pissa'}, {'trainable_token_indices': [1]},
                        {'rank_pattern': {'q_(a|b)': 4}}, {'some_new_setting': 3}):
            write(self.path('peft-lora/adapter_config.json'), good)
            self.configure('peft-lora', **changes)
            run = self.expect(CANNOT_CHECK, 'unsupported_source')
            self.assertIn(next(iter(changes)), run.out)

    def test_numbers(self):
        path = self.path('peft-lora/adapter_config.json')
        good = json.loads(read(path))
        for changes, code in (({'r': None}, 'missing_key'), ({'r': 0}, 'bad_value'),
                              ({'r': 4}, 'bad_low_rank'), ({'lora_alpha': 0}, 'bad_value'),
                              ({'lora_alpha': 'nan'}, 'bad_value'),
                              ({'rank_pattern': {'q_proj': 4}}, 'bad_low_rank'),
                              ({'lora_alpha': 1e300}, 'bad_low_rank'),
                              ({'target_modules': ['q_proj']}, 'unexpected_tensor'),
                              ({'target_modules': good['target_modules'] + ['lm_head']},
                               'missing_tensor')):
            write(path, json.dumps(dict(good, **changes)).encode())
            self.expect(INVALID, code)
        write(path, json.dumps(dict(good, lora_alpha=float('nan'))).encode())
        self.expect(INVALID, 'bad_json')

    def test_another_model(self):
        small = vector('models', 'base_q8_0.slm')
        run = self.convert('peft-lora', '--base', small)
        self.refused(run, INCOMPATIBLE, 'tensor_unknown', 'tensor_shape_differs')
        self.refused(self.convert('peft-lora', '--base', data('union.q8_0.slm'), '--target', small),
                     INCOMPATIBLE, 'layout_differs')

    def test_tensors(self):
        path = self.path('peft-lora/adapter_model.safetensors')
        header, body = header_of(path)
        first = next(k for k in header if k.endswith('lora_A.weight'))
        for name, code, exit_code in (
                (first.replace('lora_A', 'lora_C'), 'unexpected_tensor', INVALID),
                (first.replace('lora_A.weight', 'lora_magnitude_vector.weight'),
                 'unsupported_source', CANNOT_CHECK),
                ('base_model.model.lm_head.modules_to_save.weight', 'unsupported_source',
                 CANNOT_CHECK)):
            changed = {name if k == first else k: v for k, v in header.items()}
            put(path, changed, body)
            run = self.convert('peft-lora', '--base', data('union.q8_0.slm'))
            self.assertIn(code, run.codes(), run)
            self.assertIn('missing_tensor', run.codes(), run)
        at = header[first]['data_offsets'][0]
        put(path, header, body[:at] + struct.pack('<f', float('nan')) + body[at + 4:])
        self.expect(INVALID, 'non_finite')
        os.remove(path)
        self.expect(CANNOT_CHECK, 'file_missing')


if __name__ == '__main__':
    support.main()
