// A program that uses all that the package exports, as somebody would who writes TypeScript: it does not
// compile when index.d.ts is wrong about itself, and does not run when it is wrong about the package.

import {
  applyStack, Assembly, configure, inspect, validate, version,
  type ApplyOptions, type AssemblyEvent, type Budget, type FileOptions, type Finding, type GateStatus,
  type InspectOptions, type OpenOptions, type Report, type Source, type SurvivalRow, type TensorInfo,
} from 'trlm-adapt-wasm';

export interface Given {
  url: string;
  registryDigest: string;
  model: Uint8Array;
  adapter: Uint8Array;
  open: (path: string) => Uint8Array;
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

function isText(value: string): void {
  expect(typeof value === 'string', `${value} is a text`);
}

function isNumber(value: number): void {
  expect(typeof value === 'number', `${value} is a number`);
}

const statuses: readonly GateStatus[] = ['pending', 'passed', 'failed', 'blocked', 'not-applicable'];

function lookAtFinding(finding: Finding): void {
  [finding.code, finding.class, finding.message, finding.file ?? ''].forEach(isText);
  const severity: 'error' | 'warning' = finding.severity;
  expect(['error', 'warning'].includes(severity), 'a severity');
  [finding.tensor, finding.pointer, finding.expected, finding.actual].forEach((text) => isText(text ?? ''));
  [finding.offset, finding.element].forEach((number) => isNumber(number ?? 0));
}

function lookAtReport(report: Report): void {
  [report.tool, report.version, report.command ?? ''].forEach(isText);
  isNumber(report.exit_code);
  expect(report.ok === (report.exit_code === 0), 'an exit code');
  report.findings.forEach(lookAtFinding);
}

const budgets: readonly Budget['name'][] = ['model_bytes', 'text_sidecar_bytes', 'adapter_stack_bytes'];

/** The kind of an event, all of whose parts were looked at. */
function lookAtEvent(event: AssemblyEvent): AssemblyEvent['kind'] {
  switch (event.kind) {
    case 'request':
      [event.gate, event.path].forEach(isText);
      [event.bytes ?? 0, event.mostBytes].forEach(isNumber);
      if (event.budget) {
        expect(budgets.includes(event.budget.name), event.budget.name);
        isNumber(event.budget.bytes);
      }
      return event.kind;
    case 'progress':
      isText(event.path);
      [event.received, event.bytes ?? 0].forEach(isNumber);
      return event.kind;
    case 'file':
      [event.path, event.sha256].forEach(isText);
      [event.bytes, event.milliseconds].forEach(isNumber);
      return event.kind;
    case 'refused':
      [event.path, event.reason].forEach(isText);
      return event.kind;
    case 'gate':
      isText(event.gate);
      [event.index, event.milliseconds].forEach(isNumber);
      expect(statuses.includes(event.status), event.status);
      event.findings.forEach(lookAtFinding);
      return event.kind;
    case 'done':
      lookAtReport(event.report);
      return event.kind;
    default: {
      const none: never = event; // all kinds were there
      return none;
    }
  }
}

function lookAtTensor(tensor: TensorInfo): void {
  [tensor.name ?? '', tensor.name_hash, tensor.dtype].forEach(isText);
  [tensor.bytes, ...tensor.dims].forEach(isNumber);
}

function lookAtSurvival(row: SurvivalRow): void {
  isText(row.name);
  [row.elements, row.touched, row.changed, row.kept, row.cosine, row.snr_db ?? 0, row.max_abs_delta,
    row.rms_delta].forEach(isNumber);
}

/** All events of a bundle by their kinds; what was verified is looked at. */
async function follow(address: string | URL, options: OpenOptions): Promise<Set<AssemblyEvent['kind']>> {
  const assembly: Assembly = Assembly.open(address, options);
  const kinds = new Set<AssemblyEvent['kind']>();
  for await (const event of assembly) kinds.add(lookAtEvent(event));
  const report: Report | null = assembly.report;
  expect(report !== null, 'a report at the end');
  if (report?.ok) {
    (await assembly.tensors()).forEach(lookAtTensor);
    const survival = await assembly.survival();
    survival.tensors.forEach(lookAtSurvival);
    isNumber(survival.kept ?? 0);
    const [base, adapted]: Uint8Array[] = [await assembly.model('base'), await assembly.model('adapted')];
    expect(base.length > 0 && adapted.length > 0, 'two models');
    expect((await assembly.file('selector.registry.json')).length > 0, 'the registry');
  }
  assembly.close();
  return kinds;
}

/** What is not in the interface does not compile; were it there, tsc would call the comment idle. */
function refused(given: Given): void {
  // @ts-expect-error no such option
  Assembly.open(given.url, { registryDigests: '' });
  // @ts-expect-error a digest is a text
  Assembly.open(given.url, { registryDigest: 7 });
  // @ts-expect-error there are two models
  void Assembly.open(given.url).model('both');
  // @ts-expect-error bytes, not their address
  void validate(given.url);
  // @ts-expect-error a text
  const wrong: number = version;
  // @ts-expect-error a list of packages
  void applyStack(given.model, given.adapter);
  // @ts-expect-error null where nothing came of it
  void applyStack(given.model, []).then(({ model }) => model.length);
  // @ts-expect-error a report has no such part
  void validate(given.adapter).then((report) => report.verdict);
  // @ts-expect-error nor has that of another call
  void inspect(given.adapter).then((report) => report.verdict);
  // @ts-expect-error null until the end
  void Assembly.open(given.url).report.ok;
  // @ts-expect-error null without a family
  void Assembly.open(given.url).survival().then(({ kept }) => kept.toFixed());
  // @ts-expect-error null where the model's own names do not tell
  void Assembly.open(given.url).tensors().then(([tensor]) => tensor?.name.length);
  // @ts-expect-error one of two types
  const options: ApplyOptions = { outputDtype: 'f64' };
  // @ts-expect-error only switched on or off
  configure({ simd: 'off' });
  void [wrong, options];
}

/** The kinds of events that came. */
export async function run(given: Given): Promise<string[]> {
  expect(typeof refused === 'function', 'never called');
  isText(version);
  configure({ simd: false });
  configure({});

  const { signal } = new AbortController();
  const file: FileOptions = { file: 'whale-lora.alr1', acceptForeignChecksum: true, signal };
  lookAtReport(await validate(given.adapter, file));
  const looking: InspectOptions = { ...file, statistics: true };
  const inspected = await inspect(given.adapter, looking);
  lookAtReport(inspected);
  expect(inspected.result.entries.length > 0, 'what the result holds is up to the command');
  const applying: ApplyOptions = {
    strengths: [0.5], rounding: 'adaptive:0', outputDtype: 'keep', allowNoEffect: true, minSurvival: 0,
    survival: true, file: 'union.q8_0.slm', files: ['whale-lora.alr1'], output: 'out.slm',
    acceptForeignChecksum: true, signal,
  };
  const { model, report } = await applyStack(given.model, [given.adapter], applying);
  lookAtReport(report);
  expect(model !== null && model.length === given.model.length, 'a model of the same size');

  const opening: OpenOptions = {
    registryDigest: given.registryDigest, entry: 'whale', registryPath: 'selector.registry.json',
    strict: true, allowWeakDigests: false, acceptForeignChecksum: false, signal, patience: 30_000,
  };
  const kinds = await follow(new URL(given.url), opening);
  const own = async (path: string, until: AbortSignal): Promise<Source> => {
    until.throwIfAborted();
    if (path === 'models/union.q8_0.slm') throw new DOMException('not here', 'NotFoundError');
    const bytes = given.open(path);
    return { bytes: bytes.length, stream: new Blob([bytes as Uint8Array<ArrayBuffer>]).stream() };
  };
  for (const kind of await follow('', { open: own })) kinds.add(kind);
  return [...kinds].sort();
}
