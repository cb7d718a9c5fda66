"""examples/ci: the script on good and bad bundles, and the workflow as far as it runs without a
network: its steps are read, and the one that verifies is executed."""
import json
import os
import re
import subprocess

import bundles
import support
from bundles import REGISTRY, flip_bit
from support import CANNOT_CHECK, DRIFT, OK, POLICY, USAGE, sha256, write

CI = os.path.join(support.ROOT, 'examples', 'ci')
SCRIPT = os.path.join(CI, 'verify-bundle.sh')
WORKFLOW = os.path.join(CI, 'verify-bundle.yml')


class Script(bundles.Case):
    def setUp(self):
        super().setUp()
        self.take_bundle()

    def run_script(self, *arguments, **variables):
        environment = {**os.environ, 'TRLM_ADAPT': support.cli, **variables}
        return support.Run(subprocess.run(['sh', SCRIPT, *arguments], cwd=self.folder,
                                          env=environment, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                          timeout=120))

    def report(self, name='bundle-report.json'):
        return json.loads(support.read(self.path(name)))

    def test_a_good_bundle(self):
        run = self.run_script('bundle')
        self.assertEqual(run.code, OK, run)
        self.assertEqual(run.out, self.run_tool('verify', 'bundle').out)
        self.assertEqual(self.report(), self.run_json('verify', 'bundle').document)
        self.assertEqual(self.names(), ['bundle', 'bundle-report.json'])

    def test_the_registry_is_pinned(self):
        right = sha256(self.path('bundle/' + REGISTRY))
        self.assertEqual(self.run_script('-d', right, 'bundle').code, OK)
        run = self.run_script('-d', 'sha256:' + '0' * 64, '-r', 'other.json', 'bundle')
        self.assertEqual(run.code, DRIFT, run)
        self.assertEqual(self.report('other.json')['findings'][0]['code'], 'digest_mismatch')
        # An empty digest, such as a variable that is not set, pins nothing.
        self.assertEqual(self.run_script('-d', '', 'bundle').code, OK)

    def test_a_drifted_bundle(self):
        flip_bit(self.path('bundle/adapters/whale-top5.asp1'), 100_000)
        run = self.run_script('-s', 'bundle')
        self.assertEqual(run.code, DRIFT, run)
        self.assertIn('adapter-artifacts  failed', run.out)
        self.assertIn('[digest_mismatch]', run.err)
        self.assertEqual(self.report()['exit_code'], DRIFT)

    def test_strictness(self):
        write(self.path('bundle/notes.txt'), b'mine')
        self.assertEqual(self.run_script('bundle').code, OK)
        self.assertEqual(self.run_script('-s', 'bundle').code, POLICY)

    def test_names_that_need_quotes(self):
        os.rename(self.path('bundle'), self.path('-a bundle; exit 7'))
        run = self.run_script('-r', 'a report', '--', '-a bundle; exit 7')
        self.assertEqual(run.code, OK, run)
        self.assertIs(self.report('a report')['ok'], True)

    def test_wrong_command_lines(self):
        for arguments in ([], ['bundle', 'bundle'], ['-x', 'bundle'], ['-d']):
            run = self.run_script(*arguments)
            self.assertEqual(run.code, USAGE, run)
            self.assertIn('usage: verify-bundle.sh', run.err)
            self.assertEqual(run.out, '')
        self.assertEqual(self.run_script('-d', 'abc', 'bundle').code, USAGE)

    def test_what_is_not_there(self):
        self.assertEqual(self.run_script('nothing').code, CANNOT_CHECK)
        self.assertEqual(self.run_script('-r', 'no/folder/report', 'bundle').code, CANNOT_CHECK)
        run = self.run_script('bundle', TRLM_ADAPT=self.path('no-tool'))
        self.assertEqual(run.code, CANNOT_CHECK, run)
        self.assertIn('no-tool', run.err)


def load_steps():
    """The workflow's steps: parsed where PyYAML is there, else what the lines of this file show."""
    text = support.read(WORKFLOW).decode()
    try:
        import yaml
    except ImportError:
        steps = []
        for block in re.split(r'^      - ', text.split('\n    steps:\n')[1], flags=re.M)[1:]:
            lines = block.splitlines()
            step = dict(re.findall(r'^(?:        )?(name|uses|if): (.*)$', block, re.M))
            if '        run: |' in lines:
                start = lines.index('        run: |') + 1
                step['run'] = '\n'.join(line[10:] for line in lines[start:]).rstrip() + '\n'
            step['env'] = dict(re.findall(r'^          ([A-Z_]+): (.*)$', block, re.M))
            steps.append(step)
        return steps
    workflow = yaml.safe_load(text)
    return workflow['jobs']['verify']['steps']


class Workflow(bundles.Case):
    def setUp(self):
        super().setUp()
        self.steps = {step['name']: step for step in load_steps()}

    def test_the_steps(self):
        self.assertEqual(list(self.steps), ['Get the bundle', 'Get trlm-adapt', 'Build trlm-adapt',
                                            'Verify', 'Keep the report'])
        for name, action in (('Get the bundle', 'actions/checkout@v4'),
                             ('Get trlm-adapt', 'actions/checkout@v4'),
                             ('Keep the report', 'actions/upload-artifact@v4')):
            self.assertEqual(self.steps[name]['uses'], action)
        # The report matters most when the step before it failed.
        self.assertEqual(self.steps['Keep the report']['if'], 'always()')
        text = support.read(WORKFLOW).decode()
        self.assertNotIn('\t', text)
        # An expression inside a script would be text that others may choose.
        for step in self.steps.values():
            self.assertNotIn('${{', step.get('run', ''))

    def test_the_build_asks_for_what_there_is(self):
        run = self.steps['Build trlm-adapt']['run']
        preset = re.search(r'cmake --preset (\S+)', run).group(1)
        presets = json.loads(support.read(os.path.join(support.ROOT, 'CMakePresets.json')))
        self.assertIn(preset, [p['name'] for p in presets['configurePresets']])
        self.assertIn('cmake --build --preset %s --target trlm-adapt\n' % preset, run)
        self.assertTrue(os.access(os.path.join(support.ROOT, 'tools', 'dependencies'), os.X_OK))
        self.assertIn('build/%s/trlm-adapt' % preset, self.steps['Verify']['env']['TRLM_ADAPT'])
        self.assertEqual(subprocess.run(['bash', '-n', '-c', run], check=False).returncode, 0)

    def verify(self, digest=''):
        """Runs the step as the runner does: bash that stops at the first error."""
        step = self.steps['Verify']
        environment = dict(os.environ, BUNDLE='bundle', REGISTRY_DIGEST=digest, **step['env'])
        return subprocess.run(['bash', '--noprofile', '--norc', '-eo', 'pipefail', '-c',
                               step['run']], cwd=self.folder, env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                              check=False).returncode

    def test_the_verification(self):
        self.take_bundle()
        os.makedirs(self.path('trlm-adapt/build/release'))
        os.makedirs(self.path('trlm-adapt/examples'))
        os.symlink(support.cli, self.path('trlm-adapt/build/release/trlm-adapt'))
        os.symlink(CI, self.path('trlm-adapt/examples/ci'))
        right = sha256(self.path('bundle/' + REGISTRY))
        self.assertEqual(self.verify(right), OK)
        self.assertEqual(self.verify(), OK)
        with open(self.path('bundle-report.json')) as file:
            self.assertIs(json.load(file)['ok'], True)
        self.assertEqual(self.verify('sha256:' + '0' * 64), DRIFT)
        write(self.path('bundle/notes.txt'), b'mine')
        self.assertEqual(self.verify(right), POLICY)
        os.remove(self.path('bundle/notes.txt'))
        flip_bit(self.path('bundle/models/union.q8_0.slm'), 500_000)
        self.assertEqual(self.verify(right), DRIFT)
        with open(self.path('bundle-report.json')) as file:
            self.assertEqual(json.load(file)['exit_code'], DRIFT)


if __name__ == '__main__':
    support.main()
