"""trlm-adapt merge and compose-check against calculations in NumPy."""
import itertools
import math
import struct
import unittest

import samples
from samples import dense, f32, np, spec, support
from support import DRIFT, INCOMPATIBLE, INVALID, OK, POLICY, USAGE, read, sha256, write

W1, W2, WQ, NORM = ('layers.0.w1.weight', 'layers.0.w2.weight', 'layers.0.wq.weight',
                    'norm.weight')


class Packages(samples.Case):
    """Makes packages for one model."""

    def setUp(self):
        super().setUp()
        self.model = samples.model()
        self.dims = {t.name: t.dims for t in self.model.tensors}
        self.g = np.random.default_rng(11)

    def write(self, name, kind, entries, model=None, **options):
        metadata = b'{"tensor_names":[%s]}' % b','.join(
            b'"%s"' % e.name.encode() for e in sorted(entries, key=lambda e: e.hash))
        write(self.path(name), spec.write_package(kind, (model or self.model).identity(), entries,
                                                  metadata, **options))
        return {e.name: e for e in entries}

    def dense(self, name, tensors, values=None):
        def make(t):
            n = math.prod(self.dims[t])
            return self.g.normal(0, 0.01, n).astype(f32) if values is None else values(t, n)
        return self.write(name, b'ADP1', [spec.PackageEntry(t, self.dims[t], values=make(t))
                                          for t in tensors])

    def sparse(self, name, shares, values=None):
        """shares: tensor -> share of its elements that is stored."""
        entries = []
        for tensor, share in shares.items():
            n = math.prod(self.dims[tensor])
            count = max(1, int(n * share))
            indexes = np.sort(self.g.choice(n, count, replace=False)).astype(np.uint32)
            chosen = self.g.normal(0, 0.01, count).astype(f32) if values is None \
                else values(count)
            encoding = 1 if spec.align64(4 * count) <= spec.align64((n + 7) // 8) else 2
            entries.append(spec.PackageEntry(tensor, self.dims[tensor], indexes=indexes,
                                             values=chosen, encoding=encoding))
        return self.write(name, b'ASP1', entries)

    def low_rank(self, name, ranks, scale=1.0):
        entries = []
        for tensor, rank in ranks.items():
            rows, cols = self.dims[tensor]
            entries.append(spec.PackageEntry(
                tensor, (rows, cols), a=self.g.normal(0, 0.1, (rank, cols)).astype(f32),
                b=self.g.normal(0, 0.1, (rows, rank)).astype(f32), scale=f32(scale)))
        return self.write(name, b'ALR1', entries)

    def merge(self, *arguments, out='out'):
        result = self.good('merge', *arguments, '-o', out, '--force')
        self.assertEqual(result['output']['digest'], sha256(self.path(out)))
        return result, self.load(out)


class Sums(Packages):
    def exact(self, packages, strengths, name):
        """The sum of strength * value in double, in order."""
        total = np.zeros(math.prod(self.dims[name]))
        for package, strength in zip(packages, strengths):
            if name in package:
                total = total + float(f32(strength)) * dense(package[name]).astype(float)
        return total

    def test_dense(self):
        packages = [self.dense('a.adp1', [W1, NORM]), self.dense('b.adp1', [W1, WQ]),
                    self.dense('c.adp1', [NORM, W1, W2])]
        names = ['a.adp1', 'b.adp1', 'c.adp1']
        for strengths in ((1, 1, 1), (0.5, 1, -2), (0.1, 3, 1)):
            options = list(itertools.chain.from_iterable(
                ('--strength', '%s=%s' % pair) for pair in zip(names, strengths)))
            result, merged = self.merge(*names, *options)
            self.assertEqual(set(merged.entries), {W1, W2, WQ, NORM})
            for name, entry in merged.entries.items():
                want = self.exact(packages, strengths, name).astype(f32)
                self.assertEqual(entry.values.tobytes(), want.tobytes(), (name, strengths))
            by = {t['name']: t for t in result['tensors']}
            self.assertEqual({n: t['packages'] for n, t in by.items()},
                             {W1: 3, NORM: 2, WQ: 1, W2: 1})
        # With strengths 1 what only one package names is copied.
        result, merged = self.merge(*names)
        by = {t['name']: t for t in result['tensors']}
        self.assertEqual(by[W2]['rounded'], 0)
        self.assertEqual(merged.entries[W2].values.tobytes(), packages[2][W2].values.tobytes())
        self.assertGreater(by[W1]['rounded'], 0)

    def test_sums_that_an_f32_holds_are_exact(self):
        def whole(t, n):
            return self.g.integers(-1000, 1000, n).astype(f32) * f32(2.0 ** -10)
        self.dense('a.adp1', [W1], whole)
        self.dense('b.adp1', [W1], whole)
        result, _ = self.merge('a.adp1', 'b.adp1', '--strength', 'b.adp1=-0.25')
        self.assertEqual(result['rounded'], 0)

    def test_rounded_values_are_counted(self):
        rows = [(1.0, 2.0 ** -24), (1.0, 2.0 ** -23), (1e-30, 1e30), (0.0, 0.1), (3.0, -3.0)]
        g = itertools.count()

        def values(t, n):
            column = next(g)
            v = np.zeros(n, f32)
            v[:len(rows)] = [r[column] for r in rows]
            return v
        self.dense('a.adp1', [NORM], values)
        self.dense('b.adp1', [NORM], values)
        result, _ = self.merge('a.adp1', 'b.adp1')
        self.assertEqual(result['rounded'], 2)

    def test_sparse(self):
        packages = [self.sparse('a.asp1', {W1: 0.1, NORM: 0.5}),
                    self.sparse('b.asp1', {W1: 0.6, WQ: 0.02}),
                    self.sparse('c.asp1', {W1: 0.01, NORM: 1.0})]
        names = ['a.asp1', 'b.asp1', 'c.asp1']
        for strengths in ((1, 1, 1), (0.3, -1, 2)):
            options = list(itertools.chain.from_iterable(
                ('--strength', '%s=%s' % pair) for pair in zip(names, strengths)))
            result, merged = self.merge(*names, *options)
            for name, entry in merged.entries.items():
                union = sorted(set().union(*(p[name].indexes.tolist() for p in packages
                                             if name in p)))
                want = self.exact(packages, strengths, name).astype(f32)
                self.assertEqual(entry.indexes.tolist(), union)
                self.assertEqual(entry.values.tobytes(), want[union].tobytes())
            self.assertEqual((merged.method, merged.seed), (0, 0))

    def test_a_merged_package_is_the_stack_but_for_rounding(self):
        self.save('base.slm', self.model)
        for kind, make in (('adp1', lambda n: self.dense(n, [W1, W2])),
                           ('asp1', lambda n: self.sparse(n, {W1: 0.3, W2: 0.3})),
                           ('alr1', lambda n: self.low_rank(n, {W1: 3, W2: 2}, 0.7))):
            stack = []
            for i in range(2):
                stack.append('%d.%s' % (i, kind))
                make(stack[-1])
            self.merge(*stack, '--strength', '1.%s=-0.5' % kind, out='both.' + kind)
            self.good('apply', 'base.slm', *stack, '--strength', '1.%s=-0.5' % kind, '-o', 'a.slm',
                      '--force')
            self.good('apply', 'base.slm', 'both.' + kind, '-o', 'b.slm', '--force')
            one, other = (samples.by_name(spec.read_model(read(self.path(n))))
                          for n in ('a.slm', 'b.slm'))
            base = samples.by_name(self.model)
            for name in (W1, W2):
                moved = np.abs(one[name].values - base[name].values).max()
                self.assertGreater(moved, 1e-3)
                self.assertLess(np.abs(one[name].values - other[name].values).max(), 1e-7)

    def test_low_rank(self):
        a = self.low_rank('a.alr1', {W1: 3, WQ: 2}, 0.5)
        b = self.low_rank('b.alr1', {W1: 4, W2: 1}, 0.7)
        result, merged = self.merge('a.alr1', 'b.alr1', '--strength', 'b.alr1=0.3')
        entry = merged.entries[W1]
        self.assertEqual(entry.scale, f32(0.5))
        self.assertEqual(entry.a.tobytes(), np.vstack([a[W1].a, b[W1].a]).tobytes())
        factor = float(f32(f32(0.3) * f32(0.7)))
        second = (b[W1].b.astype(float) * factor / 0.5).astype(f32)
        self.assertEqual(entry.b.tobytes(), np.hstack([a[W1].b, second]).tobytes())
        # What one package names alone stays as it is, its strength in the scale.
        alone = merged.entries[W2]
        self.assertEqual((alone.a.tobytes(), alone.b.tobytes(), alone.scale),
                         (b[W2].a.tobytes(), b[W2].b.tobytes(), f32(f32(0.3) * f32(0.7))))
        self.assertEqual(merged.source_kind, 0)
        self.assertEqual({t['name']: t['rank'] for t in result['tensors']},
                         {W1: 7, WQ: 2, W2: 1})

    def test_low_rank_of_one_scale_is_exact(self):
        a = self.low_rank('a.alr1', {W1: 3}, 0.7)
        b = self.low_rank('b.alr1', {W1: 4}, 0.7)
        result, merged = self.merge('a.alr1', 'b.alr1')
        self.assertEqual(result['rounded'], 0)
        self.assertEqual(merged.entries[W1].b.tobytes(),
                         np.hstack([a[W1].b, b[W1].b]).tobytes())
        # A power of two is exact too, a third is not.
        self.assertEqual(self.merge('a.alr1', 'b.alr1', '--strength', 'b.alr1=0.25')[0]['rounded'],
                         0)
        self.assertGreater(
            self.merge('a.alr1', 'b.alr1', '--strength', 'b.alr1=0.3')[0]['rounded'], 0)

    def test_ranks_up_to_the_limit(self):
        most = min(self.dims[WQ])  # 16
        self.low_rank('a.alr1', {WQ: most - 5})
        self.low_rank('b.alr1', {WQ: 5})
        self.low_rank('c.alr1', {WQ: 6})
        _, merged = self.merge('a.alr1', 'b.alr1')
        self.assertEqual(len(merged.entries[WQ].a), most)
        run = self.refuse(INVALID, ['bad_low_rank'], 'merge', 'a.alr1', 'c.alr1', '-o', 'd.alr1')
        self.assertEqual(run.document['findings'][0]['tensor'], WQ)

    def test_what_cancels_out_is_left_out(self):
        a = self.dense('a.adp1', [W1, NORM])
        self.write('b.adp1', b'ADP1', [spec.PackageEntry(W1, self.dims[W1], values=a[W1].values),
                                       spec.PackageEntry(W2, self.dims[W2],
                                                         values=np.ones(640, f32))])
        result, merged = self.merge('a.adp1', 'b.adp1', '--strength', 'b.adp1=-1')
        self.assertEqual(set(merged.entries), {W2, NORM})
        self.assertEqual({t['name']: t['stored'] for t in result['tensors']}[W1], 0)
        self.sparse('a.asp1', {W1: 0.1})
        self.take(self.path('a.asp1'), 'b.asp1')
        self.refuse(POLICY, ['zero_effect'], 'merge', 'a.asp1', 'b.asp1', '-o', 'c', '--strength',
                    'b.asp1=-1')


class SignConsensus(Packages):
    def ties(self, packages, strengths, density, name):
        """TIES in NumPy: trim, elect, mean of those who agree."""
        n = math.prod(self.dims[name])
        rows = []
        for package, strength in zip(packages, strengths):
            if name not in package:
                continue
            values = dense(package[name])
            keep = max(1, math.floor(density * n))
            order = np.lexsort((np.arange(n), -np.abs(values)))[:keep]
            trimmed = np.zeros(n)
            trimmed[order] = values[order]
            rows.append(float(f32(strength)) * trimmed)
        rows = np.array(rows)
        sign = np.sign(rows.sum(0))
        agree = (np.sign(rows) == sign) & (sign != 0)
        count = agree.sum(0)
        return np.divide((rows * agree).sum(0), count, out=np.zeros(n), where=count > 0)

    def test_against_numpy(self):
        packages = [self.sparse('a.asp1', {W1: 0.4, NORM: 0.9}),
                    self.sparse('b.asp1', {W1: 0.7, WQ: 0.1, NORM: 1.0}),
                    self.sparse('c.asp1', {W1: 0.5, NORM: 0.6})]
        names = ['a.asp1', 'b.asp1', 'c.asp1']
        for density in (1, 0.3, 0.05, 1e-9):
            for strengths in ((1, 1, 1), (0.5, 2, -1)):
                options = list(itertools.chain.from_iterable(
                    ('--strength', '%s=%s' % pair) for pair in zip(names, strengths)))
                result, merged = self.merge(*names, '--method', 'ties', '--density', str(density),
                                            *options)
                self.assertEqual((merged.method, merged.seed), (3, 0))
                for name in (W1, WQ, NORM):
                    want = self.ties(packages, strengths, density, name)
                    got = dense(merged.entries[name])
                    self.assertEqual(np.flatnonzero(got).tolist(),
                                     np.flatnonzero(want).tolist())
                    np.testing.assert_allclose(got, want, rtol=1.2e-7)

    def test_a_vote_by_hand(self):
        def package(name, values):
            self.write(name, b'ASP1', [spec.PackageEntry(
                NORM, (16,), indexes=np.arange(len(values), dtype=np.uint32)[np.array(values) != 0],
                values=np.array([v for v in values if v], f32), encoding=1)])
        package('a.asp1', [1, 1, 2, 0.5, 4, -1])
        package('b.asp1', [3, -2, -2, 0, -1, -2])
        package('c.asp1', [0, -4, 0, 0, -1, 1])
        _, merged = self.merge('a.asp1', 'b.asp1', 'c.asp1', '--method', 'ties')
        entry = merged.entries[NORM]
        # 1+3; -2-4 outvote 1; 2-2 has no sign; 0.5 alone; 4 outweighs -2; -1-2 outvote 1.
        self.assertEqual(dict(zip(entry.indexes.tolist(), entry.values.tolist())),
                         {0: 2, 1: -3, 3: 0.5, 4: 4, 5: -1.5})

    def test_same_bytes_on_a_second_run(self):
        self.sparse('a.asp1', {W1: 0.4})
        self.sparse('b.asp1', {W1: 0.7})
        digests = {self.merge('a.asp1', 'b.asp1', *options)[0]['output']['digest']
                   for _ in range(3) for options in ([],)}
        self.assertEqual(len(digests), 1)


class Refusals(Packages):
    def setUp(self):
        super().setUp()
        self.dense('a.adp1', [W1])
        self.dense('b.adp1', [W1])
        self.sparse('a.asp1', {W1: 0.1})
        self.sparse('b.asp1', {W1: 0.1})

    def test_command_lines(self):
        for arguments in (['a.adp1'], ['a.adp1', 'a.asp1'],
                          ['a.adp1', 'b.adp1', '--method', 'ties'],
                          ['a.asp1', 'b.asp1', '--density', '0.1'],
                          ['a.asp1', 'b.asp1', '--method', 'mean'],
                          ['a.asp1', 'b.asp1', '--method', 'ties', '--density', '0'],
                          ['a.asp1', 'b.asp1', '--method', 'ties', '--density', '1.5'],
                          ['a.asp1', 'b.asp1', '--method', 'ties', '--density', 'nan'],
                          ['a.asp1', 'b.asp1', '--strength', 'a.asp1=0'],
                          ['a.asp1', 'b.asp1', '--strength', 'c.asp1=1']):
            with self.subTest(arguments):
                run = self.run_json('merge', *arguments, '-o', 'out')
                self.assertEqual(run.code, USAGE, run)
                self.assertEqual(set(run.codes()), {'usage_error'})
                self.assertNotIn('out', self.names())

    def test_outputs(self):
        before = read(self.path('a.adp1'))
        for out in ('a.adp1', 'b.asp1'):
            self.refuse(USAGE, ['usage_error'], 'merge', 'a.adp1', 'b.adp1', '-o', out)
        self.refuse(USAGE, ['usage_error'], 'merge', 'a.adp1', 'b.adp1', '-o', 'a.adp1', '--force')
        self.assertEqual(read(self.path('a.adp1')), before)

    def test_other_models(self):
        other = samples.model(ffn_size=48)
        values = np.ones(48 * 16, f32)
        self.write('other.adp1', b'ADP1', [spec.PackageEntry(W1, (48, 16), values=values)], other)
        run = self.run_json('merge', 'a.adp1', 'other.adp1', '-o', 'out')
        self.assertEqual(run.code, INCOMPATIBLE, run)
        self.assertEqual(set(run.codes()), {'parameter_count_differs', 'layout_differs',
                                            'tensor_shape_differs'})
        self.assertEqual({f['file'] for f in run.document['findings']}, {'other.adp1'})
        # The identity of the model, but a tensor of another shape.
        self.write('lying.adp1', b'ADP1', [spec.PackageEntry(W1, (48, 16), values=values)])
        self.refuse(INCOMPATIBLE, ['tensor_shape_differs'], 'merge', 'a.adp1', 'lying.adp1', '-o',
                    'out')

    def test_sums_that_no_f32_holds(self):
        for name in 'cd':
            self.dense(name + '.adp1', [NORM], lambda t, n: np.full(n, 3e38, f32))
        run = self.refuse(INVALID, ['non_finite'], 'merge', 'c.adp1', 'd.adp1', '-o', 'out')
        self.assertEqual(run.document['findings'][0]['tensor'], NORM)

    def test_damaged_packages(self):
        content = bytearray(read(self.path('b.adp1')))
        content[-1] ^= 1
        write(self.path('b.adp1'), bytes(content))
        run = self.run_json('merge', 'a.adp1', 'b.adp1', '-o', 'out')
        self.assertEqual(run.code, DRIFT, run)
        self.assertNotIn('out', self.names())

    def test_a_folder_and_text(self):
        import os
        os.mkdir(self.path('folder'))
        for name in ('a.adp1', 'b.adp1'):
            os.rename(self.path(name), self.path('folder/' + name))
        run = self.run_tool('merge', 'folder', '-o', 'out.adp1')
        self.assertEqual((run.code, run.err), (OK, ''), run)
        self.assert_narrow(run.out)
        self.assertIn('Merged: sum of 2 packages', run.out)
        self.assertIn('Wrote out.adp1', run.out)


class ComposeCheck(Packages):
    def changed(self, package, name):
        entry = package[name]
        out = np.zeros(entry.n, int)
        out[slice(None) if entry.indexes is None else entry.indexes] = 1
        return out

    def test_against_numpy(self):
        packages = [self.sparse('a.asp1', {W1: 0.1, NORM: 0.5, WQ: 0.3}),
                    self.sparse('b.asp1', {W1: 0.6, WQ: 0.02}),
                    self.dense('c.adp1', [NORM]), self.low_rank('d.alr1', {WQ: 2}),
                    self.sparse('e.asp1', {W1: 0.3, W2: 0.1})]
        names = ['a.asp1', 'b.asp1', 'c.adp1', 'd.alr1', 'e.asp1']
        result = self.good('compose-check', *names)
        self.assertEqual([p['file'] for p in result['packages']], names)
        self.assertEqual([p['elements'] for p in result['packages']],
                         [sum(int(self.changed(p, n).sum()) for n in p) for p in packages])
        pairs = list(itertools.combinations(range(5), 2))
        self.assertEqual([(p['first'], p['second']) for p in result['pairs']], pairs)
        for pair in result['pairs']:
            one, two = packages[pair['first']], packages[pair['second']]
            shared = set(one) & set(two)
            both = sum(int((self.changed(one, n) & self.changed(two, n)).sum()) for n in shared)
            self.assertEqual((pair['tensors'], pair['elements']), (len(shared), both))
            total = result['packages'][pair['first']]['elements']
            self.assertTrue(math.isclose(pair['share_of_first'], both / total))
            self.assertIs(pair['same_content'], False)
        twice = {}
        for name in self.dims:
            counts = [self.changed(p, name) for p in packages if name in p]
            if len(counts) > 1:
                twice[name] = int((sum(counts) >= 2).sum())
        self.assertEqual({t['name']: t['changed_twice'] for t in result['tensors']}, twice)
        self.assertEqual(result['changed_twice'], sum(twice.values()))
        self.assertIs(result['order_sensitive'], True)

    def test_order_matters_just_where_it_is_said_to(self):
        self.save('base.slm', self.model)
        n = math.prod(self.dims[W1])
        for part, overlap in ((0, 0), (1, 1)):
            for k, name in enumerate('xyz'):
                indexes = np.arange(k, n, 3) if not overlap else np.arange(0, n, 2)
                self.write(name + '.asp1', b'ASP1', [spec.PackageEntry(
                    W1, self.dims[W1], indexes=indexes.astype(np.uint32), encoding=2,
                    values=self.g.normal(0, 0.01, len(indexes)).astype(f32))])
            stack = ['x.asp1', 'y.asp1', 'z.asp1']
            result = self.good('compose-check', *stack)
            self.assertIs(result['order_sensitive'], bool(overlap))
            weights = set()
            for order in itertools.permutations(stack):
                self.good('apply', 'base.slm', *order, '-o', 'o.slm', '--force')
                weights.add(sha256(self.path('o.slm')))
            self.assertEqual(len(weights) > 1, bool(overlap))

    def test_the_same_package_twice(self):
        self.sparse('a.asp1', {W1: 0.1})
        self.take(self.path('a.asp1'), 'copy.asp1')
        result = self.good('compose-check', 'a.asp1', 'copy.asp1')
        self.assertIs(result['pairs'][0]['same_content'], True)
        self.assertEqual(result['pairs'][0]['share_of_first'], 1)

    def test_values_are_not_read(self):
        self.sparse('a.asp1', {W1: 0.1})
        self.dense('b.adp1', [W1])
        for name in ('a.asp1', 'b.adp1'):
            content = bytearray(read(self.path(name)))
            content[-1] ^= 0x40
            write(self.path(name), bytes(content))
            self.assertEqual(self.run_tool('validate', name).code, DRIFT)
        self.good('compose-check', 'a.asp1', 'b.adp1')

    def test_damaged_indexes(self):
        n = math.prod(self.dims[W1])

        def written(indexes):
            return self.write('a.asp1', b'ASP1', [spec.PackageEntry(
                W1, self.dims[W1], indexes=np.array(indexes, np.uint32), encoding=1,
                values=np.ones(len(indexes), f32))])
        for indexes, code in (([0, n], 'index_out_of_range'), ([3, 3], 'index_not_ascending'),
                              ([5, 2], 'index_not_ascending')):
            written(indexes)
            run = self.run_json('compose-check', 'a.asp1')
            self.assert_refused(run, INVALID, code)
            self.assertEqual(run.document['findings'][0]['tensor'], W1)
        written([1, 2])
        content = bytearray(read(self.path('a.asp1')))
        at = struct.unpack_from('<Q', content, 128 + 32)[0]
        content[at] = 0
        write(self.path('a.asp1'), bytes(content))
        self.assert_refused(self.run_json('compose-check', 'a.asp1'), DRIFT,
                            'mask_checksum_mismatch')

    def test_a_damaged_bitmask(self):
        n = math.prod(self.dims[NORM])
        self.sparse('a.asp1', {W1: 0.9})
        content = bytearray(read(self.path('a.asp1')))
        at = struct.unpack_from('<Q', content, 128 + 32)[0]
        content[at] ^= 1
        write(self.path('a.asp1'), bytes(content))
        run = self.run_json('compose-check', 'a.asp1')
        self.assert_refused(run, DRIFT, 'mask_checksum_mismatch', 'count_mismatch')
        self.assertEqual(n, 16)

    def test_packages_of_other_models(self):
        self.dense('a.adp1', [W1])
        other = samples.model(ffn_size=48)
        self.write('b.adp1', b'ADP1', [spec.PackageEntry(W2, (16, 48), values=np.ones(768, f32))],
                   other)
        self.refuse(INCOMPATIBLE, ['parameter_count_differs', 'layout_differs'], 'compose-check',
                    'a.adp1', 'b.adp1')

    def test_one_package_and_text(self):
        self.dense('a.adp1', [W1])
        result = self.good('compose-check', 'a.adp1')
        self.assertEqual((result['pairs'], result['tensors'], result['order_sensitive']),
                         ([], [], False))
        self.sparse('b.asp1', {W1: 0.1})
        run = self.run_tool('compose-check', 'a.adp1', 'b.asp1')
        self.assertEqual((run.code, run.err), (OK, ''), run)
        self.assert_narrow(run.out)
        self.assertIn('Order matters: 64 elements', run.out)
        for arguments in (['none.adp1'], []):
            self.assertNotEqual(self.run_tool('compose-check', *arguments).code, OK)


if __name__ == '__main__':
    support.main()
