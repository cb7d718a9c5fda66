"""trlm-adapt inspect, digest, explain, limits, version."""
import hashlib
import math
import os
import struct

import support
from support import (CANNOT_CHECK, DRIFT, INVALID, OK, USAGE, data, foreign_model, read, sha256,
                     vector, write)


class Models(support.Case):
    def test_vectors(self):
        for path, want in support.expected()['models'].items():
            with self.subTest(path):
                run = self.run_json('inspect', vector(path))
                self.assertEqual(run.code, OK, run)
                result = run.result
                self.assertEqual(list(result),
                                 ['file', 'format', 'bytes', 'internal_checksum', 'identity',
                                  'state', 'shape', 'tokenizer', 'tensors'])
                self.assertEqual(result['format'], 'SLM1')
                self.assertEqual(result['bytes'], want['bytes'])
                self.assertEqual(result['internal_checksum'], 'xxh3-64:' + want['checksum'])
                self.assertEqual(result['state'], 'xxh3-64:' + want['state0'])
                self.assertEqual(result['identity'], {
                    'model_flags': want['flags'],
                    'tensor_count': want['tensor_count'],
                    'parameter_count': want['parameter_count'],
                    'tensor_layout_checksum': 'xxh3-64:' + want['tensor_layout_checksum'],
                    'tokenizer_checksum': 'xxh3-64:' + want['tokenizer_checksum']})
                self.assertEqual(len(result['tensors']), want['tensor_count'])

    def test_shape_and_tensors_as_the_header_has_them(self):
        content = read(data('union.q8_0.slm'))
        result = self.run_json('inspect', data('union.q8_0.slm')).result
        numbers = struct.unpack_from('<9I2f', content, 20)
        names = ['vocab_size', 'special_token_count', 'hidden_size', 'layer_count', 'head_count',
                 'kv_head_count', 'head_dim', 'ffn_size', 'max_context']
        self.assertEqual(list(result['shape']), names + ['rope_theta', 'rms_norm_epsilon'])
        self.assertEqual([result['shape'][n] for n in names], list(numbers[:9]))
        self.assertEqual(result['shape']['rope_theta'], 10000)
        self.assertEqual(result['shape']['rms_norm_epsilon'], 1e-5)
        self.assertEqual(result['tokenizer'], {'kind': 'BTOK', 'vocab_size': 260})

        directory, count = struct.unpack_from('<QI', content, 80)
        self.assertEqual(len(result['tensors']), count)
        for i, tensor in enumerate(result['tensors']):
            entry = struct.unpack_from('<QII4I', content, directory + 64 * i)
            length, = struct.unpack_from('<Q', content, directory + 64 * i + 40)
            self.assertEqual(tensor['name_hash'], '0x%016x' % entry[0])
            self.assertEqual(tensor['dtype'], 'q8_0')
            self.assertEqual(tensor['dims'], list(entry[3:3 + entry[2]]))
            rows = math.prod(tensor['dims'][:-1])
            self.assertEqual(tensor['bytes'], length + 4 * rows)
        self.assertEqual(result['tensors'][0]['name'], 'tok_embeddings.weight')

    def test_headers_only_unless_statistics_are_asked_for(self):
        content = bytearray(read(vector('models', 'base_f32.slm')))
        content[-100] ^= 1  # in a payload
        write(self.path('a.slm'), content)
        self.assertEqual(self.run_json('inspect', 'a.slm').code, OK)
        run = self.run_json('inspect', 'a.slm', '--stats')
        self.assert_refused(run, DRIFT, 'checksum_mismatch')
        self.assertIsNone(run.result)

    def test_statistics(self):
        content = read(vector('models', 'base_f32.slm'))
        directory, count = struct.unpack_from('<QI', content, 80)
        result = self.run_json('inspect', vector('models', 'base_f32.slm'), '--stats').result
        for i, tensor in enumerate(result['tensors']):
            offset, length = struct.unpack_from('<QQ', content, directory + 64 * i + 32)
            values = struct.unpack_from('<%df' % (length // 4), content, offset)
            statistics = tensor['statistics']
            self.assertEqual(list(statistics), ['count', 'zeros', 'min', 'max', 'mean', 'rms'])
            self.assertEqual(statistics['count'], len(values))
            self.assertEqual(statistics['zeros'], sum(v == 0 for v in values))
            self.assertEqual(statistics['min'], min(values))
            self.assertEqual(statistics['max'], max(values))
            self.assertAlmostEqual(statistics['mean'], math.fsum(values) / len(values), 12)
            self.assertAlmostEqual(statistics['rms'],
                                   math.sqrt(math.fsum(v * v for v in values) / len(values)), 12)
        self.assertEqual(count, len(result['tensors']))

    def test_a_foreign_checksum(self):
        write(self.path('a.slm'), foreign_model(read(vector('models', 'base_q8_0.slm'))))
        run = self.run_json('inspect', 'a.slm')
        self.assert_refused(run, CANNOT_CHECK, 'checksum_unverifiable')
        self.assertIsNone(run.result)
        run = self.run_json('inspect', 'a.slm', '--accept-foreign-checksum')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['checksum_unverifiable'])
        self.assertEqual(run.result['internal_checksum'], 'xxh3-64:1234567890abcdef')

    def test_text(self):
        for arguments in ([], ['--stats']):
            run = self.run_tool('inspect', data('union.q8_0.slm'), *arguments)
            self.assertEqual(run.code, OK, run)
            self.assertEqual(run.err, '')
            self.assert_narrow(run.out.split('\n', 1)[1])
            for part in ('947,648 bytes (925.4 KiB)', 'BTOK', 'xxh3-64:f34e1750cb9c9a62',
                         '919,680', 'layers.3.ffn_norm.weight', '[384, 128]'):
                self.assertIn(part, run.out)
        # The table lines up: one column starts where its heading starts.
        lines = self.run_tool('inspect', data('union.q8_0.slm')).out.splitlines()
        heading = next(i for i, line in enumerate(lines) if line.startswith('  tensor '))
        for line in lines[heading + 1:heading + 40]:
            self.assertEqual(line.find('q8_0'), lines[heading].find('dtype'), line)
            self.assertEqual(len(line), len(lines[heading]), line)


class Packages(support.Case):
    def test_vectors(self):
        for path, want in support.expected()['adapters'].items():
            with self.subTest(path):
                result = self.run_json('inspect', vector(path)).result
                keys = ['file', 'format', 'bytes', 'internal_checksum', 'identity', 'entries']
                if want['kind'] == 'ASP1':
                    keys += ['retention', 'mask_method', 'mask_seed', 'mask_checksum']
                elif want['kind'] == 'ALR1':
                    keys += ['source_kind'] + (['source_hash'] if 'source_hash' in result else [])
                self.assertEqual(list(result), keys + ['metadata'])
                self.assertEqual(result['format'], want['kind'])
                self.assertEqual(result['bytes'], want['bytes'])
                self.assertEqual(result['internal_checksum'], 'xxh3-64:' + want['checksum'])
                self.assertEqual(len(result['entries']), want['entry_count'])
                keys = {'ADP1': [], 'ASP1': ['encoding', 'count'], 'ALR1': ['rank', 'scale']}
                for entry in result['entries']:
                    self.assertEqual(list(entry),
                                     ['name', 'name_hash', 'dims'] + keys[want['kind']])

    def test_entries_as_the_directory_has_them(self):
        for name in ('sparse.asp1', 'mask.asp1', 'lowrank.alr1'):
            content = read(vector('adapters', name))
            for i, entry in enumerate(self.run_json('inspect',
                                                    vector('adapters', name)).result['entries']):
                start = 128 + 64 * i
                hash_, rank, encoding = struct.unpack_from('<QII', content, start)
                dims = struct.unpack_from('<4I', content, start + 16)
                self.assertEqual(entry['name_hash'], '0x%016x' % hash_)
                self.assertEqual(entry['dims'], list(dims[:rank]))
                if name.endswith('.asp1'):
                    count, = struct.unpack_from('<Q', content, start + 48)
                    self.assertEqual(entry['count'], count)
                    self.assertEqual(entry['encoding'],
                                     {1: 'index-list', 2: 'bitmask'}[encoding])
                else:
                    low_rank, scale = struct.unpack_from('<If', content, start + 48)
                    self.assertEqual(entry['rank'], low_rank)
                    self.assertEqual(struct.pack('<f', entry['scale']), struct.pack('<f', scale))

    def test_metadata_and_names(self):
        result = self.run_json('inspect', data('whale-lora.alr1')).result
        self.assertEqual(result['metadata']['name'], 'whale-lora')
        self.assertEqual([e['name'] for e in result['entries']],
                         result['metadata']['tensor_names'])
        self.assertEqual(result['source_kind'], 'lora')
        self.assertIsNone(self.run_json('inspect', vector('adapters', 'dense.adp1'))
                          .result['metadata'])
        result = self.run_json('inspect', data('whale-top5.asp1')).result
        self.assertEqual(result['mask_method'], 'magnitude')
        retention, = struct.unpack_from('<f', read(data('whale-top5.asp1')), 96)
        self.assertEqual(struct.pack('<f', result['retention']), struct.pack('<f', retention))

    def test_text(self):
        for name in ('whale-lora.alr1', 'whale-top5.asp1', 'whale-full.adp1'):
            for arguments in ([], ['--stats']):
                run = self.run_tool('inspect', data(name), *arguments)
                self.assertEqual(run.code, OK, run)
                self.assert_narrow(run.out.split('\n', 1)[1])
                self.assertIn('layers.0.wq.weight', run.out)

    def test_what_is_neither(self):
        write(self.path('text'), b'hello there, this is no package')
        run = self.run_json('inspect', 'text')
        self.assert_refused(run, INVALID, 'bad_magic')
        self.assertEqual(run.document['findings'][0]['actual'], '"hell"')
        self.assertIsNone(run.result)
        self.assert_refused(self.run_json('inspect', '.'), CANNOT_CHECK, 'file_unreadable')
        self.assert_refused(self.run_json('inspect', 'none'), CANNOT_CHECK, 'file_missing')
        write(self.path('empty'), b'')
        self.assert_refused(self.run_json('inspect', 'empty'), INVALID, 'truncated')


class SmallCommands(support.Case):
    def test_digest(self):
        write(self.path('empty'), b'')
        write(self.path('large'), os.urandom(9_000_001))
        run = self.run_json('digest', 'empty', 'large')
        self.assertEqual(run.result, {'files': [
            {'file': 'empty', 'digest': 'sha256:' + hashlib.sha256().hexdigest(), 'bytes': 0},
            {'file': 'large', 'digest': sha256(self.path('large')), 'bytes': 9_000_001}]})
        run = self.run_tool('digest', 'large')
        self.assertEqual(run.out, '%s  9000001  large\n' % sha256(self.path('large')))

    def test_digest_of_what_cannot_be_read(self):
        write(self.path('a'), b'a')
        run = self.run_json('digest', 'none', 'a', '.')
        self.assert_refused(run, CANNOT_CHECK, 'file_missing', 'file_unreadable')
        self.assertEqual([f['file'] for f in run.result['files']], ['a'])
        self.assertIsNone(self.run_json('digest', 'none').result)

    def test_explain(self):
        result = self.run_json('explain', 'index_out_of_range').result
        self.assertEqual(list(result),
                         ['code', 'class', 'exit_code', 'meaning', 'cause', 'remedy'])
        self.assertEqual((result['code'], result['class'], result['exit_code']),
                         ('index_out_of_range', 'invalid', 1))
        text = self.run_tool('explain', 'index_out_of_range').out
        self.assert_narrow(text)
        words = ' '.join(text.split())
        for key in ('meaning', 'cause', 'remedy'):
            self.assertIn(result[key], words)

    def test_explain_everything(self):
        codes = self.run_json('explain').result['codes']
        exits = {'drift': 3, 'invalid': 1, 'incompatible': 4, 'policy': 6, 'cannot-check': 5,
                 'usage': 2}
        self.assertGreater(len(codes), 80)
        for code in codes:
            self.assertEqual(code['exit_code'], exits[code['class']], code)
        text = self.run_tool('explain').out
        self.assert_narrow(text)
        for code in codes:
            self.assertIn('  %s ' % code['code'], text)

    def test_explain_something_unknown(self):
        run = self.run_json('explain', 'checksum_missmatch')
        self.assert_refused(run, USAGE, 'usage_error')
        self.assertIn('checksum_mismatch?', run.document['findings'][0]['message'])
        run = self.run_tool('explain', 'survival')
        self.assertIn('did you mean survival_below_threshold?', run.err)
        self.assertEqual(self.run_tool('explain', 'x' * 100_000).code, USAGE)
        self.assertEqual(self.run_tool('explain', '').code, USAGE)

    def test_limits(self):
        limits = self.run_json('limits').result['limits']
        self.assertEqual({tuple(limit) for limit in limits},
                         {('name', 'value', 'unit', 'applies')})
        # formats.md, section 5
        values = [65_536, 4, 2**31 - 1, 2**40, 2**32, 4_096, 1 << 20, 16, 1 << 20, 32, 64, 1_000,
                  33_554_432, 1_048_576, 262_144]
        self.assertEqual([limit['value'] for limit in limits], values)
        text = self.run_tool('limits').out
        self.assert_narrow(text)
        for value in values:
            self.assertIn('{:,}'.format(value), text)

    def test_version(self):
        document = self.run_json('version').document
        result = document['result']
        self.assertEqual(list(result), ['version', 'formats', 'arithmetic', 'simd', 'compiler'])
        self.assertEqual(result['version'], document['version'])
        self.assertEqual(result['formats'], {'SLM1': 1, 'ADP1': 1, 'ASP1': 1, 'ALR1': 1,
                                             'UND1': 1})
        self.assertEqual(result['arithmetic'], 'trlm-f32-unfused@1')
        self.assertEqual(result['simd']['chosen'], result['simd']['available'][0])
        self.assertIn(document['version'], self.run_tool('version').out)
        self.assertEqual(self.run_tool('--version').out, self.run_tool('version').out)

    def test_version_tells_which_instruction_set_is_forced(self):
        run = self.run_json('version', env={'TRLM_ADAPT_TARGET': 'scalar'})
        self.assertEqual(run.result['simd']['chosen'], 'scalar')
        run = self.run_json('version', env={'TRLM_ADAPT_TARGET': 'MMX'})
        self.assert_refused(run, USAGE, 'usage_error')


if __name__ == '__main__':
    support.main()
