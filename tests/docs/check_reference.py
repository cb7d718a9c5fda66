#!/usr/bin/env python3
"""The reference of the library can be made, and no public symbol is without its comment.

usage: check_reference.py

Runs doxygen over include with docs/Doxyfile, where what is not documented is an error. Exits with 77
where doxygen is not installed.
"""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNDOCUMENTED = '''#pragma once
namespace trlm::adapt {
void nobody_knows_what_it_does();
/// A type with a member that nobody knows.
struct Known {
    int unknown = 0;
};
}  // namespace trlm::adapt
'''


def doxygen(output, *inputs):
    """What doxygen says of these folders, and whether it takes them."""
    with open(os.path.join(ROOT, 'docs', 'Doxyfile'), encoding='utf-8') as file:
        settings = file.read()
    settings += 'OUTPUT_DIRECTORY = %s\nINPUT = %s\n' % (output, ' '.join(inputs))
    done = subprocess.run(['doxygen', '-'], input=settings, cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=300)
    return done.stdout, done.returncode == 0


def main():
    if not shutil.which('doxygen'):
        print('skipped: doxygen is not installed')
        sys.exit(77)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        said, accepted = doxygen(folder, 'include')
        if said or not accepted:
            problems.append(said)
        page = os.path.join(folder, 'html', 'namespacetrlm_1_1adapt.html')
        with open(page, encoding='utf-8') as file:
            if 'read_model' not in file.read():
                problems.append('read_model is not in the reference')

    # What has no comment is found: in a namespace, and in a type.
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, 'undocumented.hpp'), 'w', encoding='utf-8') as file:
            file.write(UNDOCUMENTED)
        said, accepted = doxygen(folder, 'include', folder)
        for name in ('nobody_knows_what_it_does', 'unknown'):
            if accepted or 'Member ' + name not in said:
                problems.append('%s has no comment, and nothing was said of it' % name)

    print('\n'.join(problems) or 'every public symbol is documented')
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
