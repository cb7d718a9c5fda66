// What the page and an engine's worker say to each other.

export interface Sampling {
    readonly temperature: number;
    readonly tokens: number;
    readonly seed: number;
}

export type ToEngine =
    | { readonly kind: 'load'; readonly model: Uint8Array }
    | { readonly kind: 'write'; readonly prompt: string; readonly sampling: Sampling };

export type FromEngine =
    | { readonly kind: 'loaded' }
    | { readonly kind: 'text'; readonly text: string }
    | { readonly kind: 'end' }
    | { readonly kind: 'error'; readonly message: string };
