// One file: what was asked for, what came, and its digest.

import { element, part, type Child } from '../dom.ts';
import { bytesText, duration } from '../format.ts';
import { gates } from '../gates.ts';
import type { FileRecord, Run } from '../run.ts';
import { statusOf } from './graph.ts';
import { statusIcon, words } from './status.ts';

/** Bytes that the core holds of a file; null when it holds none. */
export type Contents = (path: string) => Promise<Uint8Array | null>;

const mostText = 65536;
const mostHexLines = 16;

export class InspectorView {
    private readonly panel = part('inspector', HTMLElement);
    private path: string | null = null;
    private shown = '';

    constructor(private readonly contents: Contents) {
        this.clear();
    }

    clear(): void {
        this.path = null;
        this.shown = '';
        this.panel.replaceChildren(element('p', { class: 'muted' }, 'No file is chosen.'));
    }

    choose(path: string, run: Run): void {
        this.path = path;
        this.show(run);
    }

    show(run: Run): void {
        const file = this.path === null ? undefined : run.files.get(this.path);
        if (!file) return;
        const status = statusOf(run, file.path, file.gate);
        const state = JSON.stringify([file, status]);
        if (state === this.shown) return;
        this.shown = state;
        const gate = gates.findIndex((each) => each.name === file.gate);
        const findings = run.findings.filter((finding) => finding.file === file.path);
        const body = element('div', { class: 'contents' });
        this.panel.replaceChildren(
            element('h3', {}, statusIcon(status), element('span', { class: 'path' }, file.path)),
            element('dl', {},
                ...entry('Gate', `${gate + 1}, ${gates[gate]?.title}: ${words[run.gate(file.gate).status]}`),
                ...entry('Stated', file.planned === null ? `by nobody; at most ${bytesText(file.most)} are taken`
                                                         : bytesText(file.planned)),
                ...entry('Taken', bytesText(file.received) +
                    (file.milliseconds === null ? '' : ` in ${duration(file.milliseconds)}`)),
                ...entry('SHA-256', file.sha256 === null ? 'none: it did not arrive whole'
                                                         : element('code', { class: 'digest' }, file.sha256)),
                ...(file.refused === null ? [] : entry('Refused', file.refused))),
            ...findings.map((finding) => element('p', { class: finding.severity },
                                                 element('code', {}, finding.code), ` ${finding.message}`)),
            body);
        if (file.sha256 !== null) void this.fill(body, file);
    }

    private async fill(body: HTMLElement, file: FileRecord): Promise<void> {
        const bytes = await this.contents(file.path).catch(() => null);
        if (bytes === null) return;
        const text = readable(bytes);
        body.replaceChildren(element('pre', { tabindex: 0, 'aria-label': `Contents of ${file.path}` },
                                     text ?? hexadecimal(bytes)));
    }
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
