// The wire between a client and the relay, by hand: it shows all that passes, as it passes, and it can be cut.

import { asTyped } from './raw.js';

/** Statuses whose answers have no body. */
const BODILESS = [204, 205, 304];

/**
 * @param {(passed: { out: boolean, way: string, text: string, about?: object }) => void} see is told of all that passes.
 *   `about` is the same object for a request and its answer, and for all frames of one WebSocket
 */
export function createWire(see) {
  /** What breaks each thing that is under way. */
  const breaks = new Set();
  let whole = true;

  class Socket {
    onmessage = null;
    onerror = null;
    onclose = null;
    #real = null;
    #about = {};

    constructor(url, protocol) {
      const breakOff = () => {
        this.#real?.close();
        this.#end({ code: 1006 });
      };
      if (!whole) {
        queueMicrotask(breakOff);
        return;
      }
      breaks.add(breakOff);
      this.#real = new WebSocket(url, protocol);
      this.#real.onmessage = ({ data }) => {
        if (this.#real === null) return;
        see({ out: false, way: 'WebSocket', text: data, about: this.#about });
        this.onmessage?.({ data });
      };
      this.#real.onclose = (event) => {
        breaks.delete(breakOff);
        this.#end(event);
      };
    }

    #end(event) {
      this.#real = null;
      const tell = this.onclose;
      this.onclose = null;
      tell?.(event);
    }

    send(text) {
      if (this.#real === null) return;
      const sent = asTyped(text);
      see({ out: true, way: 'WebSocket', text: sent, about: this.#about });
      this.#real.send(sent);
    }

    close() {
      this.#real?.close();
    }
  }

  /** `fetch`, for requests whose body is text. */
  async function ask(url, { signal, ...init } = {}) {
    if (!whole) throw new TypeError('the connection is cut');
    const breaker = new AbortController();
    const breakOff = () => breaker.abort(new TypeError('the connection is cut'));
    breaks.add(breakOff);
    const stop = () => {
      breaks.delete(breakOff);
      breaker.abort(signal.reason);
    };
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop);
    const over = () => {
      breaks.delete(breakOff);
      signal?.removeEventListener('abort', stop);
    };
    const place = new URL(url, document.baseURI);
    const body = init.body && asTyped(init.body);
    const about = { path: place.pathname, body };
    const line = `${init.method ?? 'GET'} ${place.pathname}${hidden(place.search)}`;
    see({ out: true, way: 'HTTP', text: body ? `${line}\n${body}` : line, about });
    try {
      const response = await fetch(url, { ...init, body, signal: breaker.signal });
      const { status, headers } = response;
      if (response.body && headers.get('content-type')?.startsWith('text/event-stream')) {
        return new Response(response.body.pipeThrough(events(about, over)), { status, headers });
      }
      const text = await response.text();
      see({ out: false, way: `HTTP ${status}`, text, about });
      over();
      return new Response(BODILESS.includes(status) ? null : text, { status, headers });
    } catch (error) {
      over();
      throw error;
    }
  }

  /** Shows the events that pass, one by one. */
  function events(about, over) {
    const decoder = new TextDecoder();
    let rest = '';
    return new TransformStream({
      transform(chunk, controller) {
        const blocks = (rest + decoder.decode(chunk, { stream: true })).split('\n\n');
        rest = blocks.pop();
        for (const block of blocks) see({ out: false, way: 'event', text: block, about });
        controller.enqueue(chunk);
      },
      flush: over,
    });
  }

  return {
    WebSocket: Socket,
    fetch: ask,
    get whole() {
      return whole;
    },
    /** Breaks all that is under way, and lets nothing begin. */
    cut() {
      whole = false;
      for (const breakOff of [...breaks]) breakOff();
      breaks.clear();
    },
    mend() {
      whole = true;
    },
  };
}

/** A query as it may be shown: without what lets somebody in. */
const hidden = (query) => decodeURIComponent(query.replace(/\b(ticket|token|access_token)=[^&]*/g, '$1=…').replace(/%(?![0-9a-f]{2})/gi, '%25'));
