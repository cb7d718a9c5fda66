// Opens a bundle and shows what the core finds. The page chooses nothing and judges nothing: which
// file is fetched next, and whether it is right, is the core's business.

import { Assembly, version, type OpenOptions, type Report } from 'trlm-adapt-wasm';

import { part } from './dom.ts';
import { chosenFolder, droppedFolder, opener, type Folder } from './folder.ts';
import { Run } from './run.ts';
import { guardScripts } from './scripts.ts';
import { offerThemes } from './theme.ts';
import { FindingsView } from './view/findings.ts';
import { GatesView } from './view/gates.ts';
import { GraphView } from './view/graph.ts';
import { InspectorView } from './view/inspector.ts';
import { ReportView } from './view/report.ts';
import { TensorsView } from './view/tensors.ts';
import { TextView } from './view/text.ts';
import { VerdictView } from './view/verdict.ts';

const form = part('open-form', HTMLFormElement);
const address = part('address', HTMLInputElement);
const folderInput = part('folder', HTMLInputElement);
const openButton = part('open', HTMLButtonElement);
const stopButton = part('stop', HTMLButtonElement);
const timeout = part('timeout', HTMLInputElement);
const choices = part('choices', HTMLDetailsElement);
const problem = part('open-error', HTMLElement);

/** The exit code of what was asked for wrongly. */
const usageError = 2;

let assembly: Assembly | null = null;
let run: Run | null = null;

const verdict = new VerdictView();
const inspector = new InspectorView(async (path) => (await assembly?.file(path)) ?? null);
const graph = new GraphView(choose);
const gatesView = new GatesView(choose);
const findings = new FindingsView(choose);
const tensors = new TensorsView();
const text = new TextView();
const report = new ReportView();

function choose(path: string): void {
    if (!run) return;
    graph.select(path);
    inspector.choose(path, run);
    part('inspector', HTMLElement).scrollIntoView({ block: 'nearest' });
}

function complain(message: string | null): void {
    problem.hidden = message === null;
    problem.textContent = message ?? '';
}

function options(): OpenOptions {
    const digest = part('registry-digest', HTMLInputElement).value.trim();
    const entry = part('entry', HTMLInputElement).value.trim();
    const seconds = timeout.valueAsNumber;
    return {
        ...(digest && { registryDigest: digest }),
        ...(entry && { entry }),
        allowWeakDigests: part('weak', HTMLInputElement).checked,
        ...(Number.isFinite(seconds) && { patience: 1000 * seconds }),
    };
}

function draw(): void {
    if (!run) return;
    verdict.show(run);
    gatesView.show(run);
    findings.show(run);
    graph.show(run);
    inspector.show(run);
}

/** At most once a frame, however many pieces arrive. */
let scheduled = false;
function drawSoon(): void {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
        scheduled = false;
        draw();
    });
}

/** The page as it was before a bundle was opened. */
function clear(): void {
    assembly?.close();
    assembly = null;
    run = null;
    complain(null);
    inspector.clear();
    tensors.clear();
    text.clear();
    report.clear();
    for (const id of ['verdict', 'findings', 'gates', 'chain']) part(id, HTMLElement).hidden = true;
    delete document.body.dataset['run'];
}

/** What was asked for is not opened, and what was open is not what was asked for. */
function refuse(message: string): void {
    clear();
    offerStop(false);
    complain(message);
}

/** Either button may go while it has the focus: the other has it then. */
function offerStop(offered: boolean): void {
    const [gone, there] = offered ? [openButton, stopButton] : [stopButton, openButton];
    const hadFocus = document.activeElement === gone;
    openButton.disabled = offered;
    stopButton.hidden = !offered;
    if (hadFocus) there.focus();
}

async function follow(opened: Assembly, name: string): Promise<void> {
    clear();
    assembly = opened;
    const mine = new Run(name);
    run = mine;
    offerStop(true);
    document.body.dataset['run'] = 'running';
    draw();
    try {
        for await (const event of opened) {
            if (run !== mine) return;
            mine.add(event);
            if (event.kind === 'gate') verdict.announce(GatesView.sentence(mine.gate(event.gate)));
            drawSoon();
        }
        if (mine.report === null) mine.stopped ??= 'The bundle was closed.';
    } catch (failure) {
        mine.stopped ??= failure instanceof Error ? failure.message : String(failure);
    }
    if (run !== mine) return;
    offerStop(false);
    if (mine.report?.exit_code === usageError && mine.files.size === 0) return refuseOptions(mine.report);
    draw();
    if (mine.report !== null) report.show(mine.report);
    if (mine.report?.exit_code === 0) {
        // Another bundle may have been opened meanwhile.
        await showModel(opened).catch((failure: unknown) => run === mine && complain(String(failure)));
    }
    if (run === mine) document.body.dataset['run'] = 'done';
}

/** No bundle was looked at: the options were not understood. */
function refuseOptions(refusal: Report): void {
    refuse(refusal.findings.map((finding) => finding.message).join('\n'));
    choices.open = true;
}

/** Only what has passed every gate is shown or run. */
async function showModel(opened: Assembly): Promise<void> {
    const [all, survival] = await Promise.all([opened.tensors(), opened.survival()]);
    if (assembly !== opened) return;
    tensors.show(all, survival.tensors);
    // Without a family there is nothing to compare with.
    text.show((which) => opened.model(which), survival.kept === null ? ['base'] : ['base', 'adapted']);
}

function openAddress(): void {
    if (!URL.canParse(address.value, document.baseURI)) {
        refuse(`${address.value} is no address. One on this site is, for example, whale/`);
        return;
    }
    const url = new URL(address.value, document.baseURI);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
        refuse(`Addresses that begin with ${url.protocol} are not opened. Give one on this site, or drop ` +
               'the folder here.');
        return;
    }
    if (url.origin !== location.origin) {
        refuse(`${url.origin} is another site. This page asks no other server for anything: open ` +
               'the bundle where it lies, or download its folder and drop it here.');
        return;
    }
    if (!url.pathname.endsWith('/')) url.pathname += '/';
    void follow(Assembly.open(url, options()), address.value);
}

function openFolder(folder: Folder): void {
    if (!timeout.reportValidity()) return;
    const list = [...folder.files.keys()];
    void follow(Assembly.open('', { ...options(), open: opener(folder), list }), folder.name);
}

function acceptDrops(): void {
    const zone = document.body;
    zone.addEventListener('dragover', (event) => {
        event.preventDefault();
        zone.classList.add('dropping');
    });
    zone.addEventListener('dragleave', (event) => {
        if (event.relatedTarget === null) zone.classList.remove('dropping');
    });
    zone.addEventListener('drop', (event) => {
        event.preventDefault();
        zone.classList.remove('dropping');
        if (!event.dataTransfer) return;
        droppedFolder(event.dataTransfer).then(
            (folder) => folder ? openFolder(folder) : complain('That is no folder: drop the folder of a bundle.'),
            (failure: unknown) => complain(String(failure)));
    });
}

guardScripts();
offerThemes();
acceptDrops();
part('version', HTMLElement).textContent = version;
form.addEventListener('submit', (event) => {
    event.preventDefault();
    openAddress();
});
folderInput.addEventListener('change', () => {
    if (folderInput.files?.length) openFolder(chosenFolder(folderInput.files));
    folderInput.value = '';
});
// A field that is refused has to be seen.
form.addEventListener('invalid', () => { choices.open = true; }, true);
stopButton.addEventListener('click', () => {
    if (run) run.stopped = 'You stopped it.';
    assembly?.close();
});

// A link may name the bundle: ?bundle=whale/
const asked = new URLSearchParams(location.search).get('bundle');
if (asked !== null) {
    address.value = asked;
    openAddress();
}
