#!/usr/bin/env python3
"""Gives a reader the files of a hostile corpus: loop.py CORPUS [GROUP]

Replace `codes_of` by your own reader. docs/conformance.md describes the corpus.
"""
import json
import os
import subprocess
import sys


def codes_of(path):
    """The codes of the errors that the reader finds in a file."""
    run = subprocess.run(['trlm-adapt', 'validate', path, '--json'], stdout=subprocess.PIPE)
    findings = json.loads(run.stdout)['findings']
    return {f['code'] for f in findings if f['severity'] == 'error'}


def passes(case, found):
    must = set(case['findings'])
    choices = [set(codes) for codes in case.get('one_of', [])]
    may = must.union(case.get('may', []), *choices)
    return must <= found <= may and all(choice & found for choice in choices)


corpus, group = sys.argv[1], (sys.argv[2:] or ['undo'])[0]
passed = failed = 0
with open(os.path.join(corpus, 'cases.jsonl')) as lines:
    for case in map(json.loads, lines):
        if case['group'] != group:
            continue
        found = codes_of(os.path.join(corpus, case['input']))
        if passes(case, found):
            passed += 1
        else:
            failed += 1
            print(case['name'], sorted(found))
print('%d passed, %d failed' % (passed, failed))
sys.exit(1 if failed or not passed else 0)
