// usage: speed.js WASM_SPEED [TARGET]
// Applies the same stacks natively (one thread, SSE4) and in WebAssembly, and prints the ratios of the
// two speeds; then how fast a bundle's model comes in, and by how much the process grows meanwhile.
// Exit 1 when the ratios' geometric mean, with or without survival, is below the goal, or there must
// have been two copies of the model.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { data, temporaryFolder } from './support.js';

const goal = 0.4;
const mostGrowth = 1.9; // two copies of the model would be more
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
 * Seconds of the fastest application. `applied` leaves out the reading and hashing of the files: it is from
 * the first piece of the new model that was told of to the last, for all of it. `whole` is the whole call,
 * with the digest of the new model.
 */
async function seconds(files, options) {
  let begun = 0;
  let first = 0;
  let last = 0;
  let applied = Infinity;
  let whole = Infinity;
  const core = await startCore(await compiledModule(hasSimd()), (done, total) => {
    const now = processorSeconds();
    if (done <= last || last === 0) [begun, first] = [now, done];
    last = done;
    if (done < total) return;
    applied = Math.min(applied, (now - begun) * (total / (total - first)));
    last = 0;
  });
  const [model, ...packages] = files.map((file) => {
    const bytes = readFileSync(file);
    const pointer = core.take(bytes.length);
    core.place(pointer, 0, bytes);
    return { pointer, bytes: bytes.length, file, strength: 1 };
  });
  for (let i = 0; i < runs; ++i) {
    const called = processorSeconds();
    const { report } = core.apply(model, packages, options);
    whole = Math.min(whole, processorSeconds() - called);
    if (!report.ok) throw new Error(JSON.stringify(report.findings));
  }
  return { applied, whole };
}

/** A bundle with a model of so many MiB. */
function makeBundle(mebibytes) {
  const files = execFileSync(program, [folder, target, String(mebibytes)], { encoding: 'utf8' });
  const [model, adapter] = files.trim().split(' ');
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
  return bundle;
}

const folder = temporaryFolder();
const ratios = { plain: [], measured: [] };
const row = (...cells) => console.log(cells.map((cell) => cell.padEnd(14)).join(''));
row('model', 'adapter', 'native', 'wasm', 'ratio', 'with survival', 'whole call');
const timed = execFileSync(program, [folder, target], { encoding: 'utf8' }).trim().split('\n');
for (const line of timed) {
  const [model, adapter, plain, measured] = line.split(' ');
  const { applied } = await seconds([model, adapter], { survival: false });
  const surveyed = await seconds([model, adapter], {});
  const ratio = plain / applied;
  const withSurvival = measured / surveyed.applied;
  ratios.plain.push(ratio);
  ratios.measured.push(withSurvival);
  row(
    path.basename(model, '.slm'), path.extname(adapter).slice(1), `${(plain * 1e3).toFixed(1)} ms`,
    `${(applied * 1e3).toFixed(1)} ms`, ratio.toFixed(2), withSurvival.toFixed(2),
    `${(surveyed.whole * 1e3).toFixed(0)} ms`,
  );
}
const mean = (list) => Math.exp(list.reduce((sum, ratio) => sum + Math.log(ratio), 0) / list.length);
const [plain, measured] = [mean(ratios.plain), mean(ratios.measured)];
console.log(`mean ratio to native ${target} ${plain.toFixed(2)}, with survival ${measured.toFixed(2)}, goal ${goal}`);

const mebibytes = 256; // large beside what the program has anyhow
const bundle = makeBundle(mebibytes);
const script = fileURLToPath(new URL('arrival.js', import.meta.url));
const arrivals = Array.from({ length: 3 }, () =>
  JSON.parse(execFileSync(process.execPath, [script, bundle], { encoding: 'utf8' })),
);
const speed = Math.max(...arrivals.map((each) => each.bytesPerSecond)) / 1e6;
const share = Math.max(...arrivals.map((each) => each.grownBytes / each.bundleBytes));
console.log(`a bundle's model of ${mebibytes} MiB comes in, hashed on the way, at ${speed.toFixed(0)} MB/s`);
console.log(`the process grows by ${share.toFixed(2)} times the bundle's bytes meanwhile, goal below ${mostGrowth}`);
const good = Math.min(plain, measured) >= goal && share < mostGrowth;
process.exitCode = good ? 0 : 1;
