// Whatever can go wrong between a server and the page. Each case says which gate fails and with
// which finding, by the rules of docs/receipts.md; from that and the gates' prerequisites follows
// what the server may have been asked for, to the file.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';

import { assembly, evidence, family, filesOf, ledger, manifests, model, modelManifest, packages, plan, registry,
         sha256, statusesWhen } from './bundle.mjs';
import { faults, Server } from './server.mjs';
import { needs, site, stage, verifiedByTool, Visit, whale } from './visit.mjs';

const { browser, server } = await stage();
const elsewhere = await Server.start(site);
after(() => elsewhere.stop());

const withOneMoreByte = (path) => (bundle) =>
    bundle.put(path, Buffer.concat([bundle.files.get(path), Buffer.from(' ')]));

/** A file that the plan lists and no document names; the registry states the plan as it is now. */
function grownPlan(bundle) {
    bundle.put('extra.json', '{}');
    bundle.edit(plan, (document) => document.modules.push({
        ...document.modules.find((each) => each.role === 'evidence-review'),
        id: 'extra', path: 'extra.json' }));
    return bundle.seal();
}

/** The good bundle, but that registry and plan have a file more now. */
function laterFiles() {
    const grown = grownPlan(whale.copy());
    const later = whale.copy();
    for (const path of [registry, plan, 'extra.json']) later.put(path, grown.files.get(path));
    return later.files;
}

/**
 * change: what lies on the server differs from a good bundle. faults: how the server answers.
 * failed: gate -> the finding and its file (and perhaps its pointer). onDisk: the same bytes are a
 * bundle on disk, of which the command line tool says the same. taken: at most so many bytes.
 */
const cases = {
    'one bit of the model': {
        change: (bundle) => bundle.flipBit(model, 500_000), onDisk: true,
        failed: { 'model-bytes': ['digest_mismatch', model] },
    },
    'a model that lacks a byte': {
        change: (bundle) => bundle.put(model, bundle.files.get(model).subarray(1)), onDisk: true,
        failed: { 'model-bytes': ['size_mismatch', model] }, taken: { [model]: 0 },
    },
    'a model with a byte too many': {
        change: withOneMoreByte(model), onDisk: true,
        failed: { 'model-bytes': ['size_mismatch', model] }, taken: { [model]: 0 },
    },
    'no model': {
        change: (bundle) => bundle.remove(model), onDisk: true,
        failed: { 'model-bytes': ['file_missing', model] },
    },
    'no registry': {
        change: (bundle) => bundle.remove(registry), onDisk: true,
        failed: { registry: ['file_missing', registry] },
    },
    'a registry that is no JSON': {
        change: (bundle) => bundle.put(registry, '{"schema": '), onDisk: true,
        failed: { registry: ['bad_json', registry] },
    },
    'an entry that is not admitted': {
        change: (bundle) => bundle.edit(registry, (document) => { document.entries[0].admission = 'pending'; }),
        onDisk: true, failed: { registry: ['not_admitted', registry, '/entries/0/admission'] },
    },
    'another registry than the one that was pinned': {
        digest: sha256('another'), failed: { registry: ['digest_mismatch', registry] }, onDisk: true,
    },
    'a plan with one bit changed': {
        change: (bundle) => bundle.flipBit(plan, 20), onDisk: true,
        failed: { 'module-plan': ['digest_mismatch', plan] },
    },
    'a plan that has grown since the registry named it': {
        change: withOneMoreByte(plan), onDisk: true,
        failed: { 'module-plan': ['size_mismatch', plan] }, taken: { [plan]: 0 },
    },
    'a plan past the budget': {
        change: (bundle) => bundle.edit(plan, (document) => { document.budgets.model_bytes = 947_647; }).seal(),
        onDisk: true, failed: { 'module-plan': ['budget_exceeded', plan] },
    },
    'a plan whose budget is above the registry\'s': {
        change: (bundle) => bundle.edit(plan, (document) => { document.budgets.fetch_count = 33; }).seal(),
        onDisk: true, failed: { 'module-plan': ['budget_exceeded', plan] },
    },
    'a plan that names a file outside the bundle': {
        change: (bundle) => bundle.edit(plan, (document) => { document.modules[0].path = '../secret.json'; }).seal(),
        onDisk: true, failed: { 'module-plan': ['path_escape', plan, '/modules/0/path'] },
    },
    'a plan with a file that nobody names': {
        change: grownPlan, onDisk: true,
        failed: { 'adapter-manifests': ['unused_module', plan] },
    },
    'no model manifest': {
        change: (bundle) => bundle.remove(modelManifest), onDisk: true,
        failed: { 'model-manifest': ['file_missing', modelManifest] },
    },
    'a model manifest that says something else': {
        change: (bundle) => bundle.edit(modelManifest, (document) => { document.parameter_count += 1; }).seal(),
        onDisk: true, failed: { 'model-manifest': ['value_drift', modelManifest, '/parameter_count'] },
    },
    'one bit of the assembly receipt': {
        change: (bundle) => bundle.flipBit(assembly, 100), onDisk: true,
        failed: { 'assembly-receipt': ['digest_mismatch', assembly] },
    },
    'a piece of evidence that is not there': {
        change: (bundle) => bundle.remove('evidence/review.json'), onDisk: true,
        failed: { evidence: ['file_missing', 'evidence/review.json'] },
    },
    'an evaluation that failed': {
        change: (bundle) => bundle.edit('evidence/eval.json', (document) => { document.failures = 1; }).seal(),
        onDisk: true, failed: { evidence: ['eval_failed', 'evidence/eval.json', '/failures'] },
    },
    'a ledger without its second line': {
        change: (bundle) => bundle.put(ledger, bundle.files.get(ledger).toString().split('\n')
            .filter((_, i) => i !== 1).join('\n')).seal(),
        onDisk: true, failed: { evidence: ['ledger_broken', ledger] }, loose: true,
    },
    'one bit of the family receipt': {
        change: (bundle) => bundle.flipBit(family, 100), onDisk: true,
        failed: { 'adapter-family': ['digest_mismatch', family] },
    },
    'an adapter manifest with a byte too many': {
        change: withOneMoreByte(manifests[1]), onDisk: true,
        failed: { 'adapter-manifests': ['size_mismatch', manifests[1]] }, taken: { [manifests[1]]: 0 },
    },
    'one bit of an adapter': {
        change: (bundle) => bundle.flipBit(packages[0], 100_000), onDisk: true,
        failed: { 'adapter-artifacts': ['digest_mismatch', packages[0]] },
    },
    'a model and an adapter that are both wrong': {
        change: (bundle) => bundle.flipBit(model, 7000).flipBit(packages[2], 7000), onDisk: true,
        failed: { 'model-bytes': ['digest_mismatch', model],
                  'adapter-artifacts': ['digest_mismatch', packages[2]] },
    },
    'a server with an error of its own': {
        faults: { [model]: faults.status(500) },
        failed: { 'model-bytes': ['file_unreadable', model] },
    },
    'a redirect to another path': {
        change: (bundle) => bundle.put('moved.slm', bundle.files.get(model)),
        faults: { [model]: faults.redirect('/bundle/moved.slm') },
        failed: { 'model-bytes': ['file_unreadable', model] },
    },
    'a redirect to another origin': {
        faults: { [assembly]: faults.redirect(() => `${elsewhere.origin}/bundle/${assembly}`) },
        failed: { 'assembly-receipt': ['file_unreadable', assembly] },
    },
    'a connection that is cut': {
        faults: { [model]: faults.cut(0.5) },
        failed: { 'model-bytes': ['file_unreadable', model] }, taken: { [model]: 473_824 },
    },
    'a server that does not answer': {
        faults: { [model]: faults.silent() }, timeout: 3,
        failed: { 'model-bytes': ['file_unreadable', model] }, taken: { [model]: 0 },
    },
    'a server that stops in the middle': {
        faults: { [packages[1]]: faults.stall(0.5) }, timeout: 3,
        failed: { 'adapter-artifacts': ['file_unreadable', packages[1]] },
    },
    'a server that sends more than was planned': {
        faults: { [model]: faults.endless() },
        failed: { 'model-bytes': ['size_mismatch', model] }, taken: { [model]: 947_648 }, cutOff: model,
    },
    'a registry that never ends': {
        change: (bundle) => bundle.put(registry, Buffer.concat([bundle.files.get(registry), Buffer.alloc(60_000, 32)])),
        faults: { [registry]: faults.endless() },
        failed: { registry: ['limit_exceeded', registry] }, taken: { [registry]: 1_048_576 }, cutOff: registry,
    },
};

/** Servers that are odd but hand out the right bytes: every gate passes. */
const harmless = {
    'a slow server': { faults: { [model]: faults.slow(20, 40) } },
    'a wrong MIME type': { faults: { [registry]: faults.type('text/html'), [model]: faults.type('image/png'),
                                     [plan]: faults.type('text/javascript') } },
    'no stated sizes': { faults: { [registry]: faults.chunked(), [model]: faults.chunked() } },
    'files compressed on the way': { faults: { [plan]: faults.encoded('gzip', gzipSync),
                                               [model]: faults.encoded('deflate', deflateSync) } },
    'a plan that grows after it was verified': {
        faults: { [plan]: faults.then(laterFiles()) },
    },
};

function allowed(statuses) {
    return [...statuses].filter(([, status]) => status !== 'blocked').flatMap(([gate]) => filesOf[gate]);
}

for (const [name, each] of Object.entries(cases)) {
    test(name, async () => {
        const bundle = each.change?.(whale.copy()) ?? whale.copy();
        server.serve(bundle.files, each.faults);
        elsewhere.serve(bundle.files);
        const visit = await Visit.begin(browser, server);
        await visit.open(each);

        const expected = statusesWhen(Object.keys(each.failed), needs);
        assert.deepEqual(await visit.statuses(), expected);
        const shown = await visit.findings();
        for (const [code, file] of Object.values(each.failed)) {
            assert.ok(shown.some((finding) => finding.code === code && finding.file === file),
                      `${code} of ${file} is not among ${JSON.stringify(shown)}`);
        }
        if (!each.loose) assert.equal(shown.length, Object.keys(each.failed).length, JSON.stringify(shown));

        // The server's own word: the files of the gates that were open, once each, and no others.
        assert.deepEqual([...server.asked].sort(), allowed(expected).sort());
        assert.deepEqual(elsewhere.asked, []);

        const evidenceHolds = ['registry', 'module-plan', 'model-bytes', 'model-manifest', 'assembly-receipt',
                               'evidence', 'adapter-family'].every((gate) => expected.get(gate) === 'passed');
        const parts = await visit.parts();
        assert.equal(parts['Assembly evidence'], evidenceHolds ? 'loaded' : 'not-loaded');
        assert.equal(parts['Adapted model'], 'not-loaded');
        assert.equal(await visit.page.locator('#text, #tensors').filter({ visible: true }).count(), 0);

        const report = JSON.parse(await visit.report());
        for (const [code, file, pointer] of Object.values(each.failed)) {
            const found = report.findings.find((finding) => finding.code === code && finding.file === file);
            if (pointer) assert.equal(found.pointer, pointer);
        }
        if (each.onDisk) {
            const options = each.digest ? ['--registry-digest', each.digest] : [];
            const byTool = JSON.parse(verifiedByTool(bundle, ...options));
            // A server cannot list its files, a folder can.
            byTool.findings = byTool.findings.filter((finding) => finding.code !== 'unlisted_file');
            assert.deepEqual(report, byTool);
        }
        for (const [path, bytes] of Object.entries(each.taken ?? {})) {
            await visit.page.evaluate((wanted) => [...document.querySelectorAll('#chain-graph [data-key]')]
                .find((node) => node.dataset.key === wanted).dispatchEvent(new MouseEvent('click')), path);
            const text = await visit.page.locator('#inspector').innerText();
            const taken = Number(/Taken\s+([\d,]+)/.exec(text)[1].replaceAll(',', ''));
            assert.ok(taken <= bytes, `${taken} bytes of ${path} were taken`);
        }
        if (each.cutOff) {
            const entry = server.entry(each.cutOff);
            assert.ok(entry.cut, 'the page ended the transfer');
            assert.ok(entry.sent < 64 << 20, `the server could send ${entry.sent} bytes`);
        }
        if (name === 'one bit of the model') await visit.picture('failed');
        await visit.end();
    });
}

for (const [name, each] of Object.entries(harmless)) {
    test(name, async () => {
        server.serve(whale.copy().files, each.faults);
        const visit = await Visit.begin(browser, server);
        await visit.open(each);
        assert.deepEqual(await visit.statuses(), statusesWhen([], needs));
        assert.deepEqual([...server.asked].sort(), Object.values(filesOf).flat().sort());
        assert.deepEqual(JSON.parse(await visit.report()), JSON.parse(verifiedByTool(whale)));
        await visit.end();
    });
}

test('stopped on the way: nothing more is asked for', async () => {
    server.serve(whale.copy().files, { [evidence[3]]: faults.silent() });
    const visit = await Visit.begin(browser, server);
    await visit.load('?bundle=bundle/');
    await visit.page.waitForFunction((path) => document.querySelector(`#gates-list`).textContent.includes(path),
                                     evidence[3]);
    assert.equal((await visit.parts())['Assembly evidence'], 'waiting');
    await visit.page.click('#stop');
    await visit.done();
    assert.match(await visit.page.locator('#verdict').innerText(), /Stopped/);
    const asked = server.asked.length;
    await visit.page.waitForTimeout(300);
    assert.equal(server.asked.length, asked);
    assert.ok(server.entry(evidence[3]).cut);
    assert.ok(!server.asked.includes(family));
    // What the core held is gone with it, and no gate will be judged any more.
    assert.deepEqual(new Set(Object.values(await visit.parts())), new Set(['not-loaded']));
    const words = await visit.page.locator('.gate-word').allInnerTexts();
    assert.deepEqual(words, [...Array(5).fill('passed'), ...Array(7).fill('not judged')]);
    assert.equal(await visit.page.locator('.running').count(), 0);
    await visit.page.locator(`#chain-graph [data-key="${registry}"]`).click();
    assert.match(await visit.page.locator('#inspector').innerText(), /contents are gone/);
    await visit.end();
});

test('another bundle, opened the moment the first was judged', async () => {
    server.serve(whale.files);
    const visit = await Visit.begin(browser, server);
    await visit.load();
    await visit.page.fill('#address', 'bundle/');
    await visit.page.evaluate(() => {
        const verdict = document.getElementById('verdict');
        const observer = new MutationObserver(() => {
            if (verdict.dataset.verdict !== 'passed') return;
            observer.disconnect();
            document.getElementById('open-form').requestSubmit();
        });
        observer.observe(verdict, { attributes: true });
    });
    await visit.page.click('#open');
    while (server.asked.length < 44) await new Promise((resolve) => setTimeout(resolve, 20));
    await visit.done();
    assert.ok(await visit.page.locator('#open-error').isHidden());
    assert.deepEqual(await visit.statuses(), statusesWhen([], needs));
    await visit.end();
});

test('while a file comes: it is told so, and nothing loses the focus', async () => {
    server.serve(whale.files, { [packages[2]]: faults.slow(40, 60) });
    const visit = await Visit.begin(browser, server);
    await visit.load();
    const { page } = visit;
    await page.fill('#address', 'bundle/');
    await page.locator('#open').focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'stop');
    const line = page.locator('[data-gate=adapter-artifacts] .gate-files li', { hasText: packages[2] });
    await line.waitFor({ state: 'attached' });
    await page.locator('[data-gate=adapter-artifacts] summary').click();
    await line.locator('button').click();
    const received = async () => Number(/^([\d,]+)/.exec(await line.locator('.muted').innerText())[1].replaceAll(',', ''));
    const before = await received();
    assert.match(await page.locator('#inspector').innerText(), /working[^]*SHA-256\s+not yet/);
    assert.equal(await page.locator('#inspector [role=status]').innerText(), `${packages[2]}: working`);
    while (await received() === before) await page.waitForTimeout(20);
    assert.equal(await page.evaluate(() => document.activeElement.textContent), packages[2]);
    await visit.done();
    assert.match(await page.locator('#inspector').innerText(), /passed[^]*SHA-256\s+sha256:/);
    await visit.end();
});

test('an address that is none, and one that is not opened', async () => {
    server.serve(whale.files);
    const visit = await Visit.begin(browser, server);
    const refused = {
        'http://': /is no address/, 'http://[': /is no address/,
        'javascript:alert(1)': /begin with javascript:/, 'data:text/plain,x': /begin with data:/,
        'file:///etc/': /begin with file:/, 'about:blank': /begin with about:/,
    };
    for (const [address, why] of Object.entries(refused)) {
        await visit.open();
        assert.equal(server.asked.length, 22);
        await visit.page.fill('#address', address);
        await visit.page.click('#open');
        assert.match(await visit.page.locator('#open-error').innerText(), why);
        // What was open is not what was asked for.
        assert.ok(await visit.page.locator('#verdict').isHidden());
        assert.equal(await visit.page.locator('#report').filter({ visible: true }).count(), 0);
        assert.equal(server.asked.length, 22);
        server.serve(whale.files);
    }
    await visit.load(`?bundle=${encodeURIComponent('http://')}`);
    assert.match(await visit.page.locator('#open-error').innerText(), /is no address/);
    assert.deepEqual(server.asked, []);
    await visit.end();
});

test('options that are not understood: no bundle is judged', async () => {
    server.serve(whale.files);
    const visit = await Visit.begin(browser, server);
    await visit.load();
    const { page } = visit;
    await page.fill('#address', 'bundle/');
    await page.locator('.opener summary').click();
    await page.fill('#registry-digest', 'garbage');
    await page.locator('.opener summary').click();
    await page.click('#open');
    await page.getByText('registryDigest garbage: expected sha256:').waitFor();
    assert.ok(await page.locator('#registry-digest').isVisible());
    assert.ok(await page.locator('#verdict').isHidden());
    await page.fill('#registry-digest', '');
    // A number that is out of range is seen where it stands; none at all is the usual one.
    await page.fill('#timeout', '0');
    await page.locator('.opener summary').click();
    await page.click('#open');
    assert.ok(await page.locator('#timeout').isVisible());
    assert.equal(await page.evaluate(() => document.activeElement.id), 'timeout');
    assert.deepEqual(server.asked, []);
    await page.fill('#timeout', '');
    await page.click('#open');
    await visit.done();
    assert.deepEqual(await visit.statuses(), statusesWhen([], needs));
    await visit.end();
});

test('another site is not asked', async () => {
    server.serve(whale.files);
    elsewhere.serve(whale.files);
    const visit = await Visit.begin(browser, server);
    await visit.load();
    await visit.page.fill('#address', `${elsewhere.origin}/bundle/`);
    await visit.page.click('#open');
    assert.match(await visit.page.locator('#open-error').innerText(), /another site/);
    assert.deepEqual(elsewhere.log, []);
    await visit.end();
});
