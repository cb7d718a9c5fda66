#!/usr/bin/env python3
"""Runs `sameness` with other targets, threads and settings, and compares what comes out.

usage: compare.py --program PATH [--emulator COMMAND] [--runs targets,threads,environment | --every]
                  [--seed S] [--cases M] [--expected FILE] [--save FILE]

The scalar target with one thread comes first; every other run is compared with it case by case, and
it itself with FILE, where another machine or compiler left its digests. Without --runs all three
groups run; --every runs each target with each number of threads and each setting.

Needs nothing but Python 3. The last line is 'N passed, N failed': cases, over all runs.
"""
import argparse
import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
import shlex
import subprocess
import sys

THREADS = (1, 2, 3, 7)
ROUNDS = ('nearest', 'up', 'down', 'zero')
GROUPS = ('targets', 'threads', 'environment')
SHOWN = 3  # differing cases of a run


@dataclasses.dataclass(frozen=True)
class Run:
    target: str
    threads: int = 1
    round: str = 'nearest'
    ftz: bool = False

    def arguments(self):
        words = ['--target', self.target, '--threads', str(self.threads), '--round', self.round]
        return words + ['--ftz'] * self.ftz

    def row(self, verdict):
        host = 'flushes' if self.ftz else 'keeps'
        return f'{self.target:<9} {self.threads:>7}  {self.round:<8} {host:<11} {verdict}'


HEADING = f'{"target":<9} {"threads":>7}  {"rounding":<8} {"subnormals":<11} cases'


def planned(targets, groups):
    """What is run besides the plain run of the scalar target: each setting, not each combination."""
    best, scalar = targets[0], targets[-1]
    runs = []
    if 'targets' in groups:
        runs += [Run(target) for target in targets]
    if 'threads' in groups:
        runs += [Run(best, threads) for threads in THREADS] + [Run(scalar, 3)]
    if 'environment' in groups:
        runs += [Run(best, 1, round) for round in ROUNDS]
        runs += [Run(best, 2, round, ftz=True) for round in ('nearest', 'up')]
        runs += [Run(scalar, 1, 'down'), Run(scalar, 2, 'zero', ftz=True)]
    return runs


def every(targets):
    return [Run(*settings) for settings in itertools.product(targets, THREADS, ROUNDS, (False, True))]


def differences(want, got):
    """Where two lines of a case differ: the first word of each part, which is a tensor from the
    second part on."""
    wanted, given = want.split(' | '), got.split(' | ')
    if len(wanted) != len(given):
        return [f'it was: {want[:200]}', f'now:    {got[:200]}']
    found = []
    for a, b in zip(wanted, given):
        changed = [f'{x} became {y}' for x, y in zip(a.split(), b.split()) if x != y]
        found += [f'{a.split()[0]}: {changed[0]}'] if changed else []
    return found


def digest(line):
    return hashlib.sha256(line.encode()).hexdigest()[:16]


class Program:
    def __init__(self, path, emulator, seed, cases):
        self.command = shlex.split(emulator) + [path]
        self.options = ['--seed', str(seed), '--cases', str(cases)]
        self.cases = cases

    def output(self, *arguments):
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines(), done.stderr.strip()

    def targets(self):
        code, lines, complaint = self.output('--list')
        if code != 0 or lines[-1:] != ['scalar']:
            sys.exit(f'compare.py: {shlex.join(self.command)} --list gave {lines}, exit {code}. {complaint}')
        return lines

    def lines(self, run):
        """The lines of a run, or why they cannot be judged."""
        code, lines, complaint = self.output(*self.options, *run.arguments())
        numbers = [line.split(' ', 1)[0] for line in lines]
        if numbers != [str(i) for i in range(self.cases)]:
            return [], f'exit {code} after {len(lines)} of {self.cases} cases. {complaint}'
        return lines, ''

    def how_to_repeat(self, run, case):
        return shlex.join([*self.command, *self.options[:2], '--case', str(case), *run.arguments()])


def defects_of_baseline(lines):
    """A run that the others are compared with must itself be sound, and worth comparing with."""
    defects = [line for line in lines if line.split(' ', 1)[1].startswith('error:')]
    applied = sum(line.split()[2] != 'refused' for line in lines)
    if 2 * applied < len(lines):
        defects.append(f'only {applied} of {len(lines)} stacks could be applied')
    return defects


def load(path, seed, cases):
    """The first `cases` digests of a file that --save wrote."""
    with open(path, encoding='utf-8') as file:
        first, *rest = file.read().splitlines()
    if first != f'seed {seed}' or len(rest) < cases:
        sys.exit(f'compare.py: {path} has "{first}" and {len(rest)} cases, not seed {seed} and {cases}')
    return rest[:cases]


def save(path, seed, lines):
    with open(path, 'w', encoding='utf-8') as file:
        file.write('\n'.join([f'seed {seed}', *map(digest, lines)]) + '\n')


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split('\n\n')[1].removeprefix('usage: '))
    parser.add_argument('--program', required=True)
    parser.add_argument('--emulator', default='')
    parser.add_argument('--runs', default=','.join(GROUPS))
    parser.add_argument('--every', action='store_true')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--cases', type=int, default=200)
    parser.add_argument('--expected')
    parser.add_argument('--save')
    options = parser.parse_args()
    groups = options.runs.split(',')
    if not set(groups) <= set(GROUPS) or options.cases < 1 or options.seed < 0:
        parser.error('--runs takes targets, threads, environment; --cases 1 or more; --seed 0 or more')

    program = Program(options.program, options.emulator, options.seed, options.cases)
    targets = program.targets()
    plain = Run('scalar')
    baseline, complaint = program.lines(plain)
    defects = [complaint] if complaint else defects_of_baseline(baseline)
    if defects:
        print(plain.row('cannot be compared with:'), *defects[:SHOWN], sep='\n    ')
        print(f'0 passed, {options.cases} failed')
        return 1

    passed, failed = 0, 0

    def judge(run, right, complaint, than, show):
        nonlocal passed, failed
        passed += sum(right)
        failed += options.cases - sum(right)
        wrong = [case for case, good in enumerate(right) if not good]
        verdict = f'{sum(right)} {than}'
        if complaint or wrong:
            verdict += f', {options.cases - sum(right)} DIFFER' + (f': {complaint}' if complaint else '')
        print(run.row(verdict))
        for case in wrong[:SHOWN]:
            print(*show(case), f'again: {program.how_to_repeat(run, case)}', sep='\n    ')

    print(HEADING)
    if options.expected:
        expected = load(options.expected, options.seed, options.cases)
        right = [digest(line) == want for line, want in zip(baseline, expected)]
        judge(plain, right, '', f'as in {os.path.basename(options.expected)}',
              lambda case: [f'case {case}', f'here:  {baseline[case][:400]}'])
    if options.save:
        save(options.save, options.seed, baseline)

    runs = every(targets) if options.every else planned(targets, groups)
    runs = [run for run in dict.fromkeys(runs) if run != plain]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for run, (lines, complaint) in zip(runs, pool.map(program.lines, runs)):
            right = [line == want for line, want in zip(lines, baseline)]

            def show(case, lines=lines):
                return [f'case {case}', *differences(baseline[case], lines[case])[:4]]
            judge(run, right, complaint, 'equal', show)
    print(f'{passed} passed, {failed} failed')
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main())
