#!/usr/bin/env python3
"""Times whole commands of trlm-adapt and prints the results as JSON.

usage: commands.py --build FOLDER [--work FOLDER] [--quick | --tiny] [--only EXPERIMENT ...]

  --build FOLDER   where the preset `bench` was built
  --work FOLDER    where models are put while it runs (default: a new temporary folder); what is
                   put there is removed again
  --quick          smaller models and fewer rounds
  --tiny           to see that everything runs: the times mean nothing
  --only NAME      copy, validate, stack, memory, size, rank, density, depth, threads or swap

What is compared runs in turn, again and again; a ratio is the median of the ratios of each turn.
The files that are read lie in the page cache.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
EXTENSION = {'dense': '.adp1', 'sparse': '.asp1', 'lowrank': '.alr1'}


class Scale:
    """How large and how often."""
    def __init__(self, name, main, base, sizes, memory_sizes, rounds, few_rounds):
        self.name, self.main, self.base, self.sizes = name, main, base, sizes
        self.memory_sizes, self.rounds, self.few_rounds = memory_sizes, rounds, few_rounds


FULL = Scale('full', GIB, 256 * MIB, [16 * MIB, 64 * MIB, 256 * MIB, GIB, 4 * GIB],
             [256 * MIB, GIB, 4 * GIB], 7, 5)
QUICK = Scale('quick', 256 * MIB, 64 * MIB, [16 * MIB, 64 * MIB, 256 * MIB], [64 * MIB, 256 * MIB],
              5, 3)
TINY = Scale('tiny', 2 * MIB, MIB, [MIB], [MIB], 1, 1)
RANKS = [1, 4, 8, 16, 64, 256]
DENSITIES = [0.001, 0.01, 0.1, 0.5]
DEPTHS = [1, 2, 4, 8, 16]


class Failed(Exception):
    """A command that should have worked did not, or there is no room."""


def refuse(what):
    """Ends the program because of how it was called."""
    print('commands.py: ' + what, file=sys.stderr)
    sys.exit(2)


def size_text(size):
    for unit, name in ((GIB, 'GiB'), (MIB, 'MiB'), (KIB, 'KiB')):
        if size >= unit and size % unit == 0:
            return '%d %s' % (size // unit, name)
    return '%d bytes' % size


def fields_of_status(pid, names):
    """Sizes in bytes from /proc/PID/status; none when the process is gone."""
    found = {}
    with contextlib.suppress(OSError):
        with open('/proc/%d/status' % pid) as file:
            for line in file:
                name, _, rest = line.partition(':')
                if name in names:
                    found[name] = int(rest.split()[0]) * KIB
    return found


class Run:
    """One finished command."""
    def __init__(self, command, watch_memory=False):
        start = time.perf_counter()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            self.peaks = {}
            # Processes are looked at while they run only where memory is the question.
            while watch_memory:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid != 0:
                    break
                for name, size in fields_of_status(process.pid, ('RssAnon', 'RssFile')).items():
                    self.peaks[name] = max(size, self.peaks.get(name, 0))
                time.sleep(0.002)
            else:
                _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                output.seek(0)
                raise Failed('%s: exit code %d\n%s' % (' '.join(command), process.returncode,
                                                       output.read().decode(errors='replace')))
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.maximum_rss = usage.ru_maxrss * KIB


def summary(runs):
    seconds = [run['seconds'] for run in runs]
    return {'seconds': statistics.median(seconds), 'fastest_seconds': min(seconds),
            'cpu_seconds': statistics.median(run['cpu_seconds'] for run in runs)}


def spread(ratios):
    ordered = sorted(ratios)
    return {'ratio': statistics.median(ordered), 'lowest': ordered[0], 'highest': ordered[-1],
            'rounds': len(ordered)}


class Bench:
    def __init__(self, build, work, scale):
        self.tool = os.path.join(build, 'trlm-adapt')
        self.generate = os.path.join(build, 'tests', 'bench', 'generate')
        self.ratios = os.path.join(build, 'tests', 'bench', 'ratios')
        self.swapper = os.path.join(build, 'tests', 'bench', 'swap')
        for path in (self.tool, self.generate, self.ratios, self.swapper):
            if not os.access(path, os.X_OK):
                refuse('%s is missing; build the preset `bench` first' % path)
        self.work = work
        self.scale = scale
        self.models = {}

    # ------------------------------------------------------------------------------------ files

    def path(self, name):
        return os.path.join(self.work, name)

    def require_room(self, size):
        free = shutil.disk_usage(self.work).free
        if free < size + GIB // 4:
            raise Failed('%s needs %.1f GiB of room, %.1f GiB are free (see --work)'
                         % (self.work, size / GIB, free / GIB))

    def model(self, size, dtype='f32'):
        """A model of about that many bytes."""
        key = (size, dtype)
        if key not in self.models:
            self.require_room(size)
            path = self.path('model-%d-%s.slm' % key)
            Run([self.generate, 'model', path, '--bytes', str(size), '--dtype', dtype])
            self.models[key] = path
        return self.warm(self.models[key])

    def forget_models(self, keep=()):
        for key, path in list(self.models.items()):
            if key not in keep:
                os.unlink(path)
                del self.models[key]

    def stack(self, model, kind, count=1, **options):
        """Paths of `count` adapters; options are those of `generate`."""
        folder = tempfile.mkdtemp(prefix=kind + '-', dir=self.work)
        command = [self.generate, 'stack', folder, '--model', model, '--kind', kind, '--count',
                   str(count)]
        for name, value in options.items():
            command += ['--' + name, str(value)]
        Run(command)
        return [self.warm(os.path.join(folder, name)) for name in sorted(os.listdir(folder))]

    def drop(self, paths):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    @staticmethod
    def warm(path):
        with open(path, 'rb', buffering=0) as file:
            buffer = bytearray(4 * MIB)
            while file.readinto(buffer):
                pass
        return path

    # -------------------------------------------------------------------------------- measuring

    def timed(self, *commands):
        """Runs commands one after the other and adds up their times."""
        runs = [Run(command) for command in commands]
        return {'seconds': sum(run.seconds for run in runs),
                'cpu_seconds': sum(run.cpu_seconds for run in runs)}

    def in_turn(self, actions, rounds, clean=()):
        """Runs named actions in turn; every other time backwards. Returns each one's runs."""
        runs = {name: [] for name in actions}
        for turn in range(rounds):
            for name in list(actions) if turn % 2 == 0 else reversed(list(actions)):
                self.drop(clean)
                runs[name].append(actions[name]())
                self.drop(clean)
        return runs

    def apply_command(self, model, stack, output, *options):
        return [self.tool, 'apply', model, *stack, '--output', output, '--quiet', *options]

    def compare(self, ours, reference, rounds, clean):
        """Two actions in turn; the ratio is ours / reference in seconds."""
        runs = self.in_turn({'ours': ours, 'reference': reference}, rounds, clean)
        ratios = [a['seconds'] / b['seconds'] for a, b in zip(runs['ours'], runs['reference'])]
        return {**spread(ratios), 'ours': summary(runs['ours']),
                'reference': summary(runs['reference'])}

    def against_copy(self, model, stack, rounds, *options, synced=False):
        """`apply` against `cp` and `openssl dgst -sha256` of the model, in seconds."""
        output, copy = self.path('output.slm'), self.path('copy.slm')
        sync = [['sync', copy]] if synced else []
        return self.compare(
            lambda: self.timed(self.apply_command(model, stack, output, *options)),
            lambda: self.timed(['cp', model, copy], *sync,
                               ['openssl', 'dgst', '-sha256', copy]),
            rounds, [output, copy])

    # ------------------------------------------------------------------------------ experiments

    def copy(self):
        """apply to a file against cp and sha256."""
        model = self.model(self.scale.main)
        results = []
        for name, kind, options in (('low-rank 8', 'lowrank', {'rank': 8}),
                                    ('sparse 1 %', 'sparse', {'density': 0.01}),
                                    ('dense', 'dense', {})):
            stack = self.stack(model, kind, **options)
            for synced in (False, True):
                results.append({'stack': name, 'bytes': os.path.getsize(model), 'synced': synced,
                                **self.against_copy(model, stack, self.scale.rounds,
                                                    synced=synced)})
            self.drop(stack)
        return results

    def read_rate(self, size):
        """Bytes a second of reading a buffer of that size from memory."""
        output = subprocess.run(
            [self.ratios, '--job', 'memory/read', '--rows', str(max(1, size // 4 // 8192)),
             '--cols', '8192', '--rounds', '3'], capture_output=True, text=True, check=True).stdout
        return json.loads(output)['bytes_per_second']

    def validate(self):
        """validate against the rate at which memory can be read."""
        model = self.model(self.scale.main)
        size = os.path.getsize(model)
        results = []
        for name, options in (('all threads', []), ('one thread', ['--threads', '1'])):
            command = [self.tool, 'validate', model, '--quiet', *options]
            ratios, seconds, rates = [], [], []
            for _ in range(self.scale.rounds):
                rates.append(self.read_rate(size))
                seconds.append(Run(command).seconds)
                ratios.append(size / seconds[-1] / rates[-1])
            results.append({'threads': name, 'bytes': size, **spread(ratios),
                            'seconds': statistics.median(seconds),
                            'read_bytes_per_second': statistics.median(rates)})
        return results

    def stack_of_eight(self):
        """Eight low-rank adapters in one apply against eight of one each."""
        results = []
        outputs = [self.path('step-%d.slm' % i) for i in range(2)]
        for dtype in ('f32', 'q8_0', 'q4_0'):
            model = self.model(self.scale.base, dtype)
            stack = self.stack(model, 'lowrank', 8, rank=8)

            def one_by_one():
                total = {'seconds': 0, 'cpu_seconds': 0}
                source = model
                for i, adapter in enumerate(stack):
                    target = outputs[i % 2]
                    self.drop([target])
                    step = self.timed(self.apply_command(source, [adapter], target))
                    total = {key: total[key] + step[key] for key in total}
                    source = target
                return total

            result = self.compare(
                one_by_one, lambda: self.timed(self.apply_command(model, stack, outputs[0])),
                self.scale.few_rounds, outputs)
            results.append({'dtype': dtype, 'bytes': os.path.getsize(model), **result})
            self.drop(stack)
        return results

    def memory(self):
        """Peak memory of apply."""
        results = []
        for size in self.scale.memory_sizes:
            self.require_room(3 * size)
            model = self.model(size)
            for name, kind, count, options in (('low-rank 8', 'lowrank', 1, {'rank': 8}),
                                               ('16 x low-rank 8', 'lowrank', 16, {'rank': 8}),
                                               ('sparse 10 %', 'sparse', 1, {'density': 0.1}),
                                               ('dense', 'dense', 1, {})):
                stack = self.stack(model, kind, count, **options)
                output = self.path('output.slm')
                run = Run(self.apply_command(model, stack, output), watch_memory=True)
                results.append({'bytes': os.path.getsize(model), 'stack': name,
                                'stack_bytes': sum(map(os.path.getsize, stack)),
                                'maximum_rss': run.maximum_rss,
                                'anonymous_rss': run.peaks.get('RssAnon', 0),
                                'file_rss': run.peaks.get('RssFile', 0)})
                self.drop([output, *stack])
            self.forget_models(keep=[(self.scale.main, 'f32'), (self.scale.base, 'f32')])
        return results

    def size(self):
        """Scaling over the size of the model."""
        results = []
        for size in self.scale.sizes:
            self.require_room(3 * size)
            model = self.model(size)
            stack = self.stack(model, 'lowrank', rank=8)
            rounds = self.scale.few_rounds if size <= GIB else min(3, self.scale.few_rounds)
            applied = self.against_copy(model, stack, rounds)
            validated = summary([self.timed([self.tool, 'validate', model, '--quiet'])
                                 for _ in range(rounds)])
            results.append({'x': os.path.getsize(model), 'label': size_text(size),
                            'apply': applied, 'validate': validated})
            self.drop(stack)
            self.forget_models(keep=[(self.scale.main, 'f32'), (self.scale.base, 'f32')])
        return results

    def over(self, values, make_stack, label):
        """apply with one stack after another, all in turn."""
        model = self.model(self.scale.base)
        output = self.path('output.slm')
        stacks = {value: make_stack(model, value) for value in values}
        actions = {value: (lambda stack=stack:
                           self.timed(self.apply_command(model, stack, output)))
                   for value, stack in stacks.items() if stack}
        runs = self.in_turn(actions, self.scale.few_rounds, [output])
        results = [{'x': value, 'label': label(value), 'bytes': os.path.getsize(model),
                    'apply': summary(runs[value])} for value in actions]
        for stack in stacks.values():
            self.drop(stack)
        return results

    def rank(self):
        """Scaling over the rank of a low-rank adapter."""
        ranks = [rank for rank in RANKS if rank <= 64 or self.scale is not TINY]
        return self.over(ranks, lambda model, rank: self.stack(model, 'lowrank', rank=rank),
                         lambda rank: str(rank))

    def density(self):
        """Scaling over the density of a sparse adapter."""
        return self.over(DENSITIES,
                         lambda model, density: self.stack(model, 'sparse', density=density),
                         lambda density: '%g %%' % (100 * density))

    def depth(self):
        """Scaling over the number of adapters."""
        return self.over(DEPTHS, lambda model, count: self.stack(model, 'lowrank', count, rank=8),
                         lambda count: str(count))

    def threads(self):
        """Two threads against one."""
        results = []
        output = self.path('output.slm')
        for dtype, name, kind, options in (('f32', 'low-rank 8', 'lowrank', {'rank': 8}),
                                           ('f32', 'low-rank 64', 'lowrank', {'rank': 64}),
                                           ('q8_0', 'low-rank 64', 'lowrank', {'rank': 64}),
                                           ('q4_0', 'low-rank 64', 'lowrank', {'rank': 64})):
            model = self.model(self.scale.base, dtype)
            stack = self.stack(model, kind, **options)
            result = self.compare(
                lambda: self.timed(self.apply_command(model, stack, output, '--threads', '1')),
                lambda: self.timed(self.apply_command(model, stack, output, '--threads', '2')),
                self.scale.few_rounds, [output])
            results.append({'dtype': dtype, 'stack': name, 'bytes': os.path.getsize(model),
                            **result})
            self.drop(stack)
        return results

    def swap(self):
        """One stack for another in memory, against reading the weights once."""
        results = []
        for dtype in ('q8_0', 'q4_0', 'f32'):
            model = self.path('swap-%s.slm' % dtype)
            Run([self.generate, 'model', model, '--hidden', '512', '--layers', '4', '--ffn', '2048',
                 '--dtype', dtype])
            stack = self.stack(model, 'lowrank', 2, rank=8)
            for threads in (1, 2):
                done = subprocess.run([self.swapper, model, *stack, '--threads', str(threads),
                                       '--rounds', '3' if self.scale is TINY else '41'],
                                      capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    raise Failed(done.stderr.strip())
                results.append({'dtype': dtype, **json.loads(done.stdout)})
            self.drop([model, *stack])
        return results


EXPERIMENTS = {'copy': Bench.copy, 'validate': Bench.validate, 'stack': Bench.stack_of_eight,
               'rank': Bench.rank, 'density': Bench.density, 'depth': Bench.depth,
               'threads': Bench.threads, 'memory': Bench.memory, 'size': Bench.size,
               'swap': Bench.swap}


def measure(build, work, scale, names, tell=lambda text: None):
    """Runs the experiments of these names; their results by name."""
    results = {'scale': scale.name}
    with contextlib.ExitStack() as cleanup:
        if work is not None and not os.path.isdir(work):
            refuse('%s is not a folder' % work)
        # A folder of our own, so that only what we put there is removed.
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix='bench-', dir=work))
        bench = Bench(build, folder, scale)
        for name in names:
            tell('%s: %s' % (name, EXPERIMENTS[name].__doc__))
            try:
                results[name] = EXPERIMENTS[name](bench)
            except Failed as failure:
                tell('%s failed: %s' % (name, failure))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS, add_help=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-h', '--help', action='help', help=argparse.SUPPRESS)
    parser.add_argument('--build', required=True, help=argparse.SUPPRESS)
    parser.add_argument('--work', help=argparse.SUPPRESS)
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--quick', action='store_true', help=argparse.SUPPRESS)
    size.add_argument('--tiny', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--only', action='append', choices=EXPERIMENTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    scale = TINY if options.tiny else QUICK if options.quick else FULL
    results = measure(os.path.abspath(options.build), options.work, scale,
                      options.only or list(EXPERIMENTS),
                      lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(results, indent=1))
    # An experiment that could not be made is missing from the results.
    return 0 if all(name in results for name in options.only or EXPERIMENTS) else 1


if __name__ == '__main__':
    sys.exit(main())
