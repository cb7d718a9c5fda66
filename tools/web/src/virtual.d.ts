declare module 'virtual:explanations' {
    /** What docs/findings.md says of each code. */
    const explanations: Record<string, {
        class: string; exitCode: number; meaning: string; cause: string; remedy: string;
    } | undefined>;
    export default explanations;
}
