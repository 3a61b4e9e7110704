// What the types allow and refuse. Compiled, never run; a line that ought to be refused says so.

import { connect, RelayError, type Gap, type Message, type Relay, type State } from 'x0-relay';

declare const localStorage: { length: number; key(n: number): string | null; getItem(key: string): string | null; setItem(key: string, value: string): void; removeItem(key: string): void };

const relay: Relay = connect('https://relay.example.org', {
  session: 'tab-a',
  from: 'a',
  after: '0123456789abcdef.7',
  token: async () => 'token',
  transports: ['sse', 'poll'],
  storage: localStorage,
  queue: 10,
  patience: 1000,
  attempts: Infinity,
  wait: 20_000,
  keepalive: 30_000,
  WebSocket: class {},
});
connect(new URL('https://relay.example.org/relay'), { session: 'a', token: 'fixed' });
connect('/relay', { session: 'a', token: () => null });

// @ts-expect-error: a session is needed
connect('https://relay.example.org', {});
// @ts-expect-error: there is no such transport
connect('https://relay.example.org', { session: 'a', transports: ['websockets'] });
// @ts-expect-error: a typo in an option
connect('https://relay.example.org', { session: 'a', sesion: 'a' });

const off: () => void = relay.on('message', async (message: Message) => {
  const text: string = message.id + message.from + message.type;
  const number: number = message.seq + message.ts;
  void [text, number, message.payload.whatever];
});
off();
relay.on('message', (message: Message<{ n: number }>) => message.payload.n.toFixed());
relay.on('gap', (gap: Gap) => (gap.reason === 'epoch' ? gap.from : null));
relay.on('error', (error) => {
  const { code, status, kind, addresses, retryAfter, sent, received, final }: RelayError = error;
  void [code === 'refused', status, kind, addresses, retryAfter, sent?.payload, received?.seq, final];
  // @ts-expect-error: there is no such code
  void (code === 'no_such_code');
});
relay.on('state', show);
relay.off('state', show);
// @ts-expect-error: there is no such event
relay.on('mesage', () => {});
// @ts-expect-error: a listener of states is none of messages
relay.on('message', show);

function show(state: State): string {
  switch (state.name) {
    case 'online':
      return state.transport;
    case 'offline':
      return `${state.nextTry === null ? 'now' : new Date(state.nextTry)} ${state.error?.message}`;
    case 'connecting':
    case 'superseded':
    case 'closed':
      return String(state.since);
    default: {
      const never: never = state;
      return never;
    }
  }
}
// @ts-expect-error: only an online state has a transport
void relay.state.transport;

async function use() {
  const { id, recipients, duplicate } = await relay.send('session:b', { any: ['JSON'] }, { type: 'chat', ttl: 60, key: 'k' });
  void [id.length, recipients + 1, duplicate === true];
  await relay.send(['a', 'b'] as const, null);
  // @ts-expect-error: a payload is needed
  await relay.send('b');
  // @ts-expect-error: seconds are a number
  await relay.send('b', 1, { ttl: '60' });
  for await (const { payload } of relay) void payload;
  relay.resume();
  relay.close();
  const rest: [string, string | undefined, number] = [relay.session, relay.cursor, relay.unsent];
  // @ts-expect-error: it is to be read
  relay.unsent = 1;
  return rest;
}
void use;

try {
  throw new Error();
} catch (error) {
  if (error instanceof RelayError) void error.code;
}
// @ts-expect-error: only the client makes them
new RelayError('refused', 'x');
