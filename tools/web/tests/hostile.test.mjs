// Documents that hold scripts where they should hold names. The page shows them as text; were one of
// them to run, it would be noted here, and by the visit.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { plan, registry } from './bundle.mjs';
import { stage, Visit, whale } from './visit.mjs';

const scripts = [
    '<script>window.harmed = 1</script>',
    '<img src=x onerror="window.harmed = 2">',
    '"><svg onload=window.harmed=3>',
    'javascript:window.harmed=4',
    '<iframe srcdoc="<script>parent.harmed=5</script>"></iframe>',
    '{{constructor.constructor("window.harmed=6")()}}',
    '<style>*{display:none}</style>',
    '\u202egnp.exe',
];

const { browser, server } = await stage();

/** Opens what the bundle has become, and looks for anything that came alive. */
async function visited(bundle, look) {
    server.serve(bundle.files);
    const visit = await Visit.begin(browser, server);
    await visit.open();
    await look(visit);
    assert.equal(await visit.page.evaluate(() => window.harmed), undefined);
    // The page's own elements and no others.
    assert.equal(await visit.page.locator('img, iframe, object, embed, style, body script, svg script').count(), 0);
    assert.equal(await visit.page.locator('[onload], [onerror], [onclick], a[href^="javascript"]').count(), 0);
    await visit.end();
}

for (const script of scripts) {
    test(`a key called ${script}`, async () => {
        const bundle = whale.copy().edit(registry, (document) => { document[script] = script; });
        await visited(bundle, async (visit) => {
            const [finding] = await visit.findings();
            assert.equal(finding.code, 'unknown_key');
            const pointer = `/${script.replaceAll('~', '~0').replaceAll('/', '~1')}`;
            const shown = await visit.page.locator('#findings-list').evaluate((list) => list.textContent);
            assert.ok(shown.includes(pointer), `${pointer} is shown as it is in ${shown}`);
            assert.equal(JSON.parse(await visit.report()).findings[0].pointer, pointer);
            assert.deepEqual(server.asked, [registry]);
        });
    });
}

test('names, ids and paths that are scripts', async () => {
    const bundle = whale.copy().edit(registry, (document) => {
        document.registry_id = scripts[0];
        document.default_entry = scripts[1];
        document.entries[0].id = scripts[2];
        document.entries[0].model.path = scripts[1];
        document.entries[0].strategy = scripts[0];
    });
    await visited(bundle, async (visit) => {
        const codes = (await visit.findings()).map((finding) => finding.code);
        assert.ok(codes.includes('path_escape') && codes.includes('bad_value'), codes.join());
        assert.deepEqual(server.asked, [registry]);
        await visit.picture('evil-registry');
    });
});

test('a whole bundle whose ids are scripts', async () => {
    const bundle = whale.copy().edit(plan, (document) => { document.plan_id = scripts[1]; });
    bundle.edit('evidence/review.json', (document) => { document.body = { says: scripts }; }).seal();
    bundle.edit(registry, (document) => { document.registry_id = scripts[0]; });
    await visited(bundle, async (visit) => {
        assert.deepEqual(await visit.findings(), []);
        await visit.page.locator('#chain-graph [data-key="evidence/review.json"]').click();
        const contents = visit.page.locator('#inspector pre');
        assert.equal(await contents.evaluate((pre) => pre.textContent),
                     bundle.files.get('evidence/review.json').toString());
    });
});
