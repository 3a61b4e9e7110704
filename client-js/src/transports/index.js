// The ways to receive, by name. Each makes one connection and tells what it hears, until it fails or is aborted; none of
// them decides anything.

import { poll } from './poll.js';
import { sse } from './sse.js';
import { websocket } from './websocket.js';

/**
 * @typedef {import('../x0-relay.d.ts').Message} Message
 * @typedef {import('../x0-relay.d.ts').Gap} Gap
 * @typedef {{ type: 'welcome', cursor?: string } | { type: 'heard' | 'expiring' }
 *   | { type: 'messages', messages?: Message[], gap?: Gap, cursor: string }
 *   | { type: 'goodbye', reason?: string, retry_after?: number }
 *   | { type: 'sent', ref: string } & import('../x0-relay.d.ts').Sent
 *   | { type: 'error', ref?: string, status: number }} Heard  a WebSocket's frames are told as they are
 * @typedef {(heard: Heard) => void} Tell
 * @typedef {{ api: import('../api.js').Api, session: string, after?: string, cursor: () => string | undefined,
 *   WebSocket: typeof globalThis.WebSocket, wait: number, tell: Tell, signal: AbortSignal, link: import('../sender.js').Link,
 *   drained: () => Promise<void> }} Ground
 *   `after`: where it begins; `cursor`: up to where all is handled by now; `drained`: waits until all that came is
 *   handled; `link`: gets a member `send` if messages may be sent this way
 * @typedef {(ground: Ground) => Promise<never>} Way
 */

/** @type {Record<import('../x0-relay.d.ts').Transport, Way>} */
export const ways = { websocket, sse, poll };
