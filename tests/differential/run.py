#!/usr/bin/env python3
"""Compares trlm-adapt with a second implementation, written from the specification alone.

usage: run.py CLI [--seed N] [--cases M] [--only apply|judge] [--keep DIR]

Makes random models, packages and stacks from a seed and compares, bit by bit, what `apply` writes
and reports with what spec.py computes: with one thread and two, and with the kernels of every
instruction set of this machine; the undo file, too, and what `revert` makes of it. Then changes
valid files, rule by rule and at random, sealed again or not, and compares the findings of `validate`
with those of judge.py. --cases counts the stacks; more than a hundred changed files come with each.

Needs numpy, and xxhash as a Python module or as a C library; exits with 77 where one is missing.
Prints each difference, then 'N passed, N failed'; exits with 1 if any failed. --keep DIR keeps the
files of what failed.
"""
import argparse
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

try:
    import numpy  # noqa: F401
except ImportError as missing:
    print('skipped:', missing)
    sys.exit(77)

import generate
import judge
import mutate
import spec

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import undo_file  # noqa: E402

REPORT_EXACT = ('elements', 'touched', 'changed', 'kept', 'cosine', 'max_abs_delta', 'rms_delta')


class Runner:
    def __init__(self, cli, folder, keep):
        self.cli, self.folder, self.keep = cli, folder, keep
        self.passed = self.failed = 0
        self.targets = self.run('version')[1]['result']['simd']['available']

    def run(self, *args, target=None):
        environment = dict(os.environ)
        environment.pop('TRLM_ADAPT_TARGET', None)
        if target:
            environment['TRLM_ADAPT_TARGET'] = target
        p = subprocess.run([self.cli, *args, '--json'], capture_output=True, env=environment,
                           timeout=300)
        try:
            return p.returncode, json.loads(p.stdout)
        except ValueError:
            return p.returncode, {'findings': [], 'result': None, 'raw': p.stdout + p.stderr}

    def path(self, name, data=None):
        path = os.path.join(self.folder, name)
        if data is not None:
            with open(path, 'wb') as f:
                f.write(data)
        return path

    def check(self, name, problems, files=()):
        if not problems:
            self.passed += 1
            return
        self.failed += 1
        print('FAIL %d' % self.failed, name, '|', '; '.join(problems[:6]), flush=True)
        if self.keep:
            target = os.path.join(self.keep, '%d' % self.failed)
            os.makedirs(target, exist_ok=True)
            for f in files:
                if os.path.exists(f):
                    shutil.copy(f, target)


def compare_report(problems, got, want):
    got = {t['name']: t for t in got}
    if set(got) != {t['name'] for t in want}:
        problems.append('tensors %s' % sorted(got))
        return
    for t in want:
        g = got[t['name']]
        for key in REPORT_EXACT:
            if g[key] != t[key]:
                problems.append('%s %s is %r, expected %r' % (t['name'], key, g[key], t[key]))
        a, b = g['snr_db'], t['snr_db']
        if (a is None) != (b is None) or a is not None and not math.isclose(a, b, rel_tol=1e-12,
                                                                           abs_tol=1e-12):
            problems.append('%s snr_db is %r, expected %r' % (t['name'], a, b))


def hex_checksum(value):
    return 'xxh3-64:%016x' % value


def hex_identity(identity):
    return {k: hex_checksum(v) if k.endswith('checksum') else v for k, v in identity.items()}


def inspect_case(runner, name, model, base, packages, foreign):
    """What inspect says about a model and its packages."""
    problems = []

    def compare(path, want, tensors, key, data):
        code, doc = runner.run('inspect', path, *['--accept-foreign-checksum'] * foreign)
        got = doc['result'] or {}
        want.update(bytes=len(data), format=data[:4].decode(),
                    identity=hex_identity(model.identity()))
        if code:
            problems.append('exit %d, %s' % (code, doc['findings']))
        for field, value in want.items():
            if got.get(field) != value:
                problems.append('%s is %r, expected %r' % (field, got.get(field), value))
        for g, t in zip(got.get(key, []), tensors):
            for field, value in t.items():
                if g.get(field) != value:
                    problems.append('%s: %s is %r, expected %r' % (t['name_hash'], field,
                                                                   g.get(field), value))
        if len(got.get(key, [])) != len(tensors):
            problems.append('%d %s' % (len(got.get(key, [])), key))

    compare(runner.path('base.slm', base),
            {'internal_checksum': hex_checksum(struct.unpack_from('<Q', base, 100)[0]),
             'state': hex_checksum(model.state())},
            [{'name': t.name, 'name_hash': '0x%016x' % t.hash, 'dims': list(t.dims),
              'dtype': (None, 'f32', 'q8_0', 'q4_0')[t.dtype], 'bytes': len(t.payload())
              + (4 * len(t.scales) if t.dtype != spec.F32 else 0)}
             for t in spec.read_model(base).tensors], 'tensors', base)
    for i, (data, entries, extension) in enumerate(packages):
        tensors = []
        for e in sorted(entries, key=lambda e: e.hash):
            tensors.append({'name_hash': '0x%016x' % e.hash, 'dims': list(e.dims)})
            if e.indexes is not None:
                tensors[-1].update(count=len(e.indexes),
                                   encoding=(None, 'index-list', 'bitmask')[e.encoding])
            if e.a is not None:
                tensors[-1]['rank'] = len(e.a)
        compare(runner.path('package%d%s' % (i, extension), data),
                {'internal_checksum': hex_checksum(struct.unpack_from('<Q', data, 120)[0])},
                tensors, 'entries', data)
    runner.check(name + ' inspect', problems)


def command(runner, base, stack, how, foreign, output_dtype='keep'):
    """The files of an application, written, and the options that it needs."""
    files = [runner.path('base.slm', base)]
    args = ['--rounding', how] + ['--accept-foreign-checksum'] * foreign
    args += ['--output-dtype', output_dtype] * (output_dtype != 'keep')
    for i, (data, _, extension, text, _) in enumerate(stack):
        files.append(runner.path('s%d%s' % (i, extension), data))
        if text != '1':
            args += ['--strength', 's%d%s=%s' % (i, extension, text)]
    return files, args


def apply_case(runner, name, base, stack, how, foreign, output_dtype='keep'):
    """stack: [(bytes, entries, extension, strength text, strength)]"""
    want = spec.apply(base, [(d, e, s) for d, e, _, _, s in stack], how, output_dtype)
    files, args = command(runner, base, stack, how, foreign, output_dtype)
    out, problems = runner.path('out.slm'), []

    def run(*extra, target=None):
        if os.path.exists(out):
            os.remove(out)
        return runner.run('apply', *files, '-o', out, *args, *extra, target=target)

    def compare(code, doc, what, dry):
        if want.refused:
            if code != 4 or {f['code'] for f in doc['findings']} - {'checksum_unverifiable'} != {
                    'fused_non_finite'}:
                problems.append('%s: exit %d, %s, expected fused_non_finite' % (
                    what, code, [f['code'] for f in doc['findings']]))
            elif {f['tensor'] for f in doc['findings'] if 'tensor' in f} != set(want.refused):
                problems.append('%s: refused %s, expected %s' % (
                    what, sorted({f.get('tensor') for f in doc['findings']}), want.refused))
            if os.path.exists(out):
                problems.append('a refused apply left an output')
            return
        if code != 0:
            problems.append('%s: exit %d, %s' % (what, code, doc['findings'] or doc.get('raw')))
            return
        r, digest = doc['result'], spec.sha256(want.output)
        if dry:
            if r['output'] is not None or os.path.exists(out):
                problems.append('a dry run wrote')
            if r['predicted_digest'] != digest:
                problems.append('%s: predicted %s' % (what, r['predicted_digest']))
        else:
            with open(out, 'rb') as f:
                data = f.read()
            if data != want.output:
                at = next((i for i, (a, b) in enumerate(zip(data, want.output)) if a != b), None)
                problems.append('%s: output differs, first at %s of %d (%d expected)' % (
                    what, at, len(data), len(want.output)))
            if r['output']['digest'] != spec.sha256(data) or r['output']['bytes'] != len(data):
                problems.append('%s: digest is not that of the output' % what)
        for key, value in (('state', hex_checksum(want.state)), ('rounding', how),
                           ('internal_checksum', hex_checksum(want.checksum)),
                           ('zero_effect', want.zero_effect)):
            if r[key] != value:
                problems.append('%s: %s is %r, expected %r' % (what, key, r[key], value))
        if not math.isclose(r['kept'], want.kept, rel_tol=1e-12):
            problems.append('%s: kept is %r, expected %r' % (what, r['kept'], want.kept))
        compare_report(problems, r['tensors'], want.tensors)
        if want.zero_effect != ('zero_effect' in [f['code'] for f in doc['findings']]):
            problems.append('%s: findings %s' % (what, [f['code'] for f in doc['findings']]))

    if want.zero_effect and not want.refused:
        code, doc = run('--threads', '1')
        if code != 6 or os.path.exists(out):
            problems.append('without --allow-no-effect: exit %d' % code)
    for i, target in enumerate([None] + runner.targets):
        threads = str(1 + i % 2)
        compare(*run('--allow-no-effect', '--threads', threads, target=target),
                '%s threads %s' % (target, threads), False)
        if problems:
            break
    compare(*run('--allow-no-effect', '--dry-run'), 'dry run', True)
    # What validate tries.
    if len(stack) == 1 and stack[0][3] == '1' and (how, output_dtype) == ('adaptive:0', 'keep'):
        code, doc = runner.run('validate', files[1], '--model', files[0],
                               *['--accept-foreign-checksum'] * foreign)
        if code != (4 if want.refused else 0):
            problems.append('validate --model: exit %d, refused %s' % (code, want.refused))
    runner.check('%s %s %s %s' % (name, how, output_dtype, ' '.join(e + '*' + t for _, _, e, t, _ in stack)),
                 problems, files + [out])


def undo_case(runner, name, base, stack, how, foreign, output_dtype='keep'):
    """apply --undo against a second writer, and both readers against the base."""
    want = spec.apply(base, [(d, e, s) for d, e, _, _, s in stack], how, output_dtype)
    if want.refused:
        return
    files, args = command(runner, base, stack, how, foreign, output_dtype)
    out, undo, back = [runner.path(n) for n in ('out.slm', 'undo', 'back.slm')]
    problems = []
    code, doc = runner.run('apply', *files, '-o', out, '--undo', undo, '--force',
                           '--allow-no-effect', *args)
    if code:
        problems.append('apply: exit %d, %s' % (code, doc['findings']))
    else:
        with open(undo, 'rb') as file:
            written = file.read()
        if written != undo_file.make(base, want.output, spec.checksum):
            problems.append('the undo file of %d bytes differs' % len(written))
        elif undo_file.restore(written, want.output) != base:
            problems.append('the undo file does not restore the base')
        code, doc = runner.run('revert', out, '--undo', undo, '-o', back, '--force')
        with open(back, 'rb') if not code else open(os.devnull, 'rb') as file:
            if file.read() != base:
                problems.append('revert: exit %d, %s' % (code, doc['findings']))
    runner.check('%s undo' % name, problems, files + [out, undo])


def apply_cases(runner, seed, count):
    done = 0
    while done < count:
        rng = random.Random('apply %d %d' % (seed, done))
        model = generate.model(rng, large=True)
        foreign = rng.random() < 0.1
        base = generate.model_file(rng, model, foreign)
        packages = [generate.package(rng, model) for _ in range(3)]
        inspect_case(runner, 'apply/%d.%d' % (seed, done), model, base, packages, foreign)
        for _ in range(min(4, count - done)):
            stack = [rng.choice(packages) + generate.strength(rng)
                     for _ in range(rng.choice((1, 1, 1, 2, 3, 6)))]
            how = generate.rounding(rng)
            output_dtype = rng.choice(('keep', 'keep', 'q8_0', 'f32'))
            apply_case(runner, 'apply/%d.%d' % (seed, done), base, stack, how, foreign,
                       output_dtype)
            undo_case(runner, 'apply/%d.%d' % (seed, done), base, stack, how, foreign,
                      output_dtype)
            done += 1


def misfit_cases(runner, seed, count):
    """Packages that are valid, but do not fit the model."""
    for case in range(count):
        rng = random.Random('misfit %d %d' % (seed, case))
        model = generate.model(rng, wild=False)
        base = runner.path('base.slm', generate.model_file(rng, model))
        other = generate.model(rng, wild=False)
        for name, data, extension, codes in generate.misfits(rng, model, other):
            package, out = runner.path('misfit' + extension, data), runner.path('misfit.slm')
            problems = []
            for args in (('validate', package, '--model', base),
                         ('apply', base, package, '-o', out),
                         ('apply', base, package, '--dry-run', '--allow-no-effect')):
                code, doc = runner.run(*args)
                found = {f['code'] for f in doc['findings']}
                if code != 4 or found != codes:
                    problems.append('%s: exit %d, %s, expected %s' % (
                        args[0], code, sorted(found), sorted(codes)))
                if os.path.exists(out):
                    problems.append('a refused apply left an output')
                    os.remove(out)
            runner.check('misfit/%d.%d %s' % (seed, case, name), problems, [base, package])


def judge_files(runner, prefix, files, wanted, base, packages):
    """files: [(label, bytes)], validated in one run; a few of them in a run of their own, too.

    wanted: the code and exit code that a label's file must give; base, packages: valid files.
    """
    paths = [runner.path('%d.bin' % i, data) for i, (_, data) in enumerate(files)]
    code, doc = runner.run('validate', *paths)
    found = {path: set() for path in paths}
    for f in doc['findings']:
        found[f['file']].add(f['code'])
    full = len(doc['findings']) >= 1000
    if full and len(files) > 1:
        judge_files(runner, prefix, files[:len(files) // 2], wanted, base, packages)
        judge_files(runner, prefix, files[len(files) // 2:], wanted, base, packages)
        return
    ok = {f['file']: f['ok'] for f in (doc['result'] or {}).get('files', [])}
    everything = set().union(*found.values())
    if code != judge.exit_code(everything):
        runner.check(prefix + ' a batch', ['exit %d with %s' % (code, sorted(everything))])
    for i, (path, (label, data)) in enumerate(zip(paths, files)):
        problems = judge.differences(data, found[path], full)
        rule, exit_code = wanted.get(label, (None, None))
        if rule and rule not in found[path]:
            problems.append('has no %s but %s' % (rule, sorted(found[path])))
        if exit_code is not None and judge.exit_code(found[path]) != exit_code:
            problems.append('exit %d by %s, expected %d' % (
                judge.exit_code(found[path]), sorted(found[path]), exit_code))
        if ok.get(path) != (not found[path]):
            problems.append('ok is %r' % ok.get(path))
        if i % 25 == 0:
            alone, report = runner.run('validate', path)
            codes = {f['code'] for f in report['findings']}
            if codes != found[path] or alone != judge.exit_code(codes):
                problems.append('alone: exit %d, %s' % (alone, sorted(codes)))
            # What validate refuses, apply refuses for the same reasons.
            if codes:
                out = runner.path('refused.slm')
                pair = (path, packages[0]) if mutate.is_model(data) else (base, path)
                refused, _ = runner.run('apply', *pair, '-o', out, '--allow-no-effect')
                if refused != alone or os.path.exists(out):
                    problems.append('apply: exit %d, not %d' % (refused, alone))
        runner.check('%s %s' % (prefix, label), problems, [path])


def judge_cases(runner, seed, count):
    for case in range(count):
        rng = random.Random('judge %d %d' % (seed, case))
        model = generate.model(rng, tiny=rng.random() < 0.6, wild=False)
        originals = [generate.model_file(rng, model, rng.random() < 0.1)]
        originals += [generate.package(rng, model, kind, 3)[0] for kind in judge.PACKAGES]
        base = runner.path('valid.slm', originals[0] if mutate.get(originals[0], 8, 4) >= 128
                           else spec.write_model(model))
        packages = [runner.path('valid%d' % i, data) for i, data in enumerate(originals[1:])]
        for data in originals:
            prefix = 'judge/%d.%d/%s' % (seed, case, data[:4].decode())
            small = len(data) < 6000
            files = [('unchanged', data)]
            files += mutate.field_changes(rng, data, 60)
            files += mutate.lengths(rng, data, 12)
            files += mutate.flips(rng, data, small and case % 10 == 0, min(30, len(data)))
            wanted = {}
            for name, changed, rule, exit_code in mutate.broken_rules(rng, data):
                wanted['rule: ' + name] = rule, exit_code
                files.append(('rule: ' + name, changed))
            if mutate.is_model(data):
                files += mutate.tokenizer_changes(rng, data, 30)
                for name, changed, rule in generate.misshapen(rng, model):
                    wanted['tensors: ' + name] = rule, 1
                    files.append(('tensors: ' + name, changed))
            for i in range(0, len(files), 150):
                judge_files(runner, prefix, files[i:i + 150], wanted, base, packages)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('cli')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--cases', type=int, default=100)
    parser.add_argument('--only', choices=('apply', 'judge'))
    parser.add_argument('--keep')
    o = parser.parse_args()
    if not spec.have_xxh3():
        print('skipped: neither the Python module xxhash nor the library of that name is there')
        return 77
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(os.path.abspath(o.cli), folder, o.keep)
        if o.only != 'judge':
            apply_cases(runner, o.seed, o.cases)
        if o.only != 'apply':
            judge_cases(runner, o.seed, o.cases // 10)
            misfit_cases(runner, o.seed, o.cases // 10)
        print('%d passed, %d failed' % (runner.passed, runner.failed))
        return 1 if runner.failed or not runner.passed else 0


if __name__ == '__main__':
    sys.exit(main())
