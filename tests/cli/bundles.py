"""Tests on bundles: each has the bundle of examples/data/whale.recipe.json, made once."""
import hashlib
import json
import os
import shutil
import tempfile

import support

REGISTRY = 'selector.registry.json'
RECIPE = 'whale.recipe.json'
INPUTS = ['union.q8_0.slm', 'whale-lora.alr1', 'whale-top5.asp1', 'whale-full.adp1']

# What an independent implementation of the formats gave for one adapter on union.q8_0.slm with
# strength 1 and adaptive:0; tools/quickstart and the other tests compare with the same.
LORA_OUTPUT = 'sha256:7da467d3b3b41da83f0af67aef855ff7155ea68138f38d44b46f756c45e884a4'
FULL_OUTPUT = 'sha256:c74a241308d81ec9acb9fbfeb8ad35bc58394b47ce2e97bb810fbee497ed3ae1'


def read_json(path):
    return json.loads(support.read(path))


def write_json(path, value):
    support.write(path, (json.dumps(value, indent=2) + '\n').encode())


def digest(content):
    return 'sha256:' + hashlib.sha256(content).hexdigest()


def files_beneath(folder):
    """Paths of all files, relative to the folder and ascending."""
    return sorted(os.path.relpath(os.path.join(at, name), folder)
                  for at, _, names in os.walk(folder) for name in names)


def contents(folder):
    return {path: support.read(os.path.join(folder, path)) for path in files_beneath(folder)}


def flip_bit(path, offset):
    content = bytearray(support.read(path))
    content[offset] ^= 1
    support.write(path, content)


class Case(support.Case):
    """A test that may ask for a copy of the bundle, which only the first test makes."""

    made = None

    @classmethod
    def tearDownClass(cls):
        if cls.made is not None:
            shutil.rmtree(cls.made)
            cls.made = None
        super().tearDownClass()

    def take_bundle(self, name='bundle'):
        """A copy of the bundle in the test's folder; its name."""
        cls = type(self)
        if cls.made is None:
            cls.made = tempfile.mkdtemp(prefix='trlm-bundle-')
            run = self.run_tool('bundle', 'create', support.data(RECIPE), '-o',
                                os.path.join(cls.made, 'bundle'))
            self.assertEqual(run.code, support.OK, run)
        shutil.copytree(os.path.join(cls.made, 'bundle'), self.path(name))
        return name

    def take_recipe(self, change=None, folder='data'):
        """The recipe, changed, beside copies of what it names; its name."""
        os.makedirs(self.path(folder), exist_ok=True)
        for name in INPUTS:
            self.take(support.data(name), os.path.join(folder, name))
        recipe = read_json(support.data(RECIPE))
        if change is not None:
            change(recipe)
        name = os.path.join(folder, RECIPE)
        write_json(self.path(name), recipe)
        return name

    def edit(self, name, change):
        """Changes a document in place."""
        document = read_json(self.path(name))
        change(document)
        write_json(self.path(name), document)
