"""What the tests of examples/engine share: running the engine and the tool, and files for them."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, 'examples', 'data')

programs = {}


def main():
    """Runs the tests of the calling file: paths of engine and trlm-adapt, then unittest's arguments."""
    if len(sys.argv) < 3:
        sys.exit('usage: %s ENGINE TRLM-ADAPT [unittest arguments]' % sys.argv[0])
    programs['engine'], programs['tool'] = map(os.path.abspath, sys.argv[1:3])
    unittest.main(module='__main__', argv=[sys.argv[0]] + sys.argv[3:])


def data(*names):
    return os.path.join(DATA, *names)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def write(path, content):
    with open(path, 'wb') as file:
        file.write(content)


def call(*arguments):
    """A run of the engine, whatever comes of it; what it prints is bytes."""
    return subprocess.run([programs['engine'], *arguments], capture_output=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=600)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def engine(self, *arguments):
        """What the engine prints; it must succeed."""
        done = call(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, b''), done)
        return done.stdout

    def generate(self, model, prompt, *arguments):
        """A prompt with its continuation."""
        text = self.engine('generate', model, prompt, *arguments)
        self.assertTrue(text.startswith(prompt.encode()), text)
        self.assertTrue(text.endswith(b'\n'), text)
        return text[:-1]

    def bits(self, *arguments):
        """Bits per byte, bytes, windows."""
        line = self.engine('evaluate', *arguments).decode()
        match = re.fullmatch(r'(\d+\.\d{4}) bits per byte; (\d+) bytes in (\d+) windows of \d+\n',
                             line)
        self.assertTrue(match, line)
        return float(match.group(1)), int(match.group(2)), int(match.group(3))

    def tool(self, *arguments):
        done = subprocess.run([programs['tool'], *arguments], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout
