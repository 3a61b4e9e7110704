// Who sent what, what became of it, and what came how often: read off the wire, so that it is the wire's word and not the
// client's.

import { memberOf, messagesOf, parse } from './raw.js';

/** How many messages are remembered, to tell a repeat from news. */
const REMEMBERED = 5000;

/** A map that forgets its oldest entries. */
export function shortMemory(most = REMEMBERED) {
  const map = new Map();
  return {
    get: (key) => map.get(key),
    has: (key) => map.has(key),
    delete: (key) => map.delete(key),
    set(key, value) {
      map.set(key, value);
      if (map.size > most) map.delete(map.keys().next().value);
    },
  };
}

/** @param {(accepted: { id: string, at: number, to: string }) => void} onAccepted the relay has a message of this page */
export function createAccount(onAccepted) {
  const counts = { sent: 0, accepted: 0, refused: 0, again: 0, received: 0, repeated: 0, missing: 0, forgotten: 0 };
  /** What was sent and is not answered, by key. */
  const open = new Map();
  /** The texts of messages that have come, by id. */
  const raws = shortMemory();

  const accepted = (key, { id, duplicate }) => {
    const draft = open.get(key);
    if (!draft || !id) return;
    open.delete(key);
    counts.accepted += 1;
    if (duplicate) counts.again += 1;
    onAccepted({ ...draft, id });
  };

  const came = (raw) => {
    const id = parse(memberOf(raw, 'id') ?? 'null');
    if (raws.has(id)) counts.repeated += 1;
    raws.set(id, raw);
  };

  const heardSocket = (text, about) => {
    const frame = parse(text);
    if (frame?.type === 'messages') messagesOf(text).forEach(came);
    else if (frame?.type === 'sent') accepted(about.keys?.get(frame.ref), frame);
  };

  const heardHttp = (status, text, { path, key }) => {
    if (!path.endsWith('/v1/messages')) return;
    if (status === '201') accepted(key, parse(text) ?? {});
    else if (status === '200' && key === undefined && parse(text)?.messages) messagesOf(text).forEach(came);
  };

  const heardEvent = (block) => {
    const field = (name) => block.split('\n').find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const event = field('event');
    if (event !== undefined && !event.startsWith('relay:')) came(field('data'));
  };

  return {
    counts,
    /** The text of a message as it came. */
    rawOf: (id) => raws.get(id),
    /** Something passes on the wire (wire.js). */
    see({ out, way, text, about }) {
      if (out && way === 'WebSocket') {
        const frame = parse(text);
        if (frame?.type === 'send') (about.keys ??= new Map()).set(frame.ref, frame.key);
      } else if (out) {
        about.key = about.body && parse(memberOf(about.body, 'key') ?? 'null');
      } else if (way === 'WebSocket') heardSocket(text, about);
      else if (way === 'event') heardEvent(text);
      else heardHttp(way.slice(5), text, about);
    },
    sending(key, to, at) {
      counts.sent += 1;
      open.set(key, { to, at });
    },
    /** For wires without keys. */
    accepted,
    refused(key) {
      if (open.delete(key)) counts.refused += 1;
    },
    received() {
      counts.received += 1;
    },
    gap({ from, to }) {
      if (to === null) counts.forgotten += 1;
      else counts.missing += to - from + 1;
    },
  };
}
