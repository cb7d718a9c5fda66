// A model that writes, in a worker of its own.

import type { FromEngine, Sampling, ToEngine } from './messages.ts';

export class Engine {
    private readonly worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });

    private constructor() {}

    /** Gives the model's bytes away. */
    static async load(model: Uint8Array): Promise<Engine> {
        const engine = new Engine();
        try {
            await engine.ask({ kind: 'load', model }, () => {}, [model.buffer as ArrayBuffer]);
        } catch (problem) {
            engine.close();
            throw problem;
        }
        return engine;
    }

    /** Continues a prompt; `piece` takes the text as it is written. One text at a time. */
    write(prompt: string, sampling: Sampling, piece: (text: string) => void): Promise<void> {
        return this.ask({ kind: 'write', prompt, sampling }, piece);
    }

    close(): void {
        this.worker.terminate();
    }

    private ask(message: ToEngine, piece: (text: string) => void,
                transfer: Transferable[] = []): Promise<void> {
        return new Promise((done, fail) => {
            this.worker.onmessage = ({ data }: MessageEvent<FromEngine>) => {
                if (data.kind === 'text') piece(data.text);
                else if (data.kind === 'error') fail(new Error(data.message));
                else done();
            };
            this.worker.onerror = (event) => fail(new Error(event.message || 'the engine did not start'));
            this.worker.postMessage(message, transfer);
        });
    }
}
