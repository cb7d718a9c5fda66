// usage: arrival.js BUNDLE
// Takes a bundle through its gates, its files streamed from the folder, and prints how fast the largest
// came in and by how much the process has grown.

import { createReadStream, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';

import { adapt, follow } from './support.js';

const [bundle] = process.argv.slice(2);
/** Of this program: what getrusage tells may be what its parent had. */
const peakBytes = () => 1024 * Number(readFileSync('/proc/self/status', 'utf8').match(/^VmHWM:\s*(\d+) kB$/m)[1]);
const open = async (name) => {
  const file = path.join(bundle, name);
  return { bytes: statSync(file).size, stream: Readable.toWeb(createReadStream(file)) };
};

const before = peakBytes();
const assembly = adapt.Assembly.open('', { open });
const { events, report } = await follow(assembly);
if (!report.ok) throw new Error(JSON.stringify(report.findings));
const files = events.filter((event) => event.kind === 'file');
const largest = files.reduce((a, b) => (a.bytes > b.bytes ? a : b));
console.log(
  JSON.stringify({
    bytesPerSecond: largest.bytes / (largest.milliseconds / 1e3),
    bundleBytes: files.reduce((sum, file) => sum + file.bytes, 0),
    grownBytes: peakBytes() - before,
  }),
);
assembly.close();
