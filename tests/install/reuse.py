#!/usr/bin/env python3
"""A compiler launcher for tests: takes the objects of a build that has compiled the same already.

usage: reuse.py BUILD COMPILER ARGUMENT...

Where BUILD has an object of the same source, compiled by the same compiler with the same arguments,
that object is copied; everything else is compiled. What does not change the object (names of files,
precompiled headers, warnings as errors) is not compared. Each use adds a line to $TRLM_ADAPT_REUSE_LOG.
"""
import json
import os
import shlex
import shutil
import subprocess
import sys

WITH_A_NAME = {'-MT', '-MF', '-o', '-c', '-include', '-Xclang'}
WITHOUT_EFFECT = {'-MD', '-Winvalid-pch', '-fpch-instantiate-templates', '-Werror'}


def what_counts(arguments):
    """The arguments that tell one object from another of the same source."""
    rest = iter(arguments)
    counted = []
    for argument in rest:
        if argument in WITH_A_NAME:
            next(rest, None)
        elif argument not in WITHOUT_EFFECT:
            counted.append(argument)
    return counted


def named(arguments, option):
    return arguments[arguments.index(option) + 1] if option in arguments else ''


def find_object(build, arguments):
    """The object that can stand for the one that is wanted, or nothing."""
    source = os.path.realpath(named(arguments, '-c'))
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as file:
        entries = json.load(file)
    for entry in entries:
        if entry['file'] != source:
            continue
        known = shlex.split(entry['command'])
        if os.path.basename(known[0]) in ('ccache', 'sccache'):
            known = known[1:]
        path = os.path.join(entry['directory'], named(known, '-o'))
        if (what_counts(known) == what_counts(arguments) and os.path.exists(path)
                and os.path.getmtime(path) > os.path.getmtime(source)):
            return path
    return ''


def main():
    build, *arguments = sys.argv[1:]
    found = find_object(build, arguments) if '-c' in arguments else ''
    with open(os.environ['TRLM_ADAPT_REUSE_LOG'], 'a', encoding='utf-8') as log:
        log.write('%s %s\n' % ('reused' if found else 'compiled', named(arguments, '-c')))
    if not found:
        sys.exit(subprocess.run(arguments, check=False).returncode)
    output = named(arguments, '-o')
    shutil.copyfile(found, output)
    with open(named(arguments, '-MF'), 'w', encoding='utf-8') as dependencies:
        dependencies.write('%s:\n' % output)


if __name__ == '__main__':
    main()
