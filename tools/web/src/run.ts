// What is known of the bundle that is open: the events of the core, added up. No part of the page
// knows more than this, and nothing here is parsed from a document.

import type { AssemblyEvent, Budget, Finding, GateStatus, Report } from 'trlm-adapt-wasm';

import { gates } from './gates.ts';
import type { Shown } from './view/status.ts';

export interface FileRecord {
    readonly path: string;
    readonly gate: string;
    /** The size that a document states; null for the registry, which nothing names. */
    readonly planned: number | null;
    /** More bytes than this are not taken. */
    readonly most: number;
    /** What it counts against; null for the registry, which has the budgets. */
    readonly budget: Budget | null;
    received: number;
    milliseconds: number | null;
    sha256: string | null;
    refused: string | null;
}

export interface GateRecord {
    readonly name: string;
    status: GateStatus;
    milliseconds: number | null;
    findings: Finding[];
    readonly files: FileRecord[];
}

export class Run {
    readonly gates: readonly GateRecord[] = gates.map(({ name }) => ({
        name, status: 'pending', milliseconds: null, findings: [], files: [],
    }));
    readonly files = new Map<string, FileRecord>();
    report: Report | null = null;
    /** Why it ended before every gate was judged: what the core held is gone. */
    stopped: string | null = null;

    constructor(readonly source: string) {}

    gate(name: string): GateRecord {
        const found = this.gates.find((gate) => gate.name === name);
        if (!found) throw new Error(`no gate is called ${name}`);
        return found;
    }

    /** In the order in which they were met; the report has those that belong to no gate, too. */
    get findings(): readonly Finding[] {
        return this.report?.findings ?? this.gates.flatMap((gate) => gate.findings);
    }

    get statuses(): ReadonlyMap<string, GateStatus> {
        return new Map(this.gates.map((gate) => [gate.name, gate.status]));
    }

    /** The gate that is being judged: they come in their order. */
    get current(): GateRecord | null {
        return this.report ? null : (this.gates.find((gate) => gate.status === 'pending') ?? null);
    }

    /** A gate's status, and what it means for one that is not judged. */
    shown(gate: GateRecord): Shown {
        if (gate.status !== 'pending') return gate.status;
        if (this.stopped !== null) return 'unjudged';
        return gate === this.current ? 'running' : 'pending';
    }

    add(event: AssemblyEvent): void {
        switch (event.kind) {
            case 'request': {
                const file = { path: event.path, gate: event.gate, planned: event.bytes,
                               most: event.mostBytes, budget: event.budget, received: 0,
                               milliseconds: null, sha256: null, refused: null };
                this.files.set(event.path, file);
                this.gate(event.gate).files.push(file);
                break;
            }
            case 'progress':
                this.file(event.path).received = event.received;
                break;
            case 'file': {
                const file = this.file(event.path);
                file.received = event.bytes;
                file.sha256 = event.sha256;
                file.milliseconds = event.milliseconds;
                break;
            }
            case 'refused':
                this.file(event.path).refused = event.reason;
                break;
            case 'gate': {
                const gate = this.gate(event.gate);
                gate.status = event.status;
                gate.findings = event.findings;
                gate.milliseconds = event.milliseconds;
                break;
            }
            case 'done':
                if (this.stopped === null) this.report = event.report;
                break;
        }
    }

    private file(path: string): FileRecord {
        const found = this.files.get(path);
        if (!found) throw new Error(`${path} was not asked for`);
        return found;
    }
}
