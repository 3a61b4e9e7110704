// Assembles src/ into dist/: one module to read, the same minified, and the types. `node build.mjs --check` writes
// nothing and fails if dist/ is not what src/ makes.

import { readFile, writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { build, transform } from 'esbuild';
import { minify } from 'terser';

/**
 * Members that only the client's own parts know of each other: their names may be shortened. Nothing that the relay, the
 * browser, the storage or a user sees may be here; the tests drive the minified module.
 */
const INTERNAL = [
  ...['accepted', 'acked', 'acknowledge', 'address', 'anew', 'api', 'asked', 'busy', 'call', 'changed', 'control', 'cut', 'deadline', 'drain', 'drained'],
  ...['drop', 'due', 'emit', 'entries', 'epoch', 'finish', 'flush', 'forget', 'handle', 'handled', 'heard', 'inbox', 'isStale', 'link'],
  ...['live', 'lost', 'machine', 'next', 'notBefore', 'ousted', 'postOnly', 'reachable', 'receiver', 'refused', 'refusedSince'],
  ...['remove', 'renewable', 'renewed', 'sender', 'settle', 'socket', 'spoil', 'step', 'take', 'tell', 'via', 'waiting', 'welcome'],
];

const at = (path) => new URL(path, import.meta.url);
const { version } = JSON.parse(await readFile(at('package.json'), 'utf8'));
const banner = `// x0-relay ${version}, MIT OR Apache-2.0`;

/** The client as one module. */
export async function bundle() {
  const { outputFiles } = await build({
    absWorkingDir: at('.').pathname,
    entryPoints: ['src/index.js'],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    charset: 'utf8',
    banner: { js: banner },
    write: false,
  });
  return outputFiles[0].text;
}

/** The same, as small as it gets. @param {string} text */
export async function shrink(text) {
  // Each of the two finds what the other does not.
  const { code: shorter } = await transform(text, { minifySyntax: true, format: 'esm', target: 'es2022' });
  const { code } = await minify(shorter, {
    module: true,
    ecma: 2020,
    compress: { passes: 4, inline: 0, unsafe_arrows: true, pure_getters: true, unsafe: true },
    mangle: { properties: { builtins: true, regex: new RegExp(`^(${INTERNAL.join('|')})$`) } },
    format: { comments: false, preamble: banner },
  });
  return `${code}\n`;
}

if (process.argv[1] === at(import.meta.url).pathname) {
  const text = await bundle();
  const files = {
    'dist/x0-relay.js': text,
    'dist/x0-relay.min.js': await shrink(text),
    'dist/x0-relay.d.ts': await readFile(at('src/x0-relay.d.ts'), 'utf8'),
  };
  for (const [path, content] of Object.entries(files)) {
    if (!process.argv.includes('--check')) await writeFile(at(path), content);
    else if ((await readFile(at(path), 'utf8').catch(() => '')) !== content) {
      console.error(`${path} is not what src/ makes: run npm run build, and commit it`);
      process.exitCode = 1;
    }
  }
  const min = Buffer.from(files['dist/x0-relay.min.js']);
  console.log(`dist/x0-relay.min.js: ${min.length} bytes, ${gzipSync(min, { level: 9 }).length} gzipped`);
}
