// The report as a file, equal to what the command line tool prints.

import type { Report } from 'trlm-adapt-wasm';

import { part } from '../dom.ts';

export class ReportView {
    private readonly section = part('report', HTMLElement);
    private readonly save = part('report-save', HTMLAnchorElement);
    private readonly button = part('report-show', HTMLButtonElement);
    private readonly text = part('report-text', HTMLElement);

    constructor() {
        this.button.addEventListener('click', () => this.open(this.text.hidden !== false));
    }

    clear(): void {
        if (this.save.href) URL.revokeObjectURL(this.save.href);
        this.save.removeAttribute('href');
        this.section.hidden = true;
        this.open(false);
    }

    show(report: Report): void {
        // One line, as the tool prints it.
        const file = new Blob([`${JSON.stringify(report)}\n`], { type: 'application/json' });
        this.save.href = URL.createObjectURL(file);
        this.text.textContent = JSON.stringify(report, null, 2);
        this.section.hidden = false;
    }

    private open(shown: boolean): void {
        this.text.hidden = !shown;
        this.button.setAttribute('aria-expanded', String(shown));
        this.button.textContent = shown ? 'Hide' : 'Show';
    }
}
