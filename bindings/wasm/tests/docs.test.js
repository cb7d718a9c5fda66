// What the documents show runs: each block of JavaScript, with what its text speaks of at hand.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { adapt, data, root, serve, takeBundle } from './support.js';

const documents = ['docs/browser.md', 'bindings/wasm/package/README.md'];
const AsyncFunction = (async () => {}).constructor;

for (const document of documents) {
  const text = readFileSync(path.join(root, document), 'utf8');
  const blocks = [...text.matchAll(/^```js\n(.*?)^```$/gms)].map((match) => match[1]);
  test(`${document} has examples`, () => assert.ok(blocks.length > 0));
  for (const [i, block] of blocks.entries()) {
    test(`${document}, example ${i + 1}`, async () => {
      const bundle = takeBundle();
      const server = await serve(bundle);
      const registry = readFileSync(path.join(bundle, 'selector.registry.json'));
      const said = [];
      const given = {
        url: server.url,
        registryDigest: 'sha256:' + createHash('sha256').update(registry).digest('hex'),
        model: readFileSync(path.join(data, 'union.q8_0.slm')),
        adapter: readFileSync(path.join(data, 'whale-lora.alr1')),
        console: { log: (...words) => said.push(words) },
      };
      const imported = /^import (\{[^}]*\}) from 'trlm-adapt-wasm';$/m;
      assert.match(block, imported);
      const body = block.replace(imported, (_, names) => `const ${names} = adapt;`);
      // What the block declares itself may have the name of something given.
      const run = new AsyncFunction('adapt', ...Object.keys(given), `{ ${body} }`);
      await run(adapt, ...Object.values(given));
      assert.ok(said.length > 0);
      assert.ok(!said.flat().includes('failed'), JSON.stringify(said));
      assert.ok(!said.flat().includes(false), JSON.stringify(said));
      server.close();
    });
  }
}
