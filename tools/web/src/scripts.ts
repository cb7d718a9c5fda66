// The content security policy lets no text become a script or HTML. The one thing that passes is a
// worker of this page's own, by its address.

interface Policies {
    createPolicy(name: string, rules: { createScriptURL(address: string): string }): unknown;
}

export function guardScripts(): void {
    const policies = (globalThis as { trustedTypes?: Policies }).trustedTypes;
    policies?.createPolicy('default', {
        createScriptURL(address) {
            if (new URL(address, document.baseURI).origin !== location.origin) {
                throw new TypeError(`${address} is no script of this page`);
            }
            return address;
        },
    });
}
