// A status is a shape and a word, never a colour alone.

import type { GateStatus } from 'trlm-adapt-wasm';

import { svg } from '../dom.ts';

/** `unjudged`: it never will be, as the bundle was closed before. */
export type Shown = GateStatus | 'running' | 'unjudged';

const outlines: Record<Shown, string> = {
    'pending': 'M8 5.5v2.8l1.8 1.4',
    'running': 'M8 2.5a5.5 5.5 0 0 1 5.5 5.5',
    'passed': 'M4.8 8.3l2.2 2.2 4.3-4.8',
    'failed': 'M5.5 5.5l5 5m0-5l-5 5',
    'blocked': 'M4.2 11.8l7.6-7.6',
    'not-applicable': 'M5 8h6',
    'unjudged': 'M6.4 5.6v4.8m3.2-4.8v4.8',
};

export const words: Record<Shown, string> = {
    'pending': 'waiting',
    'running': 'working',
    'passed': 'passed',
    'failed': 'failed',
    'blocked': 'blocked',
    'not-applicable': 'not applicable',
    'unjudged': 'not judged',
};

export function statusIcon(status: Shown, size = 18): SVGSVGElement {
    return svg('svg', { class: `status-icon ${status}`, viewBox: '0 0 16 16', width: size,
                        height: size, 'aria-hidden': 'true' },
        svg('circle', { cx: 8, cy: 8, r: 6.7 }),
        svg('path', { d: outlines[status] }));
}
