"""Folders with a model, packages for it, and what the tool makes of them: inputs of the C tests."""
import os
import shutil
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, 'examples', 'data')
VECTORS = os.path.join(ROOT, 'tests', 'conformance', 'vectors')
ADAPTERS = os.path.join(VECTORS, 'adapters')

# Model, first and second package.
CASES = {
    'f32': (os.path.join(VECTORS, 'models', 'base_f32.slm'), os.path.join(ADAPTERS, 'dense.adp1'),
            os.path.join(ADAPTERS, 'lowrank.alr1')),
    'q8_0': (os.path.join(VECTORS, 'models', 'base_q8_0.slm'),
             os.path.join(ADAPTERS, 'lowrank1.alr1'), os.path.join(ADAPTERS, 'mask.asp1')),
    'q4_0': (os.path.join(VECTORS, 'models', 'base_q4_0.slm'),
             os.path.join(ADAPTERS, 'sparse.asp1'), os.path.join(ADAPTERS, 'dense.adp1')),
    'whale': (os.path.join(DATA, 'union.q8_0.slm'), os.path.join(DATA, 'whale-lora.alr1'),
              os.path.join(DATA, 'whale-top5.asp1')),
}


class Folder:
    """The files of a case, under the names that the programs know."""

    def __init__(self, cli, case):
        self.cli = os.path.abspath(cli)
        self.path = tempfile.mkdtemp(prefix='trlm-adapt-c-')
        base, first, second = CASES[case]
        for name, source in (('base.slm', base), ('first.adapter', first),
                             ('second.adapter', second),
                             ('zero.adapter', os.path.join(ADAPTERS, 'zero.adp1')),
                             ('huge.adapter', os.path.join(ADAPTERS, 'huge.adp1')),
                             ('other.adapter', os.path.join(ADAPTERS, 'gqa_lowrank.alr1'))):
            shutil.copyfile(source, self.at(name))
        self.apply('first.adapter', '-o', 'first.slm')
        self.apply('second.adapter', '-o', 'second.slm', '--strength', 'second.adapter=0.5',
                   '--rounding', 'stochastic:7')
        self.apply('first.adapter', 'second.adapter', '-o', 'both.slm',
                   '--strength', 'second.adapter=-0.5', '--rounding', 'nearest')

    def at(self, name):
        return os.path.join(self.path, name)

    def apply(self, *arguments):
        """What `trlm-adapt apply` prints for the base and these arguments."""
        done = subprocess.run([self.cli, 'apply', 'base.slm', *arguments], cwd=self.path,
                              capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise RuntimeError('apply %s: %s' % (' '.join(arguments), done.stderr))
        return done.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)
