// `npm test`: every test. Node 20 has its WebSocket behind a flag; later ones take the flag and need it not.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const files = readdirSync(here).filter((name) => name.endsWith('.test.js'));
if (files.length < 8) throw new Error(`only ${files.length} files of tests`);
const args = ['--experimental-websocket', '--no-warnings', '--test', '--test-reporter=spec', ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, [...args, ...files.map((name) => here + name)], { stdio: 'inherit' });
process.exit(status ?? 1);
