// The verdict at a glance: how many gates have passed, and what may be relied on.

import { element, part } from '../dom.ts';
import { count } from '../format.ts';
import { gates, parts, stateOf, type PartState } from '../gates.ts';
import type { Run } from '../run.ts';
import { statusIcon, type Shown } from './status.ts';

const stateWords: Record<PartState, string> = {
    'waiting': 'waiting for its gates',
    'loaded': 'loaded',
    'not-loaded': 'not loaded',
    'none': 'none in this bundle',
};

const stateIcons: Record<PartState, Shown> = {
    'waiting': 'pending', 'loaded': 'passed', 'not-loaded': 'blocked', 'none': 'not-applicable',
};

export class VerdictView {
    private readonly section = part('verdict', HTMLElement);
    private readonly heading = part('verdict-heading', HTMLElement);
    private readonly detail = part('verdict-detail', HTMLElement);
    private readonly segments = part('segments', HTMLElement);
    private readonly parts = part('parts', HTMLElement);
    private readonly live = part('live', HTMLElement);

    show(run: Run): void {
        const { stopped } = run;
        this.section.hidden = false;
        const tally = this.tally(run);
        const failed = run.gates.filter((gate) => gate.status === 'failed');
        const over = run.report !== null || stopped !== null;
        const good = run.report !== null && run.report.exit_code === 0;
        const verdict = stopped !== null ? 'stopped' : !over ? 'running' : good ? 'passed' : 'failed';
        this.section.dataset['verdict'] = verdict;
        this.heading.textContent = {
            running: `Checking ${run.source}`,
            stopped: 'Stopped before every gate was judged',
            passed: 'This bundle holds together',
            failed: failed.length > 0 ? 'This bundle is refused' : 'This bundle has errors',
        }[verdict];
        this.detail.textContent = stopped ?? (over ? `${tally}; ${this.ending(run)}` : tally);
        this.segments.replaceChildren(...run.gates.map((gate) => element('span', {
            class: run.shown(gate) })));
        this.parts.replaceChildren(...parts.map((each) => {
            const state = stateOf(each, run);
            return element('li', { 'data-part': each.title, 'data-state': state },
                statusIcon(stateIcons[state]),
                element('span', {}, element('strong', {}, each.title), ' ',
                        element('span', { class: 'muted' }, stateWords[state])));
        }));
        if (over) this.announce(`${this.heading.textContent}. ${this.detail.textContent}`);
    }

    /** What somebody who does not see the page is told. */
    announce(text: string): void {
        if (this.live.textContent !== text) this.live.textContent = text;
    }

    private tally(run: Run): string {
        const number = (status: string): number =>
            run.gates.filter((gate) => gate.status === status).length;
        const others = (['failed', 'blocked', 'not-applicable'] as const)
            .filter((status) => number(status) > 0)
            .map((status) => `, ${number(status)} ${status.replace('-', ' ')}`);
        return `${number('passed')} of ${gates.length} gates passed${others.join('')}`;
    }

    private ending(run: Run): string {
        const files = [...run.files.values()];
        const bytes = files.reduce((sum, file) => sum + file.received, 0);
        return `${count(files.length, 'file', 'files')} asked for, ` +
            `${count(bytes, 'byte', 'bytes')} taken`;
    }
}
