"""A bundle made without the tool, from the specification of the documents alone: the files are the
conformance vectors, whose figures another implementation computed. Tests change it in one place,
seal again what has to be sealed to get that far, and look at what the tool finds."""
import copy
import functools
import hashlib
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'cli'))
import support  # noqa: E402

MODEL = 'models/base_q4_0.slm'
ADAPTERS = ['lowrank.alr1', 'mask.asp1', 'dense.adp1', 'sparse.asp1']
STACK = [('lowrank', 0.75), ('mask', 2), ('dense', -0.3)]  # one of the vectors, nearest rounding
KINDS = ['review', 'recipe', 'operator', 'candidate', 'promotion', 'runtime', 'eval', 'admission',
         'eval_cases']

REGISTRY = 'selector.registry.json'
PLAN = 'tiny.module-plan.json'
MANIFEST = 'models/tiny.manifest.json'
ASSEMBLY = 'assembly.receipt.json'
FAMILY = 'adapters/family.receipt.json'
LEDGER = 'evidence/ledger.jsonl'

ROLE_CLASS = {'base-model': ('model', 'model'), 'model-manifest': ('manifest', 'sidecars'),
              'adapter-manifest': ('manifest', 'sidecars'),
              'assembly-receipt': ('receipt', 'sidecars'),
              'adapter-family-receipt': ('receipt', 'sidecars'),
              'adapter-package': ('adapter', 'stack')}


@functools.lru_cache(maxsize=None)
def digest(content):
    return 'sha256:' + hashlib.sha256(content).hexdigest()


def to_bytes(document):
    return (json.dumps(document, indent=1) + '\n').encode()


def relative(document, path):
    """How `document` names `path`: both from the root."""
    folder = os.path.dirname(document)
    assert path.startswith(folder)
    return path[len(folder) + 1 if folder else 0:]


class Bundle:
    """Files by path; documents are kept as Python values until they are written."""

    _made = {}  # one of each sort: a bundle is made once and copied

    def __new__(cls, family=True):
        if family in cls._made:
            return copy.deepcopy(cls._made[family])
        bundle = super().__new__(cls)
        bundle._make(family)
        cls._made[family] = bundle
        return copy.deepcopy(bundle)

    def __deepcopy__(self, memo):
        other = object.__new__(Bundle)
        other.__dict__ = {name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()}
        return other

    def _make(self, family):
        self.files = {}      # path -> bytes, for what is no document
        self.documents = {}  # path -> value
        self.raw = {}        # path -> bytes that replace a document's own
        self.kept = set()    # (document, reference key) that sealing leaves alone
        self.stated = {}     # what sealing is to state of a file instead of its own size and digest
        self.family = family
        self._build()

    # ------------------------------------------------------------------------------------ building

    def _build(self):
        figures = support.expected()
        self.model_path = MODEL
        self.files[MODEL] = support.read(support.vector(MODEL))
        for name in ADAPTERS if self.family else []:
            self.files['adapters/' + name] = support.read(support.vector('adapters', name))
        base = digest(self.files[MODEL])
        self.documents[MANIFEST] = self._model_manifest(figures['models'][MODEL])
        for kind in KINDS:
            self.documents['evidence/%s.json' % kind] = {
                'schema': 'trlm/evidence-%s@1' % kind, 'kind': kind, 'subject': base,
                'body': {'says': [kind, 1, None]}}
        self.documents['evidence/eval.json'].update({'cases': 3, 'failures': 0, 'eval_cases': ''})
        self.documents['evidence/admission.json']['status'] = 'admitted'
        self.ledger = [{'schema': 'trlm/ledger@1', 'seq': i, 'prev': '', 'event': event,
                        'subject': base} for i, event in enumerate(['trained', 'checked', 'shipped'])]
        if self.family:
            self._build_family(figures)
        self._build_assembly(base)
        self._build_plan()
        self._build_registry()
        self.seal()

    def _model_manifest(self, figures):
        header = self.files[MODEL][:128]
        flags, vocab, _, *shape = struct.unpack_from('<10I', header, 16)
        directory, = struct.unpack_from('<Q', header, 80)
        count, = struct.unpack_from('<I', header, 88)
        dtypes = {struct.unpack_from('<I', self.files[MODEL], directory + 64 * i + 8)[0]
                  for i in range(count)}
        dtype = {1: 'f32', 2: 'q8_0', 3: 'q4_0'}[dtypes.pop()] if len(dtypes) == 1 else 'mixed'
        keys = ['hidden_size', 'layer_count', 'head_count', 'kv_head_count', 'head_dim', 'ffn_size',
                'max_context']
        return {'schema': 'trlm/model-manifest@1', 'model': {}, 'format': 'SLM1',
                'internal_checksum': 'xxh3-64:' + figures['checksum'],
                'shape': dict(zip(keys, shape), vocab_size=vocab), 'flags': flags, 'dtype': dtype,
                'tensor_count': figures['tensor_count'],
                'parameter_count': figures['parameter_count'],
                'tensor_layout_checksum': 'xxh3-64:' + figures['tensor_layout_checksum'],
                'tokenizer': {'kind': 'BTOK',
                              'checksum': 'xxh3-64:' + figures['tokenizer_checksum']},
                'source_kind': 'random', 'quality_claim': 'none', 'trained_quality_claim': False,
                'admission_status': 'admitted', 'license': None}

    def _build_family(self, figures):
        base = digest(self.files[MODEL])
        model = figures['models'][MODEL]
        identity = {'model_flags': model['flags'], 'tensor_count': model['tensor_count'],
                    'parameter_count': model['parameter_count'],
                    'tensor_layout_checksum': 'xxh3-64:' + model['tensor_layout_checksum'],
                    'tokenizer_checksum': 'xxh3-64:' + model['tokenizer_checksum']}
        members = []
        for name in ADAPTERS:
            adapter = figures['adapters']['adapters/' + name]
            stem = name.split('.')[0]
            self.documents['adapters/%s.manifest.json' % stem] = {
                'schema': 'trlm/adapter-manifest@1', 'package': {}, 'format': adapter['kind'],
                'internal_checksum': 'xxh3-64:' + adapter['checksum'], 'identity': dict(identity),
                'entry_count': adapter['entry_count'], 'base_models': [base],
                'strength_range': [-1.5, 2], 'license': 'CC0-1.0', 'source': None}
            members.append({'id': stem, 'manifest': {}, 'package': {}})
        wanted = [['adapters/%s' % n, dict(STACK)[n.split('.')[0]]] for n in ADAPTERS[:3]]
        apply, = [a for a in figures['applies'] if a['model'] == MODEL and a['stack'] == wanted]
        second, = [a for a in figures['applies'] if a['model'] == MODEL and
                   a['stack'] == [['adapters/dense.adp1', 0.3]]]
        size = figures['models'][MODEL]['bytes']
        stacks = [{'id': identifier, 'preferred': preferred, 'rounding': a['rounding'],
                   'order': [{'member': path.split('/')[1].split('.')[0], 'strength': strength}
                             for path, strength in a['stack']],
                   'expected_state': 'xxh3-64:' + a['state'],
                   'expected_output': {'bytes': size, 'digest': a['output_sha256']}}
                  for identifier, preferred, a in (('main', True, apply), ('other', False, second))]
        stacks[1]['expected_output'] = None
        self.documents[FAMILY] = {
            'schema': 'trlm/adapter-family@1', 'family_id': 'tiny-family', 'base_model': base,
            'budgets': {'stack_bytes': 200000, 'stack_count': 4}, 'members': members,
            'stacks': stacks}

    def _build_assembly(self, base):
        keys = ['model_manifest', 'ledger'] + KINDS + ['adapter_family']
        self.documents[ASSEMBLY] = {
            'schema': 'trlm/assembly@1', 'assembly_id': 'tiny-assembly', 'entry_id': 'tiny',
            'base_model': base, 'bindings': {key: {} for key in keys}}
        if not self.family:
            self.documents[ASSEMBLY]['bindings']['adapter_family'] = None

    def _build_plan(self):
        modules = []

        def add(identifier, path, role, slot=None, depends_on=()):
            module_class, phase = ROLE_CLASS.get(role, ('evidence', 'evidence'))
            modules.append({'id': identifier, 'path': path, 'bytes': 0, 'digest': '',
                            'class': module_class, 'role': role, 'phase': phase, 'slot': slot,
                            'depends_on': list(depends_on)})
        add('manifest', MANIFEST, 'model-manifest')
        add('assembly', ASSEMBLY, 'assembly-receipt', depends_on=['manifest'])
        add('model', MODEL, 'base-model', 'base', ['manifest'])
        for kind in ['ledger'] + KINDS:
            path = LEDGER if kind == 'ledger' else 'evidence/%s.json' % kind
            add(kind, path, 'evidence-' + kind, depends_on=['assembly', 'model'])
        if self.family:
            add('family', FAMILY, 'adapter-family-receipt', depends_on=['assembly'])
            slots = {member: 'stack/%d' % i for i, (member, _) in enumerate(STACK)}
            for name in ADAPTERS:
                stem = name.split('.')[0]
                add(stem + '-manifest', 'adapters/%s.manifest.json' % stem, 'adapter-manifest',
                    depends_on=['family'])
                add(stem, 'adapters/' + name, 'adapter-package', slots.get(stem),
                    [stem + '-manifest', 'model'])
        self.documents[PLAN] = {
            'schema': 'trlm/module-plan@1', 'plan_id': 'tiny-plan', 'entry_id': 'tiny',
            'profile': 'native', 'execution_profile': 'native-simd',
            'fetch_policy': 'local-files',
            'budgets': {'model_bytes': 70000, 'text_sidecar_bytes': 20000,
                        'adapter_stack_bytes': 200000, 'fetch_count': 40, 'total_bytes': 300000},
            'modules': modules}

    def _build_registry(self):
        self.documents[REGISTRY] = {
            'schema': 'trlm/selector-registry@1', 'registry_id': 'tiny-registry',
            'budgets': {'model_bytes': 80000, 'text_sidecar_bytes': 30000,
                        'adapter_stack_bytes': 300000, 'fetch_count': 50},
            'default_entry': 'tiny',
            'entries': [{'id': 'tiny', 'dtype': self.documents[MANIFEST]['dtype'],
                         'admission': 'admitted', 'strategy': 'manual', 'model': {}, 'manifest': {},
                         'module_plan': {}, 'assembly_receipt': {},
                         'adapter_family': {} if self.family else None}]}

    # ------------------------------------------------------------------------------------- sealing

    def content(self, path):
        """The bytes of a file of the bundle as they will be written."""
        if path in self.raw:
            return self.raw[path]
        if path == LEDGER:
            return self.ledger_bytes()
        if path in self.documents:
            return to_bytes(self.documents[path])
        return self.files[path]

    def ledger_bytes(self):
        text, previous = b'', '0' * 64
        for line in self.ledger:
            line = dict(line)
            line['prev'] = line['prev'] or previous
            content = json.dumps(line).encode()
            previous = hashlib.sha256(content).hexdigest()
            text += content + b'\n'
        return text

    def paths(self):
        return sorted(set(self.files) | set(self.documents) | set(self.raw) | {LEDGER})

    def _refer(self, document, key, reference, path):
        """Sets a reference to `path`, but for what a test wants to stay as it is."""
        stated = self.stated.get(path)
        size, hashed = stated or (len(self.content(path)), digest(self.content(path)))
        for name, value in (('path', relative(document, path)), ('bytes', size),
                            ('digest', hashed)):
            if (document, key, name) not in self.kept:
                reference[name] = value

    def seal(self):
        """Makes every reference that is not kept right again, from the leaves to the registry."""
        d = self.documents
        base = digest(self.files[self.model_path]) if self.model_path in self.files else None
        if ('manifest', 'model') not in self.kept and isinstance(d[MANIFEST].get('model'), dict):
            self._refer(MANIFEST, 'model', d[MANIFEST]['model'], self.model_path)
        evaluation = d['evidence/eval.json']
        if 'eval_cases' in evaluation and ('evidence/eval.json', 'eval_cases') not in self.kept:
            evaluation['eval_cases'] = digest(self.content('evidence/eval_cases.json'))
        if self.family:
            self._seal_family()
        bindings = d[ASSEMBLY].get('bindings')
        if isinstance(bindings, dict):
            for key, reference in bindings.items():
                path = {'model_manifest': MANIFEST, 'ledger': LEDGER,
                        'adapter_family': FAMILY}.get(key, 'evidence/%s.json' % key)
                if isinstance(reference, dict):
                    self._refer(ASSEMBLY, key, reference, path)
        modules = d[PLAN].get('modules')
        for index, module in enumerate(modules if isinstance(modules, list) else []):
            if isinstance(module, dict) and module.get('path') in self.paths():
                self._refer(PLAN, index, module, module['path'])
        for entry in d[REGISTRY].get('entries') or []:
            for key, path in (('model', self.model_path), ('manifest', MANIFEST),
                              ('module_plan', PLAN), ('assembly_receipt', ASSEMBLY),
                              ('adapter_family', FAMILY)):
                if isinstance(entry, dict) and isinstance(entry.get(key), dict):
                    self._refer(REGISTRY, key, entry[key], path)
        return base

    def _seal_family(self):
        d = self.documents
        for index, name in enumerate(ADAPTERS):
            stem = name.split('.')[0]
            path = 'adapters/%s.manifest.json' % stem
            package = 'adapters/' + name
            if isinstance(d[path].get('package'), dict):
                self._refer(path, 'package', d[path]['package'], package)
            members = d[FAMILY].get('members')
            if not isinstance(members, list) or index >= len(members):
                continue
            member = members[index]
            if isinstance(member, dict) and isinstance(member.get('manifest'), dict):
                self._refer(FAMILY, (index, 'manifest'), member['manifest'], path)
            if isinstance(member, dict) and isinstance(member.get('package'), dict):
                self._refer(FAMILY, (index, 'package'), member['package'], package)

    # ------------------------------------------------------------------------------------- writing

    def write(self, folder):
        for path in self.paths():
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            support.write(target, self.content(path))
        return folder
