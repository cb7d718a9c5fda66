// How the page looks: kept as pictures, for people; what can be measured, measured.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { model, packages } from './bundle.mjs';
import { faults } from './server.mjs';
import { stage, Visit, whale } from './visit.mjs';

const { browser, server } = await stage();

const looks = {
    'light': { colorScheme: 'light' },
    'dark': { colorScheme: 'dark' },
    'phone-light': { colorScheme: 'light', viewport: { width: 390, height: 844 } },
    'phone-dark': { colorScheme: 'dark', viewport: { width: 390, height: 844 } },
    'narrow': { colorScheme: 'light', viewport: { width: 320, height: 640 } },
    'tablet': { colorScheme: 'dark', viewport: { width: 768, height: 1024 } },
    'failed-light': { colorScheme: 'light', change: (bundle) => bundle.flipBit(model, 7000) },
    'failed-dark': { colorScheme: 'dark', change: (bundle) => bundle.flipBit(packages[0], 7000) },
    'failed-phone': { colorScheme: 'light', viewport: { width: 390, height: 844 },
                      change: (bundle) => bundle.remove('assembly.receipt.json') },
};

/** In the page: texts whose contrast with what is behind them is below 4.5, as WCAG 2 has it. */
function faintTexts() {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map((value, i) => (i === 3 ? value / 255 : value));
    };
    const over = (top, below) => below.map((value, i) => top[3] * top[i] + (1 - top[3]) * value);
    const luminance = (color) => color.map((value) => value / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        const layers = [];
        for (let each = element; each; each = each.parentElement) {
            // Of a node of the picture it is the box that lies behind its name.
            const box = each.matches('g.node') ? each.querySelector('rect') : null;
            layers.push(rgba(box ? getComputedStyle(box).fill : getComputedStyle(each).backgroundColor));
        }
        return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || !element.checkVisibility({ visibilityProperty: true }) || element.closest(':disabled, title')) continue;
        const style = getComputedStyle(element);
        const ground = behind(element);
        const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), ground);
        const [low, high] = [luminance(ink), luminance(ground)].sort((a, b) => a - b);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < 4.5) faint.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
    }
    return faint;
}

/** In the page: what can be worked and has no name to be called by. */
function nameless() {
    return [...document.querySelectorAll('button, a[href], input, summary, [role=button], [tabindex="0"]')]
        .filter((element) => element.checkVisibility())
        .filter((element) => !(element.getAttribute('aria-label') || element.textContent.trim() ||
                               element.labels?.length || element.title || element.id === 'report-text'))
        .map((element) => element.outerHTML);
}

for (const [name, { change, ...options }] of Object.entries(looks)) {
    test(name, async () => {
        server.serve((change?.(whale.copy()) ?? whale).files);
        const visit = await Visit.begin(browser, server, { ...options, reducedMotion: 'reduce' });
        await visit.load('?bundle=bundle/');
        await visit.done();
        const { page } = visit;
        await page.locator('.gates summary').nth(change ? 0 : 2).click();
        await page.locator('#chain-graph g[role=button]').nth(3).focus();
        await page.keyboard.press('Enter');
        if (!change) await visit.write();
        await visit.picture(name);
        assert.deepEqual(await page.evaluate(faintTexts), []);
        assert.deepEqual(await page.evaluate(nameless), []);
        const { inner, needed } = await page.evaluate(() =>
            ({ inner: innerWidth, needed: document.documentElement.scrollWidth }));
        assert.ok(needed <= inner, `nothing is cut off: ${needed} of ${inner} wide`);
        const names = await page.locator('#chain-graph text').evaluateAll((texts) => texts.map((text) =>
            text.getScreenCTM().a * parseFloat(getComputedStyle(text).fontSize)));
        assert.ok(Math.min(...names) >= 10.5, `names of ${Math.min(...names)} px are too small`);
        assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).scrollBehavior), 'auto');
        await visit.end();
    });
}

test('midway', async () => {
    server.serve(whale.files, { [packages[2]]: faults.slow(40, 60) });
    const visit = await Visit.begin(browser, server, { colorScheme: 'dark', reducedMotion: 'reduce' });
    await visit.load('?bundle=bundle/');
    await visit.page.waitForFunction(() => Number(/([\d,]+) of/.exec(document.querySelector(
        '[data-gate=adapter-artifacts] .gate-amount').textContent)?.[1].replaceAll(',', '')) > 1_500_000);
    await visit.picture('midway');
    await visit.done();
    await visit.end();
});

test('the themes can be chosen', async () => {
    server.serve(whale.files);
    const visit = await Visit.begin(browser, server, { colorScheme: 'light' });
    await visit.load();
    await visit.picture('start');
    const paper = () => visit.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await paper();
    await visit.page.click('#theme');
    assert.equal(await paper(), light);
    await visit.page.click('#theme');
    assert.notEqual(await paper(), light);
    assert.equal(await visit.page.locator('#theme').innerText(), 'Theme: dark');
    await visit.end();
});

test('by the keyboard alone', async () => {
    server.serve(whale.files);
    const visit = await Visit.begin(browser, server);
    await visit.load();
    const { page } = visit;
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    await page.locator('#address').focus();
    await page.keyboard.press('Control+A');
    await page.keyboard.type('bundle/');
    await page.keyboard.press('Enter');
    await visit.done();
    await page.locator('.gates summary').first().focus();
    await page.keyboard.press('Enter');
    assert.ok(await page.locator('[data-gate=registry] .gate-files').isVisible());
    await visit.end();
});
