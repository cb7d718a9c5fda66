"""The C interface for Python: what a program without a compiler writes to use the shared library."""
import ctypes
from ctypes import (CFUNCTYPE, POINTER, c_char_p, c_double, c_float, c_int, c_size_t, c_uint32,
                    c_uint64, c_void_p)

OK, INVALID, USAGE, DRIFT, INCOMPATIBLE, CANNOT_CHECK, POLICY = range(7)
F32, Q8_0, Q4_0 = 1, 2, 3
ADAPTIVE, NEAREST, STOCHASTIC = 0, 1, 2

Task = CFUNCTYPE(None, c_void_p, c_size_t)
ParallelFor = CFUNCTYPE(None, c_void_p, c_size_t, Task, c_void_p)
Begin = CFUNCTYPE(c_int, c_void_p)
End = CFUNCTYPE(None, c_void_p)
Progress = CFUNCTYPE(c_int, c_void_p, c_uint64, c_uint64)
Rows = CFUNCTYPE(c_int, c_void_p, c_size_t, c_uint64, c_uint64, c_void_p, c_size_t, c_void_p,
                 c_size_t)
Allocate = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)
Release = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_size_t)


class Sized(ctypes.Structure):
    """A struct that knows its size; what is not given is 0."""

    def __init__(self, *values, **members):
        super().__init__(*values, **members)
        self.size = ctypes.sizeof(self)


class Finding(Sized):
    _fields_ = [('size', c_size_t), ('name', c_char_p), ('message', c_char_p),
                ('file', c_char_p), ('tensor', c_char_p), ('pointer', c_char_p),
                ('expected', c_char_p), ('actual', c_char_p), ('offset', c_uint64),
                ('element', c_uint64), ('code', c_uint32), ('severity', c_uint32),
                ('has_offset', c_uint32), ('has_element', c_uint32)]


class Code(Sized):
    _fields_ = [('size', c_size_t), ('name', c_char_p), ('meaning', c_char_p),
                ('cause', c_char_p), ('remedy', c_char_p), ('code', c_uint32),
                ('status', c_uint32)]


class Identity(Sized):
    _fields_ = [('size', c_size_t), ('parameter_count', c_uint64),
                ('tensor_layout_checksum', c_uint64), ('tokenizer_checksum', c_uint64),
                ('model_flags', c_uint32), ('tensor_count', c_uint32)]


class Tensor(Sized):
    _fields_ = [('size', c_size_t), ('name', c_char_p), ('name_hash', c_uint64),
                ('dtype', c_uint32), ('block_size', c_uint32), ('rank', c_uint32),
                ('dims', c_uint32 * 4), ('max_abs', c_float), ('payload_bytes', c_size_t),
                ('scale_bytes', c_size_t), ('payload', c_void_p), ('scales', c_void_p),
                ('file_payload', c_void_p), ('file_scales', c_void_p)]


class ReadOptions(Sized):
    _fields_ = [('size', c_size_t), ('file', c_char_p), ('accept_foreign_checksum', c_uint32),
                ('reserved', c_uint32)]


class ModelInfo(Sized):
    _fields_ = [('size', c_size_t), ('tokenizer', c_void_p), ('tokenizer_bytes', c_size_t),
                ('checksum', c_uint64), ('tensor_count', c_uint32), ('vocab_size', c_uint32),
                ('special_token_count', c_uint32), ('hidden_size', c_uint32),
                ('layer_count', c_uint32), ('head_count', c_uint32),
                ('kv_head_count', c_uint32), ('head_dim', c_uint32), ('ffn_size', c_uint32),
                ('max_context', c_uint32), ('rope_theta', c_float),
                ('rms_norm_epsilon', c_float)]


class PackageInfo(Sized):
    _fields_ = [('size', c_size_t), ('metadata', c_void_p), ('metadata_bytes', c_size_t),
                ('checksum', c_uint64), ('kind', c_uint32), ('entry_count', c_uint32)]


class Entry(Sized):
    _fields_ = [('size', c_size_t), ('name', c_char_p), ('name_hash', c_uint64),
                ('count', c_uint64), ('rank', c_uint32), ('dims', c_uint32 * 4),
                ('low_rank', c_uint32), ('scale', c_float), ('reserved', c_uint32)]


class Access(Sized):
    _fields_ = [('size', c_size_t), ('read', Rows), ('write', Rows), ('context', c_void_p)]


class Allocator(Sized):
    _fields_ = [('size', c_size_t), ('allocate', Allocate), ('release', Release),
                ('context', c_void_p)]


class Quiescence(Sized):
    _fields_ = [('size', c_size_t), ('begin', Begin), ('end', End), ('context', c_void_p)]


class Executor(Sized):
    _fields_ = [('size', c_size_t), ('parallel_for', ParallelFor), ('context', c_void_p),
                ('concurrency', c_size_t)]


class EngineDescription(Sized):
    _fields_ = [('size', c_size_t), ('identity', POINTER(Identity)),
                ('tensors', POINTER(Tensor)), ('tensor_count', c_size_t),
                ('access', POINTER(Access)), ('allocator', POINTER(Allocator)),
                ('quiescence', POINTER(Quiescence)), ('executor', POINTER(Executor)),
                ('threads', c_uint32), ('discard_base', c_uint32)]


class Member(Sized):
    _fields_ = [('size', c_size_t), ('package', c_void_p), ('strength', c_float),
                ('reserved', c_uint32)]


class ApplyOptions(Sized):
    _fields_ = [('size', c_size_t), ('seed', c_uint64), ('rounding', c_uint32),
                ('survival', c_uint32), ('allow_no_effect', c_uint32),
                ('has_min_survival', c_uint32), ('min_survival', c_double),
                ('progress', Progress), ('progress_context', c_void_p)]


class Report(Sized):
    _fields_ = [('size', c_size_t), ('state', c_uint64), ('kept_bytes', c_uint64),
                ('kept', c_double), ('has_kept', c_uint32), ('is_applied', c_uint32),
                ('zero_effect', c_uint32), ('tensor_count', c_uint32)]


class Survival(Sized):
    _fields_ = [('size', c_size_t), ('name', c_char_p), ('elements', c_uint64),
                ('touched', c_uint64), ('changed', c_uint64), ('max_abs_delta', c_double),
                ('rms_delta', c_double), ('kept', c_double), ('cosine', c_double),
                ('snr_db', c_double), ('has_snr_db', c_uint32), ('reserved', c_uint32)]


HANDLE = c_void_p
OUT = POINTER(c_void_p)
FUNCTIONS = {
    'abi': (c_uint32, []),
    'version': (c_char_p, []),
    'findings_count': (c_size_t, [HANDLE]),
    'findings_dropped': (c_uint64, [HANDLE]),
    'findings_get': (c_int, [HANDLE, c_size_t, POINTER(Finding)]),
    'findings_free': (None, [HANDLE]),
    'code_get': (c_int, [c_uint32, POINTER(Code)]),
    'code_find': (c_int, [c_char_p, POINTER(Code)]),
    'model_read': (c_int, [c_char_p, c_size_t, POINTER(ReadOptions), OUT, OUT]),
    'model_identity': (c_int, [HANDLE, POINTER(Identity)]),
    'model_get': (c_int, [HANDLE, POINTER(ModelInfo)]),
    'model_tensor': (c_int, [HANDLE, c_size_t, POINTER(Tensor)]),
    'model_free': (None, [HANDLE]),
    'package_read': (c_int, [c_char_p, c_size_t, POINTER(ReadOptions), OUT, OUT]),
    'package_identity': (c_int, [HANDLE, POINTER(Identity)]),
    'package_get': (c_int, [HANDLE, POINTER(PackageInfo)]),
    'package_entry': (c_int, [HANDLE, c_size_t, POINTER(Entry)]),
    'package_free': (None, [HANDLE]),
    'engine_describe': (c_int, [POINTER(EngineDescription), OUT, OUT]),
    'engine_free': (None, [HANDLE]),
    'plan_stack': (c_int, [HANDLE, POINTER(Member), c_size_t, OUT, OUT]),
    'plan_free': (None, [HANDLE]),
    'apply': (c_int, [HANDLE, POINTER(ApplyOptions), OUT, OUT]),
    'undo': (c_int, [HANDLE, OUT]),
    'swap': (c_int, [HANDLE, HANDLE, POINTER(ApplyOptions), OUT]),
    'applied_get': (c_int, [HANDLE, POINTER(Report)]),
    'applied_tensor': (c_int, [HANDLE, c_size_t, POINTER(Survival)]),
    'applied_free': (None, [HANDLE]),
}


class Library:
    """`library.apply(...)` is `trlm_adapt_apply(...)`."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(library, 'trlm_adapt_' + name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
