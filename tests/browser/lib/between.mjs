// What may stand between a page and the relay: a proxy with an address of its own that a test can make refuse WebSockets,
// hold answers back, hide protocol v1, break every connection, or be away.

import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import { connect } from 'node:net';

/** Starts a proxy to `relay` (http://address:port); ended when `t` (a test) ends. */
export async function startBetween(t, relay) {
  const between = new Between(relay);
  await between.up();
  t.after(() => between.down());
  return between;
}

class Between {
  /** What happens to requests for an upgrade: `pass`, `refuse` (403), or `swallow` (no answer at all). */
  sockets = 'pass';
  /** What happens to answers: `pass`, or `buffer`: they are held back until they are complete, as an event stream never is. */
  answers = 'pass';
  /** Whether /v1/ is passed on; otherwise it is a 404, as at a server that has no protocol v1. */
  v1 = true;
  #server = null;
  #port = 0;
  #open = new Set();
  #target;

  constructor(relay) {
    this.#target = new URL(relay);
  }

  get base() {
    return `http://127.0.0.1:${this.#port}`;
  }

  async up() {
    this.#server = createServer((request, response) => this.#pass(request, response));
    this.#server.on('connection', (socket) => this.#keep(socket));
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = this.#server.address().port;
  }

  /** From now on connections are refused, and those that are there break. */
  async down() {
    if (!this.#server?.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
  }

  /** Breaks every connection, with a reset where there is something under way. */
  cut() {
    for (const socket of this.#open) socket.resetAndDestroy();
  }

  #keep(socket) {
    this.#open.add(socket);
    socket.on('error', () => {}).on('close', () => this.#open.delete(socket));
  }

  #pass(request, response) {
    if (request.url.startsWith('/v1/') && !this.v1) {
      response.writeHead(404, { 'Access-Control-Allow-Origin': '*' }).end('{}');
      return;
    }
    const { method, url, headers } = request;
    const { hostname, port } = this.#target;
    const onward = httpRequest({ hostname, port, method, path: url, headers, agent: false }, (answer) => {
      answer.on('error', () => response.destroy());
      if (this.answers === 'buffer') return this.#holdBack(answer, response);
      response.writeHead(answer.statusCode, answer.headers);
      // As they come: without this, Node waits for the first piece of the body.
      response.flushHeaders();
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  }

  async #holdBack(answer, response) {
    const pieces = await answer.toArray().catch(() => null);
    if (pieces) response.writeHead(answer.statusCode, answer.headers).end(Buffer.concat(pieces));
  }

  #upgrade(request, socket, head) {
    if (this.sockets === 'swallow') return;
    if (this.sockets === 'refuse' || !this.v1) {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const onward = connect(Number(this.#target.port), this.#target.hostname, () => {
      const lines = [`${request.method} ${request.url} HTTP/1.1`];
      for (let at = 0; at < request.rawHeaders.length; at += 2) lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
      onward.write(`${lines.join('\r\n')}\r\n\r\n`);
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('close', () => onward.destroy());
  }
}
