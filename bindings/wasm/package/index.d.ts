

export type GateStatus = 'pending' | 'passed' | 'failed' | 'blocked' | 'not-applicable';

/** As in the CLI's JSON report. */
export interface Finding {
  code: string; class: string; severity: 'error' | 'warning'; message: string; file: string | null;
  offset?: number; tensor?: string; element?: number; pointer?: string;
  expected?: string; actual?: string;
}

/** A budget of the registry: the files that count against it may not have more bytes, together or (texts) each. */
export interface Budget { name: 'model_bytes' | 'text_sidecar_bytes' | 'adapter_stack_bytes'; bytes: number; }

export type AssemblyEvent =
  | { kind: 'request'; gate: string; path: string; bytes: number | null; mostBytes: number; budget: Budget | null }
  | { kind: 'progress'; path: string; received: number; bytes: number | null }
  | { kind: 'file'; path: string; bytes: number; sha256: string; milliseconds: number }
  /** Follows the gates that fail by it. */
  | { kind: 'refused'; path: string; reason: string }
  | { kind: 'gate'; gate: string; index: number; status: GateStatus; findings: Finding[]; milliseconds: number }
  | { kind: 'done'; report: Report };

/** Equal to what `trlm-adapt COMMAND --json` prints of the same files. */
export interface Report {
  tool: string; version: string; command: string | null; ok: boolean; exit_code: number;
  findings: Finding[]; result: any;
}

export interface Source { bytes: number | null; stream: ReadableStream<Uint8Array>; }

export interface OpenOptions {
  registryDigest?: string; entry?: string; registryPath?: string;
  strict?: boolean; allowWeakDigests?: boolean; acceptForeignChecksum?: boolean;
  signal?: AbortSignal;
  /** Milliseconds without an answer or a byte after which a file is given up; 30,000 unless told otherwise. */
  patience?: number;
  /** Where bytes come from when it is not a URL: a dropped folder, a test. */
  open?: (path: string, signal: AbortSignal) => Promise<Source>;
  /** All files that it has, where it can tell, as a folder can: `unlisted_file` for those that nothing leads to. */
  list?: string[];
}

export interface TensorInfo { name: string | null; name_hash: string; dtype: string; dims: number[]; bytes: number; }
export interface SurvivalRow {
  name: string; elements: number; touched: number; changed: number; kept: number; cosine: number;
  snr_db: number | null; max_abs_delta: number; rms_delta: number;
}

export class Assembly implements AsyncIterable<AssemblyEvent> {
  /** Same origin only; redirects are refused; nothing is requested but what the core wants next. Runs in a Worker. */
  static open(url: string | URL, options?: OpenOptions): Assembly;
  [Symbol.asyncIterator](): AsyncIterator<AssemblyEvent>;
  readonly report: Report | null;
  /** A copy of the verified bytes of a file that was opened; rejects where there are none. At any time. */
  file(path: string): Promise<Uint8Array>;
  /** Once everything passed; reject otherwise: */
  tensors(): Promise<TensorInfo[]>;
  /** A copy of a tensor's bytes, as docs/formats.md stores them; null where there is none of that name. */
  tensor(name: string, which?: 'base' | 'adapted'): Promise<{ payload: Uint8Array; scales: Uint8Array } | null>;
  survival(): Promise<{ tensors: SurvivalRow[]; kept: number | null }>;
  model(which: 'base' | 'adapted'): Promise<Uint8Array>;
  close(): void;
}
export interface FileOptions { file?: string; acceptForeignChecksum?: boolean; signal?: AbortSignal; }
export interface InspectOptions extends FileOptions { statistics?: boolean; }
export interface ApplyOptions {
  strengths?: number[]; rounding?: string; outputDtype?: 'keep' | 'q8_0' | 'f32'; allowNoEffect?: boolean; minSurvival?: number; survival?: boolean;
  file?: string; files?: string[]; output?: string; acceptForeignChecksum?: boolean; signal?: AbortSignal;
}
export function validate(bytes: Uint8Array, options?: FileOptions): Promise<Report>;
export function inspect(bytes: Uint8Array, options?: InspectOptions): Promise<Report>;
export function applyStack(model: Uint8Array, packages: Uint8Array[], options?: ApplyOptions):
  Promise<{ model: Uint8Array | null; report: Report }>;
/** Chooses the build: with SIMD where the machine has it, unless told otherwise. */
export function configure(options: { simd?: boolean }): void;
export const version: string;

