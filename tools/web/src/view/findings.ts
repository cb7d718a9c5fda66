// Findings, each with what it means, what usually causes it and what to do. All of their text is
// shown as text: documents may hold anything.

import type { Finding } from 'trlm-adapt-wasm';
import explanations from 'virtual:explanations';

import { element, part } from '../dom.ts';
import { count } from '../format.ts';
import type { Run } from '../run.ts';
import type { Choose } from './gates.ts';

/** Parts of a finding that have a place of their own. */
const placed = new Set(['code', 'class', 'severity', 'message', 'file']);

export class FindingsView {
    private readonly section = part('findings', HTMLElement);
    private readonly heading = part('findings-heading', HTMLElement);
    private readonly list = part('findings-list', HTMLElement);
    private shown = '';

    constructor(private readonly choose: Choose) {}

    show(run: Run): void {
        const findings = run.findings;
        this.section.hidden = findings.length === 0;
        const state = JSON.stringify(findings);
        if (state === this.shown) return;
        this.shown = state;
        const warnings = findings.filter((finding) => finding.severity === 'warning').length;
        this.heading.textContent = [count(findings.length - warnings, 'error', 'errors'),
            ...(warnings > 0 ? [count(warnings, 'warning', 'warnings')] : [])].join(', ');
        this.list.replaceChildren(...findings.map((finding) => this.card(finding, run)));
    }

    private card(finding: Finding, run: Run): HTMLLIElement {
        const about = explanations[finding.code];
        const facts = Object.entries(finding).filter(([name]) => !placed.has(name));
        return element('li', { class: `finding ${finding.severity}`, 'data-code': finding.code },
            element('p', { class: 'finding-head' },
                element('code', { class: 'code' }, finding.code),
                element('span', { class: 'badge' }, finding.severity),
                about ? element('span', { class: 'muted' }, `${about.class}, exit code ${about.exitCode}`)
                      : null,
                finding.file ? this.place(finding.file, run) : null),
            element('p', { class: 'finding-message' }, finding.message),
            facts.length === 0 ? null : element('dl', {}, ...facts.flatMap(([name, value]) => [
                element('dt', {}, name),
                element('dd', {}, element('code', {}, typeof value === 'string' ? value
                                                                               : JSON.stringify(value)))])),
            about ? element('dl', { class: 'explanation' },
                element('dt', {}, 'Means'), element('dd', {}, about.meaning),
                element('dt', {}, 'Usual cause'), element('dd', {}, about.cause),
                element('dt', {}, 'What to do'), element('dd', {}, about.remedy)) : null);
    }

    private place(path: string, run: Run): HTMLElement {
        if (!run.files.has(path)) return element('span', { class: 'path' }, path);
        const opener = element('button', { type: 'button', class: 'path' }, path);
        opener.addEventListener('click', () => this.choose(path));
        return opener;
    }
}
