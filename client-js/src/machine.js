// Which connection there is, and what comes next. A pure state machine: what happened goes in with the time at which it
// happened, what to do comes out; it has no timers and does no I/O. (How long it backs off is random.)
//
// There is at most one connection that has said welcome (`live`) and one that has not yet (`trying`). With nothing live,
// the one that is trying is the way back; beside a live one it is a probe of a better transport, and the live one stays
// until the probe's welcome. The relay has one receiver a session, the newest: so a probe may send the live connection
// away before its own welcome arrives. That is not taken for another tab.

import { backoff } from './time.js';

const SECOND = 1000;
/** How long to wait for a welcome: longer for a transport that has failed before, as slow networks need it. */
const PATIENCE = 2.5 * SECOND;
const PATIENCE_MOST = 20 * SECOND;
/** How long a probe may leave the session without a receiver. */
const PATIENCE_OUSTED = 2 * SECOND;
/** A WebSocket that is silent for so long is asked twice, with a pause for the answer. Then it is given up. A timer that
 * was late, because the page slept, so never gives up what it has not asked. */
const QUIET = 25 * SECOND;
const ANSWER = 5 * SECOND;
const QUESTIONS = 2;
/** A connection that held for so long is no failure of its transport. */
const STABLE = 15 * SECOND;
/** What was asked over a connection that is shut may still reach the relay for so long, and send its successor away. */
const GHOST = 10 * SECOND;
/** At so many strikes it is another transport's turn. One that has never worked begins with half of them, so that it is
 * left at its first failure. */
const OUT = 3;
const STRIKE = { cut: 1, noWelcome: OUT / 2, atFirst: OUT / 2 };
const PROBE_FIRST = 5 * SECOND;
const PROBE_MOST = 600 * SECOND;
/** Statuses that say nothing against the transport by which they came. */
const NOT_THE_TRANSPORT = [401, 429, 503];

/**
 * @typedef {import('./x0-relay.d.ts').Transport} Transport
 * @typedef {import('./x0-relay.d.ts').State} State
 * @typedef {{ id: number, transport: Transport, since: number, deadline: number, heard: number, asked: number,
 *   ousted?: boolean }} Link
 * @typedef {{ superseded?: boolean, drain?: boolean, anew?: boolean, retryAfter?: number,
 *   error?: import('./errors.js').Told }} End
 *   why a connection ended; `drain`: the relay has said that it would; `anew`: it may be opened again as it was
 * @typedef {{ type: 'tick' | 'resume' | 'close' | import('./page.js').Turn }
 *   | { type: 'welcome' | 'heard', id: number }
 *   | { type: 'ended', id: number } & End} Event
 * @typedef {['open', number, Transport] | ['shut' | 'ping', number] | ['state', State]} Effect
 */

/** @param {Transport[]} transports @param {number} keepalive @param {number} wait */
export function createMachine(transports, keepalive, wait) {
  /** @type {'idle' | 'up' | 'asleep' | 'superseded' | 'closed'} */
  let phase = 'idle';
  /** @type {Link | undefined} */
  let live;
  /** @type {Link | undefined} */
  let trying;
  /** What is opened next, and when. */
  let next = transports[0];
  let retryAt = Infinity;
  /** Not before, whatever happens: the relay has asked for it. */
  let notBefore = 0;
  /** Failures since a connection was last stable. */
  let failures = 0;
  let probeAt = Infinity;
  let probes = 0;
  let ghostUntil = 0;
  /** Nothing is live since, and whether that lasts. */
  let lostAt = 0;
  let down = false;
  /** @type {import('./errors.js').Told | undefined} why the last attempt failed */
  let error;
  let reachable = false;
  let ids = 0;
  let now = 0;
  /** What has come is still being handled, and over HTTP nothing more is read meanwhile. */
  let busy = false;
  let told = '';
  /** @type {Effect[]} */
  let effects;
  /** @type {Record<Transport, number>} */
  const strikes = { websocket: STRIKE.atFirst, sse: STRIKE.atFirst, poll: STRIKE.atFirst };
  /** Silence after which a connection is suspect. */
  const silence = { websocket: QUIET, sse: 3 * keepalive, poll: wait + 15 * SECOND };

  const begin = () => {
    phase = 'up';
    failures = notBefore = 0;
    lost(false);
    open(next);
  };

  /** @param {Transport} transport */
  const open = (transport) => {
    const deadline = now + Math.min(PATIENCE_MOST, PATIENCE + strikes[transport] * SECOND);
    retryAt = Infinity;
    trying = { id: ++ids, transport, since: now, deadline, heard: now, asked: 0 };
    effects.push(['open', ids, transport]);
  };

  /** @param {Link | undefined} link */
  const shut = (link) => link && effects.push(['shut', link.id]);

  /** To have no connection. @param {'asleep' | 'superseded' | 'closed'} to */
  const leave = (to) => {
    shut(trying);
    shut(live);
    next = live?.transport ?? next;
    live = trying = undefined;
    retryAt = probeAt = Infinity;
    phase = to;
    // Other ways to send are not touched by another tab.
    reachable = to === 'superseded';
    lost(true);
  };

  /** @param {boolean} lasting */
  const lost = (lasting) => {
    lostAt = now;
    down = lasting;
    error = undefined;
  };

  /** @param {Link} link */
  const welcome = (link) => {
    if (live) ghostUntil = now + GHOST;
    shut(live);
    live = link;
    live.since = live.heard = now;
    trying = undefined;
    reachable = true;
    scheduleProbe(live);
  };

  /** Something better is tried now and then: soon at first, since the relay may just have been away. @param {Link} link */
  const scheduleProbe = ({ transport }) => {
    const pause = Math.min(PROBE_MOST, PROBE_FIRST * 2 ** probes) * (0.5 + Math.random() / 2);
    probeAt = transport === transports[0] ? Infinity : now + pause;
  };

  /** @param {Link} link @param {End} end */
  const endedLive = (link, end) => {
    if (end.superseded) {
      if (trying) {
        // Most likely by our own probe. It has to show soon.
        link.ousted = true;
        trying.deadline = Math.min(trying.deadline, now + PATIENCE_OUSTED);
        return;
      }
      if (now >= ghostUntil) return leave('superseded');
      ghostUntil = 0;
      end = { anew: true };
    }
    live = undefined;
    lost(false);
    lose(link, end, now - link.since);
  };

  /** @param {Link} link @param {End} end */
  const endedTrying = (link, end) => {
    trying = undefined;
    if (end.superseded) leave('superseded');
    else if (!live) lose(link, end, -1);
    else {
      judge(link, end, -1);
      if (!live.ousted) return scheduleProbe(live);
      // Our probe has sent it away, and is nothing itself.
      next = live.transport;
      live = undefined;
      lost(false);
      open(next);
    }
  };

  /** What an end says about its transport. @param {Link} link @param {End} end @param {number} lived -1: no welcome */
  const judge = ({ transport }, end, lived) => {
    if (lived >= STABLE) {
      strikes[transport] = failures = 0;
      if (transport === transports[0]) probes = 0;
    } else if (!end.drain && !end.anew && !NOT_THE_TRANSPORT.includes(end.error?.status ?? 0)) {
      strikes[transport] += lived < 0 ? STRIKE.noWelcome : STRIKE.cut;
    }
  };

  /** Nothing is live: what next, and when. @param {Link} link @param {End} end @param {number} lived */
  const lose = (link, end, lived) => {
    const { transport } = link;
    judge(link, end, lived);
    const out = strikes[transport] >= OUT;
    next = out ? transports[(transports.indexOf(transport) + 1) % transports.length] : transport;
    probeAt = Infinity;
    error = end.error ?? error;
    reachable = !!error?.status;
    notBefore = Math.max(notBefore, now + (end.retryAfter ?? 0));
    // Where a transport is blocked the others are tried at once.
    const pause = out && failures < transports.length - 1 ? 0 : backoff(failures);
    if (!end.drain && lived < STABLE) failures++;
    // A probe that is under way is the way back now.
    if (trying) return;
    retryAt = notBefore + pause;
    if (retryAt <= now) open(next);
    else down ||= failures >= transports.length || retryAt > now + SECOND;
  };

  const tick = () => {
    if (trying && now >= trying.deadline) {
      ghostUntil = now + GHOST;
      shut(trying);
      endedTrying(trying, {});
    }
    if (live && now >= lookAt(live)) {
      if (live.transport === 'websocket' && live.asked < QUESTIONS) {
        live.asked++;
        live.heard = now + ANSWER - QUIET;
        effects.push(['ping', live.id]);
      } else if (busy && live.transport !== 'websocket') live.heard = now;
      else {
        shut(live);
        endedLive(live, {});
      }
    }
    if (now >= retryAt) open(next);
    if (live && now >= probeAt && !trying) open(transports[probes++ % transports.indexOf(live.transport)]);
  };

  /** When to look whether a connection is alive. @param {Link} link */
  const lookAt = ({ transport, heard, ousted }) => (ousted ? Infinity : heard + silence[transport]);

  /** Something has changed outside: the page came back, or the network did. */
  const wake = () => {
    if (phase === 'asleep') begin();
    if (retryAt < Infinity) retryAt = Math.max(now, notBefore);
    // What has been silent lately may well be dead.
    if (live && !live.asked && now - live.heard > (live.transport === 'websocket' ? SECOND : silence[live.transport] / 2)) {
      live.heard = 0;
    }
    tick();
  };

  /** @param {Event} event */
  const react = (event) => {
    switch (event.type) {
      case 'welcome':
        return trying?.id === event.id && welcome(trying);
      case 'heard':
        if (live?.id === event.id) {
          live.heard = now;
          live.asked = 0;
        }
        return;
      case 'ended':
        if (live?.id === event.id) endedLive(live, event);
        else if (trying?.id === event.id) endedTrying(trying, event);
        return;
      case 'tick':
        return tick();
      case 'pagehide':
        return phase === 'up' && leave('asleep');
      case 'close':
        return leave('closed');
      case 'offline':
        shut(live);
        return live && endedLive(live, { anew: true });
      case 'online':
        // What began in the network before may never end: the next connection does not wait for that.
        if (live ? !trying : trying) {
          shut(trying);
          open(/** @type {Link} */ (live ?? trying).transport);
        }
      // falls through
      case 'pageshow':
        return wake();
      case 'visibilitychange':
        if (phase !== 'superseded') return wake();
      // falls through
      default: // resume
        if (phase !== 'up') begin();
        else if (!live && !trying) open(next);
    }
  };

  /** @returns {State} */
  const state = () => {
    if (phase === 'closed' || phase === 'superseded') return { name: phase, since: lostAt };
    if (live) return { name: 'online', since: live.since, transport: live.transport };
    if (!down) return { name: 'connecting', since: lostAt };
    return { name: 'offline', since: lostAt, nextTry: retryAt < Infinity ? retryAt : null, error };
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
      if (phase !== 'up') return Infinity;
      return Math.min(retryAt, trying ? trying.deadline : probeAt, live ? lookAt(live) : Infinity);
    },
    /** @param {Event} event @param {number} at @param {boolean} isBusy @returns {Effect[]} */
    handle(event, at, isBusy) {
      now = at;
      busy = isBusy;
      effects = [];
      if (phase !== 'closed') react(event);
      const current = state();
      const text = Object.values(current).slice(0, 3).join();
      if (text !== told) effects.push(['state', current]);
      told = text;
      return effects;
    },
  };
}
