// A bundle on its way through the gates: asks the core what it wants, gets that and nothing else.

import { aborted, Channel } from './channel.js';
import { bundleBase, fetchedFrom, Unavailable } from './source.js';

const progressMilliseconds = 50; // between two events of a transfer
const defaultPatience = 30_000; // milliseconds without a byte
const mostPatience = 0x7fffffff; // what a timer takes

/** Events that wait to be taken. */
class Queue {
  #events = [];
  #ended = false;
  #error = null;
  #wake = () => {};

  push(event) {
    this.#events.push(event);
    this.#wake();
  }

  end(error = null) {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    while (true) {
      if (this.#error) throw this.#error;
      if (this.#events.length > 0) yield this.#events.shift();
      else if (this.#ended) return;
      else await new Promise((resolve) => (this.#wake = resolve));
    }
  }
}

export class Assembly {
  report = null;
  #open;
  #list;
  #options;
  #patience;
  #channel = null;
  #queue = new Queue();
  #stop = new AbortController();
  #started = false;
  #transferring = null;

  /** See index.d.ts. */
  static open(url, options = {}) {
    return new Assembly(url, options);
  }

  constructor(url, options) {
    const { open, list, signal, patience = defaultPatience, ...rest } = options;
    if (!(patience > 0 && patience <= mostPatience)) {
      throw new RangeError(`patience ${patience}: expected milliseconds, at most ${mostPatience}`);
    }
    this.#open = open ?? fetchedFrom(bundleBase(url));
    this.#list = list;
    this.#options = rest;
    this.#patience = patience;
    if (signal?.aborted) this.close();
    signal?.addEventListener('abort', () => this.close(), { signal: this.#stop.signal });
  }

  async *[Symbol.asyncIterator]() {
    if (this.#started) throw new Error('an assembly is iterated once');
    this.#started = true;
    this.#run().then(
      () => this.#queue.end(),
      (error) => this.#queue.end(this.#stop.signal.aborted ? aborted() : error),
    );
    let finished = false;
    try {
      for await (const event of this.#queue) {
        finished = event.kind === 'done';
        yield event;
      }
    } finally {
      if (!finished) this.close(); // nobody looks any more
    }
  }

  file(path) {
    if (!this.#channel) return Promise.reject(new Error('nothing was asked for yet'));
    return this.#channel.call('file', [path]);
  }

  tensors() {
    return this.#ask('tensors');
  }

  tensor(name, which = 'base') {
    return this.#ask('tensor', [name, which]);
  }

  survival() {
    return this.#ask('survival');
  }

  model(which) {
    return this.#ask('model', [which]);
  }

  close() {
    this.#stop.abort();
    this.#channel?.end();
    this.#queue.end(this.report ? null : aborted());
  }

  async #ask(call, args) {
    if (!this.report) throw new Error('the bundle has not been through the gates');
    return this.#channel.call(call, args);
  }

  async #run() {
    if (this.#stop.signal.aborted) throw aborted();
    this.#channel = await Channel.start((message) => {
      if (message.gate) this.#queue.push({ kind: 'gate', ...message.gate });
      else this.#transferring.closed(message.closed);
    });
    if (this.#stop.signal.aborted) {
      this.#channel.end();
      throw aborted();
    }
    const refusal = await this.#channel.call('begin', [this.#options]);
    if (refusal) return this.#finish(refusal);
    await this.#transferAll();
    if (this.#list) {
      await this.#channel.call('list', [this.#list]);
      await this.#transferAll(); // plans of other entries, which may lead to what nothing else does
    }
    this.#finish(await this.#channel.call('report'));
  }

  async #transferAll() {
    while (true) {
      const wanted = await this.#channel.call('wanted');
      if (!wanted) return;
      this.#queue.push({ kind: 'request', ...wanted });
      await this.#transfer(wanted);
    }
  }

  #finish(report) {
    this.report = report;
    this.#queue.push({ kind: 'done', report });
  }

  // ----------------------------------------------------------------------------------- transfers

  /** Gets one file. What goes wrong on the way is told to the core. */
  async #transfer(wanted) {
    const stop = new AbortController();
    const stopToo = () => stop.abort();
    this.#stop.signal.addEventListener('abort', stopToo, { signal: stop.signal });
    try {
      await this.#receive(wanted, stop.signal);
    } catch (error) {
      if (this.#stop.signal.aborted) throw aborted();
      if (error.name === 'OutOfMemory') throw error;
      await this.#channel.call('refuse', [isMissing(error), error.message]);
      this.#refused(wanted.path, error.message);
    } finally {
      stop.abort(); // what a server still sends is not taken
    }
  }

  #refused(path, reason) {
    this.#queue.push({ kind: 'refused', path, reason });
  }

  async #receive(wanted, signal) {
    const source = await this.#patiently(this.#open(wanted.path, signal));
    const reader = source.stream.getReader();
    try {
      this.#transferring = new Transfer(wanted, source.bytes, this.#channel, this.#queue);
      const refusal = await this.#transferring.take(() => this.#patiently(reader.read()));
      if (refusal) this.#refused(wanted.path, refusal);
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /** What `promise` gives, unless it takes too long. */
  async #patiently(promise) {
    let timer;
    const late = new Promise((_, reject) => {
      const seconds = this.#patience / 1000;
      const why = `nothing came for ${seconds} s; try again when the server is faster`;
      timer = setTimeout(() => reject(new Unavailable(why)), this.#patience);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
      Promise.resolve(promise).catch(() => {}); // it may still fail, which nobody waits for
    }
  }
}

const tooMany = (bytes) => `it has more than its ${bytes} bytes; the transfer was cut off there`;

function isMissing(error) {
  return Boolean(error.missing) || error.code === 'file_missing' || error.name === 'NotFoundError';
}

/** The bytes of one file on their way into the core. */
class Transfer {
  #begun = performance.now();
  #received = 0;
  #complete = false;
  #wanted;
  #bytes; // as the source says
  #channel;
  #queue;
  #told = 0;

  constructor(wanted, bytes, channel, queue) {
    this.#wanted = wanted;
    this.#bytes = bytes;
    this.#channel = channel;
    this.#queue = queue;
  }

  /** Why the core does not take the file, or nothing. */
  async take(read) {
    const bytes = this.#bytes ?? this.#wanted.bytes;
    return bytes === null ? this.#takeOfUnknownSize(read) : this.#takeOfSize(bytes, read);
  }

  async #takeOfSize(bytes, read) {
    if (!(await this.#channel.call('open', [bytes]))) {
      return `it has ${bytes} bytes, which is not what is allowed`;
    }
    let fed = Promise.resolve(true);
    while (true) {
      const { done, value } = await read();
      if (!(await fed)) return tooMany(bytes);
      if (done) return this.#close();
      const left = bytes - this.#received;
      this.#count(Math.min(value.length, left));
      fed = this.#feed(value);
      // The core takes what belongs to the file; no further piece is waited for.
      if (value.length > left && !(await fed)) return tooMany(bytes);
    }
  }

  /** Nobody has said how large it is: it is gathered up to what is allowed. */
  async #takeOfUnknownSize(read) {
    const { mostBytes } = this.#wanted;
    const pieces = [];
    let tooLong = false;
    while (!tooLong) {
      const { done, value } = await read();
      if (done) break;
      const left = mostBytes - this.#received;
      tooLong = value.length > left;
      pieces.push(value);
      this.#count(Math.min(value.length, left));
    }
    if (!(await this.#channel.call('open', [this.#received + (tooLong ? 1 : 0)]))) {
      return tooMany(mostBytes);
    }
    for (const piece of pieces) await this.#feed(piece);
    return this.#close();
  }

  /** The core has the whole file, or less when it ended early: then there is no digest. */
  closed(sha256) {
    if (sha256 === null) return;
    this.#complete = true;
    this.#queue.push({
      kind: 'file',
      path: this.#wanted.path,
      bytes: this.#received,
      sha256,
      milliseconds: performance.now() - this.#begun,
    });
  }

  async #close() {
    await this.#channel.call('close');
    return this.#complete ? null : `it ended after ${this.#received} bytes`;
  }

  #feed(piece) {
    const whole = piece.byteOffset === 0 && piece.byteLength === piece.buffer.byteLength;
    const own = whole && piece.constructor === Uint8Array ? piece : new Uint8Array(piece);
    return this.#channel.call('feed', [own], [own.buffer]);
  }

  #count(bytes) {
    this.#received += bytes;
    const now = performance.now();
    const total = this.#bytes ?? this.#wanted.bytes;
    if (now - this.#told < progressMilliseconds && this.#received !== total) return;
    this.#told = now;
    this.#queue.push({
      kind: 'progress',
      path: this.#wanted.path,
      received: this.#received,
      bytes: total,
    });
  }
}
