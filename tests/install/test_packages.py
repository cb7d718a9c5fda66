#!/usr/bin/env python3
"""What this project hands out is used as others use it: in projects and places outside this tree.

usage: test_packages.py BUILD [unittest arguments]

  BUILD   a finished build with TRLM_ADAPT_INSTALL; everything is installed from it

Projects that compile the library themselves take BUILD's objects where the commands are the same
(reuse.py), which saves minutes and shows that they are.
"""
import functools
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import programs

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = programs.ROOT
MINIMAL = os.path.join(ROOT, 'examples', 'minimal')

build = ''


def run(*command, folder=None, environment=None):
    """The output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, cwd=folder, env=environment, timeout=1500)
    if done.returncode != 0:
        raise AssertionError('%s: exit code %d\n%s' % (' '.join(command), done.returncode,
                                                       done.stdout))
    return done.stdout


@functools.lru_cache
def cache():
    """The variables of BUILD."""
    with open(os.path.join(build, 'CMakeCache.txt'), encoding='utf-8') as file:
        return dict(re.findall(r'^([\w-]+):\w+=(.*)$', file.read(), re.M))


def compiler():
    return cache()['CMAKE_CXX_COMPILER']


def version():
    with open(os.path.join(ROOT, 'include', 'trlm', 'adapt', 'version.hpp'),
              encoding='utf-8') as file:
        return re.search(r'version = "([\d.]+)"', file.read()).group(1)


def needed_libraries(path):
    """The shared libraries that a program or library is linked with."""
    return set(re.findall(r'\(NEEDED\).*\[(.*)\]', run('readelf', '-d', path)))


class Outside(unittest.TestCase):
    """A folder outside the tree, and projects built in it."""
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='trlm-adapt-')
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def configure(self, source, *options):
        """The configured project; the compiler is BUILD's, and no other setting."""
        target = tempfile.mkdtemp(dir=self.folder)
        self.output = run('cmake', '-G', 'Ninja', '-S', source, '-B', target,
                          '-D', 'CMAKE_CXX_COMPILER=' + compiler(), *options)
        return target

    def built(self, source, *options):
        target = self.configure(source, *options)
        run('cmake', '--build', target)
        return target


class Installed(Outside):
    """Outside, with everything installed in a place to which it was moved afterwards."""
    def setUp(self):
        super().setUp()
        run('cmake', '--install', build, '--prefix', self.path('first'))
        os.rename(self.path('first'), self.path('prefix'))
        self.prefix = self.path('prefix')
        self.libraries = os.path.join(self.prefix, cache()['CMAKE_INSTALL_LIBDIR'])

    def built(self, source, *options):
        return super().built(source, '-D', 'CMAKE_PREFIX_PATH=' + self.prefix, *options)

    def project(self, name):
        return os.path.join(HERE, 'projects', name)


class Components(Outside):
    """cmake --install, a part at a time."""
    def files_of(self, component):
        prefix = self.path(component)
        run('cmake', '--install', build, '--prefix', prefix, '--component', component)
        return {os.path.relpath(os.path.join(folder, name), prefix)
                for folder, _, names in os.walk(prefix) for name in names}

    def test_each_has_its_files(self):
        libraries = cache()['CMAKE_INSTALL_LIBDIR']
        headers = {os.path.relpath(path, ROOT) for pattern in ('*.h', '*.hpp') for path in
                   glob.glob(os.path.join(ROOT, 'include', '**', pattern), recursive=True)}
        self.assertGreater(len(headers), 40)
        package = libraries + '/cmake/trlm_adapt/'
        archive = {package + 'trlm_adapt-' + name for name in
                   ('config.cmake', 'config-version.cmake', 'static.cmake', 'shared.cmake',
                    'core.cmake')}
        development = self.files_of('development')
        settings = {name for name in development
                    if re.search(r'/trlm_adapt-(static|shared|core)-\w+\.cmake$', name)}
        self.assertEqual(len(settings), 3)
        # A package may add what every package has: its licence.
        development -= {'share/doc/libtrlm-adapt-dev/copyright'}
        self.assertEqual(development - settings, headers | archive | {
            package + 'FindxxHash.cmake', libraries + '/pkgconfig/trlm_adapt.pc',
            libraries + '/libtrlm_adapt.a', libraries + '/libtrlm_adapt_core.a',
            libraries + '/libtrlm_adapt.so'})

        major = version().split('.', maxsplit=1)[0]
        self.assertEqual(self.files_of('library') - {'share/doc/libtrlm-adapt1/copyright'},
                         {libraries + '/libtrlm_adapt.so.' + version(),
                          libraries + '/libtrlm_adapt.so.' + major})
        self.assertEqual(self.files_of('cli'), {'bin/trlm-adapt'})
        self.assertEqual(self.files_of('man'), {'share/man/man1/trlm-adapt.1'})
        self.assertEqual(self.files_of('completions'), {
            'share/bash-completion/completions/trlm-adapt',
            'share/zsh/site-functions/_trlm-adapt',
            'share/fish/vendor_completions.d/trlm-adapt.fish'})
        documents = self.files_of('docs')
        self.assertGreaterEqual(documents, {'share/doc/trlm-adapt/' + name for name in
                                            ('README.md', 'LICENSE', 'docs/cli.md')})

    def test_everything_is_in_a_component(self):
        parts = set().union(*map(self.files_of, (
            'development', 'library', 'cli', 'man', 'completions', 'docs')))
        run('cmake', '--install', build, '--prefix', self.path('whole'))
        whole = {os.path.relpath(os.path.join(folder, name), self.path('whole'))
                 for folder, _, names in os.walk(self.path('whole')) for name in names}
        self.assertEqual(parts, whole)

    def test_the_tool_runs_alone(self):
        self.files_of('cli')
        tool = self.path('cli', 'bin', 'trlm-adapt')
        self.assertIn(version(), run(tool, 'version'))
        self.assertFalse([name for name in needed_libraries(tool) if 'trlm' in name])


class FindPackage(Installed):
    def test_archive(self):
        program = os.path.join(self.built(MINIMAL), 'minimal')
        programs.check_minimal([program])
        self.assertFalse([name for name in needed_libraries(program) if 'trlm' in name])

    def test_shared_library(self):
        program = os.path.join(self.built(MINIMAL, '-D', 'BUILD_SHARED_LIBS=ON'), 'minimal')
        programs.check_minimal([program])
        self.assertIn('libtrlm_adapt.so.' + version().split('.', maxsplit=1)[0],
                      needed_libraries(program))
        # What the library is made of is its own business.
        self.assertFalse([name for name in needed_libraries(program)
                          if re.search('fmt|xxhash|hwy|crypto', name)])

    def judge_kinds(self, default):
        self.configure(self.project('kinds'), '-D', 'CMAKE_PREFIX_PATH=' + self.prefix,
                       '-D', 'VERSION=' + version(), '-D', 'DEFAULT=' + default)
        self.assertEqual(self.output.count('judged: '), 15)

    def test_which_of_the_two(self):
        self.judge_kinds('STATIC_LIBRARY')

    def test_which_of_the_two_where_shared_libraries_were_built(self):
        built = self.configure(ROOT, '-D', 'BUILD_SHARED_LIBS=ON', '-D', 'TRLM_ADAPT_BUILD_TESTS=OFF')
        name = 'trlm_adapt-config.cmake'
        shutil.copy(os.path.join(built, name),
                    os.path.join(self.libraries, 'cmake', 'trlm_adapt', name))
        self.judge_kinds('SHARED_LIBRARY')

    def test_verify(self):
        target = self.built(os.path.join(ROOT, 'examples', 'verify'))
        programs.check_verify(os.path.join(self.prefix, 'bin', 'trlm-adapt'),
                              os.path.join(target, 'whole'), os.path.join(target, 'steps'))

    def test_the_core(self):
        """In a program without exceptions, run-time type information or a heap."""
        core = os.path.join(ROOT, 'tests', 'core')
        engine = os.path.join(self.built(
            self.project('core'), '-D', 'PROGRAM=' + os.path.join(core, 'engine.cpp')), 'engine')
        run(sys.executable, os.path.join(core, 'test_core.py'),
            os.path.join(self.prefix, 'bin', 'trlm-adapt'), engine,
            os.path.join(ROOT, 'tests', 'conformance', 'vectors'))
        self.assertFalse([name for name in needed_libraries(engine)
                          if re.search('trlm|fmt|crypto', name)])

    def test_a_plugin_exports_nothing_of_the_archive(self):
        plugin = os.path.join(self.built(self.project('plugin')), 'libplugin.so')
        exported = [line.split()[1:] for line in
                    run('nm', '-D', '--defined-only', plugin).splitlines()]
        self.assertIn(['T', 'plugin_reads_model'], exported)
        # Inline functions of the headers are the plugin's own, and weak.
        self.assertEqual([name for kind, name in exported if kind not in 'VWvw'],
                         ['plugin_reads_model'])

    def test_a_host_with_fast_math(self):
        program = os.path.join(self.built(self.project('fast_math')), 'fast_math')
        output = run(program, programs.MODEL, programs.PACKAGE, os.path.join(
            ROOT, 'tests', 'conformance', 'vectors', 'models', 'base_f32.slm'))
        lines = dict(line.split(' ', 1) for line in output.splitlines())
        if os.uname().machine == 'x86_64':  # elsewhere compilers leave the processor as it is
            self.assertEqual(lines['host'], 'flushes')
        self.assertEqual(lines['model'], 'sha256:' + programs.ADAPTED)
        self.assertEqual(lines['sums'], '8 to 8')


@unittest.skipUnless(shutil.which('pkg-config'), 'pkg-config is not installed')
class PkgConfig(Installed):
    def setUp(self):
        super().setUp()
        self.environment = dict(os.environ, PKG_CONFIG_PATH=self.libraries + '/pkgconfig')

    def flags(self, *options):
        return run('pkg-config', *options, 'trlm_adapt', environment=self.environment).split()

    def compiled(self, flags):
        program = self.path('program')
        run(compiler(), '-std=c++20', os.path.join(MINIMAL, 'main.cpp'), *flags, '-o', program)
        return program

    def test_version(self):
        self.assertEqual(self.flags('--modversion'), [version()])

    def test_shared_library(self):
        program = self.compiled(self.flags('--cflags', '--libs'))
        self.assertIn('libtrlm_adapt.so.1', needed_libraries(program))
        programs.check_minimal([program],
                               environment=dict(os.environ, LD_LIBRARY_PATH=self.libraries))

    def test_archive(self):
        flags = [flag.replace('-ltrlm_adapt', '-l:libtrlm_adapt.a') for flag in
                 self.flags('--static', '--cflags', '--libs')]
        program = self.compiled(flags)
        self.assertFalse([name for name in needed_libraries(program) if 'trlm' in name])
        programs.check_minimal([program])


class Compiled(Outside):
    """Projects that compile the library as a part of their own."""
    def setUp(self):
        super().setUp()
        self.log = self.path('reused')
        self.environment = dict(os.environ, TRLM_ADAPT_REUSE_LOG=self.log)

    def judge(self, name, shared, *options):
        """Builds the project and judges its program."""
        settings = ['CMAKE_BUILD_TYPE', 'TRLM_ADAPT_HARDEN', 'CMAKE_CXX_FLAGS',
                    'CMAKE_CXX_FLAGS_' + cache()['CMAKE_BUILD_TYPE'].upper()]
        launcher = ';'.join([sys.executable, os.path.join(HERE, 'reuse.py'), build])
        target = self.configure(
            os.path.join(HERE, 'projects', name),
            '-D', 'PROGRAM=' + os.path.join(MINIMAL, 'main.cpp'),
            '-D', 'BUILD_SHARED_LIBS=' + ('ON' if shared else 'OFF'),
            '-D', 'CMAKE_CXX_COMPILER_LAUNCHER=' + launcher,
            *(part for key in settings for part in ('-D', key + '=' + cache()[key])), *options)
        run('cmake', '--build', target, environment=self.environment)
        program = os.path.join(target, 'guest')
        programs.check_minimal([program])
        self.assertEqual('libtrlm_adapt.so.1' in needed_libraries(program), shared)
        with open(self.log, encoding='utf-8') as file:
            compiled = [line.split()[1] for line in file if line.startswith('compiled ')]
        # Nothing of a guest's own settings reaches the library: it compiles as it does here.
        self.assertEqual(compiled, [os.path.join(MINIMAL, 'main.cpp')])
        return target

    def test_add_subdirectory(self):
        target = self.judge('add_subdirectory', False, '-D', 'TRLM_ADAPT=' + ROOT)
        self.assertFalse(os.path.exists(os.path.join(target, 'trlm-adapt', 'trlm-adapt')))
        self.assertFalse(glob.glob(os.path.join(target, '**', '*.so*'), recursive=True))

    def test_add_subdirectory_shared(self):
        target = self.judge('add_subdirectory', True, '-D', 'TRLM_ADAPT=' + ROOT)
        self.assertFalse(glob.glob(os.path.join(target, '**', '*.a'), recursive=True))

    def test_fetch_content(self):
        self.judge('fetch_content', False, '-D', 'FETCHCONTENT_SOURCE_DIR_TRLM_ADAPT=' + ROOT)

    def test_fetch_content_clones(self):
        """From a repository, as far as configuring: compiling was tested above."""
        done = subprocess.run(['git', '-C', ROOT, 'rev-parse', 'HEAD'], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            self.skipTest('this tree is not a git checkout, so there is nothing to clone')
        target = self.configure(
            os.path.join(HERE, 'projects', 'fetch_content'),
            '-D', 'PROGRAM=' + os.path.join(MINIMAL, 'main.cpp'),
            '-D', 'REPOSITORY=file://' + ROOT, '-D', 'TAG=' + done.stdout.strip())
        self.assertTrue(os.path.exists(
            os.path.join(target, '_deps', 'trlm_adapt-src', 'include', 'trlm', 'adapt.hpp')))
        self.assertIn('libtrlm_adapt.a', run('ninja', '-C', target, '-t', 'query', 'guest'))


# ------------------------------------------------------------------------------- Debian's packages

def installed_status(name):
    """The entry of an installed package in dpkg's list, or nothing."""
    done = subprocess.run(['dpkg-query', '-s', name], capture_output=True, text=True, check=False)
    return done.stdout if 'Status: install ok installed' in done.stdout else ''


def field(status, name):
    found = re.search('^%s: (.*)$' % name, status, re.M)
    return found.group(1) if found else ''


def dependencies(status):
    """The names of the packages that an entry needs: of alternatives the first that is installed."""
    names = []
    for needed in filter(None, re.split(', *', ', '.join(
            [field(status, 'Pre-Depends'), field(status, 'Depends')]))):
        alternatives = [re.sub(r'[ :(].*', '', each.strip()) for each in needed.split('|')]
        names.append(next((each for each in alternatives if installed_status(each)),
                          alternatives[0]))
    return names


def closure(names):
    """All installed packages that these need, themselves included."""
    found = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = installed_status(name)
            waiting += dependencies(found[name])
    return {name: status for name, status in found.items() if status}


def owner_of(path):
    """The package that a file came with; where /lib is /usr/lib, either name may be on its list."""
    for name in (path, path.removeprefix('/usr')):
        done = subprocess.run(['dpkg', '-S', name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.split(':')[0]
    raise AssertionError(path + ' belongs to no package')


def copy_package(name, root):
    """Copies the files of an installed package beneath `root`, where it has them."""
    for path in run('dpkg', '-L', name).splitlines():
        place = os.path.realpath(os.path.dirname(path)) + '/' + os.path.basename(path)
        target = root + place
        if not path.startswith('/') or os.path.isdir(place) or not os.path.lexists(place):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(place, target, follow_symlinks=False)


@unittest.skipUnless(shutil.which('dpkg-shlibdeps'), 'dpkg-dev is not installed')
class DebianPackages(Outside):
    # Every Debian system has these; a package does not name them.
    ESSENTIAL = ('dash', 'libc-bin')

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix='trlm-adapt-')
        cls.addClassCleanup(shutil.rmtree, folder)
        run('cpack', '--config', os.path.join(build, 'CPackConfig.cmake'), '-G', 'DEB', '-B', folder)
        cls.packages = {field(run('dpkg-deb', '-f', path), 'Package'): path for path in
                        glob.glob(os.path.join(folder, '*.deb'))}

    def control(self, package):
        return run('dpkg-deb', '-f', self.packages[package])

    def test_what_they_say(self):
        self.assertEqual(set(self.packages),
                         {'trlm-adapt', 'libtrlm-adapt1', 'libtrlm-adapt-dev'})
        for package, section in (('trlm-adapt', 'utils'), ('libtrlm-adapt1', 'libs'),
                                 ('libtrlm-adapt-dev', 'libdevel')):
            control = self.control(package)
            self.assertEqual(field(control, 'Version'), version())
            self.assertEqual(field(control, 'Section'), section)
            self.assertEqual(field(control, 'Architecture'),
                             run('dpkg', '--print-architecture').strip())
            self.assertRegex(field(control, 'Maintainer'), r'^The trlm-adapt authors <\S+@\S+>$')
            self.assertRegex(field(control, 'Description'), r'^[a-z][^.]{20,78}$')
            contents = run('dpkg-deb', '-c', self.packages[package])
            self.assertIn('./usr/share/doc/%s/copyright' % package, contents)
        # What tells dpkg which package programs need that are linked with the library.
        for package in self.packages:
            parts = run('dpkg-deb', '-I', self.packages[package])
            self.assertEqual(' shlibs' in parts, package == 'libtrlm-adapt1', package)

    def test_they_depend_on_what_they_are_linked_with(self):
        """Each library that is linked belongs to a package that is named."""
        for package, pattern in (('trlm-adapt', 'usr/bin/trlm-adapt'),
                                 ('libtrlm-adapt1', 'usr/lib*/**/libtrlm_adapt.so.*.*.*')):
            root = self.path(package)
            run('dpkg-deb', '-x', self.packages[package], root)
            found = glob.glob(os.path.join(root, pattern), recursive=True)
            self.assertEqual(len(found), 1)
            names = dependencies(self.control(package))
            for library in needed_libraries(found[0]):
                place = re.search(r'%s.* => (\S+)' % re.escape(library), run('ldd', found[0]))
                self.assertIn(owner_of(os.path.realpath(place.group(1))), names, library)

    def test_they_install_and_run(self):
        """In a root that has what they depend on, and nothing else."""
        as_root = [] if os.geteuid() == 0 else ['unshare', '--map-root-user']
        if subprocess.run([*as_root, 'chroot', '/', 'true'], capture_output=True,
                          check=False).returncode != 0:
            self.skipTest('this user may not change the root folder')
        root = self.path('root')
        for name in ('bin', 'sbin', 'lib', 'lib64'):
            if os.path.islink('/' + name):
                os.makedirs(os.path.join(root, 'usr', name), exist_ok=True)
                os.symlink('usr/' + name, os.path.join(root, name))
        run_time = set(self.ESSENTIAL)
        for package in ('trlm-adapt', 'libtrlm-adapt1'):
            run_time |= set(dependencies(self.control(package)))
        for name in closure(run_time):
            copy_package(name, root)
        # What is built with them is on the list of what is installed, and not there: nothing runs it.
        listed = closure(run_time | set(dependencies(self.control('libtrlm-adapt-dev'))))
        for name in ('info', 'updates'):
            os.makedirs(os.path.join(root, 'var', 'lib', 'dpkg', name))
        with open(os.path.join(root, 'var', 'lib', 'dpkg', 'status'), 'w',
                  encoding='utf-8') as file:
            file.write('\n'.join(listed.values()))
        os.makedirs(os.path.join(root, 'etc'), exist_ok=True)

        run(*as_root, 'dpkg', '--root=' + root, '--log=/dev/null', '--install',
            *self.packages.values())
        inside = [*as_root, 'chroot', root]
        self.assertIn(version(), run(*inside, '/usr/bin/trlm-adapt', 'version'))
        self.assertIn('libtrlm_adapt.so.1 ', run(*inside, '/sbin/ldconfig', '-p'))
        # The development package's files, used where they lie.
        target = self.built(MINIMAL, '-D', 'CMAKE_PREFIX_PATH=' + root + '/usr',
                            '-D', 'BUILD_SHARED_LIBS=ON')
        shutil.copy2(os.path.join(target, 'minimal'), os.path.join(root, 'minimal'))
        for name in (programs.MODEL, programs.PACKAGE):
            shutil.copy2(name, root)
        programs.expect([*inside, '/minimal', '/' + os.path.basename(programs.MODEL),
                         '/' + os.path.basename(programs.PACKAGE), '/whale.slm'], 0,
                        'sha256:' + programs.ADAPTED)


def main():
    global build
    if len(sys.argv) < 2 or not os.path.isfile(os.path.join(sys.argv[1], 'CMakeCache.txt')):
        sys.exit(__doc__)
    build = os.path.abspath(sys.argv[1])
    unittest.main(module='__main__', argv=[sys.argv[0]] + sys.argv[2:])


if __name__ == '__main__':
    main()
