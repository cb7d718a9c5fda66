#!/usr/bin/env node
// The command line of trlm-adapt as far as tests need it, answered by the package: the same tests judge
// both. TRLM_ADAPT_PACKAGE is the installed package; TRLM_ADAPT_SIMD=off takes the build without SIMD.

import { createReadStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';

const folder = process.env.TRLM_ADAPT_PACKAGE;
const adapt = await import(pathToFileURL(path.join(folder, 'index.js')));
if (process.env.TRLM_ADAPT_SIMD === 'off') adapt.configure({ simd: false });

/** Files beneath a folder, as Assembly.open takes them. */
function beneath(root) {
  return async (name) => {
    const file = path.join(root, name);
    const { size } = await stat(file).catch((error) => {
      throw Object.assign(error, { missing: error.code === 'ENOENT' });
    });
    return { bytes: size, stream: Readable.toWeb(createReadStream(file)) };
  };
}

const commands = {
  async validate([file], { 'accept-foreign-checksum': acceptForeignChecksum }) {
    return adapt.validate(await readFile(file), { file, acceptForeignChecksum });
  },
  async inspect([file], { statistics, 'accept-foreign-checksum': acceptForeignChecksum }) {
    return adapt.inspect(await readFile(file), { file, statistics, acceptForeignChecksum });
  },
  async apply([file, ...files], options) {
    const strengths = files.map((name) => {
      const own = (options.strength ?? []).find((s) => s.startsWith(path.basename(name) + '='));
      return own ? Number(own.slice(own.lastIndexOf('=') + 1)) : 1;
    });
    const packages = await Promise.all(files.map((name) => readFile(name)));
    const { model, report } = await adapt.applyStack(await readFile(file), packages, {
      file,
      files,
      strengths,
      output: options.output,
      rounding: options.rounding,
      outputDtype: options['output-dtype'],
      allowNoEffect: options['allow-no-effect'],
    });
    if (model) await writeFile(options.output, model);
    return report;
  },
  async verify([root], options) {
    const assembly = adapt.Assembly.open('', {
      open: beneath(root),
      entry: options.entry,
      registryDigest: options['registry-digest'],
      allowWeakDigests: options['allow-weak-digests'],
    });
    for await (const event of assembly) void event;
    assembly.close();
    return assembly.report;
  },
};

const [command, ...args] = process.argv.slice(2);
const { values, positionals } = parseArgs({
  args,
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    'accept-foreign-checksum': { type: 'boolean' },
    statistics: { type: 'boolean' },
    strength: { type: 'string', multiple: true },
    output: { type: 'string', short: 'o' },
    'output-dtype': { type: 'string' },
    rounding: { type: 'string' },
    'allow-no-effect': { type: 'boolean' },
    threads: { type: 'string' },
    entry: { type: 'string' },
    'registry-digest': { type: 'string' },
    'allow-weak-digests': { type: 'boolean' },
  },
});
const report = await commands[command](positionals, values);
process.stdout.write(JSON.stringify(report) + '\n');
process.exitCode = report.exit_code;
