// A server on the loopback that hands out the page and a bundle, goes wrong where it is told to, and
// keeps a log of what it was asked for.

import { createServer } from 'node:http';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';

const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css',
                '.svg': 'image/svg+xml', '.wasm': 'application/wasm', '.json': 'application/json' };
const prefix = '/bundle/';

export class Server {
    /** `site`: the built page's folder. `headers`: of every answer. */
    static async start(site, headers = {}) {
        const server = new Server(site, headers);
        await new Promise((done) => server.http.listen(0, '127.0.0.1', done));
        return server;
    }

    constructor(site, headers) {
        this.site = site;
        this.headers = headers;
        this.http = createServer((request, response) => this.answer(request, response));
        this.serve(new Map());
    }

    get origin() {
        return `http://127.0.0.1:${this.http.address().port}`;
    }

    /** From now on `files` lie under /bundle/; `faults` answer in place of the files they are for. */
    serve(files, faults = {}) {
        this.files = files;
        this.faults = faults;
        this.log = [];
    }

    /** Paths in the bundle's folder that were asked for, in order. */
    get asked() {
        return this.log.filter((entry) => entry.path.startsWith(prefix))
            .map((entry) => entry.path.slice(prefix.length));
    }

    /** What was logged of one file of the bundle. */
    entry(path) {
        return this.log.find((entry) => entry.path === prefix + path);
    }

    async stop() {
        this.http.closeAllConnections();
        await new Promise((done) => this.http.close(done));
    }

    answer(request, response) {
        const path = decodeURIComponent(new URL(request.url, this.origin).pathname);
        const entry = { path, method: request.method, status: null, sent: 0, cut: false };
        this.log.push(entry);
        response.on('close', () => {
            entry.status = response.statusCode;
            entry.cut = !response.writableFinished;
        });
        const name = path.startsWith(prefix) ? path.slice(prefix.length) : null;
        const fault = name !== null ? this.faults[name] : undefined;
        if (fault) {
            fault({ request, response, entry, content: this.files.get(name), server: this });
        } else {
            this.send(response, path, name !== null ? this.files.get(name) : this.pageFile(path));
        }
    }

    pageFile(path) {
        const file = join(this.site, path === '/' ? 'index.html' : path);
        return existsSync(file) && statSync(file).isFile() ? readFileSync(file) : undefined;
    }

    send(response, path, content) {
        if (content === undefined) {
            response.writeHead(404, this.headers).end('not found');
            return;
        }
        const type = path === '/' ? types['.html'] : types[extname(path)] ?? 'application/octet-stream';
        response.writeHead(200, { ...this.headers, 'Content-Length': content.length, 'Content-Type': type })
            .end(content);
    }
}

const binary = { 'Content-Type': 'application/octet-stream' };

/** Faults: each answers one request. */
export const faults = {
    status: (code) => ({ response }) => response.writeHead(code).end('no'),

    redirect: (to) => ({ response, server }) =>
        response.writeHead(302, { Location: typeof to === 'function' ? to(server) : to }).end(),

    type: (name) => ({ response, content }) =>
        response.writeHead(200, { 'Content-Type': name, 'Content-Length': content.length }).end(content),

    /** Promises all of it and breaks off after a part. */
    cut: (share) => ({ response, content }) => {
        response.writeHead(200, { ...binary, 'Content-Length': content.length });
        response.write(content.subarray(0, Math.floor(share * content.length)),
                       () => setTimeout(() => response.destroy(), 50));
    },

    /** Answers with headers, a part, and then nothing more. */
    stall: (share) => ({ response, content }) => {
        response.writeHead(200, { ...binary, 'Content-Length': content.length });
        response.write(content.subarray(0, Math.floor(share * content.length)));
    },

    silent: () => () => {},

    /** In so many pieces, with a pause before each. */
    slow: (pieces, pause) => ({ response, content }) => {
        response.writeHead(200, { ...binary, 'Content-Length': content.length });
        const size = Math.ceil(content.length / pieces);
        const send = (at) => {
            if (at >= content.length) response.end();
            else setTimeout(() => response.write(content.subarray(at, at + size), () => send(at + size)), pause);
        };
        send(0);
    },

    /** The file, and then more and more of it, without ever saying how much. */
    endless: () => ({ response, content, entry }) => {
        response.writeHead(200, binary);
        const more = () => {
            if (response.destroyed) return;
            entry.sent += content.length;
            response.write(content, () => setTimeout(more, 5));
        };
        more();
    },

    /** The file without its size, in pieces. */
    chunked: () => ({ response, content }) => {
        response.writeHead(200, binary);
        response.write(content.subarray(0, 10));
        response.end(content.subarray(10));
    },

    /** Compressed on the way; the stated length is that of the compressed form. */
    encoded: (encoding, compress) => ({ response, content }) => {
        const body = compress(content);
        response.writeHead(200, { ...binary, 'Content-Encoding': encoding, 'Content-Length': body.length }).end(body);
    },

    /** The first answer is the file; later ones are another, and so is the bundle from then on. */
    then: (changed) => ({ response, content, server }) => {
        response.writeHead(200, { ...binary, 'Content-Length': content.length }).end(content);
        server.files = changed;
        server.faults = {};
    },
};
