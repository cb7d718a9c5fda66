// The example engine, compiled to a module of its own, at work beside the page.

import { Module } from './module.ts';
import type { FromEngine, ToEngine } from './messages.ts';

let loaded: Module | null = null;

// So that the page can show each piece before the next one is computed.
const tell = (message: FromEngine): void => postMessage(message);

async function answer(message: ToEngine): Promise<void> {
    if (message.kind === 'load') {
        loaded = await Module.load(message.model);
        tell({ kind: 'loaded' });
        return;
    }
    if (!loaded) throw new Error('no model is loaded');
    // A letter may take several tokens.
    const letters = new TextDecoder();
    for (const piece of loaded.write(message.prompt, message.sampling)) {
        tell({ kind: 'text', text: letters.decode(piece, { stream: true }) });
    }
    tell({ kind: 'end' });
}

onmessage = ({ data }: MessageEvent<ToEngine>) => {
    answer(data).catch((problem: unknown) =>
        tell({ kind: 'error', message: problem instanceof Error ? problem.message : String(problem) }));
};
