// The whale bundle as a map of files, changed by the tests and sealed again: every document that
// names a changed file then states its new size and digest, as somebody who means harm would do.

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, posix, relative } from 'node:path';

export const registry = 'selector.registry.json';
export const plan = 'whale.module-plan.json';
export const model = 'models/union.q8_0.slm';
export const modelManifest = 'models/whale.manifest.json';
export const assembly = 'assembly.receipt.json';
export const family = 'adapters/family.receipt.json';
export const ledger = 'evidence/ledger.jsonl';
export const evidence = ['ledger.jsonl', ...['review', 'recipe', 'operator', 'candidate', 'promotion',
    'runtime', 'eval', 'admission', 'eval_cases'].map((kind) => `${kind}.json`)]
    .map((name) => `evidence/${name}`);
export const manifests = ['lora', 'top5', 'full'].map((name) => `adapters/whale-${name}.manifest.json`);
export const packages = ['adapters/whale-lora.alr1', 'adapters/whale-top5.asp1', 'adapters/whale-full.adp1'];

/** Which files each gate opens: docs/receipts.md, "The twelve gates". */
export const filesOf = {
    'registry': [registry], 'module-plan': [plan], 'model-bytes': [model],
    'model-manifest': [modelManifest], 'assembly-receipt': [assembly], 'evidence': evidence,
    'adapter-family': [family], 'adapter-manifests': manifests, 'adapter-artifacts': packages,
    'validate': [], 'apply': [], 'diagnostics': [],
};

/** Which gates each one needs, as the table in docs/receipts.md says for a bundle with a family. */
export function readNeeds(receipts) {
    const rows = [...receipts.matchAll(/^\| (\d+) \| `([a-z-]+)` \|([^|]*)\|/gm)];
    const names = rows.map(([, , name]) => name);
    return new Map(rows.map(([, , name, needs]) => [name,
        (needs.split(';')[0].match(/\d+/g) ?? []).map((number) => names[Number(number) - 1])]));
}

/** What becomes of every gate when these fail. */
export function statusesWhen(failed, needs) {
    const statuses = new Map();
    for (const [gate, needed] of needs) {
        const open = needed.every((each) => statuses.get(each) === 'passed');
        statuses.set(gate, !open ? 'blocked' : failed.includes(gate) ? 'failed' : 'passed');
    }
    return statuses;
}

export function sha256(bytes) {
    return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export class Bundle {
    constructor(files) {
        this.files = files;
    }

    static read(folder) {
        const files = new Map();
        const visit = (at) => {
            for (const name of readdirSync(at)) {
                const path = join(at, name);
                if (statSync(path).isDirectory()) visit(path);
                else files.set(relative(folder, path), readFileSync(path));
            }
        };
        visit(folder);
        return new Bundle(files);
    }

    copy() {
        return new Bundle(new Map(this.files));
    }

    write(folder) {
        for (const [path, content] of this.files) {
            mkdirSync(dirname(join(folder, path)), { recursive: true });
            writeFileSync(join(folder, path), content);
        }
    }

    remove(path) {
        this.files.delete(path);
        return this;
    }

    put(path, content) {
        this.files.set(path, Buffer.from(content));
        return this;
    }

    flipBit(path, offset) {
        const content = Buffer.from(this.files.get(path));
        content[offset] ^= 1;
        return this.put(path, content);
    }

    document(path) {
        return JSON.parse(this.files.get(path).toString());
    }

    edit(path, change) {
        const document = this.document(path);
        change(document);
        return this.put(path, `${JSON.stringify(document, null, 2)}\n`);
    }

    /** States anew, from the packages up to the registry, the size and digest of every file. */
    seal() {
        this.edit('evidence/eval.json', (document) => {
            document.eval_cases = sha256(this.files.get('evidence/eval_cases.json'));
        });
        for (const path of [...manifests, family, modelManifest, assembly, plan, registry]) {
            const folder = posix.dirname(path);
            this.edit(path, (document) => {
                this.restate(document, folder);
                if (path === plan) {
                    document.budgets.total_bytes = document.modules.reduce((sum, each) => sum + each.bytes, 0);
                }
            });
        }
        return this;
    }

    restate(value, folder) {
        if (value === null || typeof value !== 'object') return;
        const content = typeof value.path === 'string'
            ? this.files.get(posix.join(folder, value.path)) : undefined;
        if (content) Object.assign(value, { bytes: content.length, digest: sha256(content) });
        for (const each of Object.values(value)) this.restate(each, folder);
    }
}
