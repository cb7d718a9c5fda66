"""trlm-adapt diff against calculations in NumPy."""
import math
import os
import struct
import unittest

import samples
from samples import F32, Q4_0, Q8_0, by_name, dense, f32, np, spec, support
from support import INCOMPATIBLE, INVALID, OK, POLICY, USAGE, data, read, write

EXACT = ('layers.0.wk.weight', 'norm.weight')  # equal in both models


class Differences(samples.Case):
    """A base and a tuned model; deltas[name] is fl(tuned - base) of the tensors that differ."""

    def setUp(self):
        super().setUp()
        self.take_pair(F32)

    def take_pair(self, dtype):
        self.base = self.save('base.slm', samples.model(dtype))
        self.tuned = self.save('tuned.slm', samples.tuned_model(self.base))
        new = by_name(self.tuned)
        self.deltas = {t.name: new[t.name].decode() - t.decode() for t in self.base.tensors
                       if t.name not in EXACT}

    def diff(self, out, *options):
        return self.good('diff', 'base.slm', 'tuned.slm', '-o', out, *options)

    def relative_error(self, package):
        """|delta - (tuned - base)| / |tuned - base|, per tensor and whole."""
        old, new = by_name(self.base), by_name(self.tuned)
        errors, total = {}, np.zeros(2)
        for name in self.deltas:
            exact = new[name].decode().astype(float) - old[name].decode().astype(float)
            got = dense(package.entries[name]) if name in package.entries else 0 * exact
            squares = np.array([((got - exact) ** 2).sum(), (exact ** 2).sum()])
            errors[name] = math.sqrt(squares[0] / squares[1])
            total += squares
        return errors, math.sqrt(total[0] / total[1])

    def assert_reported(self, result, package):
        errors, whole = self.relative_error(package)
        for tensor in result['tensors']:
            self.assertTrue(math.isclose(tensor['relative_error'], errors[tensor['name']],
                                         rel_tol=1e-9, abs_tol=1e-12), tensor)
        self.assertTrue(math.isclose(result['relative_error'], whole, rel_tol=1e-9,
                                     abs_tol=1e-12), (result['relative_error'], whole))


class Dense(Differences):
    def test_the_package_holds_what_numpy_subtracts(self):
        for dtype in (F32, Q8_0, Q4_0):
            with self.subTest(dtype):
                self.take_pair(dtype)
                result = self.diff('d.adp1', '--force')
                package = self.load('d.adp1')
                self.assertEqual(set(package.entries), set(self.deltas))
                for name, delta in self.deltas.items():
                    self.assertEqual(package.entries[name].values.tobytes(), delta.tobytes(), name)
                self.assertEqual(result['equal_tensors'], len(EXACT))
                self.assertEqual(result['left_out'], [])
                self.assertEqual(result['format'], 'ADP1')
                self.assert_reported(result, package)

    def test_the_bytes_are_those_of_an_independent_writer(self):
        self.diff('d.adp1')
        package = self.load('d.adp1')
        raw = read(self.path('d.adp1'))
        start, length = package.head['metadata_offset'], package.head['metadata_length']
        entries = [spec.PackageEntry(t.name, t.dims, values=self.deltas[t.name])
                   for t in self.base.tensors if t.name in self.deltas]
        self.assertEqual(raw, spec.write_package(b'ADP1', self.base.identity(), entries,
                                                 raw[start:start + length]))

    def test_what_is_not_restored_is_counted(self):
        # Values that have nothing to do with each other: most differences are rounded.
        g = np.random.default_rng(6)
        self.tuned = self.save('tuned.slm', samples.with_values(
            self.base, lambda t, v: g.normal(0, 0.02, t.n)))
        self.deltas = {t.name: by_name(self.tuned)[t.name].values - t.values
                       for t in self.base.tensors}
        result = self.diff('d.adp1')
        old, new = by_name(self.base), by_name(self.tuned)
        total = 0
        for tensor in result['tensors']:
            name = tensor['name']
            sums = old[name].values + self.deltas[name]
            missed = int((sums.view(np.uint32) != new[name].values.view(np.uint32)).sum())
            self.assertEqual(tensor['not_restored'], missed, name)
            self.assertEqual(tensor['differing'], int((self.deltas[name] != 0).sum()))
            total += missed
        self.assertGreater(total, 0)  # else nothing was shown
        self.assertEqual(result['not_restored'], total)
        # And applying gives just that.
        self.good('apply', 'base.slm', 'd.adp1', '-o', 'again.slm')
        again = by_name(spec.read_model(read(self.path('again.slm'))))
        self.assertEqual(total, sum(int((again[n].values.view(np.uint32)
                                         != new[n].values.view(np.uint32)).sum()) for n in new))

    def test_a_difference_of_close_values_restores_every_bit(self):
        # Where two values are within a factor of two, their difference is exact (Sterbenz).
        g = np.random.default_rng(3)
        self.save('tuned.slm', samples.with_values(
            self.base, lambda t, v: v * g.uniform(0.6, 1.4, t.n).astype(f32)))
        result = self.diff('d.adp1')
        self.assertEqual(result['not_restored'], 0)
        self.good('apply', 'base.slm', 'd.adp1', '-o', 'again.slm')
        self.assertEqual(read(self.path('again.slm')), read(self.path('tuned.slm')))

    def test_zeros_of_another_sign_are_equal_but_not_restored(self):
        name = 'layers.0.w1.weight'

        def positive(t, v):
            v = v.copy()
            v[:3] = 0
            return v
        base = samples.with_values(self.base, positive)
        self.save('base.slm', base)

        def negative(t, v):
            v = v.copy()
            if t.name == name:
                v[:3] = -0.0
                v[5] += f32(0.5)
            if t.name == 'norm.weight':
                v[1] = -0.0
            return v
        self.save('tuned.slm', samples.with_values(base, negative))
        result = self.diff('d.adp1')
        self.assertEqual([t['name'] for t in result['tensors']], [name])
        self.assertEqual(result['tensors'][0]['differing'], 1)
        self.assertEqual(result['not_restored'], 4)

    def test_the_data_of_this_project(self):
        folder = os.environ.get('TRLM_ADAPT_DATA')
        if not folder:
            self.skipTest('TRLM_ADAPT_DATA names no folder with the models in f32')
        models = [os.path.join(folder, 'slm', n) for n in ('union.f32.slm', 'union-tuned.f32.slm')]
        for name, options in (('whale-full.adp1', []), ('whale-top5.asp1', ['--density', '0.05'])):
            self.good('diff', *models, '-o', name, *options)
            made, known = (samples.Package(read(p)) for p in
                           (self.path(name), os.path.join(folder, 'adapters', name)))
            self.assertEqual(list(made.entries), list(known.entries))
            for tensor, entry in made.entries.items():
                self.assertEqual(entry.payload(), known.entries[tensor].payload(), tensor)
            self.assertEqual(made.head['tensor_layout_checksum'],
                             known.head['tensor_layout_checksum'])
            if made.kind == 'ASP1':
                self.assertEqual((made.retention, made.method, made.seed, made.mask),
                                 (known.retention, known.method, known.seed, known.mask))


class Sparse(Differences):
    def assert_kept(self, package, kept, value=lambda d: d):
        """kept: name -> sorted indexes."""
        self.assertEqual(set(package.entries), {n for n, i in kept.items() if len(i)})
        for name, entry in package.entries.items():
            self.assertEqual(entry.indexes.tolist(), kept[name].tolist(), name)
            want = value(self.deltas[name][kept[name]])
            self.assertEqual(entry.values.tobytes(), want.astype(f32).tobytes(), name)
        stored = sum(len(e.indexes) for e in package.entries.values())
        elements = sum(e.n for e in package.entries.values())
        self.assertEqual(f32(package.retention), f32(stored / elements))
        sections = b''.join(e.index_section() for e in
                            sorted(package.entries.values(), key=lambda e: e.hash))
        self.assertEqual(package.mask, spec.checksum(sections))

    def largest(self, count):
        """The largest of each tensor; of equal ones the first."""
        kept = {}
        for name, delta in self.deltas.items():
            order = np.lexsort((np.arange(len(delta)), -np.abs(delta)))
            order = order[:count(len(delta))]
            kept[name] = np.sort(order[delta[order] != 0])
        return kept

    def largest_of_all(self, count):
        names = sorted(self.deltas, key=spec.fnv1a)
        everything = np.concatenate([self.deltas[n] for n in names])
        order = np.lexsort((np.arange(len(everything)), -np.abs(everything)))[:count]
        mask = np.zeros(len(everything), bool)
        mask[order] = everything[order] != 0
        kept, start = {}, 0
        for name in names:
            n = len(self.deltas[name])
            kept[name] = np.flatnonzero(mask[start:start + n])
            start += n
        return kept

    def test_density(self):
        for dtype in (F32, Q8_0, Q4_0):
            self.take_pair(dtype)
            for density in ('0.05', '0.5', '1', '1e-6', '0.7999'):
                with self.subTest((dtype, density)):
                    result = self.diff('d.asp1', '--density', density, '--force')
                    package = self.load('d.asp1')
                    self.assert_kept(package, self.largest(
                        lambda n: max(1, math.floor(float(density) * n))))
                    self.assertEqual((package.method, package.seed), (1, 0))
                    self.assert_reported(result, package)

    def test_top(self):
        for k in (1, 17, 10 ** 6, 2 ** 64 - 1):
            self.diff('d.asp1', '--top-k', str(k), '--force')
            self.assert_kept(self.load('d.asp1'), self.largest(lambda n: k))

    def test_ties_go_to_the_first(self):
        g = np.random.default_rng(4)

        def few_values(t, v):
            return v * 0 + g.integers(-2, 3, t.n).astype(f32) * f32(0.25)
        zero = samples.with_values(self.base, lambda t, v: v * 0)
        self.save('base.slm', zero)
        self.save('tuned.slm', samples.with_values(zero, few_values))
        new = spec.read_model(read(self.path('tuned.slm')))
        self.deltas = {t.name: t.values for t in new.tensors}
        for count in (1, 5, 100, 300):
            self.diff('d.asp1', '--top-k', str(count), '--force')
            self.assert_kept(self.load('d.asp1'), self.largest(lambda n: count))
            self.diff('g.asp1', '--top-k', str(count), '--global', '--force')
            self.assert_kept(self.load('g.asp1'), self.largest_of_all(count))

    def test_global(self):
        total = sum(len(d) for d in self.deltas.values())
        for amount, count in ((['--density', '0.1'], math.floor(0.1 * total)),
                              (['--top-k', '7'], 7), (['--density', '1'], total)):
            result = self.diff('d.asp1', *amount, '--global', '--force')
            package = self.load('d.asp1')
            kept = self.largest_of_all(count)
            self.assert_kept(package, kept)
            self.assertEqual(sorted(result['left_out']),
                             sorted(n for n, i in kept.items() if not len(i)))
            self.assert_reported(result, package)

    def test_threshold(self):
        name = max(self.deltas, key=lambda n: len(self.deltas[n]))
        some = float(np.abs(self.deltas[name][7]))
        for threshold in (0.0, 0.002, some, 0.009):
            self.diff('d.asp1', '--threshold', repr(threshold), '--force')
            kept = {n: np.flatnonzero((np.abs(d) >= f32(threshold)) & (d != 0))
                    for n, d in self.deltas.items()}
            self.assert_kept(self.load('d.asp1'), kept)

    def drop_mask(self, name, probability, seed):
        """docs/making-adapters.md, written a second time."""
        n = len(self.deltas[name])
        key = spec.xxh3(b'TRLMDROP' + struct.pack('<QQ', seed, spec.fnv1a(name)))
        k0, k1 = np.uint32(key & 0xffffffff), np.uint32(key >> 32)

        def mix(z):
            z = z ^ (z >> np.uint32(16))
            z = z * np.uint32(0x7feb352d)
            z = z ^ (z >> np.uint32(15))
            z = z * np.uint32(0x846ca68b)
            return z ^ (z >> np.uint32(16))
        h = mix(mix(np.arange(n, dtype=np.uint32) ^ k0) ^ k1)
        return (h >> np.uint32(8)) / 2.0 ** 24 >= probability

    def test_drop(self):
        for probability, seed in ((0.9, 7), (0.5, 0), (0.0, 2 ** 64 - 1), (0.25, 12345678901234)):
            for rescale in ([], ['--rescale']):
                result = self.diff('d.asp1', '--drop', str(probability), '--seed', str(seed),
                                   '--force', *rescale)
                package = self.load('d.asp1')
                kept = {n: np.flatnonzero(self.drop_mask(n, probability, seed) & (d != 0))
                        for n, d in self.deltas.items()}
                divisor = 1 - probability if rescale else 1
                self.assert_kept(package, kept, lambda d: d.astype(float) / divisor)
                self.assertEqual((package.method, package.seed), (2, seed))
                self.assert_reported(result, package)

    def test_another_seed_drops_others(self):
        kept = []
        for seed in ('1', '2'):
            self.diff('d.asp1', '--drop', '0.5', '--seed', seed, '--force')
            kept.append(self.load('d.asp1').entries['layers.0.w1.weight'].indexes.tolist())
        self.assertNotEqual(*kept)
        # About half of them, and about half of these in common.
        differing = int((self.deltas['layers.0.w1.weight'] != 0).sum())
        for indexes in kept:
            self.assertAlmostEqual(len(indexes) / differing, 0.5, delta=0.1)
        self.assertAlmostEqual(len(set(kept[0]) & set(kept[1])) / differing, 0.25, delta=0.1)


class LowRank(Differences):
    VECTORS = {'layers.0.attn_norm.weight', 'layers.0.ffn_norm.weight'}

    def matrices(self):
        return {n: d for n, d in self.deltas.items() if n not in self.VECTORS}

    def shape(self, name):
        return by_name(self.base)[name].dims

    def best_error(self, name, rank):
        """What the best approximation of that rank leaves, by NumPy."""
        values = np.linalg.svd(self.deltas[name].astype(float).reshape(self.shape(name)),
                               compute_uv=False)
        return math.sqrt((values[rank:] ** 2).sum() / (values ** 2).sum())

    def test_rank(self):
        for rank in (1, 4, 4096):
            result = self.diff('d.alr1', '--rank', str(rank), '--force')
            package = self.load('d.alr1')
            self.assertEqual(set(package.entries), set(self.matrices()))
            for name, entry in package.entries.items():
                rows, cols = self.shape(name)
                self.assertEqual(len(entry.a), min(rank, rows, cols), name)
                self.assertEqual(entry.scale, 1)
                got = np.linalg.norm(dense(entry).astype(float) - self.deltas[name]) \
                    / np.linalg.norm(self.deltas[name].astype(float))
                self.assertAlmostEqual(got, self.best_error(name, len(entry.a)), delta=2e-6)
            by = {t['name']: t for t in result['tensors']}
            for name, entry in package.entries.items():
                self.assertEqual(by[name]['rank'], len(entry.a))
                self.assertEqual(by[name]['stored'], entry.a.size + entry.b.size)
                self.assertAlmostEqual(by[name]['relative_error'],
                                       self.best_error(name, len(entry.a)), delta=2e-6)

    def test_balance_signs_and_order(self):
        self.diff('d.alr1', '--rank', '6')
        for name, entry in self.load('d.alr1').entries.items():
            values = np.linalg.svd(self.deltas[name].astype(float).reshape(self.shape(name)),
                                   compute_uv=False)
            for k in range(len(entry.a)):
                root = math.sqrt(values[k])
                self.assertAlmostEqual(np.linalg.norm(entry.a[k].astype(float)), root,
                                       delta=1e-5 * root)
                self.assertAlmostEqual(np.linalg.norm(entry.b[:, k].astype(float)), root,
                                       delta=1e-5 * root)
                self.assertGreater(entry.b[np.argmax(np.abs(entry.b[:, k])), k], 0)

    def test_energy(self):
        for energy in (0.3, 0.9, 0.999, 1.0):
            self.diff('d.alr1', '--energy', str(energy), '--force')
            for name, entry in self.load('d.alr1').entries.items():
                values = np.linalg.svd(self.deltas[name].astype(float).reshape(self.shape(name)),
                                       compute_uv=False)
                kept = np.cumsum(values ** 2) / (values ** 2).sum()
                want = len(values) if energy == 1 else int(np.argmax(kept >= energy)) + 1
                self.assertEqual(len(entry.a), want, name)

    def test_a_difference_of_low_rank_is_found_whole(self):
        g = np.random.default_rng(5)

        def change(t, v):
            if len(t.dims) < 2:
                return v
            # Small whole numbers times a power of two: every product and sum is exact.
            b = g.integers(-3, 4, (t.dims[0], 2)).astype(f32)
            a = g.integers(-3, 4, (2, t.dims[1])).astype(f32)
            return (b @ a).reshape(-1) * f32(2.0 ** -8)
        zero = samples.with_values(self.base, lambda t, v: v * (len(t.dims) < 2))
        self.save('base.slm', zero)
        self.save('tuned.slm', samples.with_values(zero, change))
        result = self.diff('d.alr1', '--rank', '16')
        self.assertEqual({t['rank'] for t in result['tensors']}, {2})
        self.assertLess(result['relative_error'], 1e-6)

    def test_repeated_singular_values_and_sparse_matrices(self):
        def change(t, v):
            if len(t.dims) < 2:
                return v
            m = np.zeros(t.dims, f32)
            np.fill_diagonal(m, 0.5)
            if t.name.endswith('w1.weight'):
                m[3, 3] = 0.25
            if t.name.endswith('w2.weight'):
                m[:] = 0
                m[2, 5] = -1
            return v + m.reshape(-1)
        zero = samples.with_values(self.base, lambda t, v: v * 0)
        self.save('base.slm', zero)
        self.save('tuned.slm', samples.with_values(zero, change))
        result = self.diff('d.alr1', '--energy', '1')
        self.assertLess(result['relative_error'], 1e-7)
        ranks = {t['name']: t['rank'] for t in result['tensors']}
        self.assertEqual(ranks['layers.0.w2.weight'], 1)
        self.assertEqual(ranks['layers.0.w1.weight'], 16)

    def test_source(self):
        self.diff('d.alr1', '--rank', '2')
        package = self.load('d.alr1')
        self.assertEqual(package.source_kind, 2)
        function = xxh3_128()
        if function:
            self.assertEqual(package.source, function(read(self.path('tuned.slm'))))

    def test_vectors(self):
        result = self.diff('d.alr1', '--rank', '2')
        self.assertEqual(self.names(), ['base.slm', 'd.adp1', 'd.alr1', 'tuned.slm'])
        companion = self.load('d.adp1')
        self.assertEqual(set(companion.entries), self.VECTORS)
        for name, entry in companion.entries.items():
            self.assertEqual(entry.values.tobytes(), self.deltas[name].tobytes())
        self.assertEqual(result['companion']['path'], 'd.adp1')
        self.assertEqual(result['companion']['digest'], support.sha256(self.path('d.adp1')))
        self.assertEqual({t['name'] for t in result['tensors'] if t['place'] == 'companion'},
                         self.VECTORS)

        result = self.diff('e.alr1', '--rank', '2', '--vectors', 'skip')
        self.assertEqual(set(result['left_out']), self.VECTORS)
        self.assertIsNone(result['companion'])
        self.assertNotIn('e.adp1', self.names())
        self.assertEqual(read(self.path('d.alr1')), read(self.path('e.alr1')))
        self.assert_reported(result, self.load('e.alr1'))

        run = self.refuse(INVALID, ['bad_low_rank'] * 2, 'diff', 'base.slm', 'tuned.slm', '-o',
                          'f.alr1', '--rank', '2', '--vectors', 'error')
        self.assertEqual({f['tensor'] for f in run.document['findings']}, self.VECTORS)

    def test_only_vectors_differ(self):
        self.save('tuned.slm', samples.tuned_model(
            self.base, equal=[t.name for t in self.base.tensors if len(t.dims) == 2]))
        self.refuse(POLICY, ['zero_effect'], 'diff', 'base.slm', 'tuned.slm', '-o', 'd.alr1',
                    '--rank', '2')


def xxh3_128():
    """XXH3-128 in canonical form, or None where Python has no xxhash."""
    try:
        import xxhash
    except ImportError:
        return None
    return lambda content: xxhash.xxh3_128_digest(content)


class Targets(Differences):
    """--target: what applying would leave."""

    def test_the_forecast_is_what_apply_measures(self):
        for dtype in (Q8_0, Q4_0):
            self.save('target.slm', samples.model(dtype, seed=8))
            for out, *options in (('d.adp1',), ('d.asp1', '--density', '0.1'),
                                  ('d.alr1', '--rank', '3')):
                forecast = self.diff(out, *options, '--target', 'target.slm', '--rounding',
                                     'stochastic:5', '--force')['forecast']
                stack = [out] + (['d.adp1'] if out == 'd.alr1' else [])
                applied = self.good('apply', 'target.slm', *stack, '--dry-run', '--rounding',
                                    'stochastic:5')
                self.assertEqual(forecast['tensors'], applied['tensors'])
                self.assertEqual(forecast['kept'], applied['kept'])
                self.assertEqual((forecast['target'], forecast['rounding']),
                                 ('target.slm', 'stochastic:5'))
                self.assertIs(forecast['zero_effect'], False)
        self.assertIsNone(self.diff('e.adp1')['forecast'])

    def test_what_would_be_lost_is_a_warning(self):
        self.save('target.slm', samples.model(Q4_0, seed=8))
        self.save('tuned.slm', samples.tuned_model(self.base, size=1e-7))
        run = self.run_json('diff', 'base.slm', 'tuned.slm', '-o', 'd.adp1', '--target',
                            'target.slm', '--rounding', 'nearest')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.codes('warning'), ['survival_below_threshold'], run)
        self.assertLess(run.result['forecast']['snr_db'], 0)
        self.assertIn('d.adp1', self.names())

    def test_a_target_that_does_not_fit(self):
        self.save('other.slm', samples.model(ffn_size=48))
        before = self.names()
        run = self.run_json('diff', 'base.slm', 'tuned.slm', '-o', 'd.alr1', '--rank', '2',
                            '--target', 'other.slm')
        self.assertEqual(run.code, INCOMPATIBLE, run)
        self.assertIn('layout_differs', run.codes())
        self.assertEqual(self.names(), before)
        self.refuse(USAGE, ['usage_error'], 'diff', 'base.slm', 'tuned.slm', '-o', 'other.slm',
                    '--kind', 'adp1', '--force', '--target', 'other.slm')
        self.refuse(USAGE, ['usage_error'], 'diff', 'base.slm', 'tuned.slm', '-o', 'd.adp1',
                    '--target', 'base.slm', '--rounding', 'up')

    def test_text(self):
        self.save('target.slm', samples.model(Q4_0, seed=8))
        run = self.run_tool('diff', 'base.slm', 'tuned.slm', '-o', 'd.adp1', '--target',
                            'target.slm')
        self.assertEqual(run.code, OK, run)
        self.assert_narrow(run.out)
        self.assertIn('What would be left of it on target.slm (adaptive:0)', run.out)


class Sameness(Differences):
    METHODS = (('a.adp1',), ('b.asp1', '--density', '0.1'), ('c.asp1', '--top-k', '9', '--global'),
               ('d.asp1', '--drop', '0.5', '--seed', '3', '--rescale'), ('e.alr1', '--rank', '3'),
               ('f.alr1', '--energy', '0.8'))

    def test_two_runs_and_all_instruction_sets_give_the_same_bytes(self):
        targets = self.good('version')['simd']['available']
        for dtype in (F32, Q4_0):
            self.take_pair(dtype)
            for out, *options in self.METHODS:
                digests = {self.diff(out, *options, '--force')['output']['digest']
                           for _ in range(2)}
                for target in targets:
                    run = self.run_json('diff', 'base.slm', 'tuned.slm', '-o', out, *options,
                                        '--force', env={'TRLM_ADAPT_TARGET': target})
                    digests.add(run.result['output']['digest'])
                self.assertEqual(digests, {support.sha256(self.path(out))})

    def test_the_layout_of_the_models_does_not_matter(self):
        import random
        shuffled = spec.write_model(self.tuned, random.Random(3))
        for out, *options in self.METHODS[:4]:
            self.diff(out, *options)
            first = self.load(out)
            write(self.path('shuffled.slm'), shuffled)
            self.good('diff', 'base.slm', 'shuffled.slm', '-o', 'other' + out[1:], *options,
                      '--force')
            other = self.load('other' + out[1:])
            self.assertEqual([e.payload() for e in first.entries.values()],
                             [e.payload() for e in other.entries.values()])


class Refusals(Differences):
    def refuse_options(self, *options):
        run = self.refuse(USAGE, ['usage_error'], 'diff', 'base.slm', 'tuned.slm', *options)
        self.assertNotIn('\n', run.document['findings'][0]['message'])

    def test_numbers_out_of_bounds(self):
        for options in (['--density', '0'], ['--density', '1.01'], ['--density', '-0.5'],
                        ['--density', 'nan'], ['--density', 'inf'], ['--density', '5%'],
                        ['--threshold', '-1'], ['--threshold', 'nan'], ['--threshold', '1e40'],
                        ['--top-k', '0'], ['--top-k', '-1'], ['--top-k', '1.5'],
                        ['--top-k', '18446744073709551616'],
                        ['--drop', '1', '--seed', '0'], ['--drop', '-0.1', '--seed', '0'],
                        ['--drop', 'nan', '--seed', '0'], ['--drop', '0.5', '--seed', '-1'],
                        ['--drop', '0.5', '--seed', '1e3']):
            with self.subTest(options):
                self.refuse_options('-o', 'd.asp1', *options)
        for options in (['--rank', '0'], ['--rank', '4097'], ['--rank', '-1'], ['--rank', '2.5'],
                        ['--rank', '4294967297'], ['--energy', '0'], ['--energy', '1.5'],
                        ['--energy', 'nan'], ['--rank', '2', '--vectors', 'none']):
            with self.subTest(options):
                self.refuse_options('-o', 'd.alr1', *options)

    def test_combinations_that_make_no_sense(self):
        for out, *options in (
                ('d.asp1',), ('d.alr1',), ('d.asp1', '--density', '0.1', '--top-k', '3'),
                ('d.asp1', '--threshold', '0.1', '--global'), ('d.asp1', '--drop', '0.5'),
                ('d.asp1', '--density', '0.5', '--seed', '1'),
                ('d.asp1', '--density', '0.5', '--rescale'), ('d.asp1', '--rank', '3'),
                ('d.adp1', '--density', '0.5'), ('d.adp1', '--rank', '3'),
                ('d.alr1', '--rank', '3', '--energy', '0.5'), ('d.alr1', '--density', '0.5'),
                ('d.alr1', '--vectors', 'skip'), ('d.slm',), ('d',), ('d.ADP1',),
                ('d.adp1', '--kind', 'adp'), ('d.adp1', '--kind', 'asp1')):
            with self.subTest((out, options)):
                self.refuse_options('-o', out, *options)
        run = self.run_json('diff', 'base.slm', 'tuned.slm')
        self.assert_refused(run, USAGE, 'usage_error')

    def test_kind_without_an_extension(self):
        self.good('diff', 'base.slm', 'tuned.slm', '-o', 'package', '--kind', 'alr1', '--rank', '2')
        self.assertEqual(self.names(), ['base.slm', 'package', 'package.adp1', 'tuned.slm'])
        self.assertEqual(self.load('package').kind, 'ALR1')

    def test_equal_models(self):
        for out, *options in Sameness.METHODS:
            run = self.refuse(POLICY, ['zero_effect'], 'diff', 'base.slm', 'base.slm', '-o', out,
                              *options)
            self.assertIn('same values', run.document['findings'][0]['message'])

    def test_nothing_above_the_threshold(self):
        self.refuse(POLICY, ['zero_effect'], 'diff', 'base.slm', 'tuned.slm', '-o', 'd.asp1',
                    '--threshold', '5')

    def test_models_that_do_not_belong_together(self):
        for change, codes in (
                ({'layer_count': 2}, {'tensor_count_differs', 'parameter_count_differs',
                                      'layout_differs', 'tensor_unknown'}),
                ({'ffn_size': 42}, {'parameter_count_differs', 'layout_differs',
                                    'tensor_shape_differs'}),
                ({'flags': 1}, {'flags_differ', 'tensor_count_differs', 'parameter_count_differs',
                                'layout_differs', 'tensor_unknown'}),
                ({'head_count': 4, 'kv_head_count': 2, 'head_dim': 4}, {'layout_differs'}),
                ({'rope_theta': 1e5}, {'layout_differs'}),
                ({'rms_norm_epsilon': 1e-6}, {'layout_differs'})):
            other = samples.model(seed=3, **change)
            self.save('other.slm', other)
            for pair in (('base.slm', 'other.slm'), ('other.slm', 'base.slm')):
                with self.subTest((change, pair)):
                    before = self.names()
                    run = self.run_json('diff', *pair, '-o', 'd.adp1')
                    self.assertEqual(run.code, INCOMPATIBLE, run)
                    self.assertEqual(set(run.codes('error')), codes)
                    self.assertEqual(self.names(), before)

    def test_another_context_length_is_a_warning(self):
        other = samples.model(seed=3, max_context=64)
        self.save('other.slm', other)
        run = self.run_json('diff', 'base.slm', 'other.slm', '-o', 'd.adp1')
        self.assertEqual((run.code, run.codes('warning')), (OK, ['layout_differs']), run)

    def test_damaged_models(self):
        nan = samples.with_values(self.base, lambda t, v: np.where(np.arange(t.n) == 3, np.nan, v)
                                  if t.name == 'norm.weight' else v)
        self.save('nan.slm', nan)
        self.refuse(INVALID, ['non_finite'], 'diff', 'base.slm', 'nan.slm', '-o', 'd.adp1')
        write(self.path('short.slm'), read(self.path('base.slm'))[:5000])
        run = self.run_json('diff', 'short.slm', 'nan.slm', '-o', 'd.adp1')
        self.assertIn('non_finite', run.codes())
        self.assertGreater(len(run.codes()), 1)
        self.refuse(INVALID, ['bad_magic'], 'diff', 'base.slm', data_package(self), '-o', 'd.adp1')
        self.refuse(support.CANNOT_CHECK, ['file_missing'], 'diff', 'base.slm', 'none.slm', '-o',
                    'd.adp1')

    def test_a_difference_that_no_f32_holds(self):
        def huge(sign):
            return samples.with_values(self.base, lambda t, v: np.where(
                np.arange(t.n) == 3, f32(sign * 3e38), v) if t.name == 'norm.weight' else v)
        self.save('base.slm', huge(1))
        self.save('tuned.slm', huge(-1))
        run = self.refuse(INVALID, ['non_finite'], 'diff', 'base.slm', 'tuned.slm', '-o', 'd.adp1')
        self.assertEqual(run.document['findings'][0]['tensor'], 'norm.weight')
        self.assertEqual(run.document['findings'][0]['element'], 3)

    def test_outputs(self):
        write(self.path('d.adp1'), b'mine')
        write(self.path('e.adp1'), b'mine')
        self.refuse(USAGE, ['usage_error'], 'diff', 'base.slm', 'tuned.slm', '-o', 'd.adp1')
        self.refuse(USAGE, ['usage_error'], 'diff', 'base.slm', 'tuned.slm', '-o', 'e.alr1',
                    '--rank', '2')
        self.assertEqual(read(self.path('d.adp1')), b'mine')
        self.good('diff', 'base.slm', 'tuned.slm', '-o', 'd.adp1', '--force')
        self.good('diff', 'base.slm', 'tuned.slm', '-o', 'e.alr1', '--rank', '2', '--force')
        self.good('diff', 'base.slm', 'tuned.slm', '-o', 'f.alr1', '--rank', '2', '--vectors',
                  'skip')
        self.assertEqual(self.names(), ['base.slm', 'd.adp1', 'e.adp1', 'e.alr1', 'f.alr1',
                                        'tuned.slm'])
        for name in ('base.slm', 'tuned.slm', './base.slm'):
            self.refuse(USAGE, ['usage_error'], 'diff', 'base.slm', 'tuned.slm', '-o', name,
                        '--kind', 'adp1', '--force')
        self.refuse(support.CANNOT_CHECK, ['output_failed'], 'diff', 'base.slm', 'tuned.slm', '-o',
                    'none/d.adp1')
        os.mkdir(self.path('folder.adp1'))
        self.refuse(USAGE, ['usage_error'], 'diff', 'base.slm', 'tuned.slm', '-o', 'folder.adp1',
                    '--force')

    def test_text(self):
        run = self.run_tool('diff', 'base.slm', 'tuned.slm', '-o', 'd.alr1', '--rank', '2')
        self.assertEqual((run.code, run.err), (OK, ''), run)
        self.assert_narrow(run.out)
        self.assertIn('Wrote d.alr1', run.out)
        self.assertIn('Wrote d.adp1', run.out)
        self.assertIn(support.sha256(self.path('d.alr1')), run.out)
        self.assertIn('2 tensors have no difference', run.out)


class Memory(samples.Case):
    @unittest.skipIf(os.environ.get('TRLM_ADAPT_SANITIZE'), 'a sanitizer keeps memory that was freed')
    def test_memory_is_that_of_a_tensor(self):
        # 64 layers of one size, of which the memory must not know.
        peaks = []
        for layers in (4, 128):
            base = self.save('base.slm', samples.model(hidden_size=64, ffn_size=256,
                                                       layer_count=layers))
            self.save('tuned.slm', samples.tuned_model(base, equal=()))
            for out, *options in Sameness.METHODS[:4]:
                code, peak = self.peak_memory('diff', 'base.slm', 'tuned.slm', '-o', out, '--force',
                                              *options)
                self.assertEqual(code, OK)
                peaks.append(peak)
        size = os.path.getsize(self.path('base.slm'))
        self.assertGreater(size, 25e6)
        # Pages of the mapped models count until they are released; what is made may not.
        for few, many in zip(peaks[:4], peaks[4:]):
            self.assertLess(many, few + 2.5 * size, peaks)


def data_package(case):
    case.take(data('whale-top5.asp1'))
    return 'whale-top5.asp1'


if __name__ == '__main__':
    support.main()
