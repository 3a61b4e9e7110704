// Runs what stands in examples/ as its reader would: by its run.sh, with the relay that is tested.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { binary } from './relay.mjs';

export const tree = fileURLToPath(new URL('../../../', import.meta.url));

/** Runs examples/NAME/run.sh until `t` (a test) ends; resolves with the addresses of the page and of the relay. */
export async function runExample(t, name, settings = {}) {
  // What begins so is a setting of the relay, and X0_RELAY_PROVE is none.
  const own = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('X0_RELAY_')));
  const env = { ...own, RELAY_BIN: binary(), RELAY_PORT: '0', PAGE_PORT: '0', ...settings };
  const child = spawn(`examples/${name}/run.sh`, { cwd: tree, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  t.after(async () => {
    child.kill('SIGTERM');
    await ended;
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (said += text));
  const addresses = {};
  for await (const line of createInterface({ input: child.stdout })) {
    const [, what, address] = /^the (page|relay) +(http:\S+)$/.exec(line) ?? [];
    if (what) addresses[what] = address;
    if (addresses.page && addresses.relay) return addresses;
  }
  assert.fail(`${name}/run.sh has ended: ${said}`);
}

/** A port that is free, as far as that can be known. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
