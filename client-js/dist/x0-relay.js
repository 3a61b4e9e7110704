// x0-relay 0.1.0, MIT OR Apache-2.0

// src/errors.js
var Failure = class extends Error {
  /** @param {Code} code @param {Details} [details] @param {string} [message] in the place of the cause's */
  constructor(code, details, message = `${code}: ${details?.cause}`) {
    super(message);
    Object.assign(this, details, { name: "RelayError", code });
  }
};
var RelayError = (
  /** @type {Class} */
  /** @type {unknown} */
  Failure
);

// src/api.js
function createApi(base, source, fetch) {
  const renewable = typeof source === "function";
  let known;
  const spoil = () => {
    known = void 0;
  };
  const token = () => known ??= (async () => renewable ? source() : source)().catch((cause) => {
    spoil();
    throw new RelayError("token", { cause });
  });
  const address = (path, query) => (
    // As JSON, it is without members that are undefined.
    `${base}/v1/${path}?${new URLSearchParams(JSON.parse(JSON.stringify(query)))}`
  );
  const call = async (path, { body, ...init }, query = {}, again = false) => {
    const asked = token();
    const shown = await asked;
    const response = await fetch(address(path, query), {
      ...init,
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      cache: "no-store",
      headers: shown ? { Authorization: `Bearer ${shown}` } : {}
    });
    const { ok, status, headers } = response;
    if (ok) return response;
    if (status === 401) {
      if (known === asked) spoil();
      if (renewable && !again && shown !== await token()) return call(path, { body, ...init }, query, true);
    }
    const after = headers.get("retry-after") ?? 0;
    const retryAfter = (+after >= 0 ? +after * 1e3 : Date.parse(`${after}`) - Date.now()) || void 0;
    throw refusal({ ...await response.json().catch(() => void 0), status }, retryAfter);
  };
  return {
    renewable,
    token,
    spoil,
    address,
    call,
    /** What stands for the token where no header can be set. @param {string} session @param {AbortSignal} signal */
    async ticket(session, signal) {
      if (!await token()) return;
      try {
        return (await (await call("tickets", { body: { session }, signal })).json()).ticket;
      } catch (error) {
        if (![404, 405].includes(
          /** @type {any} */
          error.status
        )) throw error;
      }
    }
  };
}
var refusal = (said, retryAfter) => new RelayError("refused", { ...said, retryAfter }, said.detail ?? said.title ?? `status ${said.status}`);

// src/time.js
var FIRST_MS = 500;
var MOST_MS = 3e4;
var latest = 0;
var now = (known = 0) => latest = Math.max(latest, known, Date.now());
var pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
var backoff = (failures) => Math.random() * Math.min(MOST_MS, FIRST_MS * 2 ** failures);

// src/delivery.js
function createDelivery(house, listeners, attempts) {
  const { inbox, emit, signal } = house;
  let busy = false;
  const give = async (listener, message) => {
    for (let attempt = 1; !signal.aborted && listeners.has(listener); attempt++) {
      try {
        return await listener(message);
      } catch (cause) {
        const final = attempt >= attempts;
        emit("error", new RelayError("listener", { cause, received: message, final }));
        if (final) return;
        await pause(backoff(attempt));
      }
    }
  };
  return async () => {
    if (busy) return;
    busy = true;
    for (let item; !signal.aborted && listeners.size && (item = inbox.next()); ) {
      const { gap, message } = item;
      if (gap) emit("gap", gap);
      else if (message) for (const listener of [...listeners]) await give(listener, message);
      inbox.finish();
      house.receiver.handled();
    }
    busy = false;
  };
}
async function* iterate(relay) {
  let given;
  let wake = () => {
  };
  const offs = [
    relay.on("message", (message) => {
      const handled = new Promise((done) => given = [message, done]);
      wake();
      return handled;
    }),
    relay.on("state", () => wake())
  ];
  try {
    while (relay.state.name !== "closed") {
      if (given) {
        const [message, done] = given;
        given = void 0;
        try {
          yield message;
        } finally {
          done();
        }
      } else {
        await /** @type {Promise<void>} */
        new Promise((resolve) => wake = resolve);
      }
    }
  } finally {
    for (const off of offs) off();
  }
}

// src/inbox.js
var read = (cursor) => {
  const [epoch, seq] = cursor.split(".");
  return { epoch, seq: +seq };
};
var NOWHERE = { epoch: "", seq: -1 };
function createInbox(after) {
  let handled = after ? read(after) : NOWHERE;
  let hand;
  let received = handled;
  let items = [];
  const push = (seq, what) => {
    received = { epoch: received.epoch, seq };
    items.push({ ...received, ...what });
  };
  return {
    /** How many items are not handled. */
    get waiting() {
      return items.length + (hand ? 1 : 0);
    },
    /** Where to come back to: everything up to here is handled. */
    get cursor() {
      return handled.epoch ? `${handled.epoch}.${handled.seq}` : void 0;
    },
    /** The stream begins here. @param {string} cursor */
    welcome(cursor) {
      if (!received.epoch) handled = received = read(cursor);
    },
    /** @param {{ messages?: Message[], gap?: Gap, cursor: string }} batch */
    take({ messages = [], gap, cursor }) {
      const end = read(cursor);
      const anew = end.epoch !== received.epoch;
      if (anew) received = { epoch: end.epoch, seq: -1 };
      const last = received.seq;
      if (gap?.to == null) {
        if (gap && anew) push((messages[0]?.seq ?? end.seq + 1) - 1, { gap });
      } else if (gap.to > last) push(gap.to, { gap: { ...gap, from: Math.max(
        /** @type {number} */
        gap.from,
        last + 1
      ) } });
      for (const message of messages) {
        const { seq } = message;
        const from = received.seq + 1;
        if (from > 0 && seq > from) push(seq - 1, { gap: { from, to: seq - 1, reason: "unknown" } });
        if (seq >= from) push(seq, { message });
      }
      if (!hand && !items.length && (anew || end.seq > handled.seq)) handled = received = end;
    },
    /** The next item to be handled. */
    next() {
      return hand = items.shift();
    },
    /** It is handled. */
    finish() {
      if (hand) handled = hand;
      hand = void 0;
    },
    /** What is not yet in hand will be delivered again, to whoever is the receiver then. */
    drop() {
      items = [];
      received = hand ?? handled;
    },
    /** The relay has not handed out this cursor: begin where it says, at what it knows to be acknowledged. */
    forget() {
      handled = received = NOWHERE;
    }
  };
}

// src/page.js
var TURNS = ["online", "offline", "pageshow", "pagehide", "visibilitychange"];
function watchPage(tell, signal) {
  const { document } = globalThis;
  for (const target of [globalThis, document]) {
    for (const turn of TURNS) {
      target?.addEventListener?.(turn, () => (turn !== TURNS[4] || !document.hidden) && tell(turn), { signal });
    }
  }
}

// src/machine.js
var SECOND = 1e3;
var PATIENCE = 2.5 * SECOND;
var PATIENCE_MOST = 20 * SECOND;
var PATIENCE_OUSTED = 2 * SECOND;
var QUIET = 25 * SECOND;
var ANSWER = 5 * SECOND;
var QUESTIONS = 2;
var STABLE = 15 * SECOND;
var GHOST = 10 * SECOND;
var OUT = 3;
var STRIKE = { cut: 1, noWelcome: OUT / 2, atFirst: OUT / 2 };
var PROBE_FIRST = 5 * SECOND;
var PROBE_MOST = 600 * SECOND;
var NOT_THE_TRANSPORT = [401, 429, 503];
function createMachine(transports, keepalive, wait) {
  let phase = "idle";
  let live;
  let trying;
  let next = transports[0];
  let retryAt = Infinity;
  let notBefore = 0;
  let failures = 0;
  let probeAt = Infinity;
  let probes = 0;
  let ghostUntil = 0;
  let lostAt = 0;
  let down = false;
  let error;
  let reachable = false;
  let ids = 0;
  let now2 = 0;
  let busy = false;
  let told = "";
  let effects;
  const strikes = { websocket: STRIKE.atFirst, sse: STRIKE.atFirst, poll: STRIKE.atFirst };
  const silence = { websocket: QUIET, sse: 3 * keepalive, poll: wait + 15 * SECOND };
  const begin = () => {
    phase = "up";
    failures = notBefore = 0;
    lost(false);
    open(next);
  };
  const open = (transport) => {
    const deadline = now2 + Math.min(PATIENCE_MOST, PATIENCE + strikes[transport] * SECOND);
    retryAt = Infinity;
    trying = { id: ++ids, transport, since: now2, deadline, heard: now2, asked: 0 };
    effects.push(["open", ids, transport]);
  };
  const shut = (link) => link && effects.push(["shut", link.id]);
  const leave = (to) => {
    shut(trying);
    shut(live);
    next = live?.transport ?? next;
    live = trying = void 0;
    retryAt = probeAt = Infinity;
    phase = to;
    reachable = to === "superseded";
    lost(true);
  };
  const lost = (lasting) => {
    lostAt = now2;
    down = lasting;
    error = void 0;
  };
  const welcome = (link) => {
    if (live) ghostUntil = now2 + GHOST;
    shut(live);
    live = link;
    live.since = live.heard = now2;
    trying = void 0;
    reachable = true;
    scheduleProbe(live);
  };
  const scheduleProbe = ({ transport }) => {
    const pause2 = Math.min(PROBE_MOST, PROBE_FIRST * 2 ** probes) * (0.5 + Math.random() / 2);
    probeAt = transport === transports[0] ? Infinity : now2 + pause2;
  };
  const endedLive = (link, end) => {
    if (end.superseded) {
      if (trying) {
        link.ousted = true;
        trying.deadline = Math.min(trying.deadline, now2 + PATIENCE_OUSTED);
        return;
      }
      if (now2 >= ghostUntil) return leave("superseded");
      ghostUntil = 0;
      end = { anew: true };
    }
    live = void 0;
    lost(false);
    lose(link, end, now2 - link.since);
  };
  const endedTrying = (link, end) => {
    trying = void 0;
    if (end.superseded) leave("superseded");
    else if (!live) lose(link, end, -1);
    else {
      judge(link, end, -1);
      if (!live.ousted) return scheduleProbe(live);
      next = live.transport;
      live = void 0;
      lost(false);
      open(next);
    }
  };
  const judge = ({ transport }, end, lived) => {
    if (lived >= STABLE) {
      strikes[transport] = failures = 0;
      if (transport === transports[0]) probes = 0;
    } else if (!end.drain && !end.anew && !NOT_THE_TRANSPORT.includes(end.error?.status ?? 0)) {
      strikes[transport] += lived < 0 ? STRIKE.noWelcome : STRIKE.cut;
    }
  };
  const lose = (link, end, lived) => {
    const { transport } = link;
    judge(link, end, lived);
    const out = strikes[transport] >= OUT;
    next = out ? transports[(transports.indexOf(transport) + 1) % transports.length] : transport;
    probeAt = Infinity;
    error = end.error ?? error;
    reachable = !!error?.status;
    notBefore = Math.max(notBefore, now2 + (end.retryAfter ?? 0));
    const pause2 = out && failures < transports.length - 1 ? 0 : backoff(failures);
    if (!end.drain && lived < STABLE) failures++;
    if (trying) return;
    retryAt = notBefore + pause2;
    if (retryAt <= now2) open(next);
    else down ||= failures >= transports.length || retryAt > now2 + SECOND;
  };
  const tick = () => {
    if (trying && now2 >= trying.deadline) {
      ghostUntil = now2 + GHOST;
      shut(trying);
      endedTrying(trying, {});
    }
    if (live && now2 >= lookAt(live)) {
      if (live.transport === "websocket" && live.asked < QUESTIONS) {
        live.asked++;
        live.heard = now2 + ANSWER - QUIET;
        effects.push(["ping", live.id]);
      } else if (busy && live.transport !== "websocket") live.heard = now2;
      else {
        shut(live);
        endedLive(live, {});
      }
    }
    if (now2 >= retryAt) open(next);
    if (live && now2 >= probeAt && !trying) open(transports[probes++ % transports.indexOf(live.transport)]);
  };
  const lookAt = ({ transport, heard, ousted }) => ousted ? Infinity : heard + silence[transport];
  const wake = () => {
    if (phase === "asleep") begin();
    if (retryAt < Infinity) retryAt = Math.max(now2, notBefore);
    if (live && !live.asked && now2 - live.heard > (live.transport === "websocket" ? SECOND : silence[live.transport] / 2)) {
      live.heard = 0;
    }
    tick();
  };
  const react = (event) => {
    switch (event.type) {
      case "welcome":
        return trying?.id === event.id && welcome(trying);
      case "heard":
        if (live?.id === event.id) {
          live.heard = now2;
          live.asked = 0;
        }
        return;
      case "ended":
        if (live?.id === event.id) endedLive(live, event);
        else if (trying?.id === event.id) endedTrying(trying, event);
        return;
      case "tick":
        return tick();
      case "pagehide":
        return phase === "up" && leave("asleep");
      case "close":
        return leave("closed");
      case "offline":
        shut(live);
        return live && endedLive(live, { anew: true });
      case "online":
        if (live ? !trying : trying) {
          shut(trying);
          open(
            /** @type {Link} */
            (live ?? trying).transport
          );
        }
      // falls through
      case "pageshow":
        return wake();
      case "visibilitychange":
        if (phase !== "superseded") return wake();
      // falls through
      default:
        if (phase !== "up") begin();
        else if (!live && !trying) open(next);
    }
  };
  const state = () => {
    if (phase === "closed" || phase === "superseded") return { name: phase, since: lostAt };
    if (live) return { name: "online", since: live.since, transport: live.transport };
    if (!down) return { name: "connecting", since: lostAt };
    return { name: "offline", since: lostAt, nextTry: retryAt < Infinity ? retryAt : null, error };
  };
  return {
    state,
    /** The connection that has said welcome. */
    get live() {
      return live;
    },
    /** Whether the relay, or something in its place, has answered lately: then what is sent will arrive. */
    get reachable() {
      return reachable;
    },
    /** When the next tick is due. */
    get due() {
      if (phase !== "up") return Infinity;
      return Math.min(retryAt, trying ? trying.deadline : probeAt, live ? lookAt(live) : Infinity);
    },
    /** @param {Event} event @param {number} at @param {boolean} isBusy @returns {Effect[]} */
    handle(event, at, isBusy) {
      now2 = at;
      busy = isBusy;
      effects = [];
      if (phase !== "closed") react(event);
      const current = state();
      const text = Object.values(current).slice(0, 3).join();
      if (text !== told) effects.push(["state", current]);
      told = text;
      return effects;
    }
  };
}

// src/transports/poll.js
var PACE_MS = 1e3;
async function poll({ api, session, cursor, tell, signal, drained, wait }) {
  for (let first = true; ; first = false) {
    const start = now();
    const query = { session, after: cursor(), wait: first ? 0 : wait / 1e3 };
    const answer = await (await api.call("messages", { signal }, query)).json();
    const { messages, gap, superseded, retry_after } = answer;
    tell({ ...answer, type: "messages" });
    if (first) tell({ type: "welcome" });
    if (superseded || retry_after !== void 0) tell({ type: "goodbye", reason: superseded && "superseded", retry_after });
    else if (!first && !gap && !messages[0] && now() < start + PACE_MS) await pause(PACE_MS);
    await drained();
    signal.throwIfAborted();
    tell({ type: "heard" });
  }
}

// src/transports/sse.js
async function sse({ api, session, after, tell, signal, drained }) {
  const { body } = await api.call("events", { body: { session, after, ack: "explicit" }, signal });
  const reader = (
    /** @type {ReadableStream<Uint8Array>} */
    body.getReader()
  );
  const decoder = new TextDecoder();
  for (let text = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) throw Error("the events ended");
    tell({ type: "heard" });
    const blocks = (text + decoder.decode(value, { stream: true })).split("\n\n");
    text = /** @type {string} */
    blocks.pop();
    for (const block of blocks) hear(block, tell);
    await drained();
  }
}
function hear(block, tell) {
  const field = {};
  for (const line of block.split("\n")) {
    const [name, ...value] = line.split(": ");
    field[name] = value.join(": ");
  }
  const { event, id: cursor, data } = field;
  if (!event) return;
  const said = JSON.parse(data);
  const [type, own] = event.split("relay:");
  if (type) tell({ type: "messages", messages: [said], cursor });
  else if (own === "gap") tell({ type: "messages", gap: said, cursor });
  else tell({ ...said, type: own });
}

// src/transports/websocket.js
var PROTOCOL = "x0-relay.v1";
async function websocket({ api, session, after, WebSocket, tell, signal, link }) {
  const ticket = await api.ticket(session, signal);
  signal.throwIfAborted();
  const socket = new WebSocket(api.address("ws", { session, after, ticket }).replace("http", "ws"), PROTOCOL);
  link.send = (frame) => socket.send(JSON.stringify(frame));
  signal.addEventListener("abort", () => socket.close());
  socket.onmessage = ({ data }) => tell(JSON.parse(data));
  return new Promise((_, reject) => {
    socket.onerror = socket.onclose = ({ code = "error" }) => reject(Error(`WebSocket: ${code}`));
  });
}

// src/transports/index.js
var ways = { websocket, sse, poll };

// src/receiver.js
var ACK_PAUSE_MS = 50;
var RENEW_PAUSE_MS = 1e4;
function createReceiver(options, house) {
  const { api, emit, inbox } = house;
  const { session, wait = 1e4, keepalive = 15e3, transports = ["websocket", "sse", "poll"] } = options;
  const WebSocket = (
    /** @type {typeof globalThis.WebSocket} */
    options.WebSocket ?? globalThis.WebSocket
  );
  const possible = transports.filter((name) => name === "websocket" ? WebSocket : ways[name]);
  if (!possible[0]) throw new TypeError("no such transport");
  const machine = createMachine(possible, keepalive, wait);
  const links = /* @__PURE__ */ new Map();
  const events = [];
  const drains = [];
  let acked = inbox.cursor;
  let acking = false;
  let pausing = false;
  let stepping = false;
  const step = (event) => {
    events.push(event);
    if (stepping) return;
    stepping = true;
    for (let next; next = events.shift(); ) {
      for (const effect of machine.handle(next, now(), inbox.waiting > 0)) perform(effect);
    }
    stepping = false;
    house.changed();
  };
  const perform = ([what, subject, transport]) => {
    if (what === "state") {
      if (subject.name === "superseded") inbox.drop();
      emit(what, subject);
    } else if (what === "open") open(
      subject,
      /** @type {Transport} */
      transport
    );
    else if (what === "ping") links.get(subject)?.send?.({ type: "ping" });
    else drop(subject);
  };
  const open = (id, transport) => {
    const control = new AbortController();
    const { signal } = control;
    const link = { id, control };
    const tell = (heard) => links.has(id) && hear2(link, heard);
    const cursor = () => inbox.cursor;
    const after = cursor();
    links.set(id, link);
    ways[transport]({ api, session, wait, WebSocket, signal, drained, after, cursor, tell, link }).catch((cause) => {
      const error = cause instanceof RelayError ? cause : new RelayError("network", { cause });
      if (links.has(id)) ended(id, { error, retryAfter: error.retryAfter });
    });
  };
  const drop = (id) => {
    const link = links.get(id);
    links.delete(id);
    link?.control.abort();
    if (link?.send) house.sender.cut();
  };
  const ended = (id, end) => {
    const anew = end.error?.kind === "invalid_cursor";
    if (anew) inbox.forget();
    drop(id);
    step({ ...end, anew, type: "ended", id });
  };
  const hear2 = (link, heard) => {
    const { id } = link;
    const { type } = heard;
    if (type === "goodbye") {
      const { reason, retry_after = 0 } = heard;
      return ended(id, { superseded: reason === "superseded", drain: true, retryAfter: retry_after * 1e3 });
    }
    if (type === "welcome") {
      acked = heard.cursor;
      if (acked) inbox.welcome(acked);
      step({ type, id });
      acknowledge();
    } else if (type === "messages") inbox.take(heard);
    else if (type === "sent") house.sender.accepted(heard);
    else if (type === "error") house.sender.refused(heard);
    else if (type === "expiring" && api.renewable && now() > (link.renewed ?? 0) + RENEW_PAUSE_MS) renew(link);
    step({ type: "heard", id });
  };
  const renew = async (link) => {
    link.renewed = now();
    api.spoil();
    try {
      link.send?.({ type: "auth", token: await api.token() });
    } catch (error) {
      emit("error", error);
    }
  };
  const drained = () => new Promise((resolve) => inbox.waiting ? drains.push(resolve) : resolve());
  const socket = () => {
    const link = links.get(machine.live?.id ?? 0);
    return link?.send && link;
  };
  const acknowledge = async (last) => {
    const { cursor } = inbox;
    const link = socket();
    const can = last || link || machine.live?.transport === "sse" && !acking;
    if (!cursor || cursor === acked || !can) return;
    acked = cursor;
    if (link) return link.send?.({ type: "ack", cursor });
    acking = true;
    await api.call("ack", { body: { session, cursor }, keepalive: last }).catch(() => {
    });
    acking = false;
    acknowledge();
  };
  return {
    step,
    acknowledge,
    socket,
    machine,
    /** Another item is handled. */
    async handled() {
      house.changed();
      if (!inbox.waiting) for (const go of drains.splice(0)) go();
      else {
        if (pausing) return;
        pausing = true;
        await pause(ACK_PAUSE_MS);
        pausing = false;
      }
      acknowledge(machine.state().name === "closed");
    }
  };
}

// src/outbox.js
var KEY_MS = 54e4;
var FAILURES_MOST = 3;
var PASSING = [408, 429];
var UNAUTHORIZED = 401;
var MAILBOX_FULL = 507;
function createOutbox(entries, patience, renewable) {
  let failures = 0;
  let pausedUntil = 0;
  const pause2 = () => backoff(Math.min(failures++, FAILURES_MOST));
  return {
    /** What to send now; from here it is under way. @param {number} now @param {unknown} socket whether a WebSocket is there */
    take(now2, socket) {
      const taken = [];
      const waiting = /* @__PURE__ */ new Set();
      const riding = /* @__PURE__ */ new Set();
      let posting = entries.some(({ via }) => via === "post");
      for (const entry of now2 < pausedUntil ? [] : entries) {
        const { to } = entry.draft;
        if (!entry.via && now2 >= (entry.notBefore ?? 0) && !to.some((address) => waiting.has(address))) {
          if (socket && !entry.postOnly) entry.via = "websocket";
          else if (!posting && !to.some((address) => riding.has(address))) {
            posting = true;
            entry.via = "post";
          }
          if (entry.via) {
            entry.since ??= now2;
            taken.push(entry);
          }
        }
        for (const address of to) (entry.via === "websocket" ? riding : waiting).add(address);
      }
      return taken;
    },
    /** Whether to send it could double it. @param {Entry} entry @param {number} now */
    isStale: ({ since = Infinity }, now2) => now2 >= since + KEY_MS,
    /** It is accepted, or given up. @param {Entry} entry */
    remove(entry) {
      entries.splice(entries.indexOf(entry) >>> 0, 1);
      failures = 0;
    },
    /** There is no answer. @param {Entry} entry @param {number} now */
    lost(entry, now2) {
      if (entry.via === "post") pausedUntil = now2 + pause2();
      entry.postOnly = true;
      entry.via = void 0;
    },
    /** The relay refuses it. @param {Entry} entry @param {Told} error @param {number} now @returns {boolean} for good */
    refused(entry, { status = 0, retryAfter = 0 }, now2) {
      entry.via = void 0;
      entry.refusedSince ??= now2;
      const passing = status >= 500 || PASSING.includes(status) || renewable && status === UNAUTHORIZED;
      if (!passing || now2 >= entry.refusedSince + patience) return true;
      entry.notBefore = now2 + Math.max(retryAfter, pause2());
      if (status !== MAILBOX_FULL) pausedUntil = entry.notBefore;
      return false;
    },
    /** When to look next. @param {number} now */
    due(now2) {
      const times = entries.map(({ via, notBefore = 0 }) => via ? 0 : Math.max(notBefore, pausedUntil));
      return Math.min(...times.filter((time) => time > now2));
    }
  };
}

// src/sender.js
var ANSWER_MS = 3e4;
function createSender({ session, from = session, queue = 256, patience = 6e4 }, house) {
  const { api, entries, emit, signal } = house;
  const outbox = createOutbox(entries, patience, api.renewable);
  let refs = 0;
  const accepted = (entry, sent) => {
    if (entry) outbox.remove(entry);
    entry?.settle?.[0](sent);
  };
  const failed = (entry, error) => {
    error.sent = entry.draft;
    outbox.remove(entry);
    if (entry.settle) entry.settle[1](error);
    else emit("error", error);
    house.changed();
  };
  const refused = (entry, error) => outbox.refused(entry, error, now()) && failed(entry, error);
  const find = (ref) => entries.find((entry) => ref && entry.ref === ref);
  const post = async (entry) => {
    try {
      const response = await api.call("messages", { body: entry.draft, signal: AbortSignal.timeout(ANSWER_MS) });
      const sent = await response.json();
      if (!sent.id) throw Error();
      accepted(entry, sent);
    } catch (cause) {
      const error = (
        /** @type {Told} */
        cause
      );
      if (error.code === "refused") refused(entry, error);
      else outbox.lost(entry, now());
      if (error.code === "token") emit("error", error);
    }
    house.changed();
  };
  return {
    /** @param {any} frame */
    accepted: ({ type, ref, ...sent }) => accepted(find(ref), sent),
    /**
     * @param {string | readonly string[]} to @param {unknown} payload @param {import('./x0-relay.d.ts').SendOptions} options
     * @returns {Promise<Sent>}
     */
    async send(to, payload, { type, ttl, key = randomKey() } = {}) {
      const addresses = [to].flat().map((address) => address.includes(":") ? address : `session:${address}`);
      const draft = { to: addresses, payload: JSON.parse(JSON.stringify(payload)), from, type, ttl, key };
      if (signal.aborted) throw new RelayError("closed", {}, "the client is closed");
      if (entries.length >= queue) throw new RelayError("queue_full", {}, "too many messages wait to be sent");
      return new Promise((...settle) => {
        entries.push({ draft, settle });
        house.changed();
      });
    },
    /** Sends what can be sent. */
    flush() {
      if (signal.aborted) return;
      const link = house.receiver.socket();
      for (const entry of house.receiver.machine.reachable ? outbox.take(now(), link) : []) {
        if (outbox.isStale(entry, now())) {
          failed(entry, new RelayError("uncertain", {}, "it may have been accepted, or not"));
        } else if (link && entry.via === "websocket") {
          const { type: message_type, ...draft } = entry.draft;
          entry.ref = `${++refs}`;
          link.send?.({ ...draft, type: "send", message_type, ref: entry.ref });
        } else post(entry);
      }
    },
    /** When to look next. */
    due: () => house.receiver.machine.reachable ? outbox.due(now()) : Infinity,
    /** @param {any} frame */
    refused(frame) {
      const entry = find(frame.ref);
      if (entry?.via === "websocket") refused(entry, refusal(frame));
      else emit("error", refusal(frame));
    },
    /** The WebSocket is gone: no answer comes any more. */
    cut() {
      for (const entry of entries) if (entry.via === "websocket") outbox.lost(entry, now());
    },
    close() {
      for (const { settle } of entries) settle?.[1](new RelayError("closed", {}, "the client is closed"));
    }
  };
}
var randomKey = () => crypto.getRandomValues(new Uint8Array(16)).join("-");

// src/relay.js
var TIMER_MOST_MS = 2e9;
function connect(url, options) {
  const { session, token, storage, attempts = 3, fetch = globalThis.fetch } = options;
  if (!session) throw new TypeError("session is missing");
  const { origin, pathname } = new URL(url, globalThis.location?.href);
  const base = (origin + pathname).replace(/\/*$/, "");
  const listeners = { message: /* @__PURE__ */ new Set(), gap: /* @__PURE__ */ new Set(), state: /* @__PURE__ */ new Set(), error: /* @__PURE__ */ new Set() };
  const closing = new AbortController();
  const { signal } = closing;
  const place = `x0-relay ${base} ${session}`;
  let saved = "";
  let timer;
  let timerAt = Infinity;
  const emit = (name, event) => {
    const set = listeners[name];
    for (const listener of name === "error" && !set.size ? [console.error] : set) {
      try {
        listener(event);
      } catch (error) {
        console.error(error);
      }
    }
  };
  const tryStorage = (use) => {
    try {
      return use();
    } catch (cause) {
      emit("error", new RelayError("storage", { cause }));
    }
  };
  const save = () => {
    if (!storage) return;
    const unsent = entries.map(({ draft, since }) => ({ draft, since }));
    const text = JSON.stringify({ cursor: inbox.cursor, unsent });
    if (text !== saved) tryStorage(() => storage.setItem(place, text));
    saved = text;
  };
  const schedule = () => {
    const due = signal.aborted ? Infinity : Math.min(receiver.machine.due, sender.due());
    if (due === timerAt) return;
    clearTimeout(timer);
    timerAt = due;
    if (due === Infinity) return;
    const run = () => {
      now(timerAt);
      timerAt = Infinity;
      receiver.step({ type: "tick" });
    };
    timer = setTimeout(run, Math.min(TIMER_MOST_MS, due - now()));
  };
  const changed = () => {
    sender.flush();
    save();
    schedule();
    deliver();
  };
  const kept = tryStorage(() => JSON.parse(storage?.getItem(place) || "{}")) ?? {};
  const { after = kept.cursor } = options;
  const inbox = createInbox(after);
  const entries = kept.unsent ?? [];
  const api = createApi(base, token, fetch);
  const house = (
    /** @type {House} */
    { api, inbox, entries, emit, signal, changed }
  );
  const receiver = house.receiver = createReceiver(options, house);
  const sender = house.sender = createSender(options, house);
  const deliver = createDelivery(house, listeners.message, attempts);
  const relay = {
    session,
    send: sender.send,
    get state() {
      return receiver.machine.state();
    },
    get cursor() {
      return inbox.cursor;
    },
    get unsent() {
      return entries.length;
    },
    on(name, listener) {
      listeners[name].add(
        /** @type {any} */
        listener
      );
      deliver();
      return () => relay.off(name, listener);
    },
    off: (name, listener) => listeners[name].delete(listener),
    resume: () => receiver.step({ type: "resume" }),
    close() {
      if (signal.aborted) return;
      receiver.acknowledge(true);
      closing.abort();
      receiver.step({ type: "close" });
      sender.close();
    },
    [Symbol.asyncIterator]: () => iterate(relay)
  };
  watchPage((type) => {
    if (type === "pagehide") receiver.acknowledge(true);
    receiver.step({ type });
  }, signal);
  receiver.step({ type: "resume" });
  return relay;
}
export {
  RelayError,
  connect
};
