// A static HTTP server for the pages: the origin that is not the relay's.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';

/** What is served where. A page of the drop-in's reaches it by the path that it has in the tree. */
const ROOTS = {
  '/page/': new URL('../page/', import.meta.url),
  '/example/': new URL('../../../examples/x0-example-10/', import.meta.url),
  '/client-js/dist/': new URL('../../../client-js/dist/', import.meta.url),
  '/client-js/x0/': new URL('../../../client-js/x0/', import.meta.url),
  '/client-js/x0/tests/page/': new URL('../../../client-js/x0/tests/page/', import.meta.url),
};
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css' };

/** Serves the pages of ROOTS, and the files beside them. */
export async function startStatic() {
  const server = createServer(async (request, response) => {
    const [, root, name] = /^(\/.*?)([^/]*)$/.exec(new URL(request.url, 'http://localhost').pathname);
    const known = Object.hasOwn(ROOTS, root) && /^[\w.-]*$/.test(name) && !name.startsWith('.');
    try {
      if (!known) throw new Error('unknown path');
      const file = new URL(name || 'index.html', ROOTS[root]);
      const bytes = await readFile(file);
      response.writeHead(200, { 'Content-Type': TYPES[extname(file.pathname)] ?? 'application/octet-stream' });
      response.end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    // Another host name than the relay's 127.0.0.1, so that all traffic is cross-site, as in an x0 installation.
    origin: `http://localhost:${server.address().port}`,
    stop() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
