import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

import { explanations } from './explanations.ts';
import headers from './headers.json' with { type: 'json' };

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const package_ = process.env['TRLM_ADAPT_WASM'] ?? at('../../build/wasm/package/index.js');
const engine = process.env['ENGINE_WASM'] ?? at('../../build/wasm/engine.wasm');

/** The policy also stands in the page itself, for servers that cannot set headers. */
function policyInPage(): Plugin {
    // Only a header can forbid that the page is framed.
    const content = headers['Content-Security-Policy'].replace(/frame-ancestors [^;]*; /, '');
    return {
        name: 'policy-in-page',
        apply: 'build',
        transformIndexHtml: () => [{
            tag: 'meta', injectTo: 'head-prepend',
            attrs: { 'http-equiv': 'Content-Security-Policy', content },
        }],
    };
}

export default defineConfig({
    root: at('.'),
    // A path at which nothing lies is 404, not the page again.
    appType: 'mpa',
    // The page may lie in any folder of a site.
    base: './',
    plugins: [explanations(new URL('../../docs/findings.md', import.meta.url)), policyInPage()],
    resolve: { alias: { 'trlm-adapt-wasm': package_, 'engine.wasm?url': `${engine}?url` } },
    build: {
        outDir: at('../../build/web'),
        emptyOutDir: true,
        // Nothing as a data: address, which the policy forbids.
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        target: 'es2022',
    },
    worker: { format: 'es' },
    preview: { host: '127.0.0.1', headers },
});
