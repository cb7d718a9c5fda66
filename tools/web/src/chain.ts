// Which file names which, as docs/receipts.md draws it. That follows from the gate that asks for a
// file; nothing is read from the documents. A gate that has asked for nothing is there as a promise.

import type { FileRecord, Run } from './run.ts';

export interface ChainNode {
    /** Its path, or the gate's name where no file was asked for. */
    readonly key: string;
    readonly gate: string;
    readonly file: FileRecord | null;
    readonly children: ChainNode[];
    /** Keys of files that it names beside its children. */
    readonly names: string[];
}

/** The tree under the registry. */
export function chainOf(run: Run): ChainNode {
    const nodesOf = (gate: string): ChainNode[] => {
        const files = run.gate(gate).files;
        const made = (file: FileRecord | null): ChainNode =>
            ({ key: file?.path ?? gate, gate, file, children: [], names: [] });
        return files.length > 0 ? files.map(made) : [made(null)];
    };
    const single = (gate: string): ChainNode => nodesOf(gate)[0] as ChainNode;

    const registry = single('registry');
    const plan = single('module-plan');
    const model = single('model-bytes');
    const manifest = single('model-manifest');
    const assembly = single('assembly-receipt');
    const family = single('adapter-family');
    const manifests = nodesOf('adapter-manifests');
    const packages = nodesOf('adapter-artifacts');

    manifest.children.push(model);
    assembly.children.push(...nodesOf('evidence'));
    assembly.names.push(manifest.key);
    registry.names.push(model.key);
    registry.children.push(plan, manifest, assembly);
    if (run.gate('adapter-family').status === 'not-applicable') return registry;

    registry.children.push(family);
    assembly.names.push(family.key);
    family.children.push(...manifests);
    // Both gates ask in the order of the family's members.
    if (manifests.length === packages.length) {
        manifests.forEach((each, i) => each.children.push(packages[i] as ChainNode));
        family.names.push(...packages.map((each) => each.key));
    } else {
        family.children.push(...packages);
    }
    return registry;
}

export interface Place {
    readonly node: ChainNode;
    readonly parent: Place | null;
    readonly x: number;
    readonly y: number;
    readonly width: number;
}

export interface Layout {
    readonly places: readonly Place[];
    readonly width: number;
    readonly height: number;
    readonly columns: boolean;
}

export const nodeHeight = 30;

/** Columns by depth where there is room for them; otherwise an indented list. */
export function layoutOf(root: ChainNode, room: number): Layout {
    // With less the columns' names would be too small to read.
    return room >= 720 ? inColumns(root) : asList(root, room);
}

function inColumns(root: ChainNode): Layout {
    const [width, gap, row] = [196, 22, 38];
    const places: Place[] = [];
    let rows = 0;
    const put = (node: ChainNode, depth: number, parent: Place | null): Place => {
        const index = places.length;
        const place = { node, parent, x: depth * (width + gap), y: 0, width };
        places.push(place);
        const below = node.children.map((child) => put(child, depth + 1, place));
        const first = below[0];
        const last = below.at(-1);
        place.y = first && last ? (first.y + last.y) / 2 : row * rows++;
        places[index] = place;
        return place;
    };
    put(root, 0, null);
    return { places, width: 4 * width + 3 * gap, height: rows * row, columns: true };
}

function asList(root: ChainNode, room: number): Layout {
    const [indent, row] = [20, 38];
    const places: Place[] = [];
    const put = (node: ChainNode, depth: number, parent: Place | null): void => {
        const x = depth * indent;
        const place = { node, parent, x, y: row * places.length, width: room - x };
        places.push(place);
        node.children.forEach((child) => put(child, depth + 1, place));
    };
    put(root, 0, null);
    return { places, width: room, height: row * places.length, columns: false };
}
