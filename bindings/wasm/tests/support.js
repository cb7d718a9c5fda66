// What the tests of the package share: the package as it was installed, the native tool, a bundle and
// a server for it.

import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = fileURLToPath(new URL('../../../', import.meta.url));
export const data = path.join(root, 'examples/data');
export const adapt = await import(
  pathToFileURL(path.join(process.env.TRLM_ADAPT_PACKAGE, 'index.js'))
);
const tool = process.env.TRLM_ADAPT_CLI;

/** The report of the native tool. */
export function native(...args) {
  const { stdout } = spawnSync(tool, [...args, '--json'], { maxBuffer: 1 << 28 });
  return JSON.parse(stdout);
}

/** A folder that is gone when the tests are. */
export function temporaryFolder() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'trlm-wasm-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const made = path.join(temporaryFolder(), 'bundle');
execFileSync(tool, ['bundle', 'create', path.join(data, 'whale.recipe.json'), '-o', made], {
  cwd: data,
});

/** A copy of the example bundle in a folder of its own. */
export function takeBundle() {
  const copy = path.join(temporaryFolder(), 'bundle');
  cpSync(made, copy, { recursive: true });
  return copy;
}

/** Changes one file of a bundle. */
export function change(bundle, name, edit) {
  const file = path.join(bundle, name);
  writeFileSync(file, edit(readFileSync(file)));
}

/**
 * A server of a bundle that notes each request. `answers[path](response, content)` replaces the
 * ordinary answer; `sent[path]` are the bytes that were written there.
 */
export async function serve(bundle, answers = {}) {
  const log = [];
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url.slice('/bundle/'.length));
    log.push(name);
    let content = null;
    try {
      content = readFileSync(path.join(bundle, name));
    } catch {
      response.writeHead(404).end('nothing');
      return;
    }
    if (answers[name]) return answers[name](response, content, request);
    response.writeHead(200, { 'content-length': content.length }).end(content);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/bundle/`, log, close };
}

/** All events of an assembly, and what came of it. */
export async function follow(assembly) {
  const events = [];
  for await (const event of assembly) events.push(event);
  const gates = Object.fromEntries(
    events.filter((e) => e.kind === 'gate').map((e) => [e.gate, e.status]),
  );
  return { events, gates, report: assembly.report, codes: assembly.report.findings.map((f) => f.code) };
}

/** The package's report of a bundle behind a server, and what was asked of that. */
export async function verifyServed(bundle, { answers, ...options } = {}) {
  const server = await serve(bundle, answers);
  const assembly = adapt.Assembly.open(server.url, options);
  try {
    return { ...(await follow(assembly)), log: server.log };
  } finally {
    assembly.close();
    server.close();
  }
}
