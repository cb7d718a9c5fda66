// The package's interface; index.d.ts says what each part does.

import { withChannel } from './channel.js';

export { Assembly } from './assembly.js';
export { configure } from './channel.js';
export { version } from './version.js';

/** Looks at one file's bytes in the core. */
function look(call, bytes, { signal, ...options }) {
  return withChannel(signal, async (channel) => {
    const pointer = await channel.upload(bytes);
    return channel.call(call, [pointer, bytes.length, { file: '', ...options }]);
  });
}

export function validate(bytes, options = {}) {
  return look('validate', bytes, options);
}

export function inspect(bytes, options = {}) {
  return look('inspect', bytes, options);
}

export function applyStack(model, packages, options = {}) {
  const { signal, strengths = [], file = '', files = [], ...rest } = options;
  return withChannel(signal, async (channel) => {
    const uploaded = [];
    for (const bytes of [model, ...packages]) {
      uploaded.push({ pointer: await channel.upload(bytes), bytes: bytes.length });
    }
    const [base, ...stack] = uploaded;
    return channel.call('apply', [
      { ...base, file },
      stack.map((each, i) => ({ ...each, file: files[i] ?? '', strength: strengths[i] ?? 1 })),
      rest,
    ]);
  });
}
