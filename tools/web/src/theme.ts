// Light, dark, or whatever the system says. The choice is for this visit: the page stores nothing.

import { part } from './dom.ts';

const themes = ['system', 'light', 'dark'] as const;

export function offerThemes(): void {
    const button = part('theme', HTMLButtonElement);
    let at = 0;
    const show = (): void => {
        const theme = themes[at] ?? 'system';
        document.documentElement.dataset['theme'] = theme;
        button.textContent = `Theme: ${theme}`;
    };
    button.addEventListener('click', () => {
        at = (at + 1) % themes.length;
        show();
    });
    show();
}
