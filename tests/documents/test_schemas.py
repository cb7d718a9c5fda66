"""The published schemas of the documents: they are those of the descriptions that read and write
them, they accept what the tool writes and what is made from the specification, and they refuse
every broken form, in two validators that this project did not write."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bundle as made  # noqa: E402
import support  # noqa: E402
import test_drift as drift  # noqa: E402

try:
    import jsonschema
except ImportError:
    jsonschema = None

FOLDER = os.path.join(support.ROOT, 'docs', 'schemas')


def schema_name(document):
    return document['schema'].split('/')[1].split('@')[0]


def published():
    schemas = {}
    for name in sorted(os.listdir(FOLDER)):
        if name.endswith('.schema.json'):
            with open(os.path.join(FOLDER, name)) as file:
                schemas[name[:-len('.schema.json')]] = file.read()
    return schemas


def render(schema):
    return json.dumps(schema, indent=2) + '\n'


def samples(cli):
    """Good documents: made from the specification, and written by the tool."""
    bundle = made.Bundle()
    for path, document in bundle.documents.items():
        yield path, document
    for line in bundle.ledger_bytes().splitlines():
        yield made.LEDGER, json.loads(line)
    with open(support.data('whale.recipe.json')) as file:
        yield 'whale.recipe.json', json.load(file)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([cli, 'bundle', 'create', support.data('whale.recipe.json'), '-o',
                        os.path.join(folder, 'b'), '--quiet'], check=True)
        subprocess.run([cli, 'apply', support.data('union.q8_0.slm'),
                        support.data('whale-lora.alr1'), '-o', 'out.slm', '--receipt',
                        'out.apply-receipt.json', '--quiet'], check=True, cwd=folder)
        for root, _, names in os.walk(folder):
            for name in sorted(names):
                with open(os.path.join(root, name), 'rb') as file:
                    content = file.read()
                if name.endswith('.json'):
                    yield name, json.loads(content)
                elif name.endswith('.jsonl'):
                    for line in content.splitlines():
                        yield name, json.loads(line)


def broken():
    """Documents that break a rule which a schema can state."""
    for case in drift.broken_forms():
        if not case.expected or 'twice' in case.name:
            continue  # a schema cannot see a key that stands twice
        path = case.expected[0][1]
        document = case.bundle.documents[path]
        yield case.name, made.Bundle().documents[path]['schema'], document


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('cli', help='path of trlm-adapt')
    parser.add_argument('--schemas', required=True, help='program that prints the schemas')
    parser.add_argument('--valijson', help='program that validates with valijson')
    parser.add_argument('--write', action='store_true', help='write docs/schemas anew')
    options = parser.parse_args()
    support.cli = os.path.abspath(options.cli)
    described = json.loads(subprocess.run([options.schemas], stdout=subprocess.PIPE,
                                          check=True).stdout)
    rendered = {name: render(schema) for name, schema in described.items()}
    if options.write:
        for name, text in rendered.items():
            with open(os.path.join(FOLDER, name + '.schema.json'), 'w') as file:
                file.write(text)
        return
    failures = []
    if published() != rendered:
        failures.append('docs/schemas is not what the documents are: run this test with --write')

    documents = [(name, schema_name(d), d, True) for name, d in samples(support.cli)]
    documents += [(name, schema.split('/')[1].split('@')[0], d, False)
                  for name, schema, d in broken()]
    good = [d for d in documents if d[3]]
    missing = set(described) - {schema for _, schema, _, _ in good}
    if missing:
        failures.append('no sample of %s' % ', '.join(sorted(missing)))
    validators = []
    if jsonschema is not None:
        by_name = {n: jsonschema.Draft202012Validator(s) for n, s in described.items()}
        for schema in described.values():
            jsonschema.Draft202012Validator.check_schema(schema)
        validators.append(('jsonschema', [by_name[s].is_valid(d) for _, s, d, _ in documents]))
    if options.valijson:
        lines = subprocess.run(
            [options.valijson], stdout=subprocess.PIPE, check=True, input=json.dumps(
                {'schemas': described,
                 'documents': [[s, d] for _, s, d, _ in documents]}).encode()).stdout.split()
        assert len(lines) == len(documents)
        validators.append(('valijson', [line == b'1' for line in lines]))
    for name, verdicts in validators:
        for (what, schema, _, expected), verdict in zip(documents, verdicts):
            if verdict is not expected:
                failures.append('%s %s %s (schema %s)' % (
                    name, 'refuses' if expected else 'accepts', what, schema))
    for failure in failures[:30]:
        print(failure)
    print('%d good and %d broken documents, %s; %d failed' % (
        len(good), len(documents) - len(good),
        ' and '.join(name for name, _ in validators) or 'no validator is installed',
        len(failures)))
    if failures:
        sys.exit(1)
    if not validators:
        sys.exit(77)  # only the comparison with docs/schemas was possible


if __name__ == '__main__':
    main()
