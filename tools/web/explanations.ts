// Makes the tables of docs/findings.md, which the documents' tests compare with `trlm-adapt explain`,
// a module of the page: the explanations are written once.

import { readFileSync } from 'node:fs';
import type { Plugin } from 'vite';

interface Explanation {
    class: string;
    exitCode: number;
    meaning: string;
    cause: string;
    remedy: string;
}

/** Markdown of a cell, as it reads. */
function plain(cell: string): string {
    return cell.trim().replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '');
}

export function explanationsIn(markdown: string): Record<string, Explanation> {
    const found: Record<string, Explanation> = {};
    for (const section of markdown.split(/^## /m).slice(1)) {
        const name = section.slice(0, section.indexOf('\n'));
        const exitCode = /^Exit code (\d+)/m.exec(section)?.[1];
        if (exitCode === undefined) continue;
        for (const [, code, meaning, cause, remedy] of section.matchAll(
            /^\| `([a-z0-9_]+)` \| (.*?) \| (.*?) \| (.*?) \|$/gm)) {
            found[code!] = { class: name, exitCode: Number(exitCode), meaning: plain(meaning!),
                             cause: plain(cause!), remedy: plain(remedy!) };
        }
    }
    return found;
}

export function explanations(file: URL): Plugin {
    const name = 'virtual:explanations';
    return {
        name: 'explanations',
        resolveId: (id) => (id === name ? `\0${name}` : null),
        load: (id) => (id === `\0${name}`
            ? `export default ${JSON.stringify(explanationsIn(readFileSync(file, 'utf8')))};` : null),
    };
}
