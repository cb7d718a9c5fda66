"""The corpus as it lies on disk: bases, inputs by their digest, and one line for each case.

docs/conformance.md describes the layout. A case states what a reader must find by a rule of the
specification; nothing here runs a reader.
"""
import dataclasses
import hashlib
import json
import os

FORMAT = 'trlm-adapt-malformed@1'

# The class of every code, and the exit code of every class in the order in which they decide.
CLASSES = {
    'drift': 'checksum_mismatch payload_checksum_mismatch mask_checksum_mismatch digest_mismatch '
             'size_mismatch value_drift link_mismatch ledger_broken replay_differs undo_stale',
    'invalid': 'truncated trailing_bytes bad_magic bad_header_length reserved_not_zero bad_value '
               'offset_not_canonical range_out_of_file misaligned overlap hole padding_not_zero '
               'size_overflow length_mismatch limit_exceeded bad_rank bad_dim bad_block_size '
               'bad_scale non_finite duplicate_tensor missing_tensor unexpected_tensor '
               'shape_mismatch directory_not_sorted tokenizer_malformed count_mismatch '
               'index_out_of_range index_not_ascending mask_bits_past_end retention_mismatch '
               'bad_low_rank bad_metadata bad_json duplicate_key unknown_key missing_key '
               'path_escape path_collision duplicate_id dependency_unknown dependency_cycle '
               'phase_order slot_conflict unplanned_file unused_module bad_view',
    'incompatible': 'flags_differ tensor_count_differs parameter_count_differs layout_differs '
                    'tokenizer_differs tensor_unknown tensor_shape_differs fused_non_finite '
                    'base_not_listed',
    'policy': 'budget_exceeded survival_below_threshold zero_effect not_admitted weak_digest '
              'eval_failed strength_out_of_range already_applied unlisted_file',
    'cannot-check': 'file_missing file_unreadable checksum_unverifiable unsupported_version '
                    'unsupported_dtype schema_unsupported unsupported_source output_failed '
                    'out_of_memory executor_failed'}
EXITS = {'drift': 3, 'invalid': 1, 'incompatible': 4, 'policy': 6, 'cannot-check': 5}
CLASS_OF = {code: name for name, codes in CLASSES.items() for code in codes.split()}


def exit_code(codes):
    """The exit code of a run whose errors have these codes."""
    classes = {CLASS_OF[code] for code in codes}
    return next((EXITS[name] for name in CLASSES if name in classes), 0)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a reader has to find: every code of `must`, one of each set of `one_of`, and beside
    them nothing but codes of `may`, which the rules leave open."""
    must: frozenset = frozenset()
    may: frozenset = frozenset()
    one_of: tuple = ()

    def exit_codes(self):
        certain = [self.must | {choice} for choice in (self.one_of[0] if self.one_of else ())]
        certain = certain or [self.must]
        free = self.may.union(*self.one_of)
        return sorted({exit_code(codes | more) for codes in certain
                       for more in [set()] + [{code} for code in free]})

    def as_json(self):
        stated = {'findings': sorted(self.must)}
        if self.may:
            stated['may'] = sorted(self.may)
        if self.one_of:
            stated['one_of'] = [sorted(choice) for choice in self.one_of]
        return dict(stated, exit_codes=self.exit_codes())


def exactly(*codes):
    return Expected(frozenset(codes))


@dataclasses.dataclass(frozen=True)
class Places:
    """What a reader of documents has to find, and nothing else: (code, file, pointer) each, the
    pointer None where the rules do not say which."""
    findings: tuple

    def as_json(self):
        keys = ('code', 'file', 'pointer')
        findings = sorted(self.findings, key=lambda f: tuple(map(str, f)))
        return {'findings': [{k: v for k, v in zip(keys, f) if v is not None} for f in findings],
                'exit_codes': [exit_code(f[0] for f in findings)]}


class Corpus:
    """Writes the corpus beneath a folder. With `every` the inputs of each so many-th case alone: the
    list is that of all cases, and so is the digest."""

    def __init__(self, folder, every=1):
        self.folder, self.every, self.groups, self.count = folder, every, {}, 0
        self.names, self.contents = set(), set()
        os.makedirs(os.path.join(folder, 'inputs'))
        self.cases = open(os.path.join(folder, 'cases.jsonl'), 'w')

    def group(self, name, about, run, base=None):
        """A kind of case. run: a command line; base: the files by path that its cases replace."""
        self.groups[name] = {'about': about, 'run': run, 'cases': 0}
        if base is not None:
            self.groups[name]['base'] = {path: self._input(data)
                                         for path, data in sorted(base.items())}

    def add(self, group, name, rule, expected, content):
        """A case. content: the bytes of its one file, or those of each file that it replaces."""
        name = '%s/%s' % (group, name)
        if name in self.names:
            raise ValueError('two cases are called ' + name)
        wanted = self.count % self.every == 0
        if isinstance(content, bytes):
            where = {'input': self._input(content, wanted)}
        else:
            where = {'replace': {path: self._input(data, wanted)
                                 for path, data in sorted(content.items())}}
        # The same bytes again would show nothing new.
        seen = (group, json.dumps(where))
        if seen in self.contents:
            return
        self.contents.add(seen)
        self.names.add(name)
        self.groups[group]['cases'] += 1
        self.count += 1
        self.cases.write(json.dumps(dict(name=name, group=group, rule=rule, **where,
                                         **expected.as_json())) + '\n')

    def close(self):
        """Writes the manifest; its digest stands for every byte of the corpus."""
        self.cases.close()
        with open(os.path.join(self.folder, 'cases.jsonl'), 'rb') as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        manifest = {'format': FORMAT, 'cases': self.count, 'cases_digest': 'sha256:' + digest,
                    'groups': self.groups}
        content = (json.dumps(manifest, indent=1) + '\n').encode()
        with open(os.path.join(self.folder, 'manifest.json'), 'wb') as file:
            file.write(content)
        return 'sha256:' + hashlib.sha256(content).hexdigest()

    def _input(self, data, wanted=True):
        """Where these bytes lie: named by their SHA-256, so that equal ones lie there once."""
        digest = hashlib.sha256(data).hexdigest()
        path = 'inputs/%s/%s' % (digest[:2], digest[2:])
        target = os.path.join(self.folder, path)
        if wanted and not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, 'wb') as file:
                file.write(data)
        return path
