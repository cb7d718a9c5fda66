// The types of the package are those of the package: a program that uses all of them compiles and runs.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { adapt, data, root, serve, takeBundle } from './support.js';

const project = path.resolve(process.env.TRLM_ADAPT_PACKAGE, '../..'); // where it was installed
const compiler = path.join(root, 'tools/web/node_modules/typescript/bin/tsc');
const program = path.join(root, 'bindings/wasm/tests/program.mts');
const types = readFileSync(path.join(process.env.TRLM_ADAPT_PACKAGE, 'index.d.ts'), 'utf8');

/** What index.d.ts exports; those that exist when the program runs begin with a word of `values`. */
const exported = [...types.matchAll(/^export (type|interface|class|function|const) (\w+)/gm)];
const values = ['class', 'function', 'const'];

test('the types have the names that the package exports', () => {
  const declared = exported.filter(([, kind]) => values.includes(kind)).map(([, , name]) => name);
  assert.deepEqual([...new Set(declared)].sort(), Object.keys(adapt).sort());
});

test('a program that uses each of them compiles and runs', async (context) => {
  const [, imported] = /^import \{([^}]*)\} from 'trlm-adapt-wasm';$/m.exec(readFileSync(program, 'utf8'));
  const used = imported.split(',').map((name) => name.replace('type ', '').trim()).filter(Boolean);
  assert.deepEqual(used.sort(), [...new Set(exported.map(([, , name]) => name))].sort());

  // Beside the installed package, so that this is what it finds, by what its package.json says.
  const folder = mkdtempSync(path.join(project, 'types-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const source = path.join(folder, 'program.mts');
  copyFileSync(program, source);
  const options = ['--strict', '--exactOptionalPropertyTypes', '--noUnusedLocals', '--target', 'es2022',
    '--module', 'nodenext', '--lib', 'es2022,dom,dom.iterable'];
  const checked = spawnSync(process.execPath, [compiler, '--noEmit', ...options, source], { encoding: 'utf8' });
  assert.equal(checked.stdout + checked.stderr, '');
  assert.equal(checked.status, 0);
  const module = path.join(folder, 'program.mjs');
  const { status } = spawnSync(process.execPath, [compiler, ...options, '--outDir', folder, source]);
  assert.equal(status, 0);
  const { run } = await import(pathToFileURL(module));

  const bundle = takeBundle();
  const server = await serve(bundle);
  context.after(server.close);
  const registry = readFileSync(path.join(bundle, 'selector.registry.json'));
  const kinds = await run({
    url: server.url,
    registryDigest: `sha256:${createHash('sha256').update(registry).digest('hex')}`,
    model: readFileSync(path.join(data, 'union.q8_0.slm')),
    adapter: readFileSync(path.join(data, 'whale-lora.alr1')),
    open: (name) => readFileSync(path.join(bundle, name)),
  });
  // Small files come at once, so that there may be no progress to tell of.
  assert.deepEqual(kinds.filter((kind) => kind !== 'progress'), ['done', 'file', 'gate', 'refused', 'request']);
});
