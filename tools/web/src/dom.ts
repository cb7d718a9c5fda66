// Elements from data. Text goes in as text nodes only; no function of this page makes HTML from a
// string, and the page's content security policy would not let it.

export type Child = Node | string | null;
export type Attributes = Record<string, string | number | boolean>;

const svgNamespace = 'http://www.w3.org/2000/svg';

function fill<E extends Element>(made: E, attributes: Attributes, children: Child[]): E {
    for (const [name, value] of Object.entries(attributes)) {
        if (value === false) continue;
        made.setAttribute(name, value === true ? '' : String(value));
    }
    for (const child of children) if (child !== null) made.append(child);
    return made;
}

export function element<Tag extends keyof HTMLElementTagNameMap>(
    tag: Tag, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[Tag] {
    return fill(document.createElement(tag), attributes, children);
}

export function svg<Tag extends keyof SVGElementTagNameMap>(
    tag: Tag, attributes: Attributes = {}, ...children: Child[]): SVGElementTagNameMap[Tag] {
    return fill(document.createElementNS(svgNamespace, tag), attributes, children);
}

/** An element that index.html has. */
export function part<E extends HTMLElement>(id: string, kind: new () => E): E {
    const found = document.getElementById(id);
    if (!(found instanceof kind)) throw new Error(`the page lacks its part #${id}`);
    return found;
}
