// Calls to a worker, each answered by a promise.

import { compiledModule, hasSimd, startWorker } from './platform.js';

const settings = { simd: undefined };

/** Chooses the build: with SIMD where the machine has it, unless told otherwise. */
export function configure({ simd }) {
  settings.simd = simd;
}

/** An AbortError, as fetch throws it. */
export const aborted = () => new DOMException('The work was cancelled.', 'AbortError');

export class Channel {
  #worker = null;
  #ended = null; // why there are no more answers
  #waiting = new Map();
  #next = 0;

  /** A worker with the core in it; `told` gets what it tells meanwhile. */
  static async start(told = () => {}) {
    const channel = new Channel();
    const module = await compiledModule(settings.simd ?? hasSimd());
    await new Promise((resolve, reject) => {
      startWorker(
        (message) => {
          if (message.ready) resolve();
          else if ('id' in message) channel.#receive(message);
          else told(message);
        },
        (error) => {
          reject(error);
          channel.end(error);
        },
      ).then((worker) => {
        channel.#worker = worker;
      }, reject);
    });
    await channel.call('start', [module]);
    return channel;
  }

  call(name, args = [], transfer = []) {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.keepAwake(true);
      this.#worker.post({ id, call: name, args }, transfer);
    });
  }

  /** Places bytes in the core's memory piece by piece, so that they are there and here, once each. */
  async upload(bytes) {
    if (Object.prototype.toString.call(bytes) !== '[object Uint8Array]') {
      throw new TypeError('a file is to be given as a Uint8Array');
    }
    const pieceBytes = 4 << 20;
    const pointer = await this.call('take', [bytes.length]);
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = new Uint8Array(bytes.subarray(at, at + pieceBytes)); // a copy, also of a Buffer
      await this.call('place', [pointer, at, piece], [piece.buffer]);
    }
    return pointer;
  }

  /** Ends the worker and its memory; whoever waits gets `why`. */
  end(why = aborted()) {
    if (this.#ended) return;
    this.#ended = why;
    this.#worker?.terminate();
    for (const { reject } of this.#waiting.values()) reject(why);
    this.#waiting.clear();
  }

  #receive({ id, value, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#worker.keepAwake(this.#waiting.size > 0);
    if (!error) return waiting?.resolve(value);
    waiting?.reject(Object.assign(new Error(error.message), { name: error.name }));
  }
}

/** Runs `work(channel)` in a worker of its own, which ends with it. */
export async function withChannel(signal, work) {
  if (signal?.aborted) throw aborted();
  const channel = await Channel.start();
  const cancel = () => channel.end();
  signal?.addEventListener('abort', cancel);
  try {
    if (signal?.aborted) throw aborted();
    return await work(channel);
  } finally {
    signal?.removeEventListener('abort', cancel);
    channel.end();
  }
}
