// One file: what was asked for, what came, and its digest.

import { element, part, type Child } from '../dom.ts';
import { bytesText, duration } from '../format.ts';
import { gates } from '../gates.ts';
import type { FileRecord, Run } from '../run.ts';
import { statusOf } from './graph.ts';
import { statusIcon, words, type Shown } from './status.ts';

/** Bytes that the core holds of a file; null when it holds none. */
export type Contents = (path: string) => Promise<Uint8Array | null>;

const mostText = 65536;
const mostHexLines = 16;

export class InspectorView {
    private readonly panel = part('inspector', HTMLElement);
    private readonly card = element('div', { class: 'card-of-file' });
    private readonly body = element('div', { class: 'contents' });
    // What somebody who does not see the page is told: not all that changes while a file comes.
    private readonly told = element('p', { class: 'visually-hidden', role: 'status' });
    private path: string | null = null;
    private shown = '';
    private filled = '';

    constructor(private readonly contents: Contents) {
        this.panel.replaceChildren(this.told, this.card, this.body);
        this.clear();
    }

    clear(): void {
        this.path = null;
        this.shown = '';
        this.filled = '';
        this.told.textContent = '';
        this.card.replaceChildren(element('p', { class: 'muted' }, 'No file is chosen.'));
        this.body.replaceChildren();
    }

    choose(path: string, run: Run): void {
        this.path = path;
        this.show(run);
    }

    show(run: Run): void {
        const file = this.path === null ? undefined : run.files.get(this.path);
        if (!file) return;
        const status = statusOf(run, file.path, file.gate);
        const gate = run.shown(run.gate(file.gate));
        const state = JSON.stringify([file, status, gate]);
        if (state === this.shown) return;
        this.shown = state;
        const sentence = `${file.path}: ${words[status]}`;
        if (this.told.textContent !== sentence) this.told.textContent = sentence;
        this.card.replaceChildren(...this.facts(run, file, status));
        void this.fill(run, file, status);
    }

    private facts(run: Run, file: FileRecord, status: Shown): HTMLElement[] {
        const gate = gates.findIndex((each) => each.name === file.gate);
        const findings = run.findings.filter((finding) => finding.file === file.path);
        const isComing = status === 'running';
        return [
            element('h3', {}, statusIcon(status), element('span', { class: 'path' }, file.path)),
            element('dl', {},
                ...entry('Gate', `${gate + 1}, ${gates[gate]?.title}: ${words[run.shown(run.gate(file.gate))]}`),
                ...entry('Stated', file.planned === null ? `by nobody; at most ${bytesText(file.most)} are taken`
                                                         : bytesText(file.planned)),
                ...entry('Taken', bytesText(file.received) +
                    (file.milliseconds === null ? '' : ` in ${duration(file.milliseconds)}`)),
                ...entry('SHA-256', file.sha256 !== null ? element('code', { class: 'digest' }, file.sha256)
                                    : isComing ? 'not yet' : 'none: it did not arrive whole'),
                ...(file.refused === null ? [] : entry('Refused', file.refused))),
            ...findings.map((finding) => element('p', { class: finding.severity },
                                                 element('code', {}, finding.code), ` ${finding.message}`)),
        ];
    }

    /** The contents, once for each state of the file: somebody may be reading them. */
    private async fill(run: Run, file: FileRecord, status: Shown): Promise<void> {
        const state = JSON.stringify([file.path, file.sha256, status]);
        if (state === this.filled) return;
        this.filled = state;
        const bytes = run.stopped !== null || file.sha256 === null ? null
            : await this.contents(file.path).catch(() => null);
        if (state !== this.filled) return;
        this.body.replaceChildren(bytes === null
            ? element('p', { class: 'muted' }, whyNoContents(run, status))
            : element('pre', { tabindex: 0, 'aria-label': `Contents of ${file.path}` },
                      readable(bytes) ?? hexadecimal(bytes)));
    }
}

function whyNoContents(run: Run, status: Shown): string {
    if (run.stopped !== null) return 'The contents are gone: the bundle was closed.';
    if (status === 'pending' || status === 'running') return 'The contents are shown when the gate has been judged.';
    return 'The contents are not shown: these are not the bytes that were named.';
}

function entry(name: string, value: Child): HTMLElement[] {
    return [element('dt', {}, name), element('dd', {}, value)];
}

/** Text as it is; null for bytes that are none. */
function readable(bytes: Uint8Array): string | null {
    try {
        const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
        if (text.includes('\0')) return null;
        return text.length <= mostText ? text : `${text.slice(0, mostText)}\n...`;
    } catch {
        return null;
    }
}

function hexadecimal(bytes: Uint8Array): string {
    const lines: string[] = [];
    for (let at = 0; at < bytes.length && lines.length < mostHexLines; at += 8) {
        const row = [...bytes.subarray(at, at + 8)];
        const codes = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
        const signs = row.map((byte) => byte > 32 && byte < 127 ? String.fromCharCode(byte) : '.');
        lines.push(`${at.toString(16).padStart(2, '0')}  ${codes.padEnd(23)}  ${signs.join('')}`);
    }
    if (bytes.length > 8 * mostHexLines) lines.push('...');
    return lines.join('\n');
}
