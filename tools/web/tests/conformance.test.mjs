// The conformance vectors, whose figures an independent implementation computed, put to the package
// in this browser: the same bytes and the same findings as everywhere else.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { sha256 } from './bundle.mjs';
import { repository, setting, stage } from './visit.mjs';

const vectors = join(repository, 'tests/conformance/vectors');
const expected = JSON.parse(readFileSync(join(vectors, 'expected.json'), 'utf8'));
const files = new Map(['models', 'adapters', 'invalid'].flatMap((kind) => Object.keys(expected[kind]))
    .map((path) => [path, readFileSync(join(vectors, path))]));

assert.ok(existsSync(join(setting('PACKAGE'), 'index.js')), 'the package is built');
const { browser, server } = await stage(setting('PACKAGE'), { 'Content-Security-Policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'" });
server.serve(files);
const page = await browser.newPage();
await page.goto(`${server.origin}/package.json`);
await page.evaluate(async () => {
    window.core = await import('/index.js');
    window.read = async (path) => new Uint8Array(await (await fetch(`/bundle/${path}`)).arrayBuffer());
    window.digest = async (bytes) => `sha256:${[...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))]
        .map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
});

/** The report of `validate` or `inspect` of a file. */
function look(call, path) {
    return page.evaluate(async ([name, file]) => window.core[name](await window.read(file)), [call, path]);
}

/** What applying a stack gives: the new model's digest, or null, and the report. */
function apply({ model, stack, rounding = 'adaptive:0' }, options = {}) {
    return page.evaluate(async ([base, packages, chosen]) => {
        const read = await Promise.all(packages.map(([path]) => window.read(path)));
        const made = await window.core.applyStack(await window.read(base), read, {
            ...chosen, strengths: packages.map(([, strength]) => strength),
            files: packages.map(([path], i) => `${i}-${path.replace(/.*\//, '')}`) });
        return { digest: made.model && await window.digest(made.model), report: made.report };
    }, [model, stack, { rounding, ...options }]);
}

const codes = (report) => report.findings.map((finding) => finding.code);

for (const build of ['SIMD', 'scalar']) {
    test(`${build}: the build is chosen`, () => page.evaluate((simd) => window.core.configure({ simd }),
                                                              build === 'SIMD'));

    test(`${build}: ${Object.keys(expected.models).length} models and ${Object.keys(expected.adapters).length} packages`, async () => {
        for (const [path, wanted] of [...Object.entries(expected.models), ...Object.entries(expected.adapters)]) {
            assert.equal(sha256(files.get(path)), wanted.sha256, path);
            const validated = await look('validate', path);
            assert.deepEqual([validated.exit_code, validated.findings], [0, []], path);
            const { result } = await look('inspect', path);
            assert.equal(result.internal_checksum, `xxh3-64:${wanted.checksum}`, path);
            if (wanted.kind) {
                assert.deepEqual([result.format, result.entries.length], [wanted.kind, wanted.entry_count], path);
            } else {
                assert.equal(result.state, `xxh3-64:${wanted.state0}`, path);
                assert.deepEqual(result.identity, {
                    model_flags: wanted.flags, tensor_count: wanted.tensor_count,
                    parameter_count: wanted.parameter_count,
                    tensor_layout_checksum: `xxh3-64:${wanted.tensor_layout_checksum}`,
                    tokenizer_checksum: `xxh3-64:${wanted.tokenizer_checksum}` }, path);
            }
        }
    });

    test(`${build}: ${expected.applies.length} stacks, each to the byte`, async () => {
        for (const each of expected.applies) {
            const name = JSON.stringify([each.model, each.stack, each.rounding]);
            if (each.zero_effect) {
                const refused = await apply(each);
                assert.deepEqual([refused.digest, refused.report.exit_code, codes(refused.report)],
                                 [null, 6, ['zero_effect']], name);
            }
            const { digest, report } = await apply(each, { allowNoEffect: each.zero_effect });
            assert.equal(digest, each.output_sha256, name);
            assert.deepEqual([report.exit_code, report.result.state], [0, `xxh3-64:${each.state}`], name);
        }
    });

    test(`${build}: ${expected.incompatible.length} stacks that do not fit`, async () => {
        for (const each of expected.incompatible) {
            const { digest, report } = await apply(each);
            assert.equal(digest, null);
            assert.ok(codes(report).includes(each.code), `${JSON.stringify(each)}: ${codes(report)}`);
            assert.equal(report.exit_code, 4);
        }
    });

    test(`${build}: ${Object.keys(expected.invalid).length} files that are invalid`, async () => {
        for (const [path, wanted] of Object.entries(expected.invalid)) {
            const report = await look('validate', path);
            assert.ok(codes(report).includes(wanted.code), `${path}: ${codes(report)}, not ${wanted.code}`);
            assert.equal(report.exit_code, wanted.exit, path);
        }
    });
}
