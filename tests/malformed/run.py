#!/usr/bin/env python3
"""Gives trlm-adapt the hostile corpus, and compares what it finds with what the cases state.

usage: run.py CLI [--corpus FOLDER] [--expected FILE] [--only TEXT] [--every N] [--alone]
              [--workers N] [--bounded] [--keep FOLDER]

Without --corpus it makes the corpus first (generate.py). Files that stand alone are validated many in
one run, and every sixteenth of them, with --alone all, in a run of its own, which also shows the exit
code; documents always are. With --bounded no run may take more than a second of processor time, or
more than 64 MiB to refuse a file.

Prints each difference, then 'N passed, N failed'; exits with 1 if any failed, with 77 where the corpus
cannot be made.
"""
import argparse
import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH, ALONE = 40, 16
SECONDS, MEBIBYTES = 1.0, 64
KEPT_FINDINGS = 1000
SKIPPED = 77
SHOWN = 40      # failures of a worker
FINDING_KEYS = ('code', 'file', 'pointer')


class Run:
    """One run of the tool."""

    def __init__(self, command, folder=None):
        process = subprocess.Popen(command + ['--json'], cwd=folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        text = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = self.code = os.waitstatus_to_exitcode(status)
        self.seconds = usage.ru_utime + usage.ru_stime
        self.mebibytes = usage.ru_maxrss / (1 << 20 if sys.platform == 'darwin' else 1 << 10)
        try:
            self.document = json.loads(text)
        except ValueError:
            self.document = None

    def errors(self):
        return [f for f in self.document['findings'] if f['severity'] == 'error']

    def problems(self, bounded):
        """What no run may do, whatever it is given."""
        if self.document is None:
            return ['ended with %d and no report' % self.code]
        problems = []
        if self.document['exit_code'] != self.code:
            problems.append('exit code %d, reported as %d' % (self.code,
                                                              self.document['exit_code']))
        if bounded and self.seconds > SECONDS:
            problems.append('took %.2f s of processor time' % self.seconds)
        # What is accepted is also shown, which takes more.
        if bounded and self.mebibytes > (MEBIBYTES if self.code else 2 * MEBIBYTES):
            problems.append('took %.0f MiB' % self.mebibytes)
        return problems


def compare(case, errors):
    """What is wrong with the errors of one case."""
    stated = case['findings']
    if stated and isinstance(stated[0], dict):
        return compare_places(stated, errors)
    found, must = {f['code'] for f in errors}, set(stated)
    choices = [set(choice) for choice in case.get('one_of', [])]
    may = must.union(case.get('may', []), *choices)
    problems = []
    if must - found:
        problems.append('lacks %s' % ', '.join(sorted(must - found)))
    problems += ['lacks one of %s' % ', '.join(sorted(choice)) for choice in choices
                 if not choice & found]
    if found - may:
        problems.append('has %s, which no rule asks for' % ', '.join(sorted(found - may)))
    return problems


def compare_places(stated, errors):
    """Every finding where it is stated, and no other."""
    rest = list(errors)
    problems = []
    for want in stated:
        match = next((f for f in rest if all(f.get(k, '') == v for k, v in want.items())), None)
        if match is None:
            problems.append('lacks %s' % want)
        else:
            rest.remove(match)
    return problems + ['has %s, which no rule asks for' % {k: f[k] for k in FINDING_KEYS if k in f}
                       for f in rest]


class Worker:
    """Takes every n-th bundle of cases through the tool."""

    def __init__(self, options, manifest):
        self.options, self.groups = options, manifest['groups']
        self.cli = os.path.abspath(shutil.which(options.cli) or options.cli)
        self.folder = tempfile.mkdtemp(prefix='trlm-malformed-')
        self.failures, self.passed, self.bases = [], 0, {}
        self.slowest, self.largest = (0.0, ''), (0.0, '')

    def path(self, stored):
        return os.path.join(self.options.corpus, stored)

    def judge(self, case, problems):
        if not problems:
            self.passed += 1
            return
        self.failures.append('%s\n    rule: %s\n    %s' % (case['name'], case['rule'],
                                                           '\n    '.join(problems)))
        if self.options.keep:
            self.keep(case)

    def keep(self, case):
        folder = os.path.join(self.options.keep, hashlib.sha256(
            case['name'].encode()).hexdigest()[:16])
        os.makedirs(folder, exist_ok=True)
        for name, stored in case.get('replace', {'input': case.get('input')}).items():
            shutil.copy(self.path(stored), os.path.join(folder, name.replace('/', '_')))
        with open(os.path.join(folder, 'case.json'), 'w') as file:
            json.dump(case, file, indent=1)

    def measure(self, run, name):
        self.slowest = max(self.slowest, (run.seconds, name))
        self.largest = max(self.largest, (run.mebibytes, name))

    # ------------------------------------------------------------------------ files by themselves

    def batch(self, cases):
        """Many files in one run."""
        paths = [self.path(case['input']) for case in cases]
        run = Run([self.cli, 'validate', *paths])
        problems = run.problems(False)
        full = not problems and len(run.document['findings']) >= KEPT_FINDINGS
        if (problems or full) and len(cases) > 1:
            self.batch(cases[:len(cases) // 2])
            self.batch(cases[len(cases) // 2:])
            return
        if problems:
            self.judge(cases[0], problems)
            return
        errors = collections.defaultdict(list)
        for finding in run.errors():
            errors[finding['file']].append(finding)
        for case, path in zip(cases, paths):
            self.judge(case, compare(case, errors[path]))

    def alone(self, case):
        run = Run([self.cli, 'validate', self.path(case['input'])])
        self.judge(case, self.problems_of(case, run))

    def problems_of(self, case, run):
        problems = run.problems(self.options.bounded)
        if run.document is None:
            return problems
        self.measure(run, case['name'])
        if run.code not in case['exit_codes']:
            problems.append('exit code %d, not %s' % (run.code, ' or '.join(
                map(str, case['exit_codes']))))
        return problems + compare(case, run.errors())

    # ------------------------------------------------------------------------------ whole folders

    def base(self, group):
        """A folder with the group's valid files."""
        if group not in self.bases:
            folder = os.path.join(self.folder, group)
            for path, stored in self.groups[group]['base'].items():
                os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
                shutil.copyfile(self.path(stored), os.path.join(folder, path))
            self.bases[group] = folder
        return self.bases[group]

    def in_folder(self, case):
        group = self.groups[case['group']]
        folder, output = self.base(case['group']), os.path.join(self.folder, 'output')
        for path, stored in case['replace'].items():
            shutil.copyfile(self.path(stored), os.path.join(folder, path))
        words = [word.replace('{folder}', '.').replace('{output}', output)
                 for word in group['run']]
        run = Run([self.cli, *words], folder)
        problems = self.problems_of(case, run)
        if os.path.exists(output):
            if run.code:
                problems.append('exit code %d, and yet there is an output' % run.code)
            os.remove(output)
        for path in case['replace']:
            shutil.copyfile(self.path(group['base'][path]), os.path.join(folder, path))
        self.judge(case, problems)

    def run(self, cases):
        waiting = []
        for number, case in enumerate(cases):
            if 'replace' in case:
                self.in_folder(case)
            elif self.options.alone or number % ALONE == 0:
                self.alone(case)
            else:
                waiting.append(case)
            if len(waiting) == BATCH:
                self.batch(waiting)
                waiting = []
        if waiting:
            self.batch(waiting)
        shutil.rmtree(self.folder)


def chosen(options):
    """The cases of this worker, read one by one: a worker stays small."""
    number, workers = map(int, options.worker.split('/'))
    with open(os.path.join(options.corpus, 'cases.jsonl')) as file:
        for index, line in enumerate(file):
            if index // BATCH % workers == number and index % options.every == 0:
                case = json.loads(line)
                if options.only in case['name']:
                    yield case


def work(options):
    """A worker prints one JSON object."""
    with open(os.path.join(options.corpus, 'manifest.json')) as file:
        worker = Worker(options, json.load(file))
    worker.run(chosen(options))
    print(json.dumps({'passed': worker.passed, 'failures': worker.failures[:SHOWN],
                      'failed': len(worker.failures), 'slowest': worker.slowest,
                      'largest': worker.largest}))


def make_corpus(folder, every):
    made = subprocess.run([sys.executable, os.path.join(HERE, 'generate.py'), folder, '--every',
                           '%d' % every], stdout=subprocess.PIPE)
    print(made.stdout.decode(), end='', flush=True)
    if made.returncode:
        sys.exit(made.returncode)
    return made.stdout.decode().split()[-1]


def share(options):
    """Has the workers do it; what they say, added up."""
    arguments = sys.argv[1:] + ['--corpus', options.corpus]
    processes = [subprocess.Popen([sys.executable, os.path.abspath(__file__), *arguments,
                                   '--worker', '%d/%d' % (i, options.workers)],
                                  stdout=subprocess.PIPE) for i in range(options.workers)]
    said = [(process.communicate()[0], process.returncode) for process in processes]
    if any(code for _, code in said):
        sys.exit('a worker failed')
    return [json.loads(text) for text, _ in said]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('cli', help='path of trlm-adapt')
    parser.add_argument('--corpus', help='a folder that generate.py wrote')
    parser.add_argument('--expected', help='a file with the digest that the corpus must have')
    parser.add_argument('--only', default='', help='cases whose name contains this')
    parser.add_argument('--every', type=int, default=1, help='each N-th case, for slow builds')
    parser.add_argument('--alone', action='store_true', help='one run for each case')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--bounded', action='store_true',
                        help='fail what takes too much time or memory; not for sanitizers')
    parser.add_argument('--keep', help='a folder for the files of what failed')
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return 0
    with tempfile.TemporaryDirectory(prefix='trlm-corpus-') as folder:
        if not options.corpus:
            options.corpus = os.path.join(folder, 'corpus')
            digest = make_corpus(options.corpus, options.every)
            if options.expected:
                with open(options.expected) as file:
                    recorded = file.read().split()[-1]
                if recorded != digest:
                    print('the corpus is not the recorded one, %s' % recorded)
                    return 1
        said = share(options)
    for failure in (f for part in said for f in part['failures']):
        print('FAILED', failure)
    for what, key, unit in (('slowest', 'slowest', 's'), ('largest', 'largest', 'MiB')):
        value, name = max(part[key] for part in said)
        print('%s: %.3g %s, %s' % (what, value, unit, name))
    passed, failed = (sum(part[key] for part in said) for key in ('passed', 'failed'))
    print('%d passed, %d failed' % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
