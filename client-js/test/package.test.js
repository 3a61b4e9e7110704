// The package as others get it: packed, installed into a fresh project, imported, type-checked, bundled, used.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { missing, Relay } from './support/relay.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = join(root, 'node_modules/.bin/tsc');
/** Six kilobytes, whichever kind is meant. */
const GZIPPED_MOST = 6000;
let project = '';
/** @type {{ path: string, size: number }[]} */
let files = [];

before(async () => {
  project = await mkdtemp(join(tmpdir(), 'x0-relay-package-'));
  // Without scripts: dist/ is packed as it is committed, and is not written while other tests read it.
  const packed = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], { cwd: root });
  const [{ filename, files: listed }] = JSON.parse(packed.stdout);
  files = listed;
  await writeFile(join(project, 'package.json'), '{"name":"fresh","private":true,"type":"module"}');
  const quiet = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
  await run('npm', ['install', ...quiet, join(project, filename)], { cwd: project });
});
after(() => rm(project, { recursive: true, force: true }));

test('it holds the client, its types, its licences and what to know about it, and nothing else', async () => {
  const expected = [
    'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'dist/x0-relay.d.ts', 'dist/x0-relay.js', 'dist/x0-relay.min.js', 'package.json',
  ];
  assert.deepEqual(files.map(({ path }) => path).sort(), expected);
  for (const licence of ['LICENSE-APACHE', 'LICENSE-MIT']) {
    assert.equal(await readFile(join(root, licence), 'utf8'), await readFile(join(root, '..', licence), 'utf8'));
  }
  const { dependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  assert.equal(dependencies, undefined);
});

test('dist/ is what src/ makes, and small', async () => {
  await run('node', ['build.mjs', '--check'], { cwd: root });
  const text = await readFile(join(root, 'dist/x0-relay.min.js'));
  const gzipped = gzipSync(text, { level: 9 }).length;
  console.log(`x0-relay.min.js: ${text.length} bytes, ${gzipped} gzipped`);
  assert(gzipped < GZIPPED_MOST, `${gzipped} bytes gzipped; ${GZIPPED_MOST} is the limit`);
});

test('its own source is type-checked', async () => {
  await run(tsc, ['-p', '.'], { cwd: root }).catch(({ stdout }) => assert.fail(stdout));
});

test('its types say what they should, however modules are resolved, in a page and in Node', async () => {
  await cp(join(root, 'test/types.ts'), join(project, 'types.ts'));
  const strict = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', 'types.ts'];
  const inPage = ['--lib', 'es2022,dom', '--types', ''];
  const inNode = ['--lib', 'es2022', '--typeRoots', join(root, 'node_modules/@types'), '--types', 'node'];
  for (const surroundings of [inPage, inNode]) {
    for (const resolution of ['nodenext', 'bundler']) {
      const module = resolution === 'bundler' ? 'esnext' : 'nodenext';
      const how = ['--target', 'es2022', '--module', module, '--moduleResolution', resolution];
      await run(tsc, [...how, ...surroundings, ...strict], { cwd: project }).catch(({ stdout }) => assert.fail(stdout));
    }
  }
});

test('a bundler takes it, minified or not', async () => {
  for (const name of ['x0-relay', 'x0-relay/min']) {
    const contents = `import { connect } from '${name}'; console.log(connect);`;
    const stdin = { contents, resolveDir: project };
    const { outputFiles, warnings } = await build({ stdin, bundle: true, format: 'esm', platform: 'browser', write: false });
    assert.deepEqual(warnings, []);
    assert.match(outputFiles[0].text, /superseded/);
  }
});

test('in the fresh project it talks to the relay, and its process ends by itself', { skip: missing() && `SKIPPED: ${missing()}`, timeout: 240_000 }, async () => {
  const relay = await Relay.start();
  await writeFile(join(project, 'use.js'), `
    import { connect } from 'x0-relay';
    const relay = connect('${relay.url}', { session: 'me' });
    console.log(JSON.stringify(await relay.send('me', { hello: 'myself' })));
    for await (const { payload, from } of relay) {
      // At once, but on a machine that has too much to do.
      while (relay.state.transport !== process.argv[2]) await new Promise((done) => relay.on('state', done));
      console.log(from, JSON.stringify(payload), relay.state.transport);
      break;
    }
    relay.close();
  `);
  for (const [flags, transport] of /** @type {const} */ ([[['--experimental-websocket'], 'websocket'], [['--no-experimental-websocket'], 'sse']])) {
    const { stdout } = await run('node', ['--no-warnings', ...flags, 'use.js', transport], { cwd: project });
    const [sent, got] = stdout.trim().split('\n');
    assert.equal(JSON.parse(sent).recipients, 1);
    assert.equal(got, `me {"hello":"myself"} ${transport}`);
  }
  await relay.stop('SIGKILL');
});
