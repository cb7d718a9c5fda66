// The same prompt put to the model without and with its adapters, side by side.

import { element, part } from '../dom.ts';
import { Engine } from '../engine/engine.ts';
import type { Sampling } from '../engine/messages.ts';

export type Which = 'base' | 'adapted';
export type Models = (which: Which) => Promise<Uint8Array>;

const titles: Record<Which, string> = { base: 'The base model', adapted: 'With its adapters' };

/** One model with its place on the page. Its engine is started when first asked to write. */
class Writer {
    readonly column: HTMLElement;
    private readonly text = element('p', { class: 'written', 'aria-live': 'off' });
    private engine: Promise<Engine> | null = null;

    constructor(private readonly which: Which, private readonly models: Models) {
        this.column = element('article', { class: 'writer', 'data-model': which },
            element('h3', {}, titles[which]), this.text);
    }

    async write(prompt: string, sampling: Sampling): Promise<void> {
        const written = element('span', { class: 'new' });
        this.text.replaceChildren(prompt, written);
        this.column.classList.add('busy');
        try {
            this.engine ??= this.models(this.which).then((model) => Engine.load(model));
            await (await this.engine).write(prompt, sampling, (piece) => written.append(piece));
        } catch (problem) {
            this.engine = null;
            this.text.append(element('span', { class: 'problem', role: 'alert' },
                problem instanceof Error ? problem.message : String(problem)));
        } finally {
            this.column.classList.remove('busy');
        }
    }

    close(): void {
        void this.engine?.then((engine) => engine.close(), () => {});
    }
}

export class TextView {
    private readonly section = part('text', HTMLElement);
    private readonly heading = part('text-heading', HTMLElement);
    private readonly body = part('text-body', HTMLElement);
    private writers: readonly Writer[] = [];

    clear(): void {
        this.writers.forEach((writer) => writer.close());
        this.writers = [];
        this.section.hidden = true;
        this.body.replaceChildren();
    }

    show(models: Models, shown: readonly Which[]): void {
        this.clear();
        this.heading.textContent = shown.includes('adapted') ? 'What the adapter does' : 'What the model writes';
        this.writers = shown.map((which) => new Writer(which, models));
        const prompt = element('input', { id: 'prompt', type: 'text', value: 'In the ', maxlength: 400 });
        const tokens = field('tokens', 120, 1, 400, 1);
        const temperature = field('temperature', 0.5, 0.05, 2, 0.05);
        const seed = field('seed', 7, 0, 4294967295, 1);
        const button = element('button', { type: 'submit', class: 'primary', id: 'write' }, 'Write');
        const form = element('form', { class: 'row', id: 'write-form' },
            element('label', { class: 'grow' }, 'To be continued', prompt),
            element('label', {}, 'Tokens', tokens),
            element('label', {}, 'Temperature', temperature),
            element('label', {}, 'Seed', seed),
            button);
        form.addEventListener('submit', (event) => {
            event.preventDefault();
            if (button.ariaDisabled === 'true') return;
            button.ariaDisabled = 'true';  // and not disabled, which would take the focus from it
            const sampling = { tokens: tokens.valueAsNumber, temperature: temperature.valueAsNumber,
                               seed: seed.valueAsNumber };
            void Promise.all(this.writers.map((writer) => writer.write(prompt.value, sampling)))
                .finally(() => { button.ariaDisabled = 'false'; });
        });
        this.body.replaceChildren(form,
            element('div', { class: 'writers' }, ...this.writers.map((writer) => writer.column)));
        this.section.hidden = false;
    }
}

function field(id: string, value: number, min: number, max: number, step: number): HTMLInputElement {
    return element('input', { id, type: 'number', value, min, max, step, required: true });
}
