#!/usr/bin/env python3
"""The shared library used from Python, against what the tool says and writes.

usage: test_ctypes.py TOOL LIBRARY [unittest arguments]
"""
import ctypes
import json
import os
import subprocess
import sys
import unittest
from ctypes import byref, c_void_p

import binding
from binding import (CANNOT_CHECK, DRIFT, INCOMPATIBLE, INVALID, OK, POLICY, USAGE)
from cases import CASES, Folder

cli, path_of_library = (os.path.abspath(argument) for argument in sys.argv[1:3])
library = binding.Library(path_of_library)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def told(command, *arguments):
    """The result that the tool tells in JSON."""
    done = subprocess.run([cli, command, *arguments, '--json'], capture_output=True, text=True,
                          timeout=300, check=False)
    return json.loads(done.stdout)['result']


def checksum(number):
    return 'xxh3-64:%016x' % number


class Failed(Exception):
    """A call that failed, with its status and the names of what it found."""

    def __init__(self, status, names):
        super().__init__('%d %s' % (status, names))
        self.status, self.names = status, names


def call(function, *arguments):
    """Calls what tells findings, and raises them."""
    findings = c_void_p()
    status = function(*arguments, byref(findings))
    names = []
    for i in range(library.findings_count(findings)):
        finding = binding.Finding()
        assert library.findings_get(findings, i, byref(finding)) == OK
        assert finding.message and finding.severity in (0, 1)
        names.append(finding.name.decode())
    assert library.findings_dropped(findings) == 0
    library.findings_free(findings)
    if status != OK:
        raise Failed(status, names)
    return names


def made(function, *arguments):
    """The object that a call makes."""
    handle = c_void_p()
    call(function, *arguments, byref(handle))
    return handle


class Engine:
    """A model's tensors in memory of Python's."""

    def __init__(self, path):
        self.file = read(path)
        self.model = made(library.model_read, self.file, len(self.file), None)
        self.identity, self.info = binding.Identity(), binding.ModelInfo()
        assert library.model_identity(self.model, byref(self.identity)) == OK
        assert library.model_get(self.model, byref(self.info)) == OK
        self.tensors = (binding.Tensor * self.info.tensor_count)()
        self.memory = []
        for i, tensor in enumerate(self.tensors):
            tensor.size = ctypes.sizeof(tensor)
            assert library.model_tensor(self.model, i, byref(tensor)) == OK
            tensor.payload = self.copy(tensor.file_payload, tensor.payload_bytes)
            tensor.scales = self.copy(tensor.file_scales, tensor.scale_bytes)
        self.description = binding.EngineDescription(
            identity=ctypes.pointer(self.identity), tensors=self.tensors,
            tensor_count=len(self.tensors))

    def copy(self, source, size):
        if size == 0:
            return None
        memory = (ctypes.c_double * ((size + 7) // 8))()  # aligned for f32
        ctypes.memmove(memory, source, size)
        self.memory.append((memory, size))
        return ctypes.addressof(memory)

    def bytes(self):
        return b''.join(ctypes.string_at(memory, size) for memory, size in self.memory)

    def plan(self, *stack):
        """A plan for packages with their strengths."""
        members = (binding.Member * len(stack))()
        for member, (package, strength) in zip(members, stack):
            member.size = ctypes.sizeof(member)
            member.package, member.strength = package, strength
        engine = made(library.engine_describe, byref(self.description))
        try:
            return made(library.plan_stack, engine, members, len(members))
        finally:
            library.engine_free(engine)

    def close(self):
        library.model_free(self.model)


def expected_bytes(path):
    engine = Engine(path)
    try:
        return engine.bytes()
    finally:
        engine.close()


class Package:
    def __init__(self, path):
        self.file = read(path)
        options = binding.ReadOptions(file=os.path.basename(path).encode())
        self.handle = made(library.package_read, self.file, len(self.file), byref(options))

    def close(self):
        library.package_free(self.handle)


def report_of(applied):
    report = binding.Report()
    assert library.applied_get(applied, byref(report)) == OK
    return report


class Case(unittest.TestCase):
    def open(self, case):
        """The folder, engine and packages of a case, closed after the test."""
        folder = Folder(cli, case)
        self.addCleanup(folder.__exit__)
        engine = Engine(folder.at('base.slm'))
        self.addCleanup(engine.close)
        packages = []
        for name in ('first.adapter', 'second.adapter'):
            package = Package(folder.at(name))
            self.addCleanup(package.close)
            packages.append(package.handle)
        return folder, engine, packages

    def refused(self, status, name, function, *arguments):
        with self.assertRaises(Failed) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.status, status)
        self.assertEqual(caught.exception.names[0], name)


class Transactions(Case):
    def test_in_exchanged_and_out(self):
        for case in CASES:
            with self.subTest(case):
                folder, engine, (first, second) = self.open(case)
                base = engine.bytes()
                plans = [engine.plan((first, 1)), engine.plan((second, 0.5)),
                         engine.plan((first, 1), (second, -0.5))]
                applied = made(library.apply, plans[0], None)
                self.assertEqual(engine.bytes(), expected_bytes(folder.at('first.slm')))
                state = json.loads(folder.apply('first.adapter', '--dry-run', '--json'))
                self.assertEqual(checksum(report_of(applied).state), state['result']['state'])
                options = binding.ApplyOptions(seed=7, rounding=binding.STOCHASTIC)
                call(library.swap, applied, plans[1], byref(options))
                self.assertEqual(engine.bytes(), expected_bytes(folder.at('second.slm')))
                options = binding.ApplyOptions(rounding=binding.NEAREST)
                call(library.swap, applied, plans[2], byref(options))
                self.assertEqual(engine.bytes(), expected_bytes(folder.at('both.slm')))
                call(library.undo, applied)
                self.assertEqual(engine.bytes(), base)
                self.assertEqual(checksum(report_of(applied).state),
                                 told('inspect', folder.at('base.slm'))['state'])
                self.refused(DRIFT, 'undo_stale', call, library.undo, applied)
                library.applied_free(applied)
                for plan in plans:
                    library.plan_free(plan)

    def test_survival(self):
        for case in CASES:
            with self.subTest(case):
                folder, engine, (first, _) = self.open(case)
                right = json.loads(folder.apply('first.adapter', '--dry-run', '--json'))['result']
                plan = engine.plan((first, 1))
                options = binding.ApplyOptions(survival=1)
                applied = made(library.apply, plan, byref(options))
                report = report_of(applied)
                self.assertEqual(report.has_kept, 1)
                self.assertEqual(report.kept, right['kept'])
                self.assertEqual(report.tensor_count, len(right['tensors']))
                for i, tensor in enumerate(right['tensors']):
                    survival = binding.Survival()
                    self.assertEqual(library.applied_tensor(applied, i, byref(survival)), OK)
                    self.assertEqual(survival.name.decode(), tensor['name'])
                    self.assertEqual(survival.has_snr_db, int(tensor['snr_db'] is not None))
                    self.assertEqual(survival.snr_db, tensor['snr_db'] or 0)
                    for key in ('elements', 'touched', 'changed', 'kept', 'cosine',
                                'max_abs_delta', 'rms_delta'):
                        self.assertEqual(getattr(survival, key), tensor[key], key)
                library.applied_free(applied)
                library.plan_free(plan)

    def test_what_an_engine_lends(self):
        folder, engine, (first, _) = self.open('q8_0')
        base, after = engine.bytes(), expected_bytes(folder.at('first.slm'))
        calls = []

        def parallel_for(_context, count, task, task_context):
            calls.append('p')
            for i in reversed(range(count)):
                task(task_context, i)

        def begin(_context):
            calls.append('b')
            return 1

        pieces = {}

        def allocate(_context, size, alignment):
            memory = (ctypes.c_char * (size + alignment))()
            address = (ctypes.addressof(memory) + alignment - 1) // alignment * alignment
            pieces[address] = memory
            return address

        lent = {
            'executor': binding.Executor(parallel_for=binding.ParallelFor(parallel_for),
                                         concurrency=2),
            'quiescence': binding.Quiescence(begin=binding.Begin(begin),
                                             end=binding.End(lambda _: calls.append('e'))),
            'allocator': binding.Allocator(
                allocate=binding.Allocate(allocate),
                release=binding.Release(lambda _, memory, size, alignment: pieces.pop(memory))),
        }
        for name, what in lent.items():
            setattr(engine.description, name, ctypes.pointer(what))
        plan = engine.plan((first, 1))
        applied = made(library.apply, plan, None)
        self.assertEqual(engine.bytes(), after)
        self.assertEqual([c for c in calls if c != 'p'], ['b', 'e'])
        self.assertTrue(pieces)
        call(library.undo, applied)
        self.assertEqual(engine.bytes(), base)
        self.assertEqual([c for c in calls if c != 'p'], ['b', 'e', 'b', 'e'])
        library.applied_free(applied)
        library.plan_free(plan)
        self.assertFalse(pieces)

    def test_rows_copied_one_by_one(self):
        folder, engine, (first, _) = self.open('q4_0')
        base, after = engine.bytes(), expected_bytes(folder.at('first.slm'))
        lent = [(t.payload, t.payload_bytes, t.scales, t.scale_bytes) for t in engine.tensors]
        rows_of = []
        for tensor in engine.tensors:
            rows = 1
            for dim in tensor.dims[:tensor.rank - 1]:
                rows *= dim
            rows_of.append(rows)
            tensor.payload = tensor.scales = None
            tensor.payload_bytes = tensor.scale_bytes = 0

        def places(index, first_row):
            payload, payload_bytes, scales, scale_bytes = lent[index]
            return (payload + payload_bytes // rows_of[index] * first_row,
                    scales + scale_bytes // rows_of[index] * first_row if scales else None)

        def read_rows(_context, index, first_row, _rows, payload, size, scales, scale_size):
            there, scales_there = places(index, first_row)
            ctypes.memmove(payload, there, size)
            if scale_size:
                ctypes.memmove(scales, scales_there, scale_size)
            return 1

        def write_rows(_context, index, first_row, _rows, payload, size, scales, scale_size):
            there, scales_there = places(index, first_row)
            ctypes.memmove(there, payload, size)
            if scale_size:
                ctypes.memmove(scales_there, scales, scale_size)
            return 1

        access = binding.Access(read=binding.Rows(read_rows), write=binding.Rows(write_rows))
        engine.description.access = ctypes.pointer(access)
        plan = engine.plan((first, 1))
        applied = made(library.apply, plan, None)
        self.assertEqual(engine.bytes(), after)
        call(library.undo, applied)
        self.assertEqual(engine.bytes(), base)
        library.applied_free(applied)
        library.plan_free(plan)


class Refusals(Case):
    def test_every_class(self):
        folder, engine, (first, _) = self.open('q8_0')
        base = engine.bytes()
        file = read(folder.at('first.adapter'))
        self.refused(INVALID, 'truncated', made, library.package_read, file, len(file) // 2, None)
        self.refused(DRIFT, 'checksum_mismatch', made, library.package_read,
                     file[:-1] + bytes([file[-1] ^ 1]), len(file), None)
        self.refused(USAGE, 'usage_error', made, library.package_read, None, 0, None)
        self.refused(USAGE, 'usage_error', engine.plan, (first, 0))
        other = Package(folder.at('other.adapter'))
        self.addCleanup(other.close)
        self.refused(INCOMPATIBLE, 'tensor_count_differs', engine.plan, (other.handle, 1))
        zero = Package(folder.at('zero.adapter'))
        self.addCleanup(zero.close)
        plan = engine.plan((zero.handle, 1))
        self.refused(POLICY, 'zero_effect', made, library.apply, plan, None)
        allowing = binding.ApplyOptions(allow_no_effect=1)
        applied = c_void_p()
        self.assertEqual(call(library.apply, plan, byref(allowing), byref(applied)),
                         ['zero_effect'])
        library.applied_free(applied)
        library.plan_free(plan)
        plan = engine.plan((first, 1))
        cancelling = binding.ApplyOptions(progress=binding.Progress(lambda *_: 0))
        self.refused(CANNOT_CHECK, 'output_failed', made, library.apply, plan, byref(cancelling))
        library.plan_free(plan)
        self.assertEqual(engine.bytes(), base)

    def test_a_weight_changed_by_somebody_else(self):
        _, engine, (first, _) = self.open('f32')
        plan = engine.plan((first, 1))
        applied = made(library.apply, plan, None)
        entry = binding.Entry()
        self.assertEqual(library.package_entry(first, 0, byref(entry)), OK)
        tensor = next(t for t in engine.tensors if t.name_hash == entry.name_hash)
        weight = ctypes.cast(tensor.payload, ctypes.POINTER(ctypes.c_ubyte))
        weight[0] ^= 1
        changed = engine.bytes()
        self.refused(DRIFT, 'undo_stale', call, library.undo, applied)
        self.assertEqual(engine.bytes(), changed)
        weight[0] ^= 1
        call(library.undo, applied)
        library.applied_free(applied)
        library.plan_free(plan)

    def test_memory_that_is_described_wrongly(self):
        _, engine, (first, _) = self.open('q8_0')
        base = engine.bytes()
        tensor, other = engine.tensors[0], engine.tensors[1]
        for member, value in (('payload', other.payload), ('payload', None),
                              ('payload_bytes', tensor.payload_bytes - 1),
                              ('scales', tensor.scales + 1), ('rank', 5), ('block_size', 1)):
            with self.subTest(member, value=value):
                was = getattr(tensor, member)
                setattr(tensor, member, value)
                self.refused(INVALID, 'bad_view', engine.plan, (first, 1))
                setattr(tensor, member, was)
        engine.identity.parameter_count += 1
        self.refused(INVALID, 'bad_view', engine.plan, (first, 1))
        self.assertEqual(engine.bytes(), base)


class Inspection(Case):
    def test_models(self):
        for case in CASES:
            with self.subTest(case):
                folder, engine, _ = self.open(case)
                right = told('inspect', folder.at('base.slm'))
                self.check_identity(engine.identity, right['identity'])
                self.assertEqual(checksum(engine.info.checksum), right['internal_checksum'])
                for key, value in right['shape'].items():
                    self.assertEqual(getattr(engine.info, key),
                                     ctypes.c_float(value).value if isinstance(value, float)
                                     else value, key)
                self.assertEqual(len(engine.tensors), len(right['tensors']))
                for tensor, shown in zip(engine.tensors, right['tensors']):
                    self.assertEqual(tensor.name.decode(), shown['name'])
                    self.assertEqual('0x%016x' % tensor.name_hash, shown['name_hash'])
                    self.assertEqual(list(tensor.dims)[:tensor.rank], shown['dims'])
                    self.assertEqual(('f32', 'q8_0', 'q4_0')[tensor.dtype - 1], shown['dtype'])
                    self.assertEqual(tensor.payload_bytes + tensor.scale_bytes, shown['bytes'])

    def test_packages(self):
        for case in CASES:
            with self.subTest(case):
                folder, _, packages = self.open(case)
                for name, package in zip(('first.adapter', 'second.adapter'), packages):
                    right = told('inspect', folder.at(name))
                    identity, info = binding.Identity(), binding.PackageInfo()
                    self.assertEqual(library.package_identity(package, byref(identity)), OK)
                    self.check_identity(identity, right['identity'])
                    self.assertEqual(library.package_get(package, byref(info)), OK)
                    self.assertEqual(checksum(info.checksum), right['internal_checksum'])
                    self.assertEqual(('ADP1', 'ASP1', 'ALR1')[info.kind], right['format'])
                    self.assertEqual(info.entry_count, len(right['entries']))
                    for i, shown in enumerate(right['entries']):
                        entry = binding.Entry()
                        self.assertEqual(library.package_entry(package, i, byref(entry)), OK)
                        self.assertEqual('0x%016x' % entry.name_hash, shown['name_hash'])
                        self.assertEqual(list(entry.dims)[:entry.rank], shown['dims'])
                        self.assertEqual(entry.low_rank, shown.get('rank', 0))
                        self.assertEqual(entry.scale, shown.get('scale', 0))

    def check_identity(self, identity, shown):
        for key, value in shown.items():
            number = getattr(identity, key)
            self.assertEqual(checksum(number) if key.endswith('checksum') else number, value)

    def test_codes(self):
        for i, row in enumerate(told('explain')['codes']):
            code = binding.Code()
            self.assertEqual(library.code_get(i, byref(code)), OK)
            self.assertEqual([code.name.decode(), code.meaning.decode(), code.cause.decode(),
                              code.remedy.decode(), code.status],
                             [row['code'], row['meaning'], row['cause'], row['remedy'],
                              row['exit_code']])
            found = binding.Code()
            self.assertEqual(library.code_find(row['code'].encode(), byref(found)), OK)
            self.assertEqual(found.code, i)
        self.assertEqual(library.code_get(i + 1, byref(code)), USAGE)

    def test_version(self):
        self.assertEqual(library.version().decode(), told('version')['version'])
        self.assertEqual(library.abi(), int(library.version().split(b'.')[0]))


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
