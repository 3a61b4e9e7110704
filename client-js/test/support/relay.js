// The built relay as a process, and proxies before it that are as bad as those in the world.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const inTree = fileURLToPath(new URL('../../../target/debug/x0-relay', import.meta.url));
/** What begins so is a setting of the relay, and this is none. */
const surroundings = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('X0_RELAY_')));
const binary = process.env.X0_RELAY_BIN ?? inTree;

/** Why the tests against the relay cannot run; nothing if they can. @returns {string | undefined} */
export function missing() {
  if (!existsSync(binary)) return `there is no relay at ${binary}: cargo build, or name one in X0_RELAY_BIN`;
  if (typeof WebSocket !== 'function') return 'this Node has no WebSocket: run it with --experimental-websocket';
}

export class Relay {
  /** @param {string[]} args @param {string} [listen] */
  static async start(args = [], listen = '127.0.0.1:0') {
    const process_ = spawn(binary, ['serve', '--listen', listen, '--socket', 'none', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: surroundings,
    });
    const relay = new Relay(process_, args);
    relay.url = await relay.#address();
    return relay;
  }

  /** @param {import('node:child_process').ChildProcessByStdio<null, import('node:stream').Readable, import('node:stream').Readable>} child @param {string[]} args */
  constructor(child, args) {
    this.child = child;
    this.args = args;
    this.url = '';
    /** @type {string[]} */
    this.log = [];
    this.ended = once(child, 'exit');
    createInterface({ input: child.stderr }).on('line', (line) => this.log.push(line));
  }

  /** @returns {Promise<string>} */
  #address() {
    return new Promise((resolve, reject) => {
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        const [address] = /http:\/\/\S+:\d+/.exec(line) ?? [];
        if (address) resolve(address);
      });
      this.ended.then(([code]) => reject(new Error(`the relay ended with ${code}:\n${this.log.join('\n')}`)));
    });
  }

  /** @param {'SIGTERM' | 'SIGKILL'} signal */
  async stop(signal = 'SIGTERM') {
    this.child.kill(signal);
    await this.ended;
  }

  /** The same again at the same address. @param {'SIGTERM' | 'SIGKILL'} signal */
  async restart(signal) {
    await this.stop(signal);
    return Relay.start(this.args, this.url.replace('http://', ''));
  }

  /** How many messages wait for a session. @param {string} session @param {string} [token] */
  async pending(session, token) {
    const answer = await fetch(`${this.url}/v1/sessions/${session}`, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    return /** @type {any} */ (await answer.json()).pending;
  }

  /** @param {string} to @param {unknown} payload @param {object} [more] */
  async send(to, payload, more = {}) {
    const answer = await fetch(`${this.url}/v1/messages`, { method: 'POST', body: JSON.stringify({ to, payload, ...more }) });
    if (!answer.ok) throw new Error(await answer.text());
  }
}

/** Something that listens on loopback, and all of whose connections can be cut. */
class Listener {
  /** @param {net.Server | http.Server} server */
  constructor(server) {
    this.server = server;
    /** @type {Set<net.Socket>} */
    this.sockets = new Set();
    server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('error', () => {});
    });
  }

  async listen() {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    this.url = `http://127.0.0.1:${/** @type {net.AddressInfo} */ (this.server.address()).port}`;
    return this;
  }

  cut() {
    for (const socket of this.sockets) socket.destroy();
  }

  async close() {
    this.server.close();
    this.cut();
    await once(this.server, 'close');
  }
}

/** Hands bytes on, until it is told to cut. @param {string} url */
export function pipeTo(url) {
  const { port } = new URL(url);
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  return new Listener(server).listen();
}

/**
 * A proxy that understands HTTP: it refuses or swallows WebSockets, and holds back answers until they are complete.
 *
 * @param {string} url @param {{ websockets: 'refuse' | 'swallow', buffers?: boolean }} habits
 */
export function proxyTo(url, { websockets, buffers = false }) {
  const server = http.createServer((request, response) => {
    const far = http.request(url + request.url, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      if (!buffers) {
        response.flushHeaders();
        return answer.pipe(response);
      }
      /** @type {Buffer[]} */
      const held = [];
      answer.on('data', (chunk) => held.push(chunk));
      answer.on('end', () => response.end(Buffer.concat(held)));
      answer.on('error', () => response.destroy());
    });
    far.on('error', () => response.destroy());
    response.on('close', () => far.destroy());
    request.pipe(far);
  });
  server.on('upgrade', (_, socket) => {
    if (websockets === 'refuse') socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  });
  return new Listener(server).listen();
}
