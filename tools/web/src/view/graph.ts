// The chain of evidence, drawn. One stop for the Tab key; arrow keys go from file to file.

import { chainOf, layoutOf, nodeHeight, type Layout, type Place } from '../chain.ts';
import { part, svg } from '../dom.ts';
import { fileName } from '../format.ts';
import { gates } from '../gates.ts';
import type { Run } from '../run.ts';
import type { Choose } from './gates.ts';
import { words, type Shown } from './status.ts';

const margin = 4;

export class GraphView {
    private readonly section = part('chain', HTMLElement);
    private readonly frame = part('chain-graph', HTMLElement);
    private run: Run | null = null;
    private chosen: string | null = null;
    private drawn = '';

    constructor(private readonly choose: Choose) {
        new ResizeObserver(() => this.draw()).observe(this.frame);
        this.frame.addEventListener('keydown', (event) => this.move(event));
    }

    show(run: Run): void {
        if (this.run !== run) this.chosen = null;
        this.run = run;
        this.section.hidden = false;
        this.draw();
    }

    select(path: string): void {
        this.chosen = path;
        this.draw();
    }

    private draw(): void {
        if (!this.run) return;
        const room = Math.floor(this.frame.clientWidth) - 2 * margin;
        if (room <= 0) return;
        const run = this.run;
        const layout = layoutOf(chainOf(run), room);
        const state = JSON.stringify([room, this.chosen, layout.places.map(({ node }) =>
            [node.key, statusOf(run, node.file?.path ?? null, node.gate)])]);
        if (state === this.drawn) return;
        this.drawn = state;
        const focused = this.frame.contains(document.activeElement)
            ? document.activeElement?.getAttribute('data-key') : null;
        this.frame.replaceChildren(this.picture(layout, run));
        if (focused) this.nodes().find((node) => node.dataset['key'] === focused)?.focus();
    }

    private picture(layout: Layout, run: Run): SVGSVGElement {
        const width = layout.width + 2 * margin;
        const height = layout.height + 2 * margin;
        const byKey = new Map(layout.places.map((place) => [place.node.key, place]));
        const further = layout.columns ? layout.places.flatMap((from) =>
            from.node.names.map((key) => byKey.get(key)).filter((to) => to !== undefined)
                .map((to) => svg('path', { class: 'edge further', d: curve(from, to) }))) : [];
        const edges = layout.places.filter((place) => place.parent !== null).map((place) =>
            svg('path', { class: `edge ${statusOf(run, place.node.file?.path ?? null, place.node.gate)}`,
                          d: layout.columns ? curve(place.parent as Place, place)
                                            : elbow(place.parent as Place, place) }));
        return svg('svg', { viewBox: `${-margin} ${-margin} ${width} ${height}`,
                            width: layout.columns ? '100%' : width, class: 'chain-picture',
                            role: 'group', 'aria-label': 'Files, each under the one that names it' },
            ...further, ...edges, ...layout.places.map((place) => this.node(place, run)));
    }

    private node(place: Place, run: Run): SVGGElement {
        const { file, gate, key } = place.node;
        const status = statusOf(run, file?.path ?? null, gate);
        const title = gates.find((each) => each.name === gate)?.title ?? gate;
        const label = file ? fileName(file.path) : title.toLowerCase();
        const never = status === 'blocked' || status === 'unjudged';
        const word = file ? words[status] : never ? 'not asked for' : 'not asked for yet';
        const node = svg('g', { class: `node ${status}${file ? '' : ' promise'}`,
                                transform: `translate(${place.x} ${place.y})`,
                                'data-key': key, 'aria-label': `${label}, ${title}: ${word}`,
                                ...(file ? { role: 'button', tabindex: this.isStop(key) ? 0 : -1,
                                             'aria-pressed': String(key === this.chosen) }
                                         : { role: 'img' }) },
            svg('title', {}, `${key}: ${word}`),
            svg('rect', { width: place.width, height: nodeHeight, rx: 6 }),
            mark(status),
            svg('text', { x: 30, y: 20 }, shortened(label, Math.floor((place.width - 38) / 6.5))));
        if (file) node.addEventListener('click', () => this.choose(file.path));
        return node;
    }

    /** The one file that Tab stops at. */
    private isStop(key: string): boolean {
        return key === (this.chosen ?? this.run?.files.keys().next().value);
    }

    private nodes(): SVGGElement[] {
        return [...this.frame.querySelectorAll<SVGGElement>('g[role=button]')];
    }

    private move(event: KeyboardEvent): void {
        const nodes = this.nodes();
        const at = nodes.findIndex((node) => node === document.activeElement);
        if (at < 0) return;
        const key = nodes[at]?.dataset['key'];
        if ((event.key === 'Enter' || event.key === ' ') && key) {
            this.choose(key);
        } else {
            const target = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1,
                             ArrowLeft: at - 1, Home: 0, End: nodes.length - 1 }[event.key];
            if (target === undefined) return;
            nodes[Math.min(nodes.length - 1, Math.max(0, target))]?.focus();
        }
        event.preventDefault();
    }
}

/** Of a file: what its gate says, but only a file that a finding names has failed by itself. */
export function statusOf(run: Run, path: string | null, gate: string): Shown {
    const record = run.gate(gate);
    if (path === null) return record.status === 'pending' && run.stopped !== null ? 'unjudged' : record.status;
    const file = run.files.get(path);
    const named = run.findings.some((finding) => finding.severity === 'error' && finding.file === path);
    if (named || file?.refused) return 'failed';
    if (record.status === 'passed' || record.status === 'failed') return 'passed';
    if (run.stopped !== null) return 'unjudged';
    return file?.sha256 ? 'pending' : 'running';
}

function mark(status: Shown): SVGGElement {
    const strokes: Partial<Record<Shown, string>> = {
        passed: 'M11.5 15.2l2.6 2.6 4.4-5', failed: 'M12 12l6 6m0-6l-6 6', blocked: 'M11 19l8-8',
    };
    const d = strokes[status];
    return svg('g', { class: 'mark' }, svg('circle', { cx: 15, cy: 15, r: 7 }),
        d ? svg('path', { d }) : null);
}

function curve(from: Place, to: Place): string {
    const y0 = from.y + nodeHeight / 2;
    const y1 = to.y + nodeHeight / 2;
    if (from.x === to.x) {  // in one column: around the right-hand side
        const x = from.x + from.width;
        return `M${x} ${y0}C${x + 26} ${y0} ${x + 26} ${y1} ${x} ${y1}`;
    }
    const x0 = from.x + from.width;
    const middle = (x0 + to.x) / 2;
    return `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${to.x} ${y1}`;
}

function elbow(from: Place, to: Place): string {
    return `M${from.x + 10} ${from.y + nodeHeight}V${to.y + nodeHeight / 2}H${to.x}`;
}

/** A long name loses its middle: the beginning and the ending tell more. */
function shortened(text: string, most: number): string {
    if (text.length <= most) return text;
    const tail = Math.floor((most - 1) / 2);
    return `${text.slice(0, most - 1 - tail)}…${text.slice(text.length - tail)}`;
}
