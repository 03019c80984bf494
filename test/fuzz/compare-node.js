#!/usr/bin/env node
/*
 * Our reading of HTTP requests against that of llhttp, the parser in Node.js. Optional: needs node, and a target built by
 * `make fuzz` (build-fuzz/test/fuzz/fuzz_http_peer).
 *
 *   test/fuzz/compare-node.js BUILD [FOLDER ...]     default: test/fuzz/corpus/http and what fuzzing found
 *
 * What we accept it must accept, with the same method, target, fields and body; exits 1 otherwise. Printed are the
 * classes of the other way round: what it accepts and we refuse, with what we say.
 */
'use strict';
process.noDeprecation = true; /* of process.binding: there is no other way to the bare parser */
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { HTTPParser, methods } = process.binding('http_parser');

const root = path.resolve(__dirname, '..', '..');
const build = process.argv[2];
if (build === undefined) {
    console.error('usage: compare-node.js BUILD [FOLDER ...]');
    process.exit(2);
}
const folders = process.argv.length > 3
    ? process.argv.slice(3)
    : [path.join(root, 'test/fuzz/corpus/http'), path.join(build, 'corpus/http'), path.join(build, 'corpus/http_peer')];

/* Ours, as fuzz_http_peer tells it with FUZZ_TELL=1: one line of JSON a request. */
function ours(files) {
    const out = execFileSync(path.join(build, 'test/fuzz/fuzz_http_peer'), ['-detect_leaks=0', `-artifact_prefix=${os.tmpdir()}/`, ...files],
        { env: { ...process.env, FUZZ_TELL: '1' }, stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 30 });
    const told = new Map();
    let inputs = -1; /* each input is run once: looking for leaks would run it twice */
    for (const line of out.toString('latin1').split('\n')) {
        if (line === 'input') {
            told.set(files[++inputs], []);
        } else if (line.startsWith('{')) {
            told.get(files[inputs]).push(JSON.parse(line));
        }
    }
    return told;
}

/* The first request of the bytes: { done, method, target, fields, body } or { error }. */
function theirs(bytes) {
    const seen = { fields: [], body: [], done: false };
    const parser = new HTTPParser();
    parser.initialize(HTTPParser.REQUEST, {}, 1 << 20, 0);
    parser[HTTPParser.kOnHeaders | 0] = (fields, target) => {
        seen.fields.push(...fields);
        seen.target = (seen.target ?? '') + target;
    };
    parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, fields, method, target) => {
        seen.head = true;
        seen.fields.push(...(fields ?? []));
        seen.method = methods[method];
        seen.target = (seen.target ?? '') + (target ?? '');
        return 0;
    };
    parser[HTTPParser.kOnBody | 0] = (chunk, offset, size) => {
        seen.body.push(offset === undefined ? chunk : chunk.subarray(offset, offset + size));
    };
    parser[HTTPParser.kOnMessageComplete | 0] = () => {
        seen.done = true;
        seen.counted = (seen.counted ?? 0) + 1;
        return 0;
    };
    const result = parser.execute(bytes, 0, bytes.length);
    return { ...seen, error: result instanceof Error && !seen.done ? result.code : undefined,
        body: Buffer.concat(seen.body).toString('latin1') };
}

/* Only whole single requests are compared: their callbacks do not say which request they are of. */
function compare(file, requests, classes) {
    const bytes = fs.readFileSync(file).subarray(1);
    if (requests.length === 0) {
        return true;
    }
    const our = requests[0];
    const their = theirs(bytes.subarray(0, our.used));
    if (our.status !== undefined) {
        if (their.done) {
            const text = `only llhttp accepts; we say ${our.status} ${our.detail}`;
            classes.set(text, (classes.get(text) ?? 0) + 1);
        }
        return true;
    }
    const names = [];
    for (let i = 0; i < their.fields.length; i += 2) {
        names.push(their.fields[i].toLowerCase());
    }
    const same = their.done && their.method === our.method && their.body.length === our.body &&
        names.slice(0, our.fields.length).join() === our.fields.join().toLowerCase() &&
        (our.path === '/' || their.target.includes(our.path));
    if (!same) {
        const text = `only we accept: ${their.error ?? 'another meaning'}`;
        classes.set(text, (classes.get(text) ?? 0) + 1);
        console.log(`${file}: ${text}`);
    }
    return same;
}

const files = folders.filter((folder) => fs.existsSync(folder))
    .flatMap((folder) => fs.readdirSync(folder).sort().map((name) => path.join(folder, name)));
const classes = new Map();
const told = ours(files);
const different = files.filter((file) => !compare(file, told.get(file) ?? [], classes));
for (const [text, count] of [...classes].sort((a, b) => b[1] - a[1])) {
    console.log(String(count).padStart(7), text);
}
console.log(`${files.length} inputs, llhttp ${process.versions.llhttp}: ${different.length} that only we accept or read otherwise`);
process.exit(different.length > 0 ? 1 : 0);
