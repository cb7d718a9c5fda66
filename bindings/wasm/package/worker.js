// Runs the core beside the page: calls in, answers and judged gates out.

import { startCore } from './core.js';
import { workerPort } from './platform.js';

const gateCount = 12;

const port = await workerPort();
let core = null;
let judged = 0; // gates that were told of
let since = 0; // when the last of them was

let closing = false; // a file, whose digest is known before its gate is judged

function tellDigest() {
  if (!closing) return;
  closing = false;
  port.post({ closed: core.digest() });
}

/** Tells of the gates that have been judged since. */
function tellGates() {
  if (core.isJudged(Math.min(judged, gateCount - 1))) tellDigest();
  while (judged < gateCount && core.isJudged(judged)) {
    const now = performance.now();
    port.post({ gate: { ...core.gate(judged), milliseconds: now - since } });
    since = now;
    judged += 1;
  }
}

let assembling = false;

const calls = {
  async start(module) {
    core = await startCore(module, () => {
      if (assembling) tellGates();
    });
    return core.version();
  },
  begin(options) {
    const refusal = core.begin(options);
    assembling = refusal === null;
    since = performance.now();
    return refusal;
  },
  wanted: () => core.wanted(),
  open: (bytes) => told(core.open(bytes)),
  feed: (bytes) => told(core.feed(bytes)),
  close() {
    closing = true;
    core.close();
    tellDigest();
    tellGates();
  },
  refuse: (missing, why) => told(core.refuse(missing, why)),
  list: (names) => core.list(names),
  report: () => core.report(),
  file: (path) => core.file(path),
  tensors: () => core.tensors(),
  tensor: (name, which) => core.tensor(name, which),
  survival: () => core.survival(),
  model: (which) => core.model(which),
  take: (bytes) => core.take(bytes),
  place: (pointer, offset, bytes) => core.place(pointer, offset, bytes),
  validate: (pointer, bytes, options) => core.validate(pointer, bytes, options),
  inspect: (pointer, bytes, options) => core.inspect(pointer, bytes, options),
  apply: (model, packages, options) => core.apply(model, packages, options),
};

function told(value) {
  tellGates();
  return value;
}

/** Large results are handed over, not copied. */
function transferable(value) {
  if (value instanceof Uint8Array) return [value.buffer];
  return value?.model instanceof Uint8Array ? [value.model.buffer] : [];
}

async function answer({ id, call, args }) {
  try {
    const value = await calls[call](...args);
    port.post({ id, value }, transferable(value));
  } catch (error) {
    port.post({ id, error: { name: error.name, message: error.message } });
  }
}

// One after the other: a call may wait for the module to be compiled.
let last = Promise.resolve();
port.listen((message) => {
  last = last.then(() => answer(message));
});
port.post({ ready: true });
