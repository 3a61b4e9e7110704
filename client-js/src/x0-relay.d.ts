// Types of the client of x0-relay. See README.md.

/** A way to receive. */
export type Transport = 'websocket' | 'sse' | 'poll';

/** A message as it is received. */
export interface Message<Payload = any> {
  /** The relay's name for it, a UUID. */
  id: string;
  /** Its number in the mailbox. */
  seq: number;
  /** Who sent it, as the sender says. */
  from: string;
  /** A word for the receiver; `message` if the sender gave none. */
  type: string;
  /** When the relay accepted it: milliseconds since 1970. */
  ts: number;
  payload: Payload;
}

/** Messages that were in the mailbox and can no longer be delivered. */
export interface Gap {
  /** The first and the last that are missing; `null` if it is not known. */
  from: number | null;
  to: number | null;
  /**
   * `expired`, `purged`, `overflow`: they left the mailbox so. `taken`: another receiver of this session has
   * acknowledged them. `epoch`: the relay has lost, or forgotten, what was in the mailbox. `unknown`: it does not say.
   */
  reason: 'expired' | 'purged' | 'overflow' | 'taken' | 'epoch' | 'unknown';
}

/** What a user interface may want to show. Times are milliseconds since 1970. */
export type State =
  | { readonly name: 'connecting'; readonly since: number }
  | { readonly name: 'online'; readonly since: number; readonly transport: Transport }
  | {
      readonly name: 'offline';
      /** When the connection was lost. */
      readonly since: number;
      /** When the next attempt begins; `null` while there is one. */
      readonly nextTry: number | null;
      /** Why the last attempt failed, as far as that is known. */
      readonly error?: RelayError;
    }
  /** Another tab, or another client, receives for this session now. */
  | { readonly name: 'superseded'; readonly since: number }
  | { readonly name: 'closed'; readonly since: number };

export type RelayErrorCode =
  /** The relay refuses: see `status`, `kind` and, for a send, `addresses`. */
  | 'refused'
  /** The relay cannot be reached, or what answers is no relay. */
  | 'network'
  /** Too many messages wait to be sent. */
  | 'queue_full'
  /** A message was sent, its answer was lost, and too much time has passed to find out whether it was accepted. */
  | 'uncertain'
  /** The token could not be had. */
  | 'token'
  /** A listener has failed: see `received` and `final`. */
  | 'listener'
  /** The storage does not take, or does not give back, what was to be kept. */
  | 'storage'
  /** The client is closed. */
  | 'closed';

export class RelayError extends Error {
  readonly name: 'RelayError';
  readonly code: RelayErrorCode;
  /** The HTTP status. */
  readonly status?: number;
  /** The relay's word for what is wrong, such as `mailbox_full`. */
  readonly kind?: string;
  /** The addresses for which a send failed, if not for all. */
  readonly addresses?: string[];
  /** When the same may succeed, in milliseconds from then. */
  readonly retryAfter?: number;
  /** The message that could not be sent. */
  readonly sent?: { to: string[]; payload: unknown; key: string; type?: string; ttl?: number };
  /** The message with which a listener has failed. */
  readonly received?: Message;
  /** Whether a listener that has failed is not called again with this message. */
  readonly final?: boolean;
}

export type TokenSource = string | (() => string | null | undefined | Promise<string | null | undefined>);

/** What `localStorage` and `sessionStorage` have. */
export interface StorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export interface Options {
  /** Whose messages are received: any string of 1 to 256 bytes, one for each tab or device. */
  session: string;
  /** What messages sent from here have as `from`. Default: the session. */
  from?: string;
  /** A cursor of before: everything up to it is known here. */
  after?: string;
  /**
   * A token or a signed session, which shows who this is. A function is called when one is needed, and again when the last
   * one is about to expire or was refused.
   */
  token?: TokenSource;
  /** The ways to receive, the best one first. Default: `['websocket', 'sse', 'poll']`, as far as they exist here. */
  transports?: Transport[];
  /** Where the cursor and what is not yet sent are kept across reloads. Default: nowhere. */
  storage?: StorageLike;
  /** How many messages may wait to be sent. Default: 256. */
  queue?: number;
  /** For how long a send that the relay refuses for the moment is tried again, in milliseconds. Default: 60,000. */
  patience?: number;
  /** How often a message is given to a listener that fails with it. Default: 3. */
  attempts?: number;
  /** How long a poll waits for a message, in milliseconds, 1,000 to 60,000. Default: 10,000. */
  wait?: number;
  /** The relay's setting `keepalive`, in milliseconds, if it is longer than its default. Default: 15,000. */
  keepalive?: number;
  /** The `WebSocket` to use, where there is none or another one is wanted. */
  WebSocket?: unknown;
  /** The `fetch` to use, where another one is wanted. */
  fetch?: typeof fetch;
}

export interface SendOptions {
  /** A word for the receiver: 1 to 64 of `A-Z a-z 0-9 . _ -`. Default: `message`. */
  type?: string;
  /** For how long the relay keeps it, in whole seconds. Default: the relay's. */
  ttl?: number;
  /** Messages of the same key are accepted once within ten minutes. Default: one of its own for each message. */
  key?: string;
}

/** What the relay says of a message that it has accepted. */
export interface Sent {
  id: string;
  /** To how many mailboxes it went. */
  recipients: number;
  /** Whether it had been accepted before. */
  duplicate: boolean;
}

export interface Events {
  /** A message. It is acknowledged when the listeners have returned, one after the other, and their promises are fulfilled. */
  message: Message;
  /** Messages are missing here. */
  gap: Gap;
  state: State;
  /** Something failed that nobody awaits. */
  error: RelayError;
}

export interface Relay extends AsyncIterable<Message> {
  readonly session: string;
  readonly state: State;
  /** Everything up to here is handled. */
  readonly cursor: string | undefined;
  /** How many messages are not yet accepted by the relay. */
  readonly unsent: number;
  /** Calls the listener at each event. @returns what takes it off again */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => unknown): () => void;
  off<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => unknown): boolean;
  /**
   * Sends a message; fulfilled when the relay has accepted it. While there is no connection it waits.
   *
   * @param to `session:ID` or an id without a colon; or up to 256 of them
   * @param payload anything that `JSON.stringify` takes
   */
  send(to: string | readonly string[], payload: unknown, options?: SendOptions): Promise<Sent>;
  /** Comes back after another client took the session, or tries again at once. */
  resume(): void;
  /** Ends it. What is not yet sent is rejected with the code `closed`; with a storage the next page sends it. */
  close(): void;
}

/**
 * Begins to receive for a session.
 *
 * @param url where the relay is, such as `https://relay.example.org`; in a page it may be relative to the page
 */
export function connect(url: string | URL, options: Options): Relay;
