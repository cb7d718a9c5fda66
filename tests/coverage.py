#!/usr/bin/env python3
"""A table of the lines and branches that were run, from what clang's counters left.

usage: coverage.py LLVM_COV FOLDER [--uncovered]

Fails below the shares that the project asks for. --uncovered lists instead what was not run, by file
and line.
"""
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINES, BRANCHES = 95, 90


def programs(folder):
    """Everything that was built and that the system can run or load."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ('CMakeFiles', 'profiles', 'Testing')]
        for name in names:
            path = os.path.join(parent, name)
            if os.path.islink(path) or not os.access(path, os.X_OK):
                continue
            with open(path, 'rb') as file:
                if file.read(4) == b'\x7fELF':
                    found.append(path)
    return sorted(found)


def exported(cov, folder, *options):
    paths = programs(folder)
    command = [cov, 'export', '-instr-profile=%s/all.profdata' % folder, paths[0], *options]
    for path in paths[1:]:
        command += ['-object', path]
    command += [os.path.join(ROOT, 'src'), os.path.join(ROOT, 'include')]
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return sorted(json.loads(out.stdout)['data'][0]['files'], key=lambda file: file['filename'])


def name_of(file):
    return os.path.relpath(file['filename'], ROOT)


def share(counts):
    return 100 * counts['covered'] / counts['count'] if counts['count'] else 100


def print_table(files):
    total = {key: {'count': 0, 'covered': 0} for key in ('lines', 'branches')}
    print('%-44s %7s %7s %9s %7s' % ('file', 'lines', '%', 'branches', '%'))
    for file in files:
        summary = file['summary']
        print('%-44s %7d %7.2f %9d %7.2f' % (
            name_of(file), summary['lines']['count'], share(summary['lines']),
            summary['branches']['count'], share(summary['branches'])))
        for key, sums in total.items():
            for name in sums:
                sums[name] += summary[key][name]
    print('%-44s %7d %7.2f %9d %7.2f' % (
        'all', total['lines']['count'], share(total['lines']), total['branches']['count'],
        share(total['branches'])))
    return share(total['lines']) >= LINES and share(total['branches']) >= BRANCHES


def uncovered_lines(file):
    """Lines in which a counted region starts or goes on that never ran."""
    missed = set()
    segments = file['segments']
    for (line, _, count, has_count, _, gap), after in zip(segments, segments[1:]):
        if has_count and not gap and count == 0:
            missed.update(range(line, after[0] + (after[1] > 1)))
    return missed


def print_uncovered(files):
    for file in files:
        with open(file['filename']) as source:
            lines = source.read().split('\n')
        missed = uncovered_lines(file)
        sides = {}
        for line, _, _, _, true, false, *_ in file.get('branches', []):
            for side, count in (('true', true), ('false', false)):
                if count == 0 and line not in missed:
                    sides.setdefault(line, set()).add(side)
        for line in sorted(missed | sides.keys()):
            text = lines[line - 1].strip()
            if text.strip('{} ;'):
                kind = 'line' if line in missed else 'never ' + '/'.join(sorted(sides[line]))
                print('%s:%d: %s: %s' % (name_of(file), line, kind, text))


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__.strip())
    cov, folder = sys.argv[1:3]
    if '--uncovered' in sys.argv:
        print_uncovered(exported(cov, folder))
    elif not print_table(exported(cov, folder, '-summary-only')):
        sys.exit('below %d %% of the lines or %d %% of the branches' % (LINES, BRANCHES))


if __name__ == '__main__':
    main()
