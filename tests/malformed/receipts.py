"""Apply receipts, made by the second implementation, with a field at the boundaries of its type, text
that is no JSON, or bytes cut off."""
import json

import binary
import bundle as made
import documents
import test_drift as drift
import text
from corpus import Places
from documents import MARK, TYPES, U32, shown
from second import spec

NAME, MODEL, PACKAGE = 'out.apply-receipt.json', 'base.slm', 'adapter.adp1'
STRENGTH, ROUNDING = 0.75, 'adaptive:3'
TENSORS = ('layers.0.wq.weight', 'norm.weight')
REPORTED = 'name elements touched changed kept cosine snr_db max_abs_delta rms_delta'.split()


def applied():
    """(model, package, receipt)"""
    base = binary.models()['mixed'].data
    model = spec.read_model(base)
    entries = [spec.PackageEntry(t.name, t.dims, values=(binary.np.arange(t.n, dtype='<f4') + 1) / 8)
               for t in model.tensors if t.name in TENSORS]
    package = spec.write_package(b'ADP1', model.identity(), entries)
    result = spec.apply(base, [(package, entries, spec.f32(STRENGTH))], ROUNDING)
    assert not result.refused and not result.zero_effect

    def reference(path, content):
        return {'path': path, 'bytes': len(content), 'digest': made.digest(bytes(content))}
    tensors = [{key: t[key] for key in REPORTED} for t in result.tensors]
    for t in tensors:
        t['snr_db'] = None if t['snr_db'] is None else round(t['snr_db'], 3)
    receipt = {
        'schema': 'trlm/apply-receipt@1', 'tool': 'another 1.0', 'arithmetic': 'trlm-f32-unfused@1',
        'rounding': ROUNDING, 'output_dtype': 'keep', 'base': reference(MODEL, base),
        'stack': [{'package': reference(PACKAGE, package), 'format': 'ADP1',
                   'internal_checksum': 'xxh3-64:%016x' % binary.get(package, 120, 8),
                   'strength': STRENGTH}],
        'state': 'xxh3-64:%016x' % result.state, 'output': reference('out.slm', result.output),
        'tensors': tensors}
    return base, package, receipt


def meaning(pointer):
    """What another integer means, wherever it lies in its range."""
    if pointer.startswith(('/base/', '/stack/')):
        return 'size_mismatch', None, ''
    return 'replay_differs', None, pointer


def cases(corpus):
    base, package, receipt = applied()
    content = made.to_bytes(receipt)
    corpus.group('receipt', 'An apply receipt that is another.', ['replay', NAME],
                 {MODEL: base, PACKAGE: package, NAME: content})

    def add(name, rule, changed, *findings):
        corpus.add('receipt', name, rule, Places(findings), {NAME: changed})

    def with_text(pointer, value):
        copy = json.loads(json.dumps(receipt))
        parent, _, key = pointer.rpartition('/')
        holder = drift.lookup(copy, parent)
        holder[int(key) if isinstance(holder, list) else key] = MARK
        return made.to_bytes(copy).replace(json.dumps(MARK).encode(), value)

    for pointer, _, key, own in drift.walk(receipt):
        for value, code in documents.bad_values(NAME, pointer):
            where = (code, NAME, None if code == 'bad_json' else pointer)
            add('%s = %s' % (pointer, shown(value)), '%s: a value of its type, else %s' % (
                pointer, code), with_text(pointer, value), where)
        if isinstance(own, int):
            most = 2 ** 32 - 1 if TYPES[key] is U32 else documents.LARGEST_INTEGER
            for value in documents.boundary_integers(own, most):
                add('%s = %d' % (pointer, value), '%s: what the replay gives' % pointer,
                    with_text(pointer, b'%d' % value), meaning(pointer))
    texts(add, receipt, content)


def texts(add, receipt, content):
    whole = content.rstrip(b'\n')
    for what, value, good in text.VALUES:
        add('a value: %s' % what, 'strict JSON, else bad_json',
            whole[:-1].rstrip() + b', "unheard": ' + value + b'}',
            ('unknown_key', NAME, '/unheard') if good else ('bad_json', NAME, None))
    for what, change in text.WHOLE:
        add('the whole text: %s' % what, 'one JSON object, else bad_json', change(whole),
            ('bad_json', NAME, None))
    for length in range(len(whole)):
        add('the first %d bytes' % length, 'one whole JSON object, else bad_json', content[:length],
            ('bad_json', NAME, None))
    for pointer, parent, key, value in drift.walk(receipt):
        copy = json.loads(json.dumps(receipt))
        holder = drift.lookup(copy, pointer.rpartition('/')[0])
        if isinstance(parent, dict):
            del holder[key]
            add('without %s' % pointer, 'every key is there, else missing_key', made.to_bytes(copy),
                ('missing_key', NAME, pointer))
        if isinstance(value, dict):
            copy = json.loads(json.dumps(receipt))
            drift.lookup(copy, pointer)['unheard'] = 1
            add('an unknown key in %s' % pointer, 'no other key, else unknown_key',
                made.to_bytes(copy), ('unknown_key', NAME, pointer + '/unheard'))
    for schema in ('', 'trlm/apply-receipt@2', 'trlm/apply-receipt', 'TRLM/apply-receipt@1', 1, None):
        add('/schema = %s' % json.dumps(schema), 'the text of the kind, else schema_unsupported',
            made.to_bytes(dict(receipt, schema=schema)), ('schema_unsupported', NAME, '/schema'))
