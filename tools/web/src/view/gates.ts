// The gates, one row each: what was fetched, how many bytes against how many, how long it took.

import { element, part } from '../dom.ts';
import { bytesText, count, duration, fileName, grouped } from '../format.ts';
import { gates, type Gate } from '../gates.ts';
import type { FileRecord, GateRecord, Run } from '../run.ts';
import { statusIcon, words, type Shown } from './status.ts';

export type Choose = (path: string) => void;

class Row {
    readonly item: HTMLLIElement;
    private readonly icon = element('span', { class: 'gate-icon' });
    private readonly word = element('span', { class: 'gate-word' });
    private readonly amount = element('span');
    private readonly budget = element('span', { class: 'gate-budget' });
    private readonly time = element('span', { class: 'gate-time muted' });
    private readonly meter = element('div', { class: 'meter', hidden: true }, element('i'));
    private readonly files = element('ul', { class: 'gate-files' });
    private readonly details: HTMLDetailsElement;
    private record: GateRecord | null = null;
    private readonly lines = new Map<string, FileLine>();
    private notes: readonly HTMLElement[] = [];
    private shown = '';

    constructor(private readonly gate: Gate, number: number, private readonly choose: Choose) {
        this.details = element('details', {},
            element('summary', {}, this.icon,
                    element('span', { class: 'gate-title' },
                            element('span', { class: 'gate-number' }, String(number)),
                            element('strong', {}, gate.title),
                            element('span', { class: 'gate-question muted' }, gate.question)),
                    element('span', { class: 'gate-amount muted' }, this.amount, this.budget),
                    this.time, this.word),
            this.files);
        this.item = element('li', { 'data-gate': gate.name }, this.details, this.meter);
    }

    show(run: Run, record: GateRecord): void {
        const status = run.shown(record);
        if (this.item.dataset['status'] !== status) {
            this.item.dataset['status'] = status;
            this.icon.replaceChildren(statusIcon(status, 22));
            this.word.textContent = words[status];
        }
        const received = record.files.reduce((sum, file) => sum + file.received, 0);
        // A file whose size nobody states counts with the most that is taken.
        const allowed = record.files.reduce((sum, file) => sum + (file.planned ?? file.most), 0);
        this.amount.textContent = record.files.length === 0
            ? (status === 'blocked' ? 'asked for nothing' : '')
            : `${count(record.files.length, 'file', 'files')}, ${grouped(received)} of ` +
              `${record.files.some((file) => file.planned === null) ? 'at most ' : ''}` +
              bytesText(allowed);
        const budget = record.files[0]?.budget;
        const each = budget?.name === 'text_sidecar_bytes' && record.files.length > 1 ? ' each' : '';
        this.budget.textContent = budget ? `budget ${grouped(budget.bytes)} (${budget.name})${each}` : '';
        const idle = record.milliseconds === null || status === 'blocked' || status === 'not-applicable';
        this.time.textContent = idle ? '' : duration(record.milliseconds ?? 0);
        this.meter.hidden = record.files.length === 0;
        const share = allowed > 0 ? Math.min(1, received / allowed) : 0;
        (this.meter.firstElementChild as HTMLElement).style.setProperty('--share', String(share));
        this.showFiles(run, record);
    }

    /** Lines stay where they are while their file comes: one of them may have the focus. */
    private showFiles(run: Run, record: GateRecord): void {
        const state = JSON.stringify([record.files, record.findings.length, run.shown(record)]);
        if (record === this.record && state === this.shown) return;
        this.shown = state;
        if (record !== this.record) {
            this.record = record;
            this.lines.clear();
            this.files.replaceChildren();
        }
        this.notes.forEach((note) => note.remove());
        for (const file of record.files) {
            const line = this.lines.get(file.path) ?? new FileLine(file, this.choose);
            if (!this.lines.has(file.path)) this.files.append(line.item);
            this.lines.set(file.path, line);
            line.show(file);
        }
        this.notes = this.notesOn(run, record);
        this.files.append(...this.notes);
    }

    private notesOn(run: Run, record: GateRecord): HTMLElement[] {
        const findings = record.findings.map((finding) =>
            element('li', { class: finding.severity }, `${finding.code}: ${finding.message}`));
        if (record.files.length > 0) return findings;
        const why: Partial<Record<Shown, string>> = {
            'blocked': `Nothing was asked for: ${this.gate.needs.join(' and ')} did not pass.`,
            'not-applicable': 'This bundle has no adapter family.',
            'unjudged': 'Nothing was asked for: the bundle was closed before.',
        };
        return [element('li', { class: 'muted' }, why[run.shown(record)] ?? 'Needs no file of its own.'),
                ...findings];
    }
}

/** A file of a gate: what was asked for, what came. */
class FileLine {
    readonly item: HTMLLIElement;
    private readonly amount = element('span', { class: 'muted' });
    private readonly refusal = element('span', { class: 'error', hidden: true });

    constructor(file: FileRecord, choose: Choose) {
        const opener = element('button', { type: 'button', class: 'path' }, file.path);
        opener.addEventListener('click', () => choose(file.path));
        this.item = element('li', {}, opener, this.amount, this.refusal);
    }

    show(file: FileRecord): void {
        const budget = file.planned !== null ? `of ${bytesText(file.planned)}`
                                             : `of at most ${bytesText(file.most)}`;
        this.amount.textContent = `${grouped(file.received)} ${budget}` +
            (file.milliseconds === null ? '' : `, ${duration(file.milliseconds)}`);
        this.refusal.hidden = file.refused === null;
        this.refusal.textContent = file.refused;
    }
}

export class GatesView {
    private readonly section = part('gates', HTMLElement);
    private readonly list = part('gates-list', HTMLElement);
    private readonly rows: readonly Row[];

    constructor(choose: Choose) {
        this.rows = gates.map((gate, i) => new Row(gate, i + 1, choose));
        this.list.replaceChildren(...this.rows.map((row) => row.item));
    }

    show(run: Run): void {
        this.section.hidden = false;
        run.gates.forEach((gate, i) => this.rows[i]?.show(run, gate));
    }

    /** For the live region: the gate that was judged last. */
    static sentence(record: GateRecord): string {
        const number = gates.findIndex((gate) => gate.name === record.name);
        const title = gates[number]?.title ?? record.name;
        const asked = record.files.map((file) => fileName(file.path)).join(', ');
        return `Gate ${number + 1}, ${title}, ${words[record.status]}` +
            (record.findings.length > 0 && asked ? `: ${asked}` : '');
    }
}
