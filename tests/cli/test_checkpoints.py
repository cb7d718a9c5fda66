"""trlm-adapt convert on checkpoints and tokenizers: each rule of docs/making-adapters.md, broken alone."""
import json
import os
import struct

import checkpoints
import support
from checkpoints import (ABSENT, CONFIG, Bpe1, byte_characters, changed, checkpoint_tensors,
                         put_json, put_tensors, tokenizer, values)
from support import CANNOT_CHECK, INVALID, OK, read, write

def header(path):
    """The numbers of an SLM1 header that a config.json decides."""
    raw = read(path)
    names = ('flags', 'vocab_size', 'special_token_count', 'hidden_size', 'layer_count',
             'head_count', 'kv_head_count', 'head_dim', 'ffn_size', 'max_context')
    numbers = dict(zip(names, struct.unpack_from('<10I', raw, 16)))
    numbers['rope_theta'], numbers['rms_norm_epsilon'] = struct.unpack_from('<2f', raw, 56)
    return numbers


class Configurations(checkpoints.Case):
    def configure(self, **changes):
        put_json(self.path('checkpoint/config.json'), changed(CONFIG, changes))

    def check(self, changes, exit_code, *findings):
        with self.subTest(changes):
            self.configure(**changes)
            self.refused(self.convert('checkpoint'), exit_code, *findings)

    def test_what_means_the_same_network(self):
        self.good()
        expected = read(self.path('out'))
        for changes in (
                {'architectures': ABSENT}, {'architectures': None},
                {'architectures': ['Other', 'LlamaForCausalLM']},
                {'model_type': 'mistral', 'architectures': ['MistralForCausalLM']},
                {'hidden_act': 'swish'}, {'hidden_act': None}, {'hidden_act': ABSENT},
                {'attention_bias': False, 'mlp_bias': None}, {'quantization_config': None},
                {'sliding_window': None}, {'sliding_window': 16}, {'sliding_window': 4096},
                {'rope_scaling': None}, {'rope_scaling': {}},
                {'rope_scaling': {'rope_type': 'default'}}, {'rope_scaling': {'type': 'default'}},
                {'rope_scaling': {'rope_type': None, 'type': 'default'}},
                {'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e4},
                 'rope_theta': ABSENT},
                {'rope_parameters': {'rope_type': 'default'}, 'rope_theta': ABSENT},
                {'rope_parameters': {'rope_theta': 1e4}}, {'rope_theta': ABSENT},
                {'partial_rotary_factor': 1}, {'partial_rotary_factor': 1.0},
                {'head_dim': 4}, {'head_dim': None}, {'tie_word_embeddings': ABSENT},
                {'bos_token_id': None}, {'bos_token_id': -1}, {'eos_token_id': [257, 3]},
                {'pad_token_id': ABSENT}, {'unk_token_id': 259},
                {'torch_dtype': 'float32', 'a_setting_of_a_later_version': [1]}):
            with self.subTest(changes):
                self.configure(**changes)
                self.assertEqual(self.good()['notes'], [])
                self.assertEqual(read(self.path('out')), expected)

    def test_what_is_absent_has_the_usual_value(self):
        self.configure(max_position_embeddings=ABSENT, rms_norm_eps=ABSENT, rope_theta=ABSENT)
        self.good()
        numbers = header(self.path('out'))
        self.assertEqual(numbers['max_context'], 2048)
        self.assertEqual(numbers['rope_theta'], 10000)
        self.assertAlmostEqual(numbers['rms_norm_epsilon'], 1e-6, delta=1e-13)
        # As many key-value heads as heads: then k and v have 8 rows.
        tensors = ['model.layers.%d.self_attn.%s_proj.weight' % (layer, part)
                   for layer in range(2) for part in 'kv']
        self.check_tensors({'num_key_value_heads': ABSENT}, tensors)

    def check_tensors(self, changes, tensors):
        self.configure(**changes)
        os.remove(self.path('out'))
        self.refused(self.convert('checkpoint'), INVALID,
                     *(('shape_mismatch', None, tensor) for tensor in tensors))

    def test_the_numbers_of_the_header(self):
        self.configure(rope_theta=ABSENT, rms_norm_eps=0.25,
                       rope_parameters={'rope_type': 'default', 'rope_theta': 500000})
        self.good()
        self.assertEqual(header(self.path('out')), {
            'flags': 0, 'vocab_size': 260, 'special_token_count': 4, 'hidden_size': 8,
            'layer_count': 2, 'head_count': 2, 'kv_head_count': 1, 'head_dim': 4, 'ffn_size': 12,
            'max_context': 16, 'rope_theta': 500000, 'rms_norm_epsilon': 0.25})

    def test_what_slm1_has_no_place_for(self):
        for changes in (
                {'architectures': []}, {'hidden_act': 'x' * 500}, {'attention_bias': True},
                {'sliding_window': 15}, {'quantization_config': {'bits': 4}},
                {'rope_scaling': {'rope_type': None, 'type': 'linear'}},
                {'rope_scaling': {'rope_type': 3}}, {'partial_rotary_factor': 0.25},
                {'unk_token_id': 0}, {'eos_token_id': [256, 257]}):
            key, = changes
            self.check(changes, CANNOT_CHECK, ('unsupported_source', '/' + key))
        run = self.convert('checkpoint')
        self.assertLess(max(len(f.get('actual', '')) for f in run.document['findings']), 100)
        # One of them is enough for each, and all are named.
        self.check({'attention_bias': True, 'mlp_bias': True, 'hidden_act': 'gelu'}, CANNOT_CHECK,
                   ('unsupported_source', '/attention_bias'), ('unsupported_source', '/mlp_bias'),
                   ('unsupported_source', '/hidden_act'))
        # Plain RoPE that turns a part of each head is said in either place.
        self.check({'rope_parameters': {'rope_type': 'default', 'partial_rotary_factor': 0.5}},
                   CANNOT_CHECK, ('unsupported_source', '/rope_parameters/partial_rotary_factor'))

    def test_a_mistral_without_a_window_looks_back_over_4096_tokens(self):
        # MistralConfig's own default; only null means the whole context.
        mistral = {'model_type': 'mistral', 'architectures': ['MistralForCausalLM']}
        self.check(dict(mistral, max_position_embeddings=4097), CANNOT_CHECK,
                   ('unsupported_source', '/sliding_window'))
        for changes in ({'max_position_embeddings': 4096},
                        {'max_position_embeddings': 4097, 'sliding_window': None}):
            self.configure(**mistral, **changes)
            self.good()

    def test_wrong_values(self):
        huge = 2 ** 63
        for changes, pointer in (
                ({'model_type': 4}, '/model_type'),
                ({'architectures': 'LlamaForCausalLM'}, '/architectures'), ({'hidden_act': 1}, '/hidden_act'),
                ({'attention_bias': 'yes'}, '/attention_bias'), ({'mlp_bias': 0}, '/mlp_bias'),
                ({'tie_word_embeddings': 1}, '/tie_word_embeddings'),
                ({'sliding_window': '16'}, '/sliding_window'),
                ({'rope_scaling': 'linear'}, '/rope_scaling'),
                ({'rope_parameters': [1]}, '/rope_parameters'),
                ({'rope_parameters': {'rope_theta': 0}, 'rope_theta': ABSENT},
                 '/rope_parameters/rope_theta'),
                ({'rope_parameters': {'rope_theta': 1e39}, 'rope_theta': ABSENT},
                 '/rope_parameters/rope_theta'),
                ({'rope_parameters': {'rope_theta': 'x'}, 'rope_theta': ABSENT},
                 '/rope_parameters/rope_theta'),
                ({'rope_parameters': {'rope_theta': 5e5}}, '/rope_parameters/rope_theta'),
                ({'partial_rotary_factor': 'x'}, '/partial_rotary_factor'),
                ({'rope_theta': 0}, '/rope_theta'), ({'rope_theta': 1e39}, '/rope_theta'),
                ({'rms_norm_eps': '1e-5'}, '/rms_norm_eps'),
                ({'rms_norm_eps': -1e-5}, '/rms_norm_eps'),
                ({'max_position_embeddings': 0}, '/max_position_embeddings'),
                ({'vocab_size': -1}, '/vocab_size'), ({'vocab_size': 260.0}, '/vocab_size'),
                ({'vocab_size': '260'}, '/vocab_size'), ({'vocab_size': 2**32}, '/vocab_size'),
                ({'hidden_size': 9}, '/num_attention_heads'), ({'hidden_size': 6}, '/head_dim'),
                ({'bos_token_id': 'x'}, '/bos_token_id'), ({'bos_token_id': 256.0}, '/bos_token_id'),
                ({'bos_token_id': 2**32}, '/bos_token_id'), ({'bos_token_id': huge}, '/bos_token_id'),
                ({'eos_token_id': []}, '/eos_token_id'), ({'eos_token_id': ['x']}, '/eos_token_id')):
            self.check(changes, INVALID, ('bad_value', pointer))
        self.check({'model_type': ABSENT}, INVALID, ('missing_key', '/model_type'))
        self.check({'model_type': None}, INVALID, ('missing_key', '/model_type'))
        self.check({'vocab_size': ABSENT, 'intermediate_size': None}, INVALID,
                   ('missing_key', '/vocab_size'), ('missing_key', '/intermediate_size'))

    def test_a_file_that_cannot_be_read(self):
        path = self.path('checkpoint/config.json')
        for content, code in ((b'', 'bad_json'), (b'[]', 'bad_json'), (b'{"r": 1e400}', 'bad_json'),
                              (b'{"r": 1, "r": 1}', 'duplicate_key')):
            write(path, content)
            run = self.convert('checkpoint')
            self.assert_refused(run, INVALID, code)
            self.assertEqual(run.document['findings'][0]['file'], 'checkpoint/config.json')
        os.remove(path)
        run = self.convert('checkpoint/model.safetensors')
        self.refused(run, CANNOT_CHECK, ('file_missing', None))
        self.assertEqual(run.document['findings'][0]['file'], 'checkpoint/config.json')
        self.refused(self.convert('checkpoint'), CANNOT_CHECK, ('file_missing', None))
        # A folder's own file, named from within.
        put_json(path, CONFIG)
        run = self.run_json('convert', 'model.safetensors', '-o', 'out',
                            cwd=self.path('checkpoint'))
        self.assertEqual(run.code, OK, run)


class Weights(checkpoints.Case):
    def check(self, tensors, exit_code, *findings, **changes):
        self.put_checkpoint(tensors, **changes)
        self.refused(self.convert('checkpoint'), exit_code, *findings)

    def test_buffers_that_follow_from_the_configuration_are_left_out(self):
        self.good()
        expected = read(self.path('out'))
        tensors = checkpoint_tensors()
        for layer in range(2):
            name = 'model.layers.%d.self_attn.rotary_emb.inv_freq' % layer
            tensors[name] = values(name, (2,))
        self.put_checkpoint(tensors)
        self.good()
        self.assertEqual(read(self.path('out')), expected)

    def test_a_tied_output(self):
        head, embeddings = 'lm_head.weight', 'model.embed_tokens.weight'
        tensors = checkpoint_tensors()
        tensors.pop(head)
        self.put_checkpoint(tensors, tie_word_embeddings=True)
        self.good()
        expected = read(self.path('out'))
        self.assertEqual(header(self.path('out'))['flags'], 1)
        # The same values under both names, as some programs save them.
        tensors[head] = tensors[embeddings]
        self.put_checkpoint(tensors, tie_word_embeddings=True)
        self.good()
        self.assertEqual(read(self.path('out')), expected)
        os.remove(self.path('out'))
        dtype, dims, content = tensors[embeddings]
        for other in (values('another', dims), ('I32', dims, content),
                      (dtype, [8, 260], content), (dtype, [260, 7], content[:260 * 28])):
            self.check(dict(tensors, **{head: other}), INVALID,
                       ('unexpected_tensor', None, head), tie_word_embeddings=True)
        tensors.pop(embeddings)
        self.check(tensors, INVALID, ('unexpected_tensor', None, head),
                   ('missing_tensor', None, embeddings), tie_word_embeddings=True)

    def test_tensors_without_a_place(self):
        for name in ('model.layers.0.self_attn.q_proj.bias', 'model.layers.2.mlp.up_proj.weight',
                     'extra'):
            self.check(dict(checkpoint_tensors(), **{name: values(name, (12, 8))}), INVALID,
                       ('unexpected_tensor', None, name))

    def test_a_tensor_that_is_missing_is_told_of_the_folder_or_the_file(self):
        tensors = checkpoint_tensors()
        del tensors['model.norm.weight']
        self.put_checkpoint(tensors)
        for source in ('checkpoint', 'checkpoint/model.safetensors'):
            run = self.convert(source)
            self.refused(run, INVALID, ('missing_tensor', None, 'model.norm.weight'))
            self.assertEqual(run.document['findings'][0]['file'], source)

    def test_types_without_a_value_that_an_f32_holds(self):
        name = 'model.layers.1.self_attn.v_proj.weight'
        for dtype, size in (('F64', 8), ('I8', 1), ('F8_E4M3', 1), ('BOOL', 1)):
            self.check(dict(checkpoint_tensors(), **{name: (dtype, [4, 8], bytes(32 * size))}),
                       CANNOT_CHECK, ('unsupported_dtype', None, name))

    def test_half_precision_is_the_same_values(self):
        # Multiples of 1/128 below 1/4 are exact in both.
        self.good()
        expected = read(self.path('out'))
        for dtype in ('F16', 'BF16'):
            tensors = {}
            for name, (_, dims, content) in checkpoint_tensors().items():
                numbers = struct.unpack('<%df' % (len(content) // 4), content)
                halves = (struct.pack('<%de' % len(numbers), *numbers) if dtype == 'F16' else
                          b''.join(content[i + 2:i + 4] for i in range(0, len(content), 4)))
                tensors[name] = (dtype, dims, halves)
            self.put_checkpoint(tensors)
            self.good()
            self.assertEqual(read(self.path('out')), expected, dtype)

    def test_rows_of_an_odd_length_stay_f32_in_q4_0(self):
        tensors = checkpoint_tensors()
        for layer in range(2):
            for part, dims in (('gate_proj', (13, 8)), ('up_proj', (13, 8)), ('down_proj', (8, 13))):
                name = 'model.layers.%d.mlp.%s.weight' % (layer, part)
                tensors[name] = values(name, dims)
        self.put_checkpoint(tensors, intermediate_size=13)
        stored = {t['name']: t['dtype'] for t in self.good('checkpoint', '--dtype', 'q4_0')['tensors']}
        odd = {name for name in stored if name.endswith('w2.weight')}
        self.assertEqual(len(odd), 2)
        self.assertEqual(stored, {name: 'f32' if name in odd else 'q4_0' for name in stored})

    def test_metadata_must_be_an_object(self):
        for metadata in ('text', ['format'], 3):
            put_tensors(self.path('checkpoint/model.safetensors'), checkpoint_tensors(), metadata)
            self.refused(self.convert('checkpoint'), INVALID, ('bad_value', '/__metadata__'))

    def test_files_that_are_not_there(self):
        path = self.path('checkpoint/model.safetensors')
        os.remove(path)
        run = self.convert('checkpoint')
        self.refused(run, CANNOT_CHECK, ('file_missing', None))
        self.assertIn('model.safetensors.index.json', run.document['findings'][0]['message'])
        os.mkdir(path)
        self.refused(self.convert('checkpoint'), CANNOT_CHECK, ('file_unreadable', None))


class Shards(checkpoints.Case):
    def setUp(self):
        super().setUp()
        os.remove(self.path('checkpoint/model.safetensors'))
        tensors = checkpoint_tensors()
        names = sorted(tensors)
        self.parts = {'a.safetensors': {name: tensors[name] for name in names[::2]},
                      'b.safetensors': {name: tensors[name] for name in names[1::2]}}
        self.weight_map = {name: file for file, part in self.parts.items() for name in part}
        self.put_parts(self.parts)

    def put_parts(self, parts):
        for file, part in parts.items():
            put_tensors(self.path('checkpoint/' + file), part)

    def put_index(self, index):
        write(self.path('checkpoint/model.safetensors.index.json'),
              index if isinstance(index, bytes) else json.dumps(index).encode())

    def check(self, index, exit_code, *findings):
        self.put_index(index)
        run = self.convert('checkpoint')
        self.refused(run, exit_code, *findings)
        return run.document['findings']

    def test_the_index(self):
        self.put_index({'weight_map': self.weight_map})
        self.good()
        os.remove(self.path('out'))
        self.check(b'{', INVALID, ('bad_json', None))
        for index in ({}, {'weight_map': []}, {'weight_map': None}):
            self.check(index, INVALID, ('missing_key', '/weight_map'))

    def test_names_that_lead_out_of_the_folder(self):
        name = 'model.norm.weight'
        for file in ('', '.', '..', '/a', 'b/c', 'b\\c', 'a\0b', '../a.safetensors', 3, None, ['a']):
            self.check({'weight_map': dict(self.weight_map, **{name: file})}, INVALID,
                       ('path_escape', '/weight_map/' + name, name))

    def test_shards_that_are_missing_or_damaged(self):
        index = {'weight_map': self.weight_map}
        path = self.path('checkpoint/b.safetensors')
        write(path, read(path)[:100])
        found = self.check(index, INVALID, ('truncated', None))
        self.assertEqual(found[0]['file'], 'checkpoint/b.safetensors')
        os.remove(path)
        found = self.check(index, CANNOT_CHECK, ('file_missing', None))
        self.assertEqual(found[0]['file'], 'checkpoint/b.safetensors')

    def test_an_index_that_disagrees_with_the_shards(self):
        name = sorted(self.parts['b.safetensors'])[0]
        # Listed in the wrong shard, so that it is not where the index says.
        found = self.check({'weight_map': dict(self.weight_map, **{name: 'a.safetensors'})}, INVALID,
                           ('missing_tensor', '/weight_map/' + name, name))
        self.assertEqual(found[0]['file'], 'checkpoint/model.safetensors.index.json')
        # Not listed at all.
        listed = {key: file for key, file in self.weight_map.items() if key != name}
        self.check({'weight_map': listed}, INVALID, ('unexpected_tensor', None, name),
                   ('missing_tensor', None, name))
        # In both shards.
        self.put_parts({'a.safetensors': dict(self.parts['a.safetensors'],
                                              **{name: values('another', (8,))})})
        found = self.check({'weight_map': self.weight_map}, INVALID,
                           ('duplicate_tensor', None, name))
        self.assertEqual(found[0]['file'], 'checkpoint/a.safetensors')


class Tokenizers(checkpoints.Case):
    NAMED = {'bos_token_id': 256, 'eos_token_id': 257, 'pad_token_id': 258, 'unk_token_id': 259}
    WORDS = 'the tokenizer cuts a text into words'

    def setUp(self):
        super().setUp()
        self.tensors = checkpoint_tensors(vocab_size=262)
        self.document = tokenizer()
        self.put_checkpoint(self.tensors, vocab_size=262, **self.NAMED)

    def convert_with(self, document, **config):
        if config:
            self.put_checkpoint(self.tensors, **dict(dict(self.NAMED, vocab_size=262), **config))
        self.put_tokenizer(document)
        return self.good()['notes']

    def check(self, change, exit_code, *findings):
        """`change` spoils a copy of the good document."""
        document = json.loads(json.dumps(self.document))
        change(document)
        self.put_tokenizer(document)
        run = self.convert('checkpoint')
        self.refused(run, exit_code, *findings)
        self.assertEqual({f['file'] for f in run.document['findings']},
                         {'checkpoint/tokenizer.json'})

    def check_values(self, cases, exit_code, code):
        """Cases are (path of keys, value, pointer of the finding)."""
        for keys, value, pointer in cases:
            with self.subTest(keys=keys, value=value):
                def change(document):
                    for key in keys[:-1]:
                        document = document[key]
                    if value is ABSENT:
                        del document[keys[-1]]
                    else:
                        document[keys[-1]] = value
                self.check(change, exit_code, (code, pointer))

    def test_bytes_tokens_and_merges(self):
        for first in (0, 4):
            special = 256 if first == 0 else 0
            document = tokenizer(first)
            document['added_tokens'].append({'id': 262, 'content': 'd\u00e9', 'special': False})
            self.tensors = checkpoint_tensors(vocab_size=263)
            self.assertEqual(self.convert_with(
                document, vocab_size=263, bos_token_id=special, eos_token_id=special + 1,
                pad_token_id=special + 2, unk_token_id=None), [])
            section = Bpe1(self.path('out'))
            roles = (section.bos, section.eos, section.pad, section.unk)
            self.assertEqual(roles, tuple(special + i for i in range(4)))
            self.assertEqual(section.vocab_size, 263)
            # Ids below 256 without a record are bytes; special ids have none.
            tokens = {i: bytes([i]) for i in range(256)}
            tokens.update(section.tokens)
            expected = {first + byte: bytes([byte]) for byte in range(256)}
            expected.update({260: b'th', 261: b' th', 262: b'd\xc3\xa9'})
            self.assertEqual({i: text for i, text in tokens.items() if i not in roles}, expected)
            self.assertEqual(section.merges,
                             [(first + ord('t'), first + ord('h'), 260, 0),
                              (first + ord(' '), 260, 261, 1)])

    def test_special_tokens_in_one_place_or_in_both(self):
        self.convert_with(self.document)
        expected = read(self.path('out'))
        for token in self.document['added_tokens']:
            self.document['model']['vocab'][token['content']] = token['id']
        self.assertEqual(self.convert_with(self.document), [])
        self.assertEqual(read(self.path('out')), expected)
        # Named by config.json alone they are roles without a text.
        document = tokenizer()
        del document['added_tokens']
        self.assertEqual(self.convert_with(document), [])
        section = Bpe1(self.path('out'))
        self.assertEqual((section.bos, section.unk), (256, 259))
        self.assertEqual(len(section.merges), 2)

    def test_a_byte_level_decoder_is_enough(self):
        for pre in (None, {'type': 'Sequence'}, {'type': 'Sequence', 'pretokenizers': []}):
            self.assertEqual(self.convert_with(dict(self.document, pre_tokenizer=pre)), [], pre)

    def test_notes_on_what_bpe1_does_otherwise(self):
        byte_level = self.document['pre_tokenizer']
        split = {'type': 'Split', 'pattern': {'Regex': '\\s'}, 'behavior': 'Isolated'}
        for pre, *notes in (
                (changed(byte_level, {'use_regex': ABSENT}), self.WORDS),
                (dict(byte_level, use_regex=True), self.WORDS),
                ({'type': 'Sequence', 'pretokenizers': [split, byte_level]}, self.WORDS),
                ({'type': 'Sequence', 'pretokenizers': [byte_level, 'text']},),
                (split, self.WORDS), ({}, self.WORDS),
                (dict(byte_level, add_prefix_space=True), 'the tokenizer puts a space'),
                (dict(byte_level, add_prefix_space=True, use_regex=True), self.WORDS,
                 'the tokenizer puts a space')):
            with self.subTest(pre):
                given = self.convert_with(dict(self.document, pre_tokenizer=pre))
                self.assertEqual(len(given), len(notes), given)
                for note, start in zip(given, notes):
                    self.assertTrue(note.startswith(start), note)
        self.document['model']['ignore_merges'] = True
        note, = self.convert_with(self.document)
        self.assertTrue(note.startswith('the tokenizer looks up whole words'), note)
        run = self.run_tool('convert', 'checkpoint', '-o', 'out', '--force')
        self.assertIn('note: the tokenizer looks up whole words', run.out)

    def test_roles(self):
        # (what config.json names, what the model calls unknown, ids of the roles, notes)
        none = dict.fromkeys(self.NAMED)
        for config, unknown, roles, notes in (
                (none, '<unk>', (256, 257, 258, 259), 3),
                (none, None, (256, 257, 258, 259), 4),
                (none, 'not there', (256, 257, 258, 259), 4),
                ({'bos_token_id': 259, 'unk_token_id': 256}, '<unk>', (259, 257, 258, 256), 0),
                ({'pad_token_id': 257}, '<unk>', (256, 257, 258, 259), 1),
                ({'pad_token_id': 262}, '<unk>', (256, 257, 258, 259), 1),
                ({'bos_token_id': [258, 256], 'pad_token_id': -1}, '<unk>', (258, 257, 256, 259), 1),
                ({'unk_token_id': 5}, '<unk>', (256, 257, 258, 5), 0)):
            with self.subTest(config=config, unknown=unknown):
                self.document['model']['unk_token'] = unknown
                given = self.convert_with(self.document, **config)
                section = Bpe1(self.path('out'))
                self.assertEqual((section.bos, section.eos, section.pad, section.unk), roles)
                self.assertEqual(len(given), notes, given)

    def test_no_token_is_left_for_a_role(self):
        for token in self.document['added_tokens']:
            token['special'] = False
        self.document['model']['unk_token'] = None
        self.put_checkpoint(self.tensors, vocab_size=262, bos_token_id=256, eos_token_id=256,
                            pad_token_id=None)
        self.check(lambda document: None, CANNOT_CHECK,
                   *[('unsupported_source', '/added_tokens')] * 3)

    def test_plain_bytes_are_btok(self):
        document = tokenizer()
        for token in ('th', byte_characters()[32] + 'th'):
            del document['model']['vocab'][token]
        document['model']['merges'] = []
        self.tensors = checkpoint_tensors()
        self.convert_with(document, vocab_size=260)
        section = read(self.path('out'))[128:]
        self.assertEqual(section[:28], b'BTOK' + struct.pack('<6I', 1, 260, 256, 257, 258, 259))
        # Other roles, or bytes in another order, are not.
        self.convert_with(document, vocab_size=260, bos_token_id=257, eos_token_id=256)
        self.assertEqual(Bpe1(self.path('out')).bos, 257)
        vocabulary = document['model']['vocab']
        vocabulary['a'], vocabulary['b'] = vocabulary['b'], vocabulary['a']
        self.convert_with(document, vocab_size=260)
        self.assertEqual(Bpe1(self.path('out')).tokens[ord('a')], b'b')

    def test_what_bpe1_has_no_place_for(self):
        letters = byte_characters()
        self.check_values([
            (['model', 'type'], 'WordPiece', '/model/type'),
            (['model', 'byte_fallback'], True, '/model/byte_fallback'),
            (['model', 'continuing_subword_prefix'], '##', '/model/continuing_subword_prefix'),
            (['model', 'end_of_word_suffix'], '</w>', '/model/end_of_word_suffix'),
            (['normalizer'], {'type': 'NFC'}, '/normalizer'),
            # The alphabet ends at U+0143, and the soft hyphen and the space do not belong to it.
            (['model', 'vocab', '\u0144'], 100, '/model/vocab/\u0144'),
            (['model', 'vocab', '\u00ad'], 100, '/model/vocab/\u00ad'),
            (['model', 'vocab', 't h'], 100, '/model/vocab/t h'),
            (['model', 'vocab', '\u2581the'], 100, '/model/vocab/\u2581the'),
            (['model', 'vocab', '\U0001f433'], 100, '/model/vocab/\U0001f433'),
            (['model', 'vocab', ''], 100, '/model/vocab/'),
            (['model', 'vocab', letters[0]], ABSENT, '/model/vocab')],
            CANNOT_CHECK, 'unsupported_source')
        for pre, decoder in ((None, None), ({'type': 'Metaspace'}, {'type': 'Metaspace'}),
                             ({'type': 'Sequence', 'pretokenizers': 3}, None), ({'type': 3}, 'x'),
                             ({}, {})):
            self.document.update(pre_tokenizer=pre, decoder=decoder)
            self.check(lambda document: None, CANNOT_CHECK,
                       ('unsupported_source', '/pre_tokenizer'))

    def test_wrong_values(self):
        self.check_values([(['model'], ABSENT, '/model'), (['model'], [], '/model'),
                           (['model', 'vocab'], ABSENT, '/model/vocab'),
                           (['model', 'vocab'], ['a'], '/model/vocab'),
                           (['model', 'merges'], ABSENT, '/model/merges'),
                           (['model', 'merges'], {}, '/model/merges')], INVALID, 'missing_key')
        self.check_values(
            [(['model', 'type'], 3, '/model/type'),
             (['model', 'byte_fallback'], 'no', '/model/byte_fallback'),
             (['model', 'unk_token'], 3, '/model/unk_token'),
             (['added_tokens'], {}, '/added_tokens'),
             (['added_tokens', 0], 'text', '/added_tokens/0'),
             (['added_tokens', 1, 'id'], ABSENT, '/added_tokens/1'),
             (['added_tokens', 1, 'content'], ABSENT, '/added_tokens/1'),
             (['added_tokens', 1, 'content'], '', '/added_tokens/1'),
             (['added_tokens', 1, 'id'], 262, '/added_tokens/1'),
             (['added_tokens', 1, 'special'], 1, '/added_tokens/1/special'),
             (['model', 'vocab', 'th'], 262, '/model/vocab/th'),
             (['model', 'vocab', 'th'], -1, '/model/vocab/th'),
             (['model', 'vocab', 'th'], '260', '/model/vocab/th')]
            + [(['model', 'merges', 0], merge, '/model/merges/0')
               for merge in ('th', 't h e', 't x', 'unknown h', 't unknown', ['t'], ['t', 'h', 'e'],
                             ['t', 3], [3, 't'], 5, None)], INVALID, 'bad_value')
        self.check_values([(['model', 'vocab', 'h'], 260, '/model/vocab/th'),
                           (['added_tokens', 1, 'id'], 256, '/added_tokens/1')],
                          INVALID, 'duplicate_id')

    def test_at_most_a_thousand_findings_are_kept(self):
        self.document['model']['merges'] = ['t x'] * 1500
        self.put_tokenizer(self.document)
        run = self.convert('checkpoint')
        self.assertEqual(run.code, INVALID, run)
        self.assertEqual(run.codes(), ['bad_value'] * 1000)

    def test_a_file_that_cannot_be_read(self):
        path = self.path('checkpoint/tokenizer.json')
        write(path, b'{')
        run = self.convert('checkpoint')
        self.assert_refused(run, INVALID, 'bad_json')
        self.assertEqual(run.document['findings'][0]['file'], 'checkpoint/tokenizer.json')
        os.remove(path)
        os.mkdir(path)
        self.refused(self.convert('checkpoint'), CANNOT_CHECK, ('file_unreadable', None))


if __name__ == '__main__':
    support.main()
