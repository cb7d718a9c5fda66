// Numbers as people read them, the same in every language setting: the tool prints them so, too.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

export function bytesText(bytes: number): string {
    return `${whole.format(bytes)} ${bytes === 1 ? 'byte' : 'bytes'}`;
}

export function count(number: number, one: string, many: string): string {
    return `${whole.format(number)} ${number === 1 ? one : many}`;
}

export function grouped(number: number): string {
    return whole.format(number);
}

export function duration(milliseconds: number): string {
    if (milliseconds < 1) return '< 1 ms';
    if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
    return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Four digits that matter. */
export function decimal(number: number): string {
    return Number(number.toPrecision(4)).toString();
}

export function fileName(path: string): string {
    return path.slice(path.lastIndexOf('/') + 1);
}
