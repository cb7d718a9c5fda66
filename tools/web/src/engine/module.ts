// The engine's module: a few functions on numbers, and memory that both sides see.

import address from 'engine.wasm?url';

import type { Sampling } from './messages.ts';

interface Exports {
    memory: WebAssembly.Memory;
    _initialize(): void;
    engine_room(bytes: number): number;
    engine_load(): number;
    engine_begin(temperature: number, seed: number): number;
    engine_next(): number;
    engine_text(): number;
    engine_text_length(): number;
}

export class Module {
    private constructor(private readonly exports: Exports) {}

    /** An engine with this model. */
    static async load(model: Uint8Array): Promise<Module> {
        const compiled = await WebAssembly.compileStreaming(fetch(address));
        const instance = await WebAssembly.instantiate(compiled, surroundings(compiled));
        const made = new Module(instance.exports as unknown as Exports);
        made.exports._initialize();
        made.put(model);
        made.demand(made.exports.engine_load());
        return made;
    }

    /** Continues the prompt, a token at a time, until the model ends the text. */
    *write(prompt: string, sampling: Sampling): Generator<Uint8Array> {
        this.put(new TextEncoder().encode(prompt));
        this.demand(this.exports.engine_begin(sampling.temperature, sampling.seed));
        for (let i = 0; i < sampling.tokens; ++i) {
            this.demand(this.exports.engine_next());
            const piece = this.outgoing();
            if (piece.length === 0) return;
            yield piece;
        }
    }

    private put(bytes: Uint8Array): void {
        const place = this.exports.engine_room(bytes.length);
        new Uint8Array(this.exports.memory.buffer, place, bytes.length).set(bytes);
    }

    private outgoing(): Uint8Array {
        const { memory, engine_text, engine_text_length } = this.exports;
        return new Uint8Array(memory.buffer, engine_text(), engine_text_length()).slice();
    }

    private demand(good: number): void {
        if (!good) throw new Error(new TextDecoder().decode(this.outgoing()));
    }
}

/**
 * The engine needs nothing of its surroundings. What its standard library asks for (the environment,
 * standard output) is not there, which it is told; where it wants to end, it has failed.
 */
function surroundings(compiled: WebAssembly.Module): WebAssembly.Imports {
    const notThere = 52;  // WASI's ENOSYS
    const imports: Record<string, Record<string, () => number>> = {};
    for (const { module, name } of WebAssembly.Module.imports(compiled)) {
        (imports[module] ??= {})[name] = () => {
            if (name === 'out_of_memory') throw new Error('there is not enough memory for this');
            if (name === 'proc_exit') throw new Error('the engine has stopped');
            return notThere;
        };
    }
    return imports;
}
