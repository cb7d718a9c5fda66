// The twelve gates as docs/receipts.md has them: their order, and which of them each one needs.

import type { Run } from './run.ts';

export interface Gate {
    readonly name: string;
    readonly title: string;
    readonly question: string;
    readonly needs: readonly string[];
}

export const gates: readonly Gate[] = [
    { name: 'registry', title: 'Registry', needs: [],
      question: 'Which models are there, and what may they cost?' },
    { name: 'module-plan', title: 'Module plan', needs: ['registry'],
      question: 'Which files will be asked for, of what size and digest?' },
    { name: 'model-bytes', title: 'Model', needs: ['module-plan'],
      question: 'Are these the bytes that were meant?' },
    { name: 'model-manifest', title: 'Model manifest', needs: ['model-bytes'],
      question: 'Is the model what its manifest says?' },
    { name: 'assembly-receipt', title: 'Assembly receipt', needs: ['module-plan'],
      question: 'Does it bind this model and all of its evidence?' },
    { name: 'evidence', title: 'Evidence', needs: ['assembly-receipt'],
      question: 'Is each piece about this model, and does the ledger hold?' },
    { name: 'adapter-family', title: 'Adapter family', needs: ['module-plan'],
      question: 'Which adapters belong to this model, in which stack?' },
    { name: 'adapter-manifests', title: 'Adapter manifests', needs: ['adapter-family'],
      question: 'Were the adapters made for this model?' },
    { name: 'adapter-artifacts', title: 'Adapter packages', needs: ['adapter-manifests'],
      question: 'Is each package valid, and what its manifest says?' },
    { name: 'validate', title: 'Validation', needs: ['model-manifest', 'adapter-artifacts'],
      question: 'Does every package fit, and is every sum finite?' },
    { name: 'apply', title: 'Application', needs: ['validate'],
      question: 'Can the preferred stack be applied, and does it change anything?' },
    { name: 'diagnostics', title: 'Diagnostics', needs: ['apply'],
      question: 'Is the result the one that was recorded?' },
];

/** The named gates and all that they need, directly or not. */
export function closure(names: readonly string[]): Set<string> {
    const found = new Set<string>();
    const visit = (name: string): void => {
        if (found.has(name)) return;
        found.add(name);
        gates.find((gate) => gate.name === name)?.needs.forEach(visit);
    };
    names.forEach(visit);
    return found;
}

export type PartState = 'waiting' | 'loaded' | 'not-loaded' | 'none';

/** What a person may rely on, and the gates that have to pass first; without its first gate it is not there. */
export interface Part {
    readonly title: string;
    readonly gates: readonly string[];
}

export const parts: readonly Part[] = [
    { title: 'Base model', gates: ['model-manifest'] },
    // The receipt binds the model's manifest and the family beside the evidence itself.
    { title: 'Assembly evidence', gates: ['evidence', 'model-manifest', 'adapter-family'] },
    { title: 'Adapters', gates: ['adapter-artifacts'] },
    { title: 'Adapted model', gates: ['apply', 'diagnostics', 'evidence'] },
];

/** A part is loaded only when every gate that it depends on has passed. */
export function stateOf(part: Part, run: Run): PartState {
    if (run.stopped !== null) return 'not-loaded';
    const { statuses } = run;
    const needed = [...closure(part.gates)].map((name) => statuses.get(name) ?? 'pending');
    if (needed.some((status) => status === 'failed' || status === 'blocked')) return 'not-loaded';
    if (needed.some((status) => status === 'pending')) return 'waiting';
    return statuses.get(part.gates[0] ?? '') === 'not-applicable' ? 'none' : 'loaded';
}
