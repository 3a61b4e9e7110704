// Loads the client into a world of its own, as a page would: the module that is tested is the minified one.

import { readFile } from 'node:fs/promises';
import vm from 'node:vm';
import { transform } from 'esbuild';
import { fetchOver } from './requests.js';

const path = new URL(`../../dist/${process.env.X0_CLIENT_READABLE ? 'x0-relay.js' : 'x0-relay.min.js'}`, import.meta.url);
const { code } = await transform(await readFile(path, 'utf8'), { format: 'iife', globalName: 'client' });
const script = new vm.Script(`${code};client`, { filename: path.pathname });

/** What a page's storage is. */
export class Storage {
  /** @type {Map<string, string>} */
  items = new Map();
  /** @param {string} key */
  getItem(key) {
    return this.items.get(key) ?? null;
  }
  /** @param {string} key @param {string} value */
  setItem(key, value) {
    this.items.set(key, value);
  }
}

/** A page: what it listens to, and the client in it. */
export class Page {
  /** @param {import('./world.js').World} world @param {import('./network.js').Network} network */
  constructor(world, network) {
    this.world = world;
    this.network = network;
    this.window = new EventTarget();
    this.document = Object.assign(new EventTarget(), { hidden: false });
    /** @type {unknown[]} */
    this.complaints = [];
    this.alive = true;
    /** How much later than asked for this page's timers fire. */
    this.lateness = () => 0;
    const { window, document } = this;
    this.context = vm.createContext({
      document, URL, URLSearchParams, TextDecoder, DOMException, AbortController, crypto,
      location: { href: 'http://page.test/' },
      addEventListener: window.addEventListener.bind(window),
      console: { error: (/** @type {unknown} */ error) => this.complaints.push(error) },
      AbortSignal: { timeout: (/** @type {number} */ ms) => this.#timeout(ms) },
      setTimeout: (/** @type {() => void} */ run, ms = 0) => world.setTimeout(() => this.alive && run(), ms + this.lateness()),
      clearTimeout: (/** @type {number} */ id) => world.clearTimeout(id),
      fetch: fetchOver(network, () => this.alive),
      WebSocket: network.websocketFor(() => this.alive),
    });
    this.setClock(() => world.now);
    vm.runInContext('Math', this.context).random = world.random;
    /** @type {typeof import('../../src/x0-relay.js')} */
    this.client = script.runInContext(this.context);
  }

  /** What the wall's clock says. @param {() => number} clock */
  setClock(clock) {
    vm.runInContext('Date', this.context).now = clock;
  }

  /** @param {number} ms */
  #timeout(ms) {
    const control = new AbortController();
    this.world.setTimeout(() => control.abort(), ms);
    return control.signal;
  }

  /** The page is gone, with whatever it was about to do. */
  kill() {
    this.alive = false;
    this.network.cut();
  }

  /** @param {any} options @returns {import('../../src/x0-relay.js').Relay} */
  connect(options) {
    return this.client.connect('http://relay.test', options);
  }

  /** @param {'online' | 'offline' | 'pagehide' | 'pageshow'} name */
  tell(name) {
    this.window.dispatchEvent(new Event(name));
  }

  /** @param {boolean} hidden */
  hide(hidden) {
    this.document.hidden = hidden;
    this.document.dispatchEvent(new Event('visibilitychange'));
  }
}
