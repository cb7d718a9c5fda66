#!/usr/bin/env python3
"""Runs a trlm-adapt binary against a folder of conformance vectors made by an independent implementation.

usage: conform.py --cli PATH [--vectors DIR] [--only SUBSTRING] [--verbose]

Needs nothing but Python 3. Prints each case that differs, then 'N passed, N failed'; exit 1 if any failed.
"""
import argparse, hashlib, json, math, os, subprocess, sys, tempfile

def sha(path):
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        for b in iter(lambda: f.read(1 << 20), b''):
            h.update(b)
    return 'sha256:' + h.hexdigest()

def main():
    a = argparse.ArgumentParser()
    a.add_argument('--cli', required=True)
    a.add_argument('--vectors', default=os.path.join(os.path.dirname(os.path.abspath(__file__)), 'vectors'))
    a.add_argument('--only', default='')
    a.add_argument('--verbose', action='store_true')
    o = a.parse_args()
    exp = json.load(open(os.path.join(o.vectors, 'expected.json')))
    passed, failed = 0, 0

    def run(*args):
        try:
            p = subprocess.run([o.cli, *args, '--json'], capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return -999, {}, 'no answer in 60 s'
        try:
            doc = json.loads(p.stdout)
        except ValueError:
            doc = {}
        return p.returncode, doc, (p.stdout + p.stderr)[-300:]

    def check(name, problems):
        nonlocal passed, failed
        if o.only not in name:
            return
        if problems:
            failed += 1
            print('FAIL', name, '|', '; '.join(problems))
        else:
            passed += 1
            if o.verbose:
                print('ok  ', name)

    def same(problems, what, got, want):
        if got != want:
            problems.append('%s is %r, expected %r' % (what, got, want))

    def codes(doc):
        return [f.get('code') for f in doc.get('findings', [])]

    def path(p):
        return os.path.join(o.vectors, p)

    for p, e in sorted(exp['models'].items()):
        pr = []
        rc, doc, tail = run('validate', path(p)); same(pr, 'validate exit', rc, 0)
        rc, doc, tail = run('inspect', path(p)); same(pr, 'inspect exit', rc, 0)
        r = doc.get('result', {}); i = r.get('identity', {})
        same(pr, 'internal_checksum', r.get('internal_checksum'), 'xxh3-64:' + e['checksum'])
        same(pr, 'state', r.get('state'), 'xxh3-64:' + e['state0'])
        same(pr, 'layout', i.get('tensor_layout_checksum'), 'xxh3-64:' + e['tensor_layout_checksum'])
        same(pr, 'tokenizer', i.get('tokenizer_checksum'), 'xxh3-64:' + e['tokenizer_checksum'])
        for k in ('tensor_count', 'parameter_count'):
            same(pr, k, i.get(k), e[k])
        same(pr, 'model_flags', i.get('model_flags'), e['flags'])
        check(p, pr)
    for p, e in sorted(exp['adapters'].items()):
        pr = []
        rc, doc, tail = run('validate', path(p)); same(pr, 'validate exit', rc, 0)
        rc, doc, tail = run('inspect', path(p)); same(pr, 'inspect exit', rc, 0)
        r = doc.get('result', {})
        same(pr, 'internal_checksum', r.get('internal_checksum'), 'xxh3-64:' + e['checksum'])
        same(pr, 'format', r.get('format'), e['kind'])
        same(pr, 'entries', len(r.get('entries', [])), e['entry_count'])
        check(p, pr)
    with tempfile.TemporaryDirectory() as tmp:
        for k, e in enumerate(exp['applies']):
            name = 'apply/%d %s + %s %s' % (k, os.path.basename(e['model']), ' '.join('%s*%g' % (os.path.basename(p), s) for p, s in e['stack']), e['rounding'])
            if o.only not in name:
                continue
            pr = []
            out = os.path.join(tmp, 'o%d.slm' % k)
            # the same file may stand twice in a stack: copies keep the names apart
            files, args = [], []
            for n, (p, s) in enumerate(e['stack']):
                f = os.path.join(tmp, 's%d_%d%s' % (k, n, os.path.splitext(p)[1]))
                with open(path(p), 'rb') as src, open(f, 'wb') as dst:
                    dst.write(src.read())
                files.append(f)
                if s != 1:
                    args += ['--strength', '%s=%r' % (os.path.basename(f), s)]
            if e['rounding'] != 'adaptive:0':       # the default
                args += ['--rounding', e['rounding']]
            cmd = ['apply', path(e['model']), *files, '-o', out, *args]
            if e['zero_effect']:
                rc, doc, tail = run(*cmd)
                same(pr, 'exit of a zero-effect apply', rc, 6)
                if os.path.exists(out):
                    pr.append('a refused apply left an output')
                cmd.append('--allow-no-effect')
            for threads in ('1', '2'):
                if os.path.exists(out):
                    os.remove(out)
                rc, doc, tail = run(*cmd, '--threads', threads)
                same(pr, 'exit', rc, 0)
                if rc:
                    pr.append(tail.strip().replace('\n', ' '))
                    break
                same(pr, 'output with %s threads' % threads, sha(out), e['output_sha256'])
            r = doc.get('result', {})
            same(pr, 'state', r.get('state'), 'xxh3-64:' + e['state'])
            same(pr, 'digest', (r.get('output') or {}).get('digest'), e['output_sha256'])
            got = {t.get('name'): t for t in r.get('tensors', [])}
            for t, want in e['tensors'].items():
                g = got.get(t)
                if g is None:
                    if want['touched']:
                        pr.append('no report for ' + t)
                    continue
                for f in ('elements', 'touched'):
                    same(pr, t + ' ' + f, g.get(f), want[f])
                for f, tol in (('kept', 2e-6), ('cosine', 2e-6), ('max_abs_delta', 2e-6), ('rms_delta', 2e-6), ('snr_db', 1e-4)):
                    x, y = g.get(f), want[f]
                    if x is None or y is None:
                        if f != 'snr_db' or (x is None) != (y is None):
                            pr.append('%s %s is %r, expected %r' % (t, f, x, y))
                    elif not math.isclose(x, y, rel_tol=1e-5, abs_tol=tol):
                        pr.append('%s %s is %r, expected %r' % (t, f, x, y))
            check(name, pr)
        for e in exp['incompatible']:
            name = 'incompatible/%s + %s' % (os.path.basename(e['model']), ' '.join(os.path.basename(p) for p, s in e['stack']))
            pr = []
            out = os.path.join(tmp, 'x.slm')
            files = []
            for n, (p, s) in enumerate(e['stack']):
                f = os.path.join(tmp, 'i%d%s' % (n, os.path.splitext(p)[1]))
                with open(path(p), 'rb') as src, open(f, 'wb') as dst:
                    dst.write(src.read())
                files.append(f)
            rc, doc, tail = run('apply', path(e['model']), *files, '-o', out)
            same(pr, 'exit', rc, 4)
            if e['code'] not in codes(doc):
                pr.append('no finding %s in %s' % (e['code'], codes(doc)))
            if os.path.exists(out):
                pr.append('a refused apply left an output')
                os.remove(out)
            check(name, pr)
    for p, e in sorted(exp['invalid'].items()):
        pr = []
        rc, doc, tail = run('validate', path(p))
        same(pr, 'exit', rc, e['exit'])
        if e['code'] not in codes(doc):
            pr.append('no finding %s in %s' % (e['code'], codes(doc)))
        check(p, pr)
    print('%d passed, %d failed' % (passed, failed))
    sys.exit(1 if failed or not passed else 0)

if __name__ == '__main__':
    main()
