"""Prints the tables of docs/making-adapters.md about closeness, and draws its charts.

    /usr/bin/python3 tests/produce/closeness.py build/release/trlm-adapt [FOLDER]

Makes packages of every size from the two models of examples/data with the tool, reads off how close
each comes, and runs the models with engine.py for bits per byte. FOLDER gets the charts. Takes a few
minutes; needs NumPy.
"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DATA = os.path.join(ROOT, 'examples', 'data')
sys.path[:0] = [HERE, os.path.join(ROOT, 'tests', 'bench')]

import charts  # noqa: E402
import engine  # noqa: E402

SHARES = ('0.01', '0.02', '0.05', '0.1', '0.2', '0.5')
# (name in the chart, extension, options of each point)
SERIES = (
    ('each tensor', 'asp1', [['--density', share] for share in SHARES]),
    ('all together', 'asp1', [['--density', share, '--global'] for share in SHARES]),
    ('low rank', 'alr1', [['--rank', rank] for rank in ('1', '2', '4', '8', '16', '32', '64')]),
    ('random, rescaled', 'asp1', [['--drop', '%g' % (1 - float(share)), '--seed', '0', '--rescale']
                                  for share in SHARES]),
)


def main():
    cli = os.path.abspath(sys.argv[1])
    with open(os.path.join(DATA, 'texts', 'whale.txt'), 'rb') as file:
        text = file.read()
    measured = {}

    def run(*arguments):
        done = subprocess.run([cli, *arguments, '--force', '--json'], check=True,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)['result']

    with tempfile.TemporaryDirectory() as folder:
        def at(name):
            return os.path.join(folder, name)

        def bits(model):
            return engine.read_slm1(at(model)).bits_per_byte(text)

        run('convert', os.path.join(DATA, 'checkpoint'), '-o', at('base.slm'))
        run('apply', at('base.slm'), os.path.join(DATA, 'whale-full.adp1'), '-o', at('tuned.slm'))
        base, tuned = bits('base.slm'), bits('tuned.slm')
        print('base %.3f, tuned %.3f bits per byte\n' % (base, tuned))
        print('| kept | options | package | relative error | bits per byte |')
        print('|---|---|---|---|---|')
        for name, extension, points in SERIES:
            for options in points:
                package = at('package.' + extension)
                made = run('diff', at('base.slm'), at('tuned.slm'), '-o', package, *options)
                stack = [package] + ([made['companion']['path']] if made['companion'] else [])
                run('apply', at('base.slm'), *stack, '-o', at('out.slm'))
                size = sum(os.path.getsize(path) for path in stack) / 1024
                point = (size, made['relative_error'], bits('out.slm'))
                measured.setdefault(name, []).append(point)
                print('| %s | `%s` | %.0f KiB | %.2f | %.3f |' % (name, ' '.join(options), *point),
                      flush=True)
    if len(sys.argv) > 2:
        draw(measured, base, tuned, sys.argv[2])


def draw(measured, base, tuned, folder):
    sizes = [(size, '%d' % size) for size in (50, 100, 200, 500, 1000, 2000)]
    for file, value, highest, title, label in (
            ('error.svg', lambda point: point[1], 1, 'How far from the whole difference',
             '|delta - difference| / |difference|'),
            ('gain.svg', lambda point: 100 * (base - point[2]) / (base - tuned), 100,
             'What is won on the whale text', '% of what the whole difference wins')):
        # Few elements, rescaled, are so far off that they would squeeze all other points.
        series = [(name, [(p[0], value(p)) for p in points if 0 <= value(p) <= highest])
                  for name, points in measured.items()]
        series = [(name, points) for name, points in series if len(points) > 1]
        low = min(size for _, points in series for size, _ in points)
        high = max(size for _, points in series for size, _ in points)
        names = [n for n in sizes if low <= n[0] <= high]
        names = [(low, '')] + names + [(high, '')]
        with open(os.path.join(folder, file), 'w', encoding='utf-8') as out:
            out.write(charts.line_chart(title, 'size of the package in KiB', label, series, names))


if __name__ == '__main__':
    main()
