"""Every field of an apply receipt, changed one at a time: what `replay` finds, where, and how it
exits. A field without a rule fails the test, so that a new one is not forgotten."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bundle  # noqa: E402,F401: it leads to support
import support  # noqa: E402
import test_drift as drift  # noqa: E402

OTHER_DIGEST, OTHER_CHECKSUM = drift.OTHER_DIGEST, drift.OTHER_CHECKSUM
NAME = 'out.apply-receipt.json'


def number(value):
    return value + 1


# (pattern of pointers, another value, codes with pointers; None: the place that was changed)
RULES = [
    ('/tool', 'trlm-adapt 9.9.9', []),
    ('/arithmetic', 'another', [('unsupported_version', None)]),
    ('/rounding', 'nearest', [('replay_differs', '/output/digest'), ('replay_differs', '/tensors')]),
    ('/output_dtype', 'f32', [('replay_differs', '/output/bytes'),
                              ('replay_differs', '/output/digest'),
                              ('replay_differs', '/tensors')]),
    ('/base/path', 'other.slm', [('file_missing', '')]),
    ('/(base|stack/0/package)/bytes', number, [('size_mismatch', '')]),
    ('/(base|stack/0/package)/digest', OTHER_DIGEST, [('digest_mismatch', '')]),
    ('/stack/0/package/path', 'other.alr1', [('file_missing', '')]),
    ('/stack/0/format', 'ADP1', [('value_drift', None)]),
    ('/stack/0/internal_checksum', OTHER_CHECKSUM, [('value_drift', None)]),
    ('/stack/0/strength', 0.5, [('replay_differs', '/state'),
                                ('replay_differs', '/output/digest')]),
    ('/state', OTHER_CHECKSUM, [('replay_differs', None)]),
    # The new model lies beside the receipt, and is not the stated one either.
    ('/output/path', 'elsewhere.slm', []),
    ('/output/bytes', number, [('replay_differs', None), ('size_mismatch', '')]),
    ('/output/digest', OTHER_DIGEST, [('replay_differs', None), ('digest_mismatch', '')]),
    ('/tensors/[0-9]+/name', 'another', [('replay_differs', None)]),
    ('/tensors/[0-9]+/.*', number, [('replay_differs', None)]),
]
EXITS = [({'size_mismatch', 'digest_mismatch', 'value_drift', 'replay_differs'}, support.DRIFT),
         ({'missing_key', 'bad_value', 'unknown_key', 'path_escape', 'duplicate_key'},
          support.INVALID),
         ({'file_missing', 'unsupported_version', 'schema_unsupported'}, support.CANNOT_CHECK)]


def exit_code(codes):
    for those, code in EXITS:
        if set(codes) & those:
            return code
    return support.OK


class ReceiptTest(support.Case):
    def setUp(self):
        super().setUp()
        self.take(support.vector('models', 'base_q4_0.slm'), 'base.slm')
        self.take(support.vector('adapters', 'lowrank.alr1'), 'adapter.alr1')
        run = self.run_tool('apply', 'base.slm', 'adapter.alr1', '-o', 'out.slm', '--receipt', NAME)
        self.assertEqual(run.code, support.OK, run)
        self.receipt = json.loads(support.read(self.path(NAME)))

    def judge(self, what, receipt, expected):
        """`expected`: codes with pointers; '/tensors' stands for any place in it."""
        content = receipt if isinstance(receipt, bytes) else json.dumps(receipt).encode()
        support.write(self.path(NAME), content)
        run = self.run_json('replay', NAME)
        found = set()
        for finding in run.document['findings']:
            if finding['severity'] == 'error':
                pointer = finding.get('pointer', '')
                whole = ('replay_differs', '/tensors') in expected
                if whole and pointer.startswith('/tensors'):
                    pointer = '/tensors'
                found.add((finding['code'], pointer))
        self.assertEqual(found, set(expected), (what, run))
        self.assertEqual(run.code, exit_code([code for code, _ in expected]), (what, run))

    def changed(self, pointer, change):
        receipt = json.loads(json.dumps(self.receipt))
        parent, _, key = pointer.rpartition('/')
        holder = drift.lookup(receipt, parent)
        change(holder, int(key) if isinstance(holder, list) else key)
        return receipt

    def places(self):
        for pointer, parent, key, value in drift.walk(self.receipt):
            if drift.some_of_each_list(pointer):
                yield pointer, parent, value

    def test_as_it_is(self):
        self.judge('as it is', self.receipt, [])

    def test_other_values(self):
        count = 0
        for pointer, _, value in self.places():
            if isinstance(value, (dict, list)):
                continue  # its members have rules of their own
            rules = [r for r in RULES if re.fullmatch(r[0], pointer)]
            self.assertTrue(rules, 'no rule says what another value of %s means' % pointer)
            _, other, expected = rules[0]
            new = other(value or 0) if callable(other) else other
            receipt = self.changed(pointer, lambda h, k, new=new: h.__setitem__(k, new))
            self.judge('%s = %r' % (pointer, new), receipt,
                       [(code, pointer if at is None else at) for code, at in expected])
            count += 1
        self.assertGreater(count, 30)

    def test_missing_and_unknown_keys(self):
        for pointer, parent, value in self.places():
            if isinstance(parent, dict):
                self.judge('without ' + pointer,
                           self.changed(pointer, lambda h, k: h.__delitem__(k)),
                           [('missing_key', pointer)])
            if isinstance(value, dict):
                self.judge('unknown key in ' + pointer,
                           self.changed(pointer, lambda h, k: h[k].update(unheard_of=1)),
                           [('unknown_key', pointer + '/unheard_of')])

    def test_other_types(self):
        for pointer, _, value in self.places():
            other = 'wrong type' if isinstance(value, dict) else {'wrong': 'type'}
            self.judge('type of ' + pointer,
                       self.changed(pointer, lambda h, k, other=other: h.__setitem__(k, other)),
                       [('bad_value', pointer)])

    def test_paths(self):
        for pointer, _, _ in self.places():
            for path in ('../x', '/etc/passwd', 'a\\b', '') if pointer.endswith('/path') else ():
                self.judge('%s = %r' % (pointer, path),
                           self.changed(pointer, lambda h, k, path=path: h.__setitem__(k, path)),
                           [('path_escape', pointer)])

    def test_schema(self):
        self.judge('schema', dict(self.receipt, schema='trlm/apply-receipt@2'),
                   [('schema_unsupported', '/schema')])
        text = json.dumps(self.receipt).replace('"tool"', '"state": "x", "tool"', 1).encode()
        self.judge('a key twice', text, [('duplicate_key', '/state')])


if __name__ == '__main__':
    support.main()
