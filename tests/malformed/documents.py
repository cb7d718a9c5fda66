"""The documents of a bundle, and apply receipts: every field at the boundaries of its type, text that
is no JSON, and every byte cut off. Sealed means that the documents above name the changed one by its
new size and digest.

A field's type says which values are bad by themselves; what another good value means comes from the
rules of tests/documents/test_drift.py, which this folder takes along case by case.
"""
import functools
import json
import re

import bundle as made
import test_drift as drift
import text
from bundle import ADAPTERS, ASSEMBLY, FAMILY, LEDGER, MANIFEST, PLAN, REGISTRY, Bundle
from corpus import Places

ADAPTER = 'adapters/lowrank.manifest.json'
REVIEW, EVALUATION, ADMISSION = ('evidence/%s.json' % k for k in ('review', 'eval', 'admission'))
DOCUMENTS = [REGISTRY, PLAN, MANIFEST, ADAPTER, FAMILY, ASSEMBLY, REVIEW, EVALUATION, ADMISSION]
NAMES = {REGISTRY: 'registry', PLAN: 'plan', MANIFEST: 'model manifest', ADAPTER: 'adapter manifest',
         FAMILY: 'family', ASSEMBLY: 'assembly', REVIEW: 'review', EVALUATION: 'eval',
         ADMISSION: 'admission', LEDGER: 'ledger'}
MARK = '(here)'
LARGEST_INTEGER = 2 ** 53 - 1


# --- Types: the texts of values that are bad in a field of the type -------------------------------

def texts(*values):
    """JSON of values."""
    return [json.dumps(value).encode() for value in values]


ANY_TYPE = texts(None, True, 0, 1.5, 'x', [], {})
NOT_INTEGERS = [b'-1', b'-0', b'1.0', b'0.0', b'1e2', b'0.5', b'%d' % 2 ** 53, b'%d' % 2 ** 63,
                b'%d' % (2 ** 64 - 1), b'%d' % 2 ** 64, b'%d' % -2 ** 63, b'1' * 300, b'1e308',
                b'5e-324', b'"1"']
NOT_NUMBERS = [b'1e400', b'-1e400', b'NaN', b'Infinity', b'-Infinity', b'01', b'+1', b'.5', b'1.',
               b'0x10']      # no JSON
CONTROL = [b'"\\u0000"', b'"a\\u0000b"', b'"\\n"', b'"a\\tb"', b'"\\u001f"', b'"\\u007f"']
NOT_TEXTS = [b'""', json.dumps('x' * 4097).encode(), json.dumps('é' * 2049).encode()] + CONTROL
NOT_PATHS = texts('', '.', '..', '/', '/etc/passwd', '../x', 'a/../b', 'a/..', './a', 'a/.', 'a//b',
                  'a/', '~', 'C:x', 'a\\b', 'a b', 'a\0b', 'a\nb', 'é', 'a%2fb', 'x' * 101,
                  '/'.join(['x' * 63] * 4) + 'x', 'x' * 4096)
HEX = '0123456789abcdef' * 4
NOT_DIGESTS = texts('', 'sha256:', 'sha256:' + HEX[1:], 'sha256:' + HEX + '0', 'SHA256:' + HEX,
                    'sha256:' + HEX.upper(), 'sha256:' + HEX[:-1] + 'g', 'sha256 ' + HEX, HEX,
                    ' sha256:' + HEX, 'sha256:' + HEX + '\n', 'sha512:' + HEX, 'md5:' + HEX[:32],
                    'xxh3-128:' + HEX[:31], 'xxh3-128:' + HEX[:33], 'xxh3-64:' + HEX[:16])
NOT_CHECKSUMS = texts('', 'xxh3-64:', 'xxh3-64:' + HEX[:15], 'xxh3-64:' + HEX[:17],
                      'xxh3-64:' + HEX[:16].upper(), 'XXH3-64:' + HEX[:16], '0x' + HEX[:16],
                      HEX[:16], 'xxh3-64:' + HEX[:15] + 'g', 'xxh3-128:' + HEX[:32])
NOT_HEX = texts('', HEX[1:], HEX + '0', HEX.upper(), HEX[:-1] + 'g', 'sha256:' + HEX)
NOT_ROUNDINGS = texts('', 'Nearest', 'nearest ', ' nearest', 'nearest:0', 'adaptive', 'adaptive:',
                      'adaptive:-1', 'adaptive:+1', 'adaptive: 1', 'adaptive:1 ', 'adaptive:1.0',
                      'adaptive:0x1', 'adaptive:%d' % 2 ** 64, 'adaptive:1e3', 'stochastic',
                      'stochastic:', 'stochastic:x', 'stochastic:1:2', 'random:1', 'adaptive:1\0')
# As f32 zero or infinite: below and at half the smallest subnormal, and from 2^128 - 2^103 on.
NOT_STRENGTHS = [b'0', b'-0', b'0.0', b'-0.0', b'1e-46', b'7.006492321624085e-46',
                 b'-7.006492321624085e-46', b'5e-324', b'3.4028235677973366e38', b'-1e39', b'1e308',
                 b'"1"']


def without(values, *types):
    """The texts that are not of these types."""
    return [v for v in values if not isinstance(json.loads(v), types)
            or isinstance(json.loads(v), bool) and bool not in types]


def enum(*names):
    odd = {'', 'x', names[0].upper(), names[0] + ' ', names[0] + '\0', names[0][:-1]} - set(names)
    return without(ANY_TYPE, str) + texts(*sorted(odd))


INTEGER = without(ANY_TYPE, int) + NOT_INTEGERS
TEXT = without(ANY_TYPE, str) + NOT_TEXTS
DIGEST = ANY_TYPE + NOT_DIGESTS
CHECKSUM = ANY_TYPE + NOT_CHECKSUMS
STRENGTH = without(ANY_TYPE, int, float) + NOT_STRENGTHS
NUMBER = without(ANY_TYPE, int, float)
LIST = without(ANY_TYPE, list)
OBJECT = without(ANY_TYPE, dict)
U32 = INTEGER + texts(2 ** 32, LARGEST_INTEGER)


def or_null(values):
    return [v for v in values if v != b'null']


# Of a field by its key. What several documents call alike has one type in all of them.
TYPES = {
    **dict.fromkeys('bytes model_bytes text_sidecar_bytes adapter_stack_bytes fetch_count total_bytes '
                    'stack_bytes stack_count parameter_count cases failures seq elements touched '
                    'changed'.split(), INTEGER),
    **dict.fromkeys('vocab_size hidden_size layer_count head_count kv_head_count head_dim ffn_size '
                    'max_context flags model_flags tensor_count entry_count'.split(), U32),
    **dict.fromkeys('registry_id plan_id entry_id default_entry id assembly_id family_id source_kind '
                    'member event tool arithmetic name status'.split(), TEXT),
    **dict.fromkeys('slot license source'.split(), or_null(TEXT)),
    **dict.fromkeys('digest base_model subject eval_cases'.split(), DIGEST),
    **dict.fromkeys('internal_checksum tensor_layout_checksum tokenizer_checksum checksum '
                    'expected_state state'.split(), CHECKSUM),
    **dict.fromkeys('budgets bindings shape tokenizer identity model manifest module_plan '
                    'assembly_receipt model_manifest package base output'.split(), OBJECT),
    **dict.fromkeys(made.KINDS + ['ledger'], OBJECT),
    **dict.fromkeys('adapter_family expected_output'.split(), or_null(OBJECT)),
    # An empty list is one, and yet too short.
    **dict.fromkeys('entries modules base_models members stacks order stack'.split(), ANY_TYPE),
    **dict.fromkeys('depends_on tensors'.split(), LIST),
    'strength_range': ANY_TYPE + texts([1], [0, 1, 2], [1, 0]),
    'prev': ANY_TYPE + texts(*map(json.loads, NOT_HEX)),
    'rounding': ANY_TYPE + NOT_ROUNDINGS,
    'strength': STRENGTH,
    'preferred': without(ANY_TYPE, bool) + texts('true'),
    'quality_claim': without(or_null(ANY_TYPE), str, bool),
    'trained_quality_claim': without(or_null(ANY_TYPE), str, bool),
    'dtype': enum('f32', 'q8_0', 'q4_0', 'mixed'),
    'admission': enum('admitted', 'pending', 'rejected'),
    'admission_status': enum('admitted', 'pending', 'rejected'),
    'strategy': enum('none', 'manual', 'auto-apply'), 'profile': enum('browser', 'native'),
    'execution_profile': enum('scalar', 'native-simd', 'wasm-simd128'),
    'fetch_policy': enum('same-origin', 'local-files'),
    'class': enum('model', 'manifest', 'receipt', 'evidence', 'adapter'),
    'role': enum('base-model', 'evidence-ledger', 'adapter-package'),
    'phase': enum('sidecars', 'model', 'evidence', 'stack'),
    'kind': enum('BTOK', 'BPE1', *made.KINDS),
    'output_dtype': enum('keep', 'q8_0', 'f32'),
    **dict.fromkeys('kept cosine max_abs_delta rms_delta'.split(), NUMBER),
    'snr_db': or_null(NUMBER)}
FORMATS = {MANIFEST: enum('SLM1'), ADAPTER: enum('ADP1', 'ASP1', 'ALR1')}


def bad_values(document, pointer):
    """(text, code) of what is bad in this field whatever the others hold."""
    key = pointer.rpartition('/')[2]
    if re.search('/depends_on/[0-9]+$', pointer):
        values = TEXT
    elif re.search('/base_models/[0-9]+$', pointer):
        values = DIGEST
    elif re.search('/(entries|modules|members|stacks|order|stack|tensors)/[0-9]+$', pointer):
        values = OBJECT
    elif re.search('/strength_range/[01]$', pointer):
        values = NUMBER
    elif key == 'format':
        values = FORMATS.get(document, FORMATS[ADAPTER])
    elif key == 'path':
        values = None
    elif document == ASSEMBLY and pointer.startswith('/bindings/') and pointer.count('/') == 2:
        values = or_null(OBJECT) if key == 'adapter_family' else OBJECT
    elif document.startswith('evidence/') and key == 'kind':
        values = enum(document[len('evidence/'):-len('.json')])
    else:
        values = TYPES[key]     # a new field needs a type
    if values is None:
        yield from ((value, 'path_escape') for value in NOT_PATHS)
        values = without(ANY_TYPE, str)
    yield from ((value, 'bad_value') for value in dict.fromkeys(values))
    if values is DIGEST:
        yield b'"xxh3-128:%s"' % HEX[:32].encode(), 'weak_digest'
    if key in ('model_bytes', 'strength', 'cases', 'elements', 'kept', 'seq'):     # one for others
        yield from ((value, 'bad_json') for value in NOT_NUMBERS)


# --- What a good value at a boundary means --------------------------------------------------------

@functools.lru_cache(maxsize=None)
def whole():
    return Bundle()


def of(document, pointer):
    return drift.lookup(whole().documents[document], pointer)


def boundary_integers(own, most=LARGEST_INTEGER):
    near = {own - 1, own + 1}
    edges = {0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, LARGEST_INTEGER - 1, LARGEST_INTEGER}
    return sorted(v for v in near | edges if 0 <= v <= most and v != own)


def meaning(document, pointer, value):
    """The findings that an integer of the right form leads to."""
    key, here = pointer.rpartition('/')[2], (document, pointer)
    if document == REGISTRY:
        return registry_integer(pointer, key, value)
    if document == PLAN:
        return plan_integer(pointer, key, value)
    if document == FAMILY and pointer.startswith('/budgets/'):
        sums = {'stack_bytes': sum(len(whole().files['adapters/' + name]) for name in ADAPTERS),
                'stack_count': len(ADAPTERS)}
        return [('budget_exceeded',) + here] if value < sums[key] else []
    if pointer == '/cases':
        return [('eval_failed',) + here] if value < 1 else []
    if document == FAMILY and '/package/' in pointer and value > 200000:
        # A rule of the document itself comes before what other documents say.
        return [('budget_exceeded', FAMILY, '/budgets/stack_bytes')]
    change = drift.rule_for(document, pointer)
    return change(pointer, of(document, pointer))[0][1]


def registry_integer(pointer, key, value):
    registry, plan = whole().documents[REGISTRY], whole().documents[PLAN]
    if pointer.startswith('/budgets/'):
        parts = {'model_bytes': ['model'], 'text_sidecar_bytes': [
            'manifest', 'module_plan', 'assembly_receipt', 'adapter_family']}.get(key, [])
        above = ['/entries/0/%s/bytes' % part for part in parts
                 if registry['entries'][0][part]['bytes'] > value]
        if above:
            return [('budget_exceeded', REGISTRY, at) for at in above]
        return [('budget_exceeded', PLAN, pointer)] if value < plan['budgets'][key] else []
    part = pointer.split('/')[3]
    budget = registry['budgets']['model_bytes' if part == 'model' else 'text_sidecar_bytes']
    if value > budget:
        return [('budget_exceeded', REGISTRY, pointer)]
    if part == 'module_plan':
        return [('size_mismatch', PLAN, '')]
    return [('unplanned_file', REGISTRY, pointer.rpartition('/')[0])]


def plan_integer(pointer, key, value):
    plan = json.loads(json.dumps(whole().documents[PLAN]))
    parent = drift.lookup(plan, pointer.rpartition('/')[0])
    parent[key] = value
    broken = [('budget_exceeded', PLAN, at) for at in over_budget(plan)]
    if broken or pointer.startswith('/budgets/'):
        return broken
    return [('unplanned_file',) + drift.naming(parent['path'])]


def over_budget(plan):
    """Where the sums of a plan's modules are above its budgets, or those above the registry's."""
    limits, modules = plan['budgets'], plan['modules']

    def total(*classes):
        return sum(m['bytes'] for m in modules if m['class'] in classes)
    used = {'model_bytes': total('model'), 'adapter_stack_bytes': total('adapter'),
            'fetch_count': len(modules), 'total_bytes': sum(m['bytes'] for m in modules)}
    registry = whole().documents[REGISTRY]['budgets']
    for key in limits:
        if limits[key] < used.get(key, 0) or limits[key] > registry.get(key, limits[key]):
            yield '/budgets/' + key
    for i, module in enumerate(modules):
        if module['class'] not in ('model', 'adapter') and module['bytes'] > limits[
                'text_sidecar_bytes']:
            yield '/modules/%d/bytes' % i


# --- Cases ----------------------------------------------------------------------------------------

def content_of(bundle):
    return {path: bundle.content(path) for path in bundle.paths()}


# What names files comes behind what it names.
UPWARDS = [EVALUATION, MANIFEST] + ['adapters/%s.manifest.json' % name.split('.')[0]
                                    for name in ADAPTERS] + [FAMILY, ASSEMBLY, PLAN, REGISTRY]


class Writer:
    def __init__(self, corpus):
        self.corpus, self.base = corpus, content_of(whole())

    def add(self, name, rule, replaced, *findings):
        replaced = {path: data for path, data in replaced.items() if data != self.base[path]}
        if replaced:
            self.corpus.add('bundle', name, rule, Places(tuple(findings)), replaced)

    def replace(self, name, rule, document, content, *findings):
        """Another text of one document, sealed."""
        self.add(name, rule, self.sealed(document, content), *findings)

    def sealed(self, document, content):
        """The changed file, and every document above it that then names another one."""
        replaced = {document: content}
        for path in UPWARDS[UPWARDS.index(document) + 1 if document in UPWARDS else 0:]:
            above = self.base[path]
            for lower, data in replaced.items():
                above = renamed(above, self.base[lower], data)
            if above != self.base[path]:
                replaced[path] = above
        return replaced


def renamed(text, old, new):
    """The text of a document that names one file by size and digest, naming another."""
    reference = rb'("bytes": )%d(,\s*"digest": ")' % len(old) + made.digest(old).encode()
    text = re.sub(reference, rb'\g<1>%d\g<2>' % len(new) + made.digest(new).encode(), text)
    return text.replace(made.digest(old).encode(), made.digest(new).encode())   # eval_cases


def with_text(document, pointer, value):
    """The text of a document in which this stands at this place."""
    copy = json.loads(json.dumps(whole().documents[document]))
    parent, _, key = pointer.rpartition('/')
    holder = drift.lookup(copy, parent)
    holder[int(key) if isinstance(holder, list) else key] = MARK
    return made.to_bytes(copy).replace(json.dumps(MARK).encode(), value)


def shown(value):
    """A value in a case's name."""
    content = value.decode('utf-8', 'backslashreplace')
    return content if len(content) < 60 else '%s... of %d bytes' % (content[:40], len(value))


def places(document):
    """Every place of a document whose rules are not those of a place before it."""
    seen = ('/bindings/recipe', '/bindings/operator', '/bindings/candidate', '/bindings/promotion',
            '/bindings/runtime', '/entries/0/manifest/', '/entries/0/assembly_receipt/')
    for pointer, _, _, value in drift.walk(whole().documents[document]):
        if all(int(part) < 1 for part in pointer.split('/') if part.isdigit()) or re.match(
                '/(modules/2|stacks/1)(/[a-z_]+)?$|/strength_range/1$|/stacks/1/order/0/strength$',
                pointer):
            if not pointer.startswith(seen) and not pointer.startswith('/body'):
                yield pointer, value


def field_cases(writer, document):
    for pointer, own in places(document):
        label = '%s %s' % (NAMES[document], pointer)
        for value, code in bad_values(document, pointer):
            where = (code, document, None if code == 'bad_json' else pointer)
            writer.replace('%s = %s' % (label, shown(value)),
                       '%s: a value of its type, else %s' % (pointer, code),
                       document, with_text(document, pointer, value), where)
        if isinstance(own, int) and not isinstance(own, bool):
            most = 2 ** 32 - 1 if TYPES.get(pointer.rpartition('/')[2]) is U32 else LARGEST_INTEGER
            if pointer.endswith(('/strength', '/0', '/1')):
                continue
            for value in boundary_integers(own, most):
                writer.replace('%s = %d' % (label, value), '%s: what the other files say' % pointer,
                               document, with_text(document, pointer, b'%d' % value),
                               *meaning(document, pointer, value))
    free_texts(writer, document)


def free_texts(writer, document):
    """Texts that bind nothing, at the boundaries of a text."""
    keys = {REGISTRY: ['registry_id'], PLAN: ['plan_id'], ASSEMBLY: ['assembly_id'],
            FAMILY: ['family_id'], MANIFEST: ['source_kind', 'license'],
            ADAPTER: ['license', 'source']}
    for key in keys.get(document, []):
        for value in ('x', 'x' * 4096, 'é' * 2048, '"\\/', '\ud83d\ude00', '\uffff', ' '):
            encoded = json.dumps(value).encode()
            writer.replace('%s /%s = %s' % (NAMES[document], key, shown(encoded)),
                       'a text of 1 to 4,096 bytes without control characters',
                       document, with_text(document, '/' + key, encoded))


def strengths(writer):
    """Strengths that are just representable."""
    for value, code in ((b'1e-45', None), (b'7.006492321624087e-46', None), (b'-1.5', None),
                        (b'2', None), (b'2.00000001', None), (b'2.0000003', 'strength_out_of_range'),
                        (b'3.4028234663852886e38', 'strength_out_of_range'),
                        (b'3.4028235677973362e38', 'strength_out_of_range')):
        pointer = '/stacks/1/order/0/strength'
        writer.replace('family %s = %s' % (pointer, value.decode()), 'as f32 finite and not 0 (bad_value), '
                   'and in the range of the manifest (strength_out_of_range)',
                   FAMILY, with_text(FAMILY, pointer, value),
                   *([(code, FAMILY, pointer)] if code else []))
    for count in (63, 64, 65, 1000):
        family = json.loads(json.dumps(whole().documents[FAMILY]))
        family['stacks'][1]['order'] = [{'member': ADAPTERS[i % 4].split('.')[0], 'strength': 1}
                                        for i in range(count)]
        twice = [('duplicate_id', FAMILY, '/stacks/1/order/%d/member' % i) for i in range(4, count)]
        content = json.dumps(family).encode()
        if len(content) < whole().documents[PLAN]['budgets']['text_sidecar_bytes']:
            writer.replace('family, a stack of %d members' % count, 'at most 64, else limit_exceeded; '
                           'each once, else duplicate_id', FAMILY, content,
                           *(twice if count <= 64 else [
                               ('limit_exceeded', FAMILY, '/stacks/1/order')]))


def text_cases(writer, document):
    """Text that is no strict JSON, and text that is."""
    name, content = NAMES[document], writer.base[document].rstrip(b'\n')
    free = document == REVIEW     # whose body may be anything
    for what, value, good in text.VALUES:
        changed = (with_text(document, '/body', value) if free else
                   content[:-1].rstrip() + b', "unheard": ' + value + b'}')
        finding = [] if good and free else [('unknown_key', document, '/unheard') if good else
                                            ('bad_json', document, None)]
        writer.replace('%s, a value: %s' % (name, what), 'strict JSON, else bad_json', document,
                       changed, *finding)
    if free:
        for what, value in text.DUPLICATES:
            writer.replace('%s, a key twice: %s' % (name, what), 'no key twice, else duplicate_key',
                           document, with_text(document, '/body', value),
                           ('duplicate_key', document, None))
        for what, value in text.NOT_DUPLICATES:
            writer.replace('%s, no key twice: %s' % (name, what), 'no key twice', document,
                           with_text(document, '/body', value))
    for what, change in text.WHOLE:
        writer.replace('%s, the whole text: %s' % (name, what), 'one JSON object, else bad_json',
                       document, change(content), ('bad_json', document, None))
    writer.replace('%s, spaces around' % name, 'spaces may stand around the object', document,
                   b' \t\r\n' + content + b' \t\r\n')


def depth_cases(writer):
    for depth in (30, 31, 32, 33, 1000, 5000):      # the object itself is a level
        for what, value in (('arrays', text.nested(depth)),
                            ('objects', b'{"a":' * depth + b'1' + b'}' * depth)):
            if len(value) < 19000:      # else past the budget of the bundle
                writer.replace('review, %d %s in each other' % (depth, what), 'at most 32 levels, else '
                               'limit_exceeded', REVIEW, with_text(REVIEW, '/body', value),
                               *([('limit_exceeded', REVIEW, None)] if depth > 31 else []))


def length_cases(writer, document, every):
    """Cut before a byte: sealed, and found by its size where it is not."""
    content = writer.base[document]
    for length in range(0, len(content), every):
        cut = content[:length]
        good = cut == content.rstrip()
        label = '%s, the first %d bytes' % (NAMES[document], length)
        writer.replace(label + ', sealed', 'one whole JSON object, else bad_json', document, cut,
                       *([] if good else [('bad_json', document, None)]))
        if document != REGISTRY and length % 8 == 0:        # for which nothing vouches
            writer.add(label, 'the size that the documents above state, else size_mismatch',
                       {document: cut}, ('size_mismatch', document, None))


def flip_cases(writer):
    """One bit of any file, and nothing sealed."""
    for path, content in writer.base.items():
        if path == REGISTRY:
            continue
        for at in range(0, len(content), max(7, len(content) // 50)):
            changed = bytearray(content)
            changed[at] ^= 1
            writer.add('%s, a bit of byte %d' % (path, at), 'the digest that the documents above '
                       'state, else digest_mismatch', {path: bytes(changed)},
                       ('digest_mismatch', path, None))


def ledger_cases(writer):
    """The fields of the last line; the lines before it are protected by the next one's `prev`."""
    lines = whole().ledger_bytes().split(b'\n')[:-1]
    last = json.loads(lines[2])

    def add(name, rule, line, *findings):
        writer.replace('ledger, ' + name, rule, LEDGER,
                       b'\n'.join(lines[:2] + [line]) + b'\n', *findings)

    for key in ('seq', 'prev', 'event', 'subject'):
        marked = json.dumps(dict(last, **{key: MARK})).encode()
        for value, code in bad_values(LEDGER, '/' + key):
            where = (code, LEDGER, None if code == 'bad_json' else '/' + key)
            add('/%s = %s' % (key, shown(value)), '/%s: a value of its type, else %s' % (key, code),
                marked.replace(json.dumps(MARK).encode(), value), where)
    for value in boundary_integers(2):
        add('/seq = %d' % value, '/seq: one more than before, else ledger_broken',
            json.dumps(dict(last, seq=value)).encode(), ('ledger_broken', LEDGER, '/seq'))
    for value in ('0' * 64, 'f' * 64, HEX):
        add('/prev = ' + value, '/prev: the digest of the line before, else ledger_broken',
            json.dumps(dict(last, prev=value)).encode(), ('ledger_broken', LEDGER, '/prev'))
    for what, value, good in text.VALUES:
        if b'\n' in value:      # which ends the line
            continue
        add('a value: ' + what, 'strict JSON, else bad_json',
            lines[2][:-1] + b', "unheard": ' + value + b'}',
            ('unknown_key', LEDGER, '/unheard') if good else ('bad_json', LEDGER, None))
    for length in range(1, len(lines[2])):
        add('the first %d bytes of the last line' % length, 'each line one JSON object, else bad_json',
            lines[2][:length], ('bad_json', LEDGER, None))


def drift_cases(writer):
    """The matrix of tests/documents/test_drift.py: other good values, and broken forms."""
    for case in drift.all_cases():
        own_judge = 'run' in case.__dict__
        if not own_judge and not case.arguments and set(case.bundle.paths()) == set(writer.base):
            writer.add('matrix: ' + case.name[:200], 'docs/receipts.md', content_of(case.bundle),
                       *case.expected)


def cases(corpus):
    corpus.group('bundle', 'A bundle of which one document, or one byte, is another.',
                 ['verify', '{folder}'], content_of(whole()))
    writer = Writer(corpus)
    drift_cases(writer)
    for document in DOCUMENTS:
        field_cases(writer, document)
        text_cases(writer, document)
        length_cases(writer, document, 1 if len(writer.base[document]) < 800 else 9)
    strengths(writer)
    depth_cases(writer)
    ledger_cases(writer)
    flip_cases(writer)
