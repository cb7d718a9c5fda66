// Bundles through the gates, from a server that keeps to the plan and from servers that do not.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { adapt, change, follow, native, serve, takeBundle, verifyServed } from './support.js';

const registry = 'selector.registry.json';
const plan = 'whale.module-plan.json';
const model = 'models/union.q8_0.slm';
const manifest = 'models/whale.manifest.json';
const family = 'adapters/family.receipt.json';
const packageFile = 'adapters/whale-lora.alr1';
const gates = [
  'registry', 'module-plan', 'model-bytes', 'model-manifest', 'assembly-receipt', 'evidence',
  'adapter-family', 'adapter-manifests', 'adapter-artifacts', 'validate', 'apply', 'diagnostics',
];
const sha256 = (bytes) => 'sha256:' + createHash('sha256').update(bytes).digest('hex');

const withoutDecibels = ({ snr_db: _, ...rest }) => rest;

/** Which gates have to pass before a gate's files are asked for (docs/receipts.md). */
const needs = {
  'module-plan': ['registry'],
  'model-bytes': ['module-plan'],
  'model-manifest': ['model-bytes'],
  'assembly-receipt': ['module-plan'],
  evidence: ['assembly-receipt'],
  'adapter-family': ['module-plan'],
  'adapter-manifests': ['adapter-family'],
  'adapter-artifacts': ['adapter-manifests'],
};

/** Nothing was requested but what was told, and nothing behind a gate that had not passed. */
function checkRequests({ events, gates: statuses, log }) {
  const requests = events.filter((e) => e.kind === 'request');
  assert.deepEqual(log, requests.map((e) => e.path));
  for (const { gate } of requests) {
    for (const needed of needs[gate] ?? []) assert.equal(statuses[needed], 'passed', gate);
  }
}

test('a good bundle passes, gate after gate, and the report is the native one', async () => {
  const bundle = takeBundle();
  const result = await verifyServed(bundle, {
    registryDigest: sha256(readFileSync(path.join(bundle, registry))),
  });
  checkRequests(result);
  assert.deepEqual(Object.keys(result.gates), gates);
  assert.ok(Object.values(result.gates).every((status) => status === 'passed'));
  assert.deepEqual(result.report, native('verify', bundle));
  assert.deepEqual(result.report.result.opened, result.log);
  const files = result.events.filter((e) => e.kind === 'file');
  for (const { path: name, bytes, sha256: digest } of files) {
    const content = readFileSync(path.join(bundle, name));
    assert.equal(bytes, content.length, name);
    assert.equal(digest, sha256(content), name);
  }
  assert.equal(files.length, result.log.length);
  assert.equal(result.events.at(-1).kind, 'done');
  // A file is told of before its gate, its request before that.
  const at = (kind, name) => result.events.findIndex((e) => e.kind === kind && e.path === name);
  assert.ok(at('request', model) < at('file', model));
  assert.ok(at('file', model) < result.events.findIndex((e) => e.gate === 'model-bytes' && e.kind === 'gate'));
});

/** Where the tensors of an SLM1 file lie, f32 or q8_0: payload and scales, from and to (docs/formats.md). */
function directory(file) {
  const view = new DataView(file.buffer, file.byteOffset);
  const u32 = (at) => view.getUint32(at, true);
  const u64 = (at) => Number(view.getBigUint64(at, true));
  return Array.from({ length: u32(88) }, (_, i) => {
    const entry = u64(80) + 64 * i;
    const [dtype, rank] = [u32(entry + 8), u32(entry + 12)];
    let rows = 1;
    for (let d = 0; d < rank - 1; ++d) rows *= u32(entry + 16 + 4 * d);
    const [payload, scales] = [u64(entry + 32), u64(entry + 48)];
    return [[payload, payload + u64(entry + 40)], [scales, scales + (dtype === 2 ? 4 * rows : 0)]];
  });
}

test('what was verified can be read: base, adapted model, tensors, survival', async () => {
  const bundle = takeBundle();
  const server = await serve(bundle);
  const assembly = adapt.Assembly.open(server.url);
  await assert.rejects(assembly.model('base'));
  await follow(assembly);
  const base = await assembly.model('base');
  assert.deepEqual(Buffer.from(base), readFileSync(path.join(bundle, model)));
  const document = JSON.parse(readFileSync(path.join(bundle, family)));
  const preferred = document.stacks.find((stack) => stack.id === document.preferred) ?? document.stacks[0];
  assert.equal(sha256(await assembly.model('adapted')), preferred.expected_output.digest);
  assert.deepEqual(await assembly.tensors(), native('inspect', path.join(bundle, model)).result.tensors);
  for (const which of ['base', 'adapted']) {
    const file = await assembly.model(which);
    const entries = directory(file);
    assert.equal(entries.length, (await assembly.tensors()).length);
    for (const [i, { name }] of (await assembly.tensors()).entries()) {
      const tensor = await assembly.tensor(name, which);
      const [payload, scales] = entries[i];
      assert.deepEqual(tensor, { payload: file.slice(...payload), scales: file.slice(...scales) });
    }
  }
  assert.equal(await assembly.tensor('none'), null);
  const survival = await assembly.survival();
  const dryRun = native('apply', path.join(bundle, model), path.join(bundle, 'adapters'), '--dry-run');
  assert.deepEqual(survival.tensors.map(withoutDecibels), dryRun.result.tensors.map(withoutDecibels));
  for (const [i, { snr_db: decibels }] of survival.tensors.entries()) {
    // A logarithm, and each C library has its own: the last digit may differ.
    assert.ok(Math.abs(decibels - dryRun.result.tensors[i].snr_db) < 1e-12);
  }
  assert.equal(survival.kept, dryRun.result.kept);
  assembly.close();
  await assert.rejects(assembly.model('base'), { name: 'AbortError' });
  server.close();
});

// ------------------------------------------------------------------------ files that are not right

/** Cases in which the native tool, over the same files, must find the same. */
const drifted = {
  'a changed byte of the model': [model, (c) => ((c[c.length >> 1] ^= 1), c), 'digest_mismatch'],
  'a model that is too short': [model, (c) => c.subarray(0, -1), 'size_mismatch'],
  'a model that is too long': [model, (c) => Buffer.concat([c, Buffer.of(0)]), 'size_mismatch'],
  'a changed plan': [plan, (c) => Buffer.from(c.toString().replace('"schema"', '"Schema"')), 'digest_mismatch'],
  'a plan that has grown': [plan, (c) => Buffer.concat([c, Buffer.from('\n')]), 'size_mismatch'],
  'a changed manifest': [manifest, (c) => ((c[10] ^= 1), c), 'digest_mismatch'],
  'a changed receipt': ['assembly.receipt.json', (c) => ((c[20] ^= 1), c), 'digest_mismatch'],
  'changed evidence': ['evidence/eval.json', (c) => ((c[20] ^= 1), c), 'digest_mismatch'],
  'a changed ledger': ['evidence/ledger.jsonl', (c) => ((c[20] ^= 1), c), 'digest_mismatch'],
  'a changed family': [family, (c) => ((c[20] ^= 1), c), 'digest_mismatch'],
  'a changed package': [packageFile, (c) => ((c[c.length - 1] ^= 1), c), 'digest_mismatch'],
  'a registry that is no JSON': [registry, () => Buffer.from('<html>'), 'bad_json'],
  'an empty registry': [registry, () => Buffer.alloc(0), 'bad_json'],
  'a registry that is too large': [registry, () => Buffer.alloc((1 << 20) + 1, 0x20), 'limit_exceeded'],
};

for (const [name, [file, edit, code]] of Object.entries(drifted)) {
  test(`${name} is found, as natively`, async () => {
    const bundle = takeBundle();
    change(bundle, file, edit);
    const result = await verifyServed(bundle);
    checkRequests(result);
    assert.ok(result.codes.includes(code), result.codes.join());
    assert.deepEqual(result.report, native('verify', bundle));
  });
}

test('another registry than the pinned one opens nothing further', async () => {
  const result = await verifyServed(takeBundle(), { registryDigest: sha256('another') });
  assert.deepEqual(result.log, [registry]);
  assert.deepEqual(result.codes, ['digest_mismatch']);
});

test('a pin that is no digest is refused before anything is asked for', async () => {
  const right = sha256('x');
  const wrong = ['sha256:1', '', 'sha256:', right.toUpperCase(), 7];
  for (const options of [...wrong.map((registryDigest) => ({ registryDigest })), { registrydigest: right }]) {
    const result = await verifyServed(takeBundle(), options);
    assert.deepEqual(result.log, []);
    assert.deepEqual(result.codes, ['usage_error']);
    assert.equal(result.report.exit_code, 2);
  }
});

test('budgets hold before anything is fetched', async () => {
  const bundle = takeBundle();
  change(bundle, registry, (content) => {
    const document = JSON.parse(content);
    for (const key of Object.keys(document.budgets)) document.budgets[key] = 1;
    return Buffer.from(JSON.stringify(document));
  });
  const result = await verifyServed(bundle);
  assert.ok(result.codes.includes('budget_exceeded'), result.codes.join());
  assert.ok(!result.log.includes(model));
  assert.deepEqual(result.report, native('verify', bundle));
});

test('script in the strings of a registry stays text', async () => {
  const bundle = takeBundle();
  const script = '<script>alert(1)</script><img src=x onerror=alert(2)>';
  change(bundle, registry, (content) => {
    const document = JSON.parse(content);
    document.entries[0].id = script;
    document.default_entry = script;
    return Buffer.from(JSON.stringify(document));
  });
  const result = await verifyServed(bundle);
  checkRequests(result);
  assert.deepEqual(result.report, native('verify', bundle));
});

test('paths that lead elsewhere are not requested', async () => {
  for (const evil of ['../secret', '/etc/passwd', 'https://example.com/x', '%2e%2e/secret', '..\\x', 'a?b', 'a#b']) {
    const bundle = takeBundle();
    change(bundle, registry, (content) => {
      const document = JSON.parse(content);
      document.entries[0].module_plan.path = evil;
      return Buffer.from(JSON.stringify(document));
    });
    const server = await serve(bundle);
    const raw = [];
    const assembly = adapt.Assembly.open(server.url);
    for await (const event of assembly) if (event.kind === 'request') raw.push(event.path);
    assert.ok(!assembly.report.ok);
    // Whatever the core asks for is asked for beneath the bundle, as that very name.
    assert.deepEqual(server.log, raw);
    assembly.close();
    server.close();
  }
});

// --------------------------------------------------------------------- servers that are not right

test('a missing file is file_missing', async () => {
  const answers = { [manifest]: (response) => response.writeHead(404).end('<html>no</html>') };
  const result = await verifyServed(takeBundle(), { answers });
  checkRequests(result);
  assert.deepEqual(result.codes, ['file_missing']);
  assert.equal(result.gates['model-manifest'], 'failed');
  assert.equal(result.gates.diagnostics, 'blocked');
  assert.equal(result.report.exit_code, 5);
  assert.match(result.events.find((e) => e.kind === 'refused').reason, /404/);
});

for (const status of [403, 500, 204, 206]) {
  test(`an answer ${status} is file_unreadable`, async () => {
    const answers = { [plan]: (response) => response.writeHead(status).end() };
    const result = await verifyServed(takeBundle(), { answers });
    checkRequests(result);
    assert.deepEqual(result.codes, ['file_unreadable']);
    assert.deepEqual(result.log, [registry, plan]);
  });
}

for (const target of ['/bundle/' + manifest, 'http://127.0.0.1:9/elsewhere']) {
  test(`a redirect to ${target} is not followed`, async () => {
    const answers = {
      [model]: (response) => response.writeHead(302, { location: target }).end(),
    };
    const result = await verifyServed(takeBundle(), { answers });
    assert.deepEqual(result.codes, ['file_unreadable']);
    assert.equal(result.log.filter((name) => name === manifest).length, 0);
  });
}

test('a server that sends more bytes than planned is cut off at that byte', async () => {
  for (const announced of [true, false]) {
    let cut = null;
    let written = 0;
    const planned = readFileSync(path.join(takeBundle(), model)).length;
    const answers = {
      [model]: (response, content) => {
        // Without a length: chunks for as long as the other side takes them.
        response.writeHead(200);
        response.write(content);
        const more = () => {
          while (response.write(Buffer.alloc(65536))) written += 65536;
          response.once('drain', more);
        };
        cut = new Promise((resolve) => response.on('close', resolve));
        setTimeout(more, announced ? 0 : 20);
      },
    };
    const result = await verifyServed(takeBundle(), { answers });
    await cut;
    assert.deepEqual(result.codes, ['size_mismatch']);
    assert.equal(result.report.findings[0].expected, String(planned));
    assert.equal(result.report.findings[0].actual, `more than ${planned}`);
    const told = result.events.filter((e) => e.kind === 'progress' && e.path === model);
    assert.ok(told.every((e) => e.bytes === planned));
    assert.ok(written < 64 << 20, `${written} more were sent`);
    assert.match(result.events.find((e) => e.kind === 'refused').reason, /cut off/);
    assert.equal(result.gates['model-bytes'], 'failed');
    assert.equal(result.gates['model-manifest'], 'blocked');
  }
});

test('an announced length that is not the planned one is refused before a byte is read', async () => {
  const answers = {
    [model]: (response) => {
      response.writeHead(200, { 'content-length': 1e12 });
      response.write('x');
    },
  };
  const result = await verifyServed(takeBundle(), { answers });
  assert.deepEqual(result.codes, ['size_mismatch']);
  assert.equal(result.events.filter((e) => e.kind === 'progress' && e.path === model).length, 0);
});

test('an endless registry is cut off at the limit', async () => {
  let written = 0;
  const answers = {
    [registry]: (response) => {
      response.writeHead(200);
      const more = () => {
        while (response.write(Buffer.alloc(65536, 0x20))) written += 65536;
        response.once('drain', more);
      };
      more();
    },
  };
  const result = await verifyServed(takeBundle(), { answers });
  assert.deepEqual(result.codes, ['limit_exceeded']);
  assert.ok(written < 64 << 20, `${written} were sent`);
});

test('a connection that is cut is file_unreadable or a wrong size', async () => {
  for (const bytes of [0, 1000]) {
    const answers = {
      [model]: (response, content) => {
        response.writeHead(200, { 'content-length': content.length });
        response.write(content.subarray(0, bytes));
        setTimeout(() => response.destroy(), 20);
      },
    };
    const result = await verifyServed(takeBundle(), { answers });
    checkRequests(result);
    assert.deepEqual(result.codes, ['file_unreadable']);
    assert.equal(result.gates['model-bytes'], 'failed');
  }
});

test('chunks that end early are a wrong size', async () => {
  const answers = {
    [model]: (response, content) => response.writeHead(200).end(content.subarray(0, 1000)),
  };
  const result = await verifyServed(takeBundle(), { answers });
  assert.deepEqual(result.codes, ['size_mismatch']);
});

test('a server that stops answering is given up', async () => {
  for (const begin of [false, true]) {
    const answers = {
      [plan]: (response, content) => {
        if (begin) response.writeHead(200, { 'content-length': content.length }).write('{');
      },
    };
    const result = await verifyServed(takeBundle(), { answers, patience: 200 });
    assert.deepEqual(result.codes, ['file_unreadable']);
    assert.match(result.report.findings[0].message, /nothing came/);
  }
});

test('a slow server that keeps sending is waited for', async () => {
  const answers = {
    [plan]: async (response, content) => {
      response.writeHead(200, { 'content-length': content.length });
      for (let at = 0; at < content.length; at += 1000) {
        response.write(content.subarray(at, at + 1000));
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      response.end();
    },
  };
  const result = await verifyServed(takeBundle(), { answers, patience: 400 });
  assert.ok(result.report.ok);
});

test('compressed transfers and wrong types change nothing', async () => {
  const { gzipSync } = await import('node:zlib');
  const answers = {
    [plan]: (response, content) =>
      response
        .writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'text/html' })
        .end(gzipSync(content)),
    [model]: (response, content) =>
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-16' }).end(content),
  };
  const bundle = takeBundle();
  const result = await verifyServed(bundle, { answers });
  assert.deepEqual(result.report, native('verify', bundle));
});

test('a server that cannot be reached is a finding', async () => {
  const server = await serve(takeBundle());
  server.close();
  const assembly = adapt.Assembly.open(server.url);
  const { codes } = await follow(assembly);
  assert.deepEqual(codes, ['file_unreadable']);
});

test('only http, https and sources of one\'s own are opened', () => {
  for (const url of ['file:///etc/', 'data:text/plain,x', 'ftp://example.com/']) {
    assert.throws(() => adapt.Assembly.open(url), TypeError);
  }
});

// ---------------------------------------------------------------------------------- own sources

const fromFolder = (bundle) => async (name) => {
  const content = readFileSync(path.join(bundle, name));
  return { bytes: content.length, stream: new Blob([content]).stream() };
};

test('a source of one\'s own: files, missing ones, ones that fail', async () => {
  const bundle = takeBundle();
  const good = await follow(adapt.Assembly.open('', { open: fromFolder(bundle) }));
  assert.deepEqual(good.report, native('verify', bundle));
  const missing = await follow(
    adapt.Assembly.open('', {
      open: async () => {
        throw new DOMException('not there', 'NotFoundError');
      },
    }),
  );
  assert.deepEqual(missing.codes, ['file_missing']);
  const failing = await follow(
    adapt.Assembly.open('', {
      open: () => {
        throw new Error('no');
      },
    }),
  );
  assert.deepEqual(failing.codes, ['file_unreadable']);
});

test('a source that lists its files learns which of them nothing leads to', async () => {
  const bundle = takeBundle();
  const list = () => readdirSync(bundle, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(bundle, path.join(entry.path, entry.name)));
  const verify = (options = {}) =>
    follow(adapt.Assembly.open('', { open: fromFolder(bundle), list: list(), ...options }));
  assert.deepEqual((await verify()).report, native('verify', bundle));
  writeFileSync(path.join(bundle, 'left over'), 'x');
  writeFileSync(path.join(bundle, 'evidence', 'ü.json'), '{}');
  const { report, codes } = await verify();
  assert.deepEqual(codes, ['unlisted_file', 'unlisted_file']);
  assert.deepEqual(report, native('verify', bundle));
  assert.deepEqual((await verify({ strict: true })).report, native('verify', bundle, '--strict'));
  change(bundle, registry, () => Buffer.from('{}'));
  assert.deepEqual((await verify()).report, native('verify', bundle));
});

test('how long to wait is a number of milliseconds', () => {
  for (const patience of [0, -1, NaN, Infinity, 2 ** 31, '']) {
    assert.throws(() => adapt.Assembly.open('', { open: fromFolder('.'), patience }), RangeError);
  }
});

test('a source that does not say how large a file is', async () => {
  const bundle = takeBundle();
  const open = async (name) => ({ ...(await fromFolder(bundle)(name)), bytes: null });
  const { report } = await follow(adapt.Assembly.open('', { open }));
  assert.deepEqual(report, native('verify', bundle));
});

// ------------------------------------------------------------------------------------ cancelling

test('a signal ends it: the iteration throws, the server sees the end', async () => {
  let closed = null;
  const stop = new AbortController();
  const server = await serve(takeBundle(), {
    [model]: (response, content) => {
      closed = new Promise((resolve) => response.on('close', resolve));
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 1000));
      setTimeout(() => stop.abort(), 20);
    },
  });
  const assembly = adapt.Assembly.open(server.url, { signal: stop.signal });
  await assert.rejects(follow(assembly), { name: 'AbortError' });
  await closed;
  assert.equal(assembly.report, null);
  server.close();
});

test('an aborted signal starts nothing; leaving the loop ends it', async () => {
  const server = await serve(takeBundle());
  const before = adapt.Assembly.open(server.url, { signal: AbortSignal.abort() });
  await assert.rejects(follow(before), { name: 'AbortError' });
  assert.deepEqual(server.log, []);
  const assembly = adapt.Assembly.open(server.url);
  for await (const event of assembly) if (event.kind === 'gate') break;
  const count = server.log.length;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(server.log.length <= count + 1);
  await assert.rejects(assembly.model('base'));
  server.close();
});

test('an assembly is iterated once', async () => {
  const assembly = adapt.Assembly.open('', { open: fromFolder(takeBundle()) });
  await follow(assembly);
  await assert.rejects(follow(assembly), /once/);
  assembly.close();
});

// ---------------------------------------------------------------------------------------- memory

test('a model that does not fit in memory is a finding, and none of it is taken', async () => {
  const bundle = takeBundle();
  for (const bytes of [3e9, 2 ** 32 + 5]) {
    change(bundle, plan, (content) => {
      const document = JSON.parse(content);
      document.modules.find((module) => module.path === model).bytes = bytes;
      document.budgets.model_bytes = document.budgets.total_bytes = 2 ** 40;
      return Buffer.from(JSON.stringify(document));
    });
    const sealed = readFileSync(path.join(bundle, plan));
    change(bundle, registry, (content) => {
      const document = JSON.parse(content);
      const [entry] = document.entries;
      entry.model.bytes = bytes;
      Object.assign(entry.module_plan, { bytes: sealed.length, digest: sha256(sealed) });
      document.budgets.model_bytes = 2 ** 40;
      return Buffer.from(JSON.stringify(document));
    });
    const answers = {
      [model]: (response) => {
        response.writeHead(200, { 'content-length': bytes });
        response.write(Buffer.alloc(1000));
      },
    };
    const result = await verifyServed(bundle, { answers });
    assert.ok(result.codes.includes('out_of_memory'), JSON.stringify(result.report.findings));
    assert.equal(result.report.exit_code, 5);
    assert.equal(result.log.at(-1), model);
    assert.ok(!result.events.some((e) => e.kind === 'progress' && e.path === model));
  }
});
