// A browser, and a visit to the page in it. Whatever the page should never do is noted, and fails
// the test at the end of the visit.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';

import { Bundle, readNeeds } from './bundle.mjs';
import { Server } from './server.mjs';

export const setting = (name) => {
    const value = process.env[name];
    if (!value) throw new Error(`${name} is not set: run tools/web/check`);
    return value;
};

export const site = setting('WEB_SITE');
export const cli = setting('TRLM_ADAPT');
export const pictures = setting('WEB_PICTURES');
export const repository = setting('REPOSITORY');
export const whale = Bundle.read(setting('WHALE'));
/** What a server should send with every answer; a worker follows these, not the page's own policy. */
const headers = JSON.parse(readFileSync(new URL('../headers.json', import.meta.url), 'utf8'));
export const needs = readNeeds(readFileSync(join(repository, 'docs/receipts.md'), 'utf8'));

function launch() {
    return chromium.launch({
        executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
        // No sandbox: it needs rights that root in a container does not have. The rest keeps the
        // browser from asking the network for things of its own.
        args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
               '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    });
}

/** A browser and a server of what lies in `folder`. They end with the tests of the file that asks. */
export async function stage(folder = site, sent = headers) {
    const [browser, server] = await Promise.all([launch(), Server.start(folder, sent)]);
    after(async () => {
        await browser.close();
        await server.stop();
    });
    return { browser, server };
}

/** What the command line tool says of these files, or of a folder. */
export function verifiedByTool(bundle, ...options) {
    const folder = mkdtempSync(join(tmpdir(), 'trlm-web-'));
    try {
        bundle.write(folder);
        const run = spawnSync(cli, ['verify', folder, '--json', ...options], { encoding: 'utf8' });
        return run.stdout;
    } finally {
        rmSync(folder, { recursive: true });
    }
}

export function tool(...command) {
    return execFileSync(cli, command, { encoding: 'utf8', maxBuffer: 1 << 26 });
}

/** Milliseconds: nothing waits that long but on a machine that has much else to do. */
const patience = 180_000;

export class Visit {
    static async begin(browser, server, options = {}) {
        const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
        context.setDefaultTimeout(patience);
        return new Visit(context, await context.newPage(), server);
    }

    constructor(context, page, server) {
        this.context = context;
        this.page = page;
        this.server = server;
        this.problems = [];
        this.strangers = [];
        page.on('pageerror', (error) => this.problems.push(error.message));
        page.on('dialog', (dialog) => {
            this.problems.push(`dialog ${dialog.message()}`);
            void dialog.dismiss();
        });
        page.on('console', (message) => {
            // The browser itself logs answers such as 404, which the page handles.
            const expected = message.text().startsWith('Failed to load resource');
            if (message.type() === 'error' && !expected) this.problems.push(message.text());
        });
        context.on('request', (request) => {
            const url = new URL(request.url());
            if (url.origin !== server.origin && url.protocol !== 'blob:') this.strangers.push(request.url());
        });
    }

    async load(query = '') {
        await this.page.goto(`${this.server.origin}/${query}`);
    }

    /** Opens the bundle that the server has, by the form, and waits until all is judged. */
    async open({ digest, timeout } = {}) {
        await this.load();
        await this.page.fill('#address', 'bundle/');
        await this.page.locator('.opener summary').click();
        if (digest) await this.page.fill('#registry-digest', digest);
        if (timeout) await this.page.fill('#timeout', String(timeout));
        await this.page.click('#open');
        await this.done();
    }

    async done() {
        await this.page.waitForSelector('body[data-run=done]');
    }

    /** Lets the models write, and waits until they have. */
    async write() {
        await this.page.click('#write');
        await this.page.waitForFunction(() => document.getElementById('write').ariaDisabled !== 'true');
    }

    /** Drags a file or folder of this machine over the page and lets it fall; `over` looks in between. */
    async drop(path, over = async () => {}) {
        const session = await this.context.newCDPSession(this.page);
        const { x, y } = await this.page.locator('#opener').boundingBox();
        const drag = (type) => session.send('Input.dispatchDragEvent', {
            type, x: x + 10, y: y + 10, data: { items: [], files: [path], dragOperationsMask: 1 } });
        await drag('dragEnter');
        await drag('dragOver');
        await over();
        await drag('drop');
        await session.detach();
    }

    /** Gate by gate, as it is shown. */
    async statuses() {
        return new Map(await this.page.locator('#gates-list > li').evaluateAll((rows) =>
            rows.map((row) => [row.dataset.gate, row.dataset.status])));
    }

    /** Codes, severities and files of the findings that are shown. */
    async findings() {
        return this.page.locator('#findings-list > li').evaluateAll((cards) => cards.map((card) => ({
            code: card.dataset.code,
            severity: card.querySelector('.badge').textContent,
            file: card.querySelector('.finding-head .path')?.textContent ?? null,
            message: card.querySelector('.finding-message').textContent,
        })));
    }

    /** What is said to be loaded. */
    async parts() {
        return Object.fromEntries(await this.page.locator('#parts > li').evaluateAll((items) =>
            items.map((item) => [item.dataset.part, item.dataset.state])));
    }

    /** The exported file. */
    async report() {
        const [download] = await Promise.all([this.page.waitForEvent('download'),
                                              this.page.click('#report-save')]);
        return readFileSync(await download.path(), 'utf8');
    }

    async picture(name) {
        await this.page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
    }

    async end() {
        await this.context.close();
        assert.deepEqual(this.problems, [], 'errors of the page');
        assert.deepEqual(this.strangers, [], 'requests to other origins');
    }
}
