// The WebAssembly module and its C interface: bytes and texts in, bytes and JSON out.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Memory has ended: the instance cannot be used any more. */
export class OutOfMemory extends Error {
  name = 'OutOfMemory';
}

/** Starts the module. `onProgress(done, total)` is called while it works. */
export async function startCore(module, onProgress) {
  const host = new Host(onProgress);
  const instance = await WebAssembly.instantiate(module, host.imports());
  host.exports = instance.exports;
  instance.exports._initialize?.();
  return new Core(host);
}

/** What the module asks of its host. */
class Host {
  exports = null;
  output = null;
  #onProgress;

  constructor(onProgress) {
    this.#onProgress = onProgress;
  }

  bytes(pointer, length) {
    return new Uint8Array(this.exports.memory.buffer, pointer, length);
  }

  imports() {
    return {
      host: {
        progress: (done, total) => {
          this.#onProgress(done, total);
          return 1;
        },
        output_begin: (bytes) => {
          try {
            this.output = new Uint8Array(bytes);
            return 1;
          } catch {
            this.output = null;
            return 0;
          }
        },
        output_write: (offset, data, bytes) => this.output.set(this.bytes(data, bytes), offset),
        output_read: (offset, data, bytes) =>
          this.bytes(data, bytes).set(this.output.subarray(offset, offset + bytes)),
        out_of_memory: () => {
          throw new OutOfMemory('there is not enough memory for this');
        },
      },
      env: { emscripten_notify_memory_growth: () => {} },
      // The module writes to no file and reads no environment; its C library still names these.
      wasi_snapshot_preview1: {
        proc_exit: () => {
          throw new Error('the module has stopped');
        },
        fd_close: () => 8,
        fd_write: () => 8,
        fd_seek: () => 8,
        environ_sizes_get: () => 8,
        environ_get: () => 8,
      },
    };
  }

  takeOutput() {
    const output = this.output;
    this.output = null;
    return output;
  }
}

/** One instance, with one assembly at most. */
export class Core {
  #host;
  #call; // the exports
  #assembly = 0;

  constructor(host) {
    this.#host = host;
    this.#call = host.exports;
  }

  // ------------------------------------------------------------------------------------- memory

  /** Room for `bytes` bytes that `place` fills. */
  take(bytes) {
    const pointer = this.#call.trlm_take_memory(bytes);
    if (pointer === 0) throw new OutOfMemory(`there is no memory for ${bytes} bytes`);
    return pointer;
  }

  give(pointer) {
    this.#call.trlm_give_memory(pointer);
  }

  place(pointer, offset, bytes) {
    this.#host.bytes(pointer + offset, bytes.length).set(bytes);
  }

  /** Calls `use(pointer, length)` with a text, which is gone afterwards. */
  #withText(text, use) {
    const bytes = encoder.encode(text);
    const pointer = this.take(bytes.length);
    this.place(pointer, 0, bytes);
    try {
      return use(pointer, bytes.length);
    } finally {
      this.give(pointer);
    }
  }

  #answerText() {
    return decoder.decode(
      this.#host.bytes(this.#call.trlm_answer(), this.#call.trlm_answer_bytes()).slice(),
    );
  }

  #answer() {
    return JSON.parse(this.#answerText());
  }

  version() {
    this.#call.trlm_version();
    return this.#answer();
  }

  // ----------------------------------------------------------------------------------- assembly

  /** Null, or the report that says why the options are no good. */
  begin(options) {
    this.#assembly = this.#withText(JSON.stringify(options), this.#call.trlm_assembly_begin);
    return this.#assembly === 0 ? this.#answer() : null;
  }

  wanted() {
    return this.#call.trlm_assembly_wanted(this.#assembly) ? this.#answer() : null;
  }

  open(bytes) {
    return Boolean(this.#call.trlm_assembly_open(this.#assembly, bytes));
  }

  /** False when the file has more bytes than it may have: no further one is taken. */
  feed(bytes) {
    const room = this.#call.trlm_assembly_room_bytes(this.#assembly);
    const count = Math.min(room, bytes.length);
    this.place(this.#call.trlm_assembly_room(this.#assembly), 0, bytes.subarray(0, count));
    this.#call.trlm_assembly_feed(this.#assembly, count);
    if (count === bytes.length) return true;
    this.#call.trlm_assembly_overflow(this.#assembly);
    return false;
  }

  close() {
    this.#call.trlm_assembly_close(this.#assembly);
  }

  /** All files that the source has, once none is wanted; then some may be wanted again. */
  list(names) {
    const text = names.map((name) => `${name}\0`).join('');
    this.#withText(text, (pointer, length) =>
      this.#call.trlm_assembly_list(this.#assembly, pointer, length),
    );
  }

  /** That of the file that was closed last, or null where it ended early. */
  digest() {
    return this.#call.trlm_assembly_digest(this.#assembly) ? this.#answerText() : null;
  }

  refuse(missing, why) {
    this.#withText(why, (text, length) =>
      this.#call.trlm_assembly_refuse(this.#assembly, missing, text, length),
    );
  }

  isJudged(gate) {
    const pending = 0;
    return this.#call.trlm_assembly_gate_status(this.#assembly, gate) !== pending;
  }

  gate(gate) {
    this.#call.trlm_assembly_gate(this.#assembly, gate);
    return this.#answer();
  }

  report() {
    this.#call.trlm_assembly_report(this.#assembly);
    return this.#answer();
  }

  /** A copy of a file's verified bytes. */
  file(path) {
    const [pointer, length] = this.#withText(path, (text, bytes) => [
      this.#call.trlm_assembly_file(this.#assembly, text, bytes),
      this.#call.trlm_assembly_file_bytes(this.#assembly, text, bytes),
    ]);
    if (pointer === 0) throw new Error(`${path} is not a file that was verified`);
    return this.#host.bytes(pointer, length).slice();
  }

  tensors() {
    this.#needVerified(this.#call.trlm_assembly_model(this.#assembly));
    return this.#answer().tensors;
  }

  tensor(name, which) {
    const base = this.#needVerified(this.#call.trlm_assembly_base(this.#assembly));
    const model =
      which === 'adapted'
        ? this.model(which)
        : this.#host.bytes(base, this.#call.trlm_assembly_base_bytes(this.#assembly));
    const found = this.#withText(name, (text, length) =>
      this.#call.trlm_assembly_tensor(this.#assembly, text, length),
    );
    if (!found) return null;
    const part = ({ offset, bytes }) => model.slice(offset, offset + bytes);
    const { payload, scales } = this.#answer();
    return { payload: part(payload), scales: part(scales) };
  }

  survival() {
    this.#needVerified(this.#call.trlm_assembly_base(this.#assembly));
    this.#call.trlm_assembly_apply(this.#assembly, false);
    return this.#answer();
  }

  model(which) {
    const base = this.#needVerified(this.#call.trlm_assembly_base(this.#assembly));
    if (which === 'adapted' && this.#call.trlm_assembly_apply(this.#assembly, true)) {
      return this.#host.takeOutput();
    }
    return this.#host.bytes(base, this.#call.trlm_assembly_base_bytes(this.#assembly)).slice();
  }

  #needVerified(value) {
    if (!value) throw new Error('the bundle has not passed every gate');
    return value;
  }

  // -------------------------------------------------------------------------------------- files

  validate(pointer, bytes, options) {
    this.#withText(JSON.stringify(options), (text, length) =>
      this.#call.trlm_validate(pointer, bytes, text, length),
    );
    return this.#answer();
  }

  inspect(pointer, bytes, options) {
    this.#withText(JSON.stringify(options), (text, length) =>
      this.#call.trlm_inspect(pointer, bytes, text, length),
    );
    return this.#answer();
  }

  /** `model` and each of `packages`: { pointer, bytes, file }, packages also { strength }. */
  apply(model, packages, options) {
    const application = this.#withText(model.file, (text, length) =>
      this.#call.trlm_application_begin(model.pointer, model.bytes, text, length),
    );
    for (const each of packages) {
      this.#withText(each.file, (text, length) =>
        this.#call.trlm_application_add(
          application, each.pointer, each.bytes, text, length, each.strength,
        ),
      );
    }
    const done = this.#withText(JSON.stringify(options), (text, length) =>
      this.#call.trlm_application_run(application, text, length),
    );
    const report = this.#answer();
    this.#call.trlm_application_end(application);
    return { model: done ? this.#host.takeOutput() : null, report };
  }
}
