// usage: speed.js WASM_SPEED [TARGET]
// Applies the same stacks natively (one thread, SSE4) and in WebAssembly, and prints the ratios of the
// two speeds. Exit 1 when their geometric mean, with or without survival, is below the goal.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const goal = 0.4;
const runs = 12; // the first ones run code that is not optimized yet
const [program, target = 'SSE4'] = process.argv.slice(2);
const from = (name) => import(pathToFileURL(path.join(process.env.TRLM_ADAPT_PACKAGE, name)));
const { startCore } = await from('core.js');
const { compiledModule, hasSimd } = await from('platform.js');

/** Of this process: others may use the machine, too. */
function processorSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/**
 * Seconds of the fastest application, reading and hashing of the files left out: from the first piece of
 * the new model that was told of to the last, for all of it.
 */
async function seconds(files, options) {
  let begun = 0;
  let first = 0;
  let last = 0;
  let fastest = Infinity;
  const core = await startCore(await compiledModule(hasSimd()), (done, total) => {
    const now = processorSeconds();
    if (done <= last || last === 0) [begun, first] = [now, done];
    last = done;
    if (done < total) return;
    fastest = Math.min(fastest, (now - begun) * (total / (total - first)));
    last = 0;
  });
  const [model, ...packages] = files.map((file) => {
    const bytes = readFileSync(file);
    const pointer = core.take(bytes.length);
    core.place(pointer, 0, bytes);
    return { pointer, bytes: bytes.length, file, strength: 1 };
  });
  for (let i = 0; i < runs; ++i) {
    const { report } = core.apply(model, packages, options);
    if (!report.ok) throw new Error(JSON.stringify(report.findings));
  }
  return fastest;
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'trlm-wasm-speed-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const ratios = { plain: [], measured: [] };
const row = (...cells) => console.log(cells.map((cell) => cell.padEnd(14)).join(''));
row('model', 'adapter', 'native', 'wasm', 'ratio', 'with survival');
for (const line of execFileSync(program, [folder, target], { encoding: 'utf8' }).trim().split('\n')) {
  const [model, adapter, plain, measured] = line.split(' ');
  const wasm = await seconds([model, adapter], { survival: false });
  const ratio = plain / wasm;
  const withSurvival = measured / (await seconds([model, adapter], {}));
  ratios.plain.push(ratio);
  ratios.measured.push(withSurvival);
  row(
    path.basename(model, '.slm'), path.extname(adapter).slice(1), `${(plain * 1e3).toFixed(1)} ms`,
    `${(wasm * 1e3).toFixed(1)} ms`, ratio.toFixed(2), withSurvival.toFixed(2),
  );
}
const mean = (list) => Math.exp(list.reduce((sum, ratio) => sum + Math.log(ratio), 0) / list.length);
const [plain, measured] = [mean(ratios.plain), mean(ratios.measured)];
console.log(`mean ratio to native ${target} ${plain.toFixed(2)}, with survival ${measured.toFixed(2)}, goal ${goal}`);
process.exitCode = Math.min(plain, measured) >= goal ? 0 : 1;
