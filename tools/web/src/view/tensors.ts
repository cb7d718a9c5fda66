// The model's tensors with the survival report as a heat map: one row a layer, one column a kind of
// tensor. A table, so that it can be read aloud and copied.

import type { SurvivalRow, TensorInfo } from 'trlm-adapt-wasm';

import { element, part } from '../dom.ts';
import { count, decimal, grouped } from '../format.ts';

interface Metric {
    readonly title: string;
    readonly says: string;
    /** null or not finite where there is nothing to measure. */
    readonly value: (tensor: SurvivalRow) => number | null;
    readonly text: (value: number) => string;
    /** Ends of the scale for these values. */
    readonly range: (values: readonly number[]) => readonly [number, number];
}

/** From this share of the darkest shade on, the other ink is the readable one, in both themes. */
const inkChanges = 64;

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
const fromZero = (values: readonly number[]): readonly [number, number] => [0, Math.max(...values)];
const between = (values: readonly number[]): readonly [number, number] =>
    [Math.min(...values), Math.max(...values)];

const metrics: readonly Metric[] = [
    { title: 'Size of the change', says: 'root mean square of the change of each weight',
      value: (t) => t.rms_delta, text: decimal, range: fromZero },
    { title: 'Largest change', says: 'of any one weight',
      value: (t) => t.max_abs_delta, text: decimal, range: fromZero },
    { title: 'Weights changed', says: 'share of the stored weights that are others now',
      value: (t) => t.changed / t.elements, text: percent, range: () => [0, 1] },
    { title: 'Kept', says: 'how much of the wanted change is left after rounding',
      value: (t) => t.kept, text: percent, range: () => [0, 1] },
    { title: 'Cosine', says: 'between the wanted change and what became of it',
      value: (t) => t.cosine, text: (value) => value.toFixed(4), range: between },
    { title: 'Signal to noise', says: 'the wanted change against the rounding, in decibels',
      value: (t) => t.snr_db, text: (value) => `${value.toFixed(1)} dB`, range: between },
];

export class TensorsView {
    private readonly section = part('tensors', HTMLElement);
    private readonly heading = part('tensors-heading', HTMLElement);
    private readonly body = part('tensors-body', HTMLElement);
    private tensors: readonly TensorInfo[] = [];
    private survival = new Map<string, SurvivalRow>();
    private metric: Metric = metrics[0] as Metric;

    clear(): void {
        this.section.hidden = true;
        this.body.replaceChildren();
    }

    show(tensors: readonly TensorInfo[], survival: readonly SurvivalRow[]): void {
        this.tensors = tensors;
        this.survival = new Map(survival.filter((tensor) => tensor.touched > 0)
            .map((tensor) => [tensor.name, tensor]));
        this.section.hidden = false;
        const isTouched = this.survival.size > 0;
        this.heading.textContent = isTouched ? 'What the adapter changed' : 'The model\'s tensors';
        if (!isTouched) {
            this.body.replaceChildren(element('p', { class: 'muted' },
                `No adapter is applied: all ${count(tensors.length, 'tensor', 'tensors')} are the base's.`));
            return;
        }
        const holder = element('div');
        holder.addEventListener('keydown', (event) => move(holder, event));
        holder.addEventListener('focusin', (event) => stopAt(holder, event.target as Element));
        const detail = element('p', { class: 'heat-detail muted', role: 'status' },
                               'Point at a tensor, or choose it, for its figures.');
        const chooser = element('div', { class: 'choices', role: 'group', 'aria-label': 'What is shown' },
            ...metrics.map((metric) => {
                const button = element('button', { type: 'button',
                                                   'aria-pressed': String(metric === this.metric) }, metric.title);
                button.addEventListener('click', () => {
                    this.metric = metric;
                    chooser.querySelectorAll('button').forEach((each) =>
                        each.setAttribute('aria-pressed', String(each === button)));
                    holder.replaceChildren(this.map(detail));
                });
                return button;
            }));
        holder.replaceChildren(this.map(detail));
        this.body.replaceChildren(chooser, holder, detail);
    }

    private map(detail: HTMLElement): HTMLElement {
        const metric = this.metric;
        // A tensor that nothing touched, or in which nothing is measured, takes no part in the scale.
        const measured = [...this.survival.values()].map(metric.value).filter(isNumber);
        const [low, high] = measured.length > 0 ? metric.range(measured) : [0, 1] as const;
        const { columns, rows, others } = arranged(this.tensors);
        const cell = (tensor: TensorInfo | undefined): HTMLTableCellElement =>
            tensor ? this.cell(tensor, low, high, detail) : element('td');
        const title = element('p', { class: 'muted', id: 'heat-title' },
            `${metric.title}: ${metric.says}. ` +
            `${count(this.survival.size, 'tensor', 'tensors')} of ${this.tensors.length} touched.`);
        const table = element('table', { class: 'heat', 'aria-labelledby': title.id },
            element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, 'layer'),
                ...columns.map((column) => element('th', { scope: 'col' }, column)))),
            element('tbody', {}, ...[...rows].map(([layer, tensors]) => element('tr', {},
                element('th', { scope: 'row' }, layer),
                ...columns.map((column) => cell(tensors.get(column)))))));
        const rest = element('table', { class: 'heat rest' },
            element('caption', { class: 'visually-hidden' }, 'Tensors outside the layers'),
            element('tbody', {}, ...others.map((tensor) => element('tr', {},
                element('th', { scope: 'row' }, nameOf(tensor).replace(/\.weight$/, '')), cell(tensor)))));
        const map = element('div', {}, title,
            element('div', { class: 'scroll', role: 'region', 'aria-label': 'Heat map' }, table),
            element('div', { class: 'heat-foot' }, rest, legend(metric.text(low), metric.text(high))));
        map.querySelector<HTMLElement>('.heat-cell button')?.setAttribute('tabindex', '0');
        return map;
    }

    private cell(tensor: TensorInfo, low: number, high: number, detail: HTMLElement): HTMLTableCellElement {
        const survival = this.survival.get(nameOf(tensor));
        const value = survival === undefined ? null : this.metric.value(survival);
        const text = survival === undefined ? 'untouched'
            : isNumber(value) ? this.metric.text(value) : 'nothing to measure';
        const button = element('button', { type: 'button', tabindex: -1, title: `${nameOf(tensor)}: ${text}` },
            survival === undefined ? '–' : isNumber(value) ? text : '∅');
        const tell = (): void => {
            detail.classList.remove('muted');
            detail.textContent = sentence(tensor, survival);
        };
        button.addEventListener('click', tell);
        button.addEventListener('focus', tell);
        button.addEventListener('pointerenter', tell);
        const made = element('td', { class: isNumber(value) ? 'heat-cell' : 'heat-cell none' }, button);
        if (isNumber(value)) {
            const level = high > low ? (value - low) / (high - low) : 1;
            const shown = Math.round(100 * Math.min(1, Math.max(0, level)));
            made.style.setProperty('--level', `${shown}%`);
            made.classList.toggle('strong', shown >= inkChanges);
        }
        return made;
    }
}

/** One stop for the Tab key; arrow keys go from tensor to tensor. */
function move(holder: HTMLElement, event: KeyboardEvent): void {
    const cell = (event.target as Element).closest('td');
    const rows = [...holder.querySelectorAll<HTMLTableRowElement>('tbody tr')];
    const row = rows.findIndex((each) => each.contains(cell));
    if (cell === null || row < 0) return;
    const tensors = [...holder.querySelectorAll<HTMLElement>('.heat-cell button')];
    const at = tensors.findIndex((each) => cell.contains(each));
    const beside = (step: number): HTMLElement | undefined => {
        const cells = rows[row + step]?.cells;
        return cells?.[Math.min(cell.cellIndex, cells.length - 1)]?.querySelector('button') ?? undefined;
    };
    const target = {
        ArrowRight: tensors[at + 1], ArrowLeft: tensors[at - 1], ArrowDown: beside(1), ArrowUp: beside(-1),
        Home: tensors[0], End: tensors.at(-1),
    }[event.key];
    if (!target) return;
    target.focus();
    event.preventDefault();
}

/** The Tab key comes back to where the focus was last, whether keys or a pointer brought it there. */
function stopAt(holder: HTMLElement, target: Element): void {
    for (const each of holder.querySelectorAll('.heat-cell button')) {
        each.setAttribute('tabindex', each === target ? '0' : '-1');
    }
}

function isNumber(value: number | null): value is number {
    return value !== null && Number.isFinite(value);
}

/** A model's own names are known; the hash stands for one that is not. */
function nameOf(tensor: TensorInfo): string {
    return tensor.name ?? tensor.name_hash;
}

function sentence(tensor: TensorInfo, survival: SurvivalRow | undefined): string {
    const what = `${nameOf(tensor)}, ${tensor.dtype}, ${tensor.dims.join(' × ')}`;
    if (!survival) return `${what}: no adapter touches it.`;
    return `${what}: ${grouped(survival.changed)} of ${grouped(survival.elements)} weights changed, ` +
        `kept ${percent(survival.kept)}, cosine ${survival.cosine.toFixed(4)}, ` +
        `${survival.snr_db === null ? '' : `SNR ${survival.snr_db.toFixed(1)} dB, `}largest change ${decimal(survival.max_abs_delta)}.`;
}

function legend(low: string, high: string): HTMLElement {
    return element('p', { class: 'legend', 'aria-hidden': 'true' },
        low, element('span', { class: 'ramp' }), high,
        element('span', { class: 'untouched' }), 'untouched');
}

interface Arranged {
    readonly columns: readonly string[];
    readonly rows: ReadonlyMap<string, ReadonlyMap<string, TensorInfo>>;
    readonly others: readonly TensorInfo[];
}

/** `layers.3.wq.weight` is in row 3, column wq. */
function arranged(tensors: readonly TensorInfo[]): Arranged {
    const rows = new Map<string, Map<string, TensorInfo>>();
    const columns = new Set<string>();
    const others: TensorInfo[] = [];
    for (const tensor of tensors) {
        const [, layer, column] = /^layers\.(\d+)\.([^.]+)\.weight$/.exec(nameOf(tensor)) ?? [];
        if (layer === undefined || column === undefined) {
            others.push(tensor);
            continue;
        }
        columns.add(column);
        const row = rows.get(layer) ?? new Map<string, TensorInfo>();
        rows.set(layer, row.set(column, tensor));
    }
    return { columns: [...columns], rows, others };
}
