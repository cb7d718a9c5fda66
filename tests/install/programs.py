#!/usr/bin/env python3
"""Runs the programs that README.md and docs/receipts.md show, and judges what they do.

usage: programs.py minimal PROGRAM
       programs.py verify TOOL WHOLE STEPS

The tests run them as this tree builds them, test_packages.py as projects outside it do.
"""
import hashlib
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, 'examples', 'data')
MODEL = os.path.join(DATA, 'union.q8_0.slm')
PACKAGE = os.path.join(DATA, 'whale-lora.alr1')
# whale-lora on union.q8_0, adaptive:0, as an independent implementation of the formats computed it.
ADAPTED = '7da467d3b3b41da83f0af67aef855ff7155ea68138f38d44b46f756c45e884a4'

OK, USAGE, DRIFT, CANNOT_CHECK = 0, 2, 3, 5


def expect(command, code, *texts, environment=None):
    """Runs a program, which must exit with `code` and print each of the texts."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=300, env=environment)
    missing = [text for text in texts if text not in done.stdout]
    if done.returncode != code or missing:
        raise AssertionError('%s: exit code %d, expected %d; not printed: %s\n%s' % (
            ' '.join(command), done.returncode, code, missing, done.stdout))


def check_minimal(program, environment=None):
    """Applies an adapter; then does not replace what it has written."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, 'whale.slm')
        command = [*program, MODEL, PACKAGE, output]
        expect(command, OK, 'sha256:' + ADAPTED, environment=environment)
        with open(output, 'rb') as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        if digest != ADAPTED:
            raise AssertionError('the new model is %s, expected %s' % (digest, ADAPTED))
        expect(command, USAGE, environment=environment)


def check_verify(tool, whole, steps):
    """Takes a bundle through the gates: as it is, with a model cut short, and without it."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = os.path.join(folder, 'bundle')
        expect([tool, 'bundle', 'create', os.path.join(DATA, 'whale.recipe.json'), '-o', bundle,
                '--quiet'], OK)
        expect([whole, bundle], OK, 'diagnostics        passed')
        expect([steps, bundle], OK, 'adapter-artifacts  adapters/whale-full.adp1')

        # The gate of the model fails, those that need it are blocked, the others are judged.
        model = os.path.join(bundle, 'models', 'union.q8_0.slm')
        with open(model, 'w', encoding='utf-8') as file:
            file.write('SLM1')
        expect([whole, bundle], DRIFT, 'model-bytes        failed', 'validate           blocked',
               'adapter-artifacts  passed', '[size_mismatch]')
        expect([steps, bundle], DRIFT, '[size_mismatch]')

        os.remove(model)
        expect([whole, bundle], CANNOT_CHECK, '[file_missing]')
        expect([steps, bundle], CANNOT_CHECK, '[file_missing]', 'the server has no such file')


def main():
    if len(sys.argv) == 3 and sys.argv[1] == 'minimal':
        check_minimal([sys.argv[2]])
    elif len(sys.argv) == 5 and sys.argv[1] == 'verify':
        check_verify(*sys.argv[2:])
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main()
