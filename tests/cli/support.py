"""What the tests of the command line share: running the tool, and files to run it on."""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VECTORS = os.path.join(ROOT, 'tests', 'conformance', 'vectors')
DATA = os.path.join(ROOT, 'examples', 'data')

# Every key of the object that --json prints, in order.
DOCUMENT_KEYS = ['tool', 'version', 'command', 'ok', 'exit_code', 'findings', 'result']

OK, INVALID, USAGE, DRIFT, INCOMPATIBLE, CANNOT_CHECK, POLICY = range(7)

cli = ''


def main():
    """Runs the tests of the calling file: [--cli] PATH, then what unittest takes."""
    global cli
    arguments = [a for a in sys.argv[1:] if a != '--cli']
    if not arguments or arguments[0].startswith('-'):
        sys.exit('usage: %s [--cli] PATH-OF-TRLM-ADAPT [unittest arguments]' % sys.argv[0])
    cli = os.path.abspath(arguments[0])
    # A test file is run as __main__, which imported this module under its own name.
    unittest.main(module='__main__', argv=[sys.argv[0]] + arguments[1:])


def expected():
    with open(os.path.join(VECTORS, 'expected.json')) as file:
        return json.load(file)


def vector(*parts):
    return os.path.join(VECTORS, *parts)


def data(name):
    return os.path.join(DATA, name)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def write(path, content):
    with open(path, 'wb') as file:
        file.write(content)


def sha256(path):
    return 'sha256:' + hashlib.sha256(read(path)).hexdigest()


class Run:
    """What a run of the tool printed and how it ended."""

    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout.decode('utf-8', 'replace') if process.stdout is not None else ''
        self.err = process.stderr.decode('utf-8', 'replace') if process.stderr is not None else ''

    @property
    def document(self):
        return json.loads(self.out)

    @property
    def result(self):
        return self.document['result']

    def codes(self, severity=None):
        return [f['code'] for f in self.document['findings']
                if severity is None or f['severity'] == severity]

    def __repr__(self):
        return 'exit %s\nstdout: %s\nstderr: %s' % (self.code, self.out, self.err)


class Case(unittest.TestCase):
    """A test with a folder of its own as working folder of the tool."""

    longMessage = True

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix='trlm-cli-test-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def take(self, source, name=None):
        """A writable copy of a file in the test's folder; its name."""
        name = name or os.path.basename(source)
        shutil.copyfile(source, self.path(name))
        return name

    def names(self, folder=''):
        return sorted(os.listdir(self.path(folder)))

    def run_tool(self, *arguments, env=None, **options):
        environment = {k: v for k, v in os.environ.items()
                       if k not in ('NO_COLOR', 'TRLM_ADAPT_TARGET')}
        environment.update(env or {})
        if 'LLVM_PROFILE_FILE' in environment and 'preexec_fn' in options:
            # Under a limit that a test sets, the counters of tools/coverage cannot be written.
            environment['LLVM_PROFILE_FILE'] = os.devnull
        options.setdefault('stdout', subprocess.PIPE)
        options.setdefault('stderr', subprocess.PIPE)
        options.setdefault('stdin', subprocess.DEVNULL)
        options.setdefault('cwd', self.folder)
        return Run(subprocess.run([cli, *arguments], env=environment, timeout=120, **options))

    def peak_memory(self, *arguments):
        """The exit code of a run and the most memory it had, in bytes."""
        process = subprocess.Popen([cli, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)

    def run_json(self, *arguments, **options):
        """Runs with --json and checks what holds for every run."""
        run = self.run_tool(*arguments, '--json', **options)
        self.assertEqual(run.out.count('\n'), 1, run)
        document = run.document
        self.assertEqual(list(document), DOCUMENT_KEYS, run)
        self.assertEqual(document['tool'], 'trlm-adapt')
        self.assertRegex(document['version'], r'^\d+\.\d+\.\d+$')
        self.assertEqual(document['exit_code'], run.code, run)
        self.assertIs(document['ok'], run.code == 0, run)
        self.assertEqual(run.err, '', run)
        for finding in document['findings']:
            keys = list(finding)
            self.assertEqual(keys[:5], ['code', 'class', 'severity', 'message', 'file'], run)
            optional = ['offset', 'tensor', 'element', 'pointer', 'expected', 'actual']
            self.assertEqual(keys[5:], [k for k in optional if k in finding], run)
            self.assertIn(finding['severity'], ('error', 'warning'))
        return run

    def assert_refused(self, run, exit_code, *codes):
        """The exit code, and exactly these codes as errors."""
        self.assertEqual(run.code, exit_code, run)
        self.assertEqual(sorted(run.codes('error')), sorted(codes), run)

    def assert_narrow(self, text, width=80):
        for line in text.splitlines():
            self.assertLessEqual(len(line), width, line)


def foreign_model(content):
    """A model as the original writer makes it: 108 bytes of header, a checksum of its own."""
    header = bytearray(content)
    struct.pack_into('<I', header, 8, 108)
    struct.pack_into('<Q', header, 100, 0x1234567890abcdef)
    # What was checksum_kind and reserved bytes is padding now.
    header[108:128] = bytes(20)
    return bytes(header)
