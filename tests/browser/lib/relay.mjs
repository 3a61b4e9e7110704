// The relay's binary as a child: on a socket of its own, or on a listening socket that outlives it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { leaks } from './leaks.mjs';

export const BINARY = process.env.RELAY_BIN || fileURLToPath(new URL('../../../target/debug/x0-relay', import.meta.url));
const DEADLINE = 60_000;

/** Relays that still run when the test process ends are ended with it. */
const running = new Set();
process.on('exit', () => {
  for (const pid of running) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // ended meanwhile
    }
  }
});

/** Starts `x0-relay serve` on a free port (and on a second one where it speaks TLS, if told to); ended when `t` (a test) ends, or at once by `kill`. */
export async function startRelay(t, ...args) {
  const child = spawn(binary(), serve('--listen', '127.0.0.1:0', ...args), { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = new Output(child);
  running.add(child.pid);
  t.after(async () => {
    child.kill('SIGTERM');
    const insist = setTimeout(() => child.kill('SIGKILL'), DEADLINE);
    await output.ended;
    clearTimeout(insist);
    running.delete(child.pid);
    output.assertSilent();
  });
  const kill = () => {
    child.kill('SIGKILL');
    return output.ended;
  };
  const base = await output.address();
  const secure = args.includes('--tls-listen') ? (await output.line(/https:\/\/[\d.]+:\d+/))[0] : undefined;
  return { base, secure, kill };
}

/**
 * A listening socket held by a shell, which runs one relay after the other on it, as systemd would. This process
 * cannot hold it itself: Node accepts on every listening socket it has.
 */
const HOLDER = `while read -r start; do
  sh -c 'echo "pid $$"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"' "$@" &
  wait $!; echo "exit $?"
done`;

/** Makes such a socket for relays with these arguments; both end when `t` (a test) ends. */
export async function holdSocket(t, ...args) {
  const socket = createServer();
  socket.listen(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  let holder;
  try {
    const command = ['-c', HOLDER, 'holder', binary(), ...serve(...args)];
    holder = spawn('sh', command, { stdio: ['pipe', 'pipe', 'pipe', socket._handle.fd] });
    await once(holder, 'spawn');
  } finally {
    await new Promise((resolve) => socket.close(resolve)); // only this process's copy of it
  }
  const held = new HeldRelay(holder, `http://127.0.0.1:${port}`);
  t.after(() => held.end());
  return held;
}

/** A relay on a held socket: it can be ended and started again, and no connection is refused meanwhile. */
class HeldRelay {
  #holder;
  #output;
  #pid = null;

  constructor(holder, base) {
    this.#holder = holder;
    this.#output = new Output(holder);
    this.base = base;
  }

  async start() {
    this.#holder.stdin.write('start\n');
    this.#pid = Number((await this.#output.line(/^pid (\d+)$/))[1]);
    running.add(this.#pid);
    assert.equal(await this.#output.address(), this.base, 'the relay serves on the inherited socket');
  }

  /** Ends the relay; resolves with its exit code (137 after SIGKILL) when it is gone. */
  async stop(signal) {
    process.kill(this.#pid, signal);
    const [, code] = await this.#output.line(/^exit (\d+)$/);
    running.delete(this.#pid);
    this.#pid = null;
    return Number(code);
  }

  async end() {
    if (this.#pid !== null && !this.#output.exited) await this.stop('SIGKILL');
    this.#holder.stdin.end();
    await this.#output.ended;
    this.#output.assertSilent();
  }
}

/** What a child says on stdout, line by line; its stderr is shown when the awaited line does not come. */
class Output {
  /** Whether a relay under a holder has ended by itself. */
  exited = false;
  #lines = [];
  #errors = '';
  #leaks = [];
  #over = false;
  #wake = () => {};

  constructor(child) {
    createInterface({ input: child.stderr.setEncoding('utf8') }).on('line', (line) => {
      this.#errors = `${this.#errors}${line}\n`.slice(-4000);
      this.#leaks.push(...leaks(line));
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#lines.push(line);
      this.#wake();
    });
    this.ended = once(child, 'close').then(
      () => this.#end(''),
      (error) => this.#end(error.message),
    );
  }

  #end(error) {
    this.#errors += error;
    this.#over = true;
    this.#wake();
  }

  /** No line of the log may have shown what nobody may find there. */
  assertSilent() {
    assert.deepEqual(this.#leaks, [], 'the log shows what it must not');
  }

  /** Takes lines until one matches. */
  async line(pattern) {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, DEADLINE);
    const fail = (why) => new Error(`${why} before a line like ${pattern}; stderr: ${this.#errors || '(empty)'}`);
    try {
      for (;;) {
        while (this.#lines.length > 0) {
          const line = this.#lines.shift();
          const found = pattern.exec(line);
          if (found) return found;
          this.exited = line.startsWith('exit ');
          if (this.exited) throw fail(`the relay ended (${line})`);
        }
        if (this.#over) throw fail('the relay ended');
        if (late) throw fail(`${DEADLINE} ms went by`);
        await new Promise((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** The HTTP address that the relay prints once it accepts. */
  async address() {
    return (await this.line(/http:\/\/[\d.]+:\d+/))[0];
  }
}

/** The relay that is tested. */
export function binary() {
  assert.ok(existsSync(BINARY), `no relay at ${BINARY}: run \`cargo build\`, or name another one in RELAY_BIN`);
  return BINARY;
}

function serve(...args) {
  const access = args.includes('--auth') ? [] : ['--auth', 'open'];
  const level = args.includes('--log-level') ? [] : ['--log-level', 'debug'];
  return ['serve', '--socket', 'none', ...access, ...level, ...args];
}

/** Waits until nothing is kept for a session: what was shown is acknowledged. */
export async function settled(base, name) {
  for (;;) {
    if ((await (await fetch(`${base}/v1/sessions/${name}`)).json()).pending === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
