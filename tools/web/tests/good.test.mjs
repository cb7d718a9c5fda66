// The whale bundle, from its registry to the text that the adapted model writes.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { filesOf, model, packages, plan, registry, sha256, statusesWhen } from './bundle.mjs';
import { needs, repository, stage, tool, verifiedByTool, Visit, whale } from './visit.mjs';

/** Its tests run the native engine and compare. */
const engineReadme = readFileSync(join(repository, 'examples/engine/README.md'), 'utf8');

const { browser, server } = await stage();
server.serve(whale.files);
const visit = await Visit.begin(browser, server);
await visit.open({ digest: sha256(whale.files.get(registry)) });

test('twelve of twelve', async () => {
    assert.deepEqual(await visit.statuses(), statusesWhen([], needs));
    assert.deepEqual(await visit.parts(), { 'Base model': 'loaded', 'Assembly evidence': 'loaded',
                                            'Adapters': 'loaded', 'Adapted model': 'loaded' });
    assert.match(await visit.page.locator('#verdict-detail').innerText(), /^12 of 12 gates passed; 22 files/);
    assert.match(await visit.page.locator('#live').innerText(), /holds together/);
});

test('each file is asked for once, in the order of the gates', () => {
    const gates = Object.keys(filesOf);
    const gateOf = (path) => gates.findIndex((gate) => filesOf[gate].includes(path));
    assert.equal(server.asked.length, 22);
    assert.equal(new Set(server.asked).size, 22);
    const order = server.asked.map(gateOf);
    assert.deepEqual(order, order.toSorted((a, b) => a - b));
});

test('the exported report is what the tool prints, to the byte', async () => {
    assert.equal(await visit.report(), verifiedByTool(whale));
});

test('bytes are shown against what was planned', async () => {
    const row = visit.page.locator('[data-gate=model-bytes]');
    assert.match(await row.innerText(), /947,648 of 947,648 bytes/);
    const budgets = whale.document(registry).budgets;
    const all = await visit.page.locator('#gates-list').evaluate((list) => list.textContent);
    for (const name of ['model_bytes', 'text_sidecar_bytes', 'adapter_stack_bytes']) {
        assert.ok(all.includes(`${budgets[name].toLocaleString('en-US')} (${name})`), `${name} is shown`);
    }
});

test('every file of the chain opens to its digest and contents', async () => {
    const nodes = visit.page.locator('#chain-graph g[role=button]');
    assert.equal(await nodes.count(), 22);
    for (const [path, content] of whale.files) {
        await visit.page.locator(`#chain-graph [data-key="${path}"]`).click();
        const inspector = visit.page.locator('#inspector');
        await inspector.locator('pre').waitFor();
        assert.equal(await inspector.locator('.digest').innerText(), sha256(content));
        assert.equal(await inspector.locator('h3').innerText(), path);
        if (path.endsWith('.json')) {
            assert.equal(await inspector.locator('pre').evaluate((pre) => pre.textContent), content.toString());
        }
    }
    assert.equal(server.asked.length, 22, 'looking asks for nothing');
});

test('the chain is worked with the keyboard', async () => {
    const { page } = visit;
    await page.locator('#chain-graph [data-key="selector.registry.json"]').focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('#inspector h3').innerText(), plan);
    assert.equal(await page.evaluate(() => document.activeElement.dataset.key), plan);
    await page.keyboard.press('End');
    await page.keyboard.press(' ');
    assert.equal(await page.locator('#inspector h3').innerText(), packages[2]);
});

test('the heat map has the figures of the survival report', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'trlm-web-'));
    whale.write(folder);
    const applied = JSON.parse(tool('apply', join(folder, model), join(folder, 'adapters'), '--dry-run', '--json'));
    const inspected = JSON.parse(tool('inspect', join(folder, model), '--json'));
    rmSync(folder, { recursive: true });
    const { page } = visit;
    await page.getByRole('button', { name: 'Weights changed' }).click();
    const titles = await page.locator('#tensors .heat-cell button').evaluateAll((cells) =>
        cells.map((cell) => cell.title));
    assert.equal(titles.length, inspected.result.tensors.length);
    for (const tensor of inspected.result.tensors) {
        const row = applied.result.tensors.find((each) => each.name === tensor.name);
        const text = row ? `${(100 * row.changed / row.elements).toFixed(1)} %` : 'untouched';
        assert.ok(titles.includes(`${tensor.name}: ${text}`), `${tensor.name}: ${text}`);
    }
    await page.getByRole('button', { name: 'Size of the change' }).click();
    await page.locator('#tensors .heat-cell button').nth(2).focus();
    assert.match(await page.locator('.heat-detail').innerText(), /^layers\.0\.wk\.weight, q8_0, 128 × 128: 16,377 of 16,384/);
    // One stop for the Tab key, arrows from there.
    assert.equal(await page.locator('#tensors .heat-cell button[tabindex="0"]').count(), 1);
    const at = async (key) => {
        await page.keyboard.press(key);
        return /^\S+(?=,)/.exec(await page.locator('.heat-detail').innerText())[0];
    };
    assert.equal(await at('ArrowRight'), 'layers.0.wv.weight');
    assert.equal(await at('ArrowDown'), 'layers.1.wv.weight');
    assert.equal(await at('ArrowLeft'), 'layers.1.wk.weight');
    assert.equal(await at('ArrowUp'), 'layers.0.wk.weight');
    assert.equal(await at('Home'), 'layers.0.attn_norm.weight');
    await page.locator('#tensors .heat-cell button').nth(12).click();
    await page.keyboard.press('ArrowRight');
    const stops = page.locator('#tensors .heat-cell button[tabindex="0"]');
    assert.equal(await stops.count(), 1);
    assert.ok(await stops.evaluate((stop) => stop === document.activeElement));
});

test('the models write, each its own text, the same each time', async () => {
    const { page } = visit;
    const write = async () => {
        await visit.write();
        return page.locator('.written').allInnerTexts();
    };
    await page.fill('#prompt', 'The people ');
    await page.fill('#tokens', '80');
    const [base, adapted] = await write();
    assert.ok(engineReadme.includes(`--seed 7\n${base}\n`), `the native engine's text, not: ${base}`);
    for (const text of [base, adapted]) {
        assert.ok(text.startsWith('The people ') && text.length > 60, text);
        assert.match(text, /^[\x20-\x7e\n]+$/);
    }
    assert.notEqual(base, adapted);
    assert.deepEqual(await write(), [base, adapted]);
});

/** The bundle as a folder of this machine, for the time of a test. */
function folderOfWhale(context) {
    const folder = mkdtempSync(join(tmpdir(), 'trlm-web-'));
    context.after(() => rmSync(folder, { recursive: true }));
    whale.write(folder);
    return folder;
}

async function passesWithoutRequests() {
    await visit.done();
    assert.equal(await visit.report(), verifiedByTool(whale));
    assert.deepEqual(await visit.statuses(), statusesWhen([], needs));
    assert.deepEqual(server.asked, []);
}

test('a folder that is chosen: no request at all, and the same report', async (context) => {
    await visit.load();
    server.serve(new Map());
    await visit.page.setInputFiles('#folder', folderOfWhale(context));
    await passesWithoutRequests();
});

test('a folder that is dropped: no request at all, and the same report', async (context) => {
    await visit.load();
    server.serve(new Map());
    await visit.drop(folderOfWhale(context), async () => {
        assert.ok(await visit.page.locator('body.dropping').isVisible());
    });
    assert.equal(await visit.page.locator('body.dropping').count(), 0);
    await passesWithoutRequests();
});

test('a folder with a file that nothing leads to: found, as by the tool', async (context) => {
    const folder = folderOfWhale(context);
    writeFileSync(join(folder, 'left over'), 'x');
    await visit.load();
    server.serve(new Map());
    await visit.page.setInputFiles('#folder', folder);
    await visit.done();
    assert.deepEqual((await visit.findings()).map(({ code, file }) => [code, file]), [['unlisted_file', 'left over']]);
    assert.equal(await visit.report(), tool('verify', folder, '--json'));
    assert.deepEqual(await visit.statuses(), statusesWhen([], needs));
});

test('a bundle without adapters: there is nothing to compare', async (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'trlm-web-'));
    context.after(() => rmSync(folder, { recursive: true }));
    const data = join(repository, 'examples/data');
    const { adapters, stacks, ...recipe } = JSON.parse(readFileSync(join(data, 'whale.recipe.json'), 'utf8'));
    writeFileSync(join(folder, 'recipe.json'), JSON.stringify({ ...recipe, model: join(data, recipe.model) }));
    const bundle = join(folder, 'bundle');
    tool('bundle', 'create', join(folder, 'recipe.json'), '-o', bundle);
    await visit.load();
    await visit.page.setInputFiles('#folder', bundle);
    await visit.done();
    assert.equal(await visit.report(), tool('verify', bundle, '--json'));
    assert.equal((await visit.parts())['Adapters'], 'none');
    assert.equal(await visit.page.locator('#text-heading').innerText(), 'What the model writes');
    assert.equal(await visit.page.locator('.writer').count(), 1);
    assert.match(await visit.page.locator('#tensors').innerText(), /^The model's tensors\s+No adapter is applied: all 39/);
    assert.equal(await visit.page.locator('#tensors button').count(), 0);
    await visit.picture('no-adapters');
});

test('a file that is dropped is no bundle', async (context) => {
    await visit.load();
    server.serve(new Map());
    await visit.drop(join(folderOfWhale(context), model));
    await visit.page.getByText('That is no folder').waitFor();
    assert.deepEqual(server.asked, []);
});

test('in all of this the page made no mistake and asked nobody else', () => visit.end());
