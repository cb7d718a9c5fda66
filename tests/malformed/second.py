"""What this folder takes from the other tests: the formats as tests/differential wrote them a second
time, the bundle of tests/documents, and its own pieces, all without the library."""
import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
for folder in ('support', 'differential', 'documents', 'malformed'):
    sys.path.insert(0, os.path.join(TESTS, folder))

import judge  # noqa: E402
import mutate  # noqa: E402
import spec  # noqa: E402
import undo_file  # noqa: E402

__all__ = ['judge', 'mutate', 'spec', 'undo_file']
