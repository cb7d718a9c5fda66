"""How long `verify` takes against hashing the same bytes with `openssl dgst -sha256`, in one run: a
bundle whose registry has 500 entries and whose family has 60 adapters.

usage: verify.py TRLM-ADAPT [--rounds N]
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'cli'))
import support  # noqa: E402

MEMBERS, ENTRIES = 60, 500


def make(cli, folder):
    """A bundle of the example model with 60 adapters of all three kinds, made by the tool; the
    registry then gets 499 entries more."""
    packages = ['whale-lora.alr1', 'whale-top5.asp1', 'whale-full.adp1']
    adapters = []
    for index in range(MEMBERS):
        package = packages[index % len(packages)]
        name = 'a%02d.%s' % (index, package.split('.')[1])
        shutil.copy(support.data(package), os.path.join(folder, name))
        adapters.append({'id': 'a%02d' % index, 'package': name, 'strength_range': [0.01, 1]})
    shutil.copy(support.data('union.q8_0.slm'), os.path.join(folder, 'model.slm'))
    with open(support.data('whale.recipe.json')) as file:
        recipe = json.load(file)
    large = 1 << 40
    order = [{'member': 'a00', 'strength': 0.5}, {'member': 'a01', 'strength': 0.5}]
    recipe.update(model='model.slm', adapters=adapters,
                  stacks=[{'id': 'both', 'preferred': True, 'order': order}],
                  budgets={'model_bytes': large, 'text_sidecar_bytes': 1 << 20,
                           'adapter_stack_bytes': large, 'fetch_count': 1000})
    with open(os.path.join(folder, 'recipe.json'), 'w') as file:
        json.dump(recipe, file)
    bundle = os.path.join(folder, 'bundle')
    subprocess.run([cli, 'bundle', 'create', os.path.join(folder, 'recipe.json'), '-o', bundle,
                    '--quiet'], check=True)
    path = os.path.join(bundle, 'selector.registry.json')
    with open(path) as file:
        registry = json.load(file)
    first = registry['entries'][0]
    registry['entries'] += [dict(first, id='entry-%d' % i) for i in range(ENTRIES - 1)]
    with open(path, 'w') as file:
        json.dump(registry, file)
    return bundle


def seconds(command):
    start = time.perf_counter()
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    taken = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit('%s: exit %d\n%s' % (command[:3], process.returncode, process.stderr.decode()))
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('cli')
    parser.add_argument('--rounds', type=int, default=9)
    options = parser.parse_args()
    cli = os.path.abspath(options.cli)
    folder = tempfile.mkdtemp(prefix='trlm-bench-verify-')
    try:
        bundle = make(cli, folder)
        files = [os.path.join(root, name) for root, _, names in os.walk(bundle) for name in names]
        size = sum(os.path.getsize(f) for f in files)
        ratios, ours, theirs = [], [], []
        for _ in range(options.rounds):
            theirs.append(seconds(['openssl', 'dgst', '-sha256'] + files))
            ours.append(seconds([cli, 'verify', bundle, '--quiet']))
            ratios.append(ours[-1] / theirs[-1])
        print('%d files, %.1f MiB: verify %.1f ms, openssl %.1f ms, ratio %.2f' % (
            len(files), size / 2**20, 1000 * statistics.median(ours),
            1000 * statistics.median(theirs), statistics.median(ratios)))
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
