// usage: speed.js WASM_SPEED [TARGET]
// Applies the same stacks natively (one thread, SSE4) and in WebAssembly, and prints the ratios of the
// two speeds; then how fast a bundle's model comes in. Exit 1 when the ratios' geometric mean, with or
// without survival, is below the goal.

import { execFileSync } from 'node:child_process';
import { createReadStream, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';

import { adapt, data, follow, temporaryFolder } from './support.js';

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

/** Bytes a second of a bundle's model, from a file to the Worker, which hashes them as they come. */
async function arrivalSpeed(model, adapter) {
  const recipe = JSON.parse(readFileSync(path.join(data, 'whale.recipe.json'), 'utf8'));
  const [member] = recipe.adapters;
  const [stack] = recipe.stacks;
  Object.assign(recipe, {
    model,
    adapters: [{ ...member, package: adapter }],
    stacks: [stack],
    budgets: { ...recipe.budgets, model_bytes: 2 ** 30, adapter_stack_bytes: 2 ** 30 },
  });
  const recipePath = path.join(folder, 'recipe.json');
  writeFileSync(recipePath, JSON.stringify(recipe));
  const bundle = path.join(folder, 'bundle');
  execFileSync(process.env.TRLM_ADAPT_CLI, ['bundle', 'create', recipePath, '-o', bundle]);
  const open = async (name) => {
    const file = path.join(bundle, name);
    const stream = Readable.toWeb(createReadStream(file, { highWaterMark: 1 << 20 }));
    return { bytes: statSync(file).size, stream };
  };
  let best = 0;
  for (let i = 0; i < 5; ++i) {
    const assembly = adapt.Assembly.open('http://127.0.0.1/', { open });
    const { events, report } = await follow(assembly);
    assembly.close();
    if (!report.ok) throw new Error(JSON.stringify(report.findings));
    const files = events.filter((event) => event.kind === 'file');
    const largest = files.reduce((a, b) => (a.bytes > b.bytes ? a : b));
    best = Math.max(best, largest.bytes / (largest.milliseconds / 1e3));
  }
  return best;
}

const folder = temporaryFolder();
const ratios = { plain: [], measured: [] };
const row = (...cells) => console.log(cells.map((cell) => cell.padEnd(14)).join(''));
row('model', 'adapter', 'native', 'wasm', 'ratio', 'with survival');
const timed = execFileSync(program, [folder, target], { encoding: 'utf8' }).trim().split('\n');
for (const line of timed) {
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
const arrival = await arrivalSpeed(...timed[0].split(' '));
console.log(`a bundle's model comes in, hashed on the way, at ${(arrival / 1e6).toFixed(0)} MB/s`);
process.exitCode = Math.min(plain, measured) >= goal ? 0 : 1;
