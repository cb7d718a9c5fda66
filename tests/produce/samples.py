"""Small models and packages for the tests of the producers, made and read by tests/differential/spec.py,
which shares no code with the library."""
import json
import math
import os
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TESTS, 'cli'), os.path.join(TESTS, 'differential')]

SKIPPED = 77

try:
    import numpy as np
    import spec
    available = spec.have_xxh3()
except ImportError:
    available = False
if not available:
    print('skipped: these tests need NumPy and the xxHash library')
    sys.exit(SKIPPED)

import support  # noqa: E402

F32, Q8_0, Q4_0 = spec.F32, spec.Q8_0, spec.Q4_0
f32 = np.float32

HEADER = {'model_type': 1, 'flags': 0, 'vocab_size': 260, 'special_token_count': 4,
          'hidden_size': 16, 'layer_count': 1, 'head_count': 2, 'kv_head_count': 1, 'head_dim': 8,
          'ffn_size': 40, 'max_context': 32, 'rope_theta': 1e4, 'rms_norm_epsilon': 1e-5}


def tensor(name, dims, dtype, g):
    """Random values, or codes and scales."""
    n, cols = math.prod(dims), dims[-1]
    if dtype == F32:
        return spec.Tensor(name, dims, F32, g.normal(0, 0.02, n).astype(f32))
    low, high = spec.CODES[dtype]
    block = cols if dtype == Q8_0 else spec.largest_block(cols)
    codes = g.integers(low, high + 1, n).astype(np.int8)
    scales = g.uniform(0.0005, 0.003, n // block).astype(f32)
    return spec.Tensor(name, dims, dtype, codes, scales, block)


def model(dtype=F32, seed=1, **header):
    h = dict(HEADER, **header)
    g = np.random.default_rng(seed)
    return spec.Model(h, spec.BTOK, [tensor(name, dims, dtype, g)
                                     for name, dims in spec.contract(h)])


def with_values(original, change):
    """The model in f32 with each tensor's decoded values changed: change(tensor, values)."""
    tensors = [spec.Tensor(t.name, t.dims, F32, np.asarray(change(t, t.decode()), f32))
               for t in original.tensors]
    return spec.Model(original.header, original.tokenizer, tensors)


def tuned_model(original, seed=2, equal=('layers.0.wk.weight', 'norm.weight'), size=0.003):
    """Another state of the model: some tensors are equal, some elements of the others too."""
    g = np.random.default_rng(seed)

    def change(t, values):
        delta = g.normal(0, size, t.n).astype(f32)
        delta[g.random(t.n) < 0.2] = 0
        return values if t.name in equal else values + delta

    return with_values(original, change)


def by_name(m):
    return {t.name: t for t in m.tensors}


class Package:
    """A package's header fields, metadata and entries by tensor name."""

    def __init__(self, data):
        head = dict(zip(spec.PACKAGE_HEADER_FIELDS, spec.PACKAGE_HEADER.unpack_from(data)))
        self.head, self.kind = head, head['magic'].decode()
        start = head['metadata_offset']
        self.metadata = json.loads(data[start:start + head['metadata_length']] or b'null')
        self.retention, self.method, self.seed, self.mask = struct.unpack_from('<fIQQ', data, 96)
        self.source_kind, _, self.source = struct.unpack_from('<II16s', data, 96)
        self.entries = {}
        for i in range(head['entry_count']):
            e = dict(zip(spec.PACKAGE_ENTRY_FIELDS,
                         spec.PACKAGE_ENTRY.unpack_from(data, 128 + 64 * i)))
            dims = (e['dim0'], e['dim1'], e['dim2'], e['dim3'])[:e['rank']]
            payload = data[e['payload_offset']:e['payload_offset'] + e['payload_length']]
            name = self.metadata['tensor_names'][i]
            assert spec.fnv1a(name) == e['name_hash']
            self.entries[name] = self.entry(name, dims, e, payload)

    def entry(self, name, dims, e, payload):
        n = math.prod(dims)
        if self.kind == 'ADP1':
            return spec.PackageEntry(name, dims, values=np.frombuffer(payload, f32))
        if self.kind == 'ALR1':
            rank, scale = struct.unpack('<If', struct.pack('<Q', e['detail']))
            a = np.frombuffer(payload, f32, rank * dims[1]).reshape(rank, dims[1])
            b = np.frombuffer(payload, f32, rank * dims[0], spec.align64(a.nbytes))
            return spec.PackageEntry(name, dims, a=a, b=b.reshape(dims[0], rank),
                                     scale=f32(scale))
        count = e['detail']
        if e['encoding'] == 1:
            indexes, size = np.frombuffer(payload, '<u4', count), 4 * count
        else:
            size = (n + 7) // 8
            bits = np.unpackbits(np.frombuffer(payload, np.uint8, size), bitorder='little')
            indexes = np.flatnonzero(bits).astype(np.uint32)
        values = np.frombuffer(payload, f32, count, spec.align64(size))
        return spec.PackageEntry(name, dims, values=values, indexes=indexes,
                                 encoding=e['encoding'])


def dense(entry):
    """An entry's delta at strength 1, flat, every element."""
    where, values = entry.delta(f32(1))
    out = np.zeros(entry.n, f32)
    out[where] = values
    return out


class Case(support.Case):
    """A test with models and packages in its folder."""

    def save(self, name, m):
        support.write(self.path(name), spec.write_model(m))
        return m

    def load(self, name):
        data = support.read(self.path(name))
        run = self.run_json('validate', name)
        self.assertEqual(run.code, support.OK, run)
        return Package(data)

    def good(self, *arguments):
        """The result of a run that must succeed."""
        run = self.run_json(*arguments)
        self.assertEqual(run.code, support.OK, run)
        return run.result

    def peak_memory(self, *arguments):
        """As in support, but measured from a small process: what this one holds, NumPy and all,
        would count as the tool's."""
        watch = ('import os, subprocess, sys\n'
                 'process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n'
                 '_, status, usage = os.wait4(process.pid, 0)\n'
                 'print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)\n')
        done = subprocess.run([sys.executable, '-S', '-c', watch, support.cli, *arguments],
                              cwd=self.folder, stdout=subprocess.PIPE, check=True)
        code, peak = map(int, done.stdout.split())
        return code, peak * (1 if sys.platform == 'darwin' else 1024)

    def refuse(self, exit_code, codes, *arguments):
        """Runs something that must be refused, and must leave the folder as it was."""
        before = self.names()
        run = self.run_json(*arguments)
        self.assert_refused(run, exit_code, *codes)
        self.assertIsNone(run.result)
        self.assertEqual(self.names(), before)
        return run
