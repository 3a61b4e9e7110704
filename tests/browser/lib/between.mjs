// What may stand between a page and the relay: a proxy with an address of its own that a test can make refuse WebSockets,
// hide protocol v1, hold answers back, change headers, lose patience, break every connection, or be away. The relay
// behind it may be exchanged for another one, so that no test needs a port twice.

import { once } from 'node:events';
import { createServer, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { constants, createGzip } from 'node:zlib';

/** Requests that wait for mail, and those whose answer is a stream. */
const WAITS = /^\/get|^\/v1\/messages.*wait=[1-9]/;
const STREAMS = /^\/v1\/events/;
const PAGE = '<html><body><h1>Gateway</h1></body></html>';

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
  /** What happens to event streams: `pass`, or `gzip`. */
  events = 'pass';
  /** Headers that are taken out of requests, and out of answers. */
  strip = [];
  hide = [];
  /** Whether answers get a second `Access-Control-Allow-Origin`. */
  double = false;
  /** Whether errors become a page of its own. */
  replaceErrors = false;
  /** Whether answers to GET are remembered. */
  remember = false;
  /** After so many milliseconds without an answer a request that waits for mail gets a 504; after as many without a byte, once
   * there was one, a stream or a WebSocket breaks. */
  patience = Infinity;
  #server = null;
  #port = 0;
  #open = new Set();
  #remembered = new Map();
  #target;
  #away = false;

  constructor(relay) {
    this.target = relay;
  }

  /** The relay behind it. */
  set target(relay) {
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

  /** From now on every connection breaks as soon as it is there; the address stays taken. */
  goAway() {
    this.#away = true;
    this.cut();
  }

  comeBack() {
    this.#away = false;
  }

  #keep(socket) {
    socket.on('error', () => {});
    if (this.#away) {
      socket.resetAndDestroy();
      return;
    }
    this.#open.add(socket);
    socket.on('close', () => this.#open.delete(socket));
  }

  #pass(request, response) {
    if (request.url.startsWith('/v1/') && !this.v1) {
      response.writeHead(404, { 'Access-Control-Allow-Origin': '*' }).end('{}');
      return;
    }
    const { method, url } = request;
    const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !this.strip.includes(name)));
    const { hostname, port } = this.#target;
    const onward = httpRequest({ hostname, port, method, path: url, headers, agent: false }, (answer) => this.#answer(request, answer, response, quiet));
    const quiet = watch(WAITS.test(url) || STREAMS.test(url) ? this.patience : Infinity, () => {
      onward.destroy();
      if (response.headersSent) response.destroy();
      else response.writeHead(504, { 'Content-Type': 'text/html' }).end(PAGE);
    });
    if (WAITS.test(url)) quiet.heard();
    onward.on('error', () => response.headersSent || response.destroy());
    response.on('close', () => {
      quiet.stop();
      onward.destroy();
    });
    request.pipe(onward);
  }

  #answer({ method, url }, answer, response, quiet) {
    const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !this.hide.includes(name)));
    if (this.double) headers['access-control-allow-origin'] = ['*', '*'];
    answer.on('data', () => quiet.heard()).on('error', () => response.destroy());
    if (this.replaceErrors && answer.statusCode >= 400) {
      response.writeHead(answer.statusCode, { 'Content-Type': 'text/html' }).end(PAGE);
    } else if (this.answers === 'buffer') {
      hold(answer, response, headers);
    } else if (headers['content-type'] === 'text/event-stream' && this.events === 'gzip') {
      zip(answer, response, headers);
    } else if (this.remember && method === 'GET' && headers['content-type'] !== 'text/event-stream') {
      this.#recall(url, answer, response, headers).catch(() => response.destroy());
    } else {
      response.writeHead(answer.statusCode, headers);
      // As they come: without this, Node waits for the first piece of the body.
      response.flushHeaders();
      answer.pipe(response);
    }
  }

  async #recall(url, answer, response, headers) {
    const bytes = Buffer.concat(await answer.toArray());
    if (!this.#remembered.has(url)) this.#remembered.set(url, bytes);
    delete headers['content-length'];
    response.writeHead(answer.statusCode, headers).end(this.#remembered.get(url));
  }

  #upgrade(request, socket, head) {
    if (this.sockets === 'swallow') return;
    if (this.sockets === 'refuse' || !this.v1) {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const quiet = watch(this.patience, () => socket.resetAndDestroy());
    const onward = connect(Number(this.#target.port), this.#target.hostname, () => {
      const lines = [`${request.method} ${request.url} HTTP/1.1`];
      for (let at = 0; at < request.rawHeaders.length; at += 2) lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
      onward.write(`${lines.join('\r\n')}\r\n\r\n`);
      onward.write(head);
      onward.on('data', () => quiet.heard());
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('close', () => {
      quiet.stop();
      onward.destroy();
    });
  }
}

/** Calls `giveUp` when, after something was heard, nothing is for `ms`. */
function watch(ms, giveUp) {
  let timer;
  const stop = () => clearTimeout(timer);
  const heard = () => {
    stop();
    if (ms !== Infinity) timer = setTimeout(giveUp, ms);
  };
  return { heard, stop };
}

async function hold(answer, response, headers) {
  const pieces = await answer.toArray().catch(() => null);
  if (pieces) response.writeHead(answer.statusCode, headers).end(Buffer.concat(pieces));
}

function zip(answer, response, headers) {
  response.writeHead(200, { ...headers, 'content-encoding': 'gzip' });
  const packed = createGzip({ flush: constants.Z_SYNC_FLUSH });
  answer.pipe(packed).pipe(response);
}
