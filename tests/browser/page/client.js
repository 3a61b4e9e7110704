// The page under test: a client that reports all it is told through the binding `report`.

import { connect } from '/client-js/dist/x0-relay.min.js';

/** Starts to receive; `kept` says that the cursor and what is not sent outlive the page, `asks` that it asks for tokens. */
window.start = (url, { kept, asks, ...options }) => {
  const token = asks ? () => window.nextToken() : undefined;
  const client = connect(url, { ...options, token, storage: kept ? sessionStorage : undefined });
  const tell = (kind, what) => window.report({ kind, what: JSON.stringify(what) });
  client.on('message', ({ payload }) => {
    // As a page that loses nothing: kept before it counts as handled, which is when this returns.
    if (kept) sessionStorage.setItem('shown', JSON.stringify([...shown(), payload]));
    tell('message', payload);
  });
  client.on('gap', (gap) => tell('gap', gap));
  client.on('state', (state) => tell('state', state));
  client.on('error', ({ code, message }) => tell('error', { code, message }));
  tell('state', client.state);
  window.client = client;
};

/** What all pages of this tab were given, one after the other. */
window.shown = () => JSON.parse(sessionStorage.getItem('shown') ?? '[]');

/** Sends these numbers, and tells how many are accepted, and why others are not. */
window.sendNumbers = async (to, first, last) => {
  const sends = [];
  for (let n = first; n <= last; n += 1) sends.push(window.client.send(to, n));
  const results = await Promise.allSettled(sends);
  return results.map(({ status, reason }) => reason?.code ?? status);
};
