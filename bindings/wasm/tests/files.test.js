// Single files and stacks: the bytes and reports of the native tool.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { adapt, data, native, root, temporaryFolder } from './support.js';

const read = (name) => readFileSync(path.join(data, name));
const models = ['union.q4_0.slm', 'union.q8_0.slm'];
const packages = ['whale-lora.alr1', 'whale-top5.asp1', 'whale-full.adp1'];
const builds = { 'with SIMD': true, 'without SIMD': false };

/** A report without its decibels: a logarithm, of which each C library has its own last digit. */
function withoutDecibels(report) {
  return JSON.parse(JSON.stringify(report, (key, value) => (key === 'snr_db' ? undefined : value)));
}

/** Applies a stack here and natively, and compares bytes and reports. */
async function compareApplication(model, stack, options = {}) {
  const output = path.join(temporaryFolder(), 'out.slm');
  const files = stack.map((name) => path.join(data, name));
  const strengths = options.strengths ?? stack.map(() => 1);
  const args = stack.flatMap((name, i) => ['--strength', `${name}=${strengths[i]}`]);
  if (options.rounding) args.push('--rounding', options.rounding);
  if (options.outputDtype) args.push('--output-dtype', options.outputDtype);
  const file = path.join(data, model);
  const expected = native('apply', file, ...files, '-o', output, ...args);
  const { model: adapted, report } = await adapt.applyStack(read(model), stack.map(read), {
    ...options, file, files, output,
  });
  assert.deepEqual(withoutDecibels(report), withoutDecibels(expected));
  assert.equal(expected.ok, adapted !== null);
  if (adapted) assert.ok(readFileSync(output).equals(adapted), 'the bytes differ');
  return report;
}

for (const [build, simd] of Object.entries(builds)) {
  for (const model of models) {
    test(`${model}, ${build}: each adapter and all of them, byte for byte as natively`, async () => {
      adapt.configure({ simd });
      for (const stack of [...packages.map((name) => [name]), packages]) {
        for (const rounding of ['nearest', 'stochastic:7', 'adaptive:0']) {
          const report = await compareApplication(model, stack, { rounding });
          assert.ok(report.ok);
        }
      }
      await compareApplication(model, packages, { strengths: [0.3, -1.7, 2e-3] });
      for (const outputDtype of ['keep', 'q8_0', 'f32']) {
        await compareApplication(model, packages.slice(0, 1), { outputDtype });
      }
      adapt.configure({});
    });
  }
}

test('what cannot be applied gives no model, and the findings of the tool', async () => {
  const lora = ['whale-lora.alr1'];
  const tooStrong = await compareApplication('union.q8_0.slm', lora, { strengths: [3e38] });
  assert.ok(tooStrong.findings.some((f) => f.code === 'fused_non_finite'));
  for (const strength of [0, NaN, Infinity]) {
    const refused = await adapt.applyStack(read(models[0]), lora.map(read), {
      strengths: [strength],
    });
    assert.equal(refused.model, null);
    assert.deepEqual(refused.report.findings.map((f) => f.code), ['usage_error']);
  }
  const broken = read('whale-lora.alr1');
  broken[broken.length - 1] ^= 1;
  const { model, report } = await adapt.applyStack(read('union.q8_0.slm'), [broken]);
  assert.equal(model, null);
  assert.ok(report.findings.some((f) => f.code === 'checksum_mismatch'));
  for (const options of [{ rounding: 'upwards' }, { outputDtype: 'f16' }]) {
    const refused = await adapt.applyStack(read(models[0]), [read(packages[0])], options);
    assert.equal(refused.model, null);
    assert.equal(refused.report.exit_code, 2);
  }
  const none = await adapt.applyStack(read(models[0]), []);
  assert.equal(none.report.exit_code, 2);
});

test('validate and inspect say what the tool says', async () => {
  for (const name of [...models, ...packages, 'README.md']) {
    const file = path.join(data, name);
    assert.deepEqual(await adapt.validate(read(name), { file }), native('validate', file));
    assert.deepEqual(await adapt.inspect(read(name), { file }), native('inspect', file));
  }
  const file = path.join(data, 'whale-top5.asp1');
  const report = await adapt.inspect(read('whale-top5.asp1'), { file, statistics: true });
  assert.deepEqual(report, native('inspect', file, '--stats'));
});

test('bytes of any kind: parts of larger arrays, none at all', async () => {
  const bytes = read('whale-lora.alr1');
  const larger = new Uint8Array(bytes.length + 20);
  larger.set(bytes, 10);
  assert.ok((await adapt.validate(larger.subarray(10, 10 + bytes.length))).ok);
  assert.ok(larger.subarray(10, 10 + bytes.length).every((byte, i) => byte === bytes[i]));
  const empty = await adapt.validate(new Uint8Array(0));
  assert.deepEqual(empty.findings.map((f) => f.code), ['truncated']);
});

test('what is no array of bytes is refused', async () => {
  const bytes = read(packages[0]);
  const others = [bytes.buffer, new Uint16Array(8), new DataView(new ArrayBuffer(8)), [1, 2], 'text', null];
  for (const other of others) {
    await assert.rejects(adapt.validate(other), TypeError);
    await assert.rejects(adapt.inspect(other), TypeError);
    await assert.rejects(adapt.applyStack(read(models[0]), [other]), TypeError);
    await assert.rejects(adapt.applyStack(other, [bytes]), TypeError);
  }
});

test('a signal cancels', async () => {
  const signal = AbortSignal.abort();
  await assert.rejects(adapt.validate(read(packages[0]), { signal }), { name: 'AbortError' });
  const stop = new AbortController();
  const applied = adapt.applyStack(read(models[1]), packages.map(read), { signal: stop.signal });
  setTimeout(() => stop.abort(), 5);
  await assert.rejects(applied, { name: 'AbortError' });
});

test('the version is that of the sources', () => {
  const header = readFileSync(path.join(root, 'include/trlm/adapt/version.hpp'), 'utf8');
  assert.match(header, new RegExp(`version = "${adapt.version}"`));
});

test('options that are not understood are refused, not dropped', async () => {
  const bytes = read(packages[0]);
  for (const options of [{ File: 'x' }, { file: 7 }, { statistics: 'yes' }]) {
    const report = await adapt.inspect(bytes, options);
    assert.equal(report.exit_code, 2, JSON.stringify(options));
    assert.equal(report.result, null);
  }
  for (const options of [{ minsurvival: 1 }, { minSurvival: '1' }, { allowNoEffect: 1 }]) {
    const { model, report } = await adapt.applyStack(read(models[0]), [bytes], options);
    assert.equal(model, null);
    assert.equal(report.exit_code, 2, JSON.stringify(options));
  }
});
