// What differs between browsers and Node: where the module's bytes come from, and workers.

const node = typeof process === 'object' && Boolean(process.versions?.node);

/** Reads one of this package's own files. */
async function readOwn(url) {
  if (node) {
    const { readFile } = await import(/* @vite-ignore */ 'node:fs/promises');
    return readFile(url);
  }
  const response = await fetch(url, { redirect: 'error', credentials: 'same-origin' });
  if (!response.ok) throw new Error(`${url} cannot be loaded: HTTP ${response.status}`);
  return response.arrayBuffer();
}

// (module (func (result v128) i32.const 0 i8x16.splat))
const simdProbe = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

/** Whether this machine runs the build with 128-bit SIMD. */
export const hasSimd = () => WebAssembly.validate(simdProbe);

const modules = new Map();

/** The compiled module, with or without SIMD; compiled once. */
export function compiledModule(simd) {
  if (!modules.has(simd)) {
    const url = simd
      ? new URL('./trlm-adapt.wasm', import.meta.url)
      : new URL('./trlm-adapt-scalar.wasm', import.meta.url);
    const compiled = readOwn(url).then((bytes) => WebAssembly.compile(bytes));
    modules.set(simd, compiled);
    compiled.catch(() => modules.delete(simd)); // the next call may have more luck
  }
  return modules.get(simd);
}

/**
 * A worker that runs worker.js; `receive` gets what it sends. Node ends with the last call that waits
 * for an answer (`keepAwake`), not with the last worker.
 */
export async function startWorker(receive, fail) {
  if (node) {
    const { Worker } = await import(/* @vite-ignore */ 'node:worker_threads');
    const worker = new Worker(new URL('./worker.js', import.meta.url));
    worker.on('message', receive);
    worker.on('error', fail);
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      terminate: () => void worker.terminate(),
      keepAwake: (awake) => (awake ? worker.ref() : worker.unref()),
    };
  }
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = (event) => receive(event.data);
  worker.onerror = (event) => fail(new Error(event.message || 'the worker cannot be started'));
  return {
    post: (message, transfer) => worker.postMessage(message, transfer ?? []),
    terminate: () => worker.terminate(),
    keepAwake: () => {},
  };
}

/** Inside a worker: the way to its starter. */
export async function workerPort() {
  if (node) {
    const { parentPort } = await import(/* @vite-ignore */ 'node:worker_threads');
    return {
      listen: (receive) => parentPort.on('message', receive),
      post: (message, transfer) => parentPort.postMessage(message, transfer),
    };
  }
  return {
    listen: (receive) => {
      self.onmessage = (event) => receive(event.data);
    },
    post: (message, transfer) => self.postMessage(message, transfer ?? []),
  };
}
