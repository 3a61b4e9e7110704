// A certificate for 127.0.0.1 that nobody vouches for, made for one test; browsers are told not to mind.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Makes one; returns the relay's flags to serve HTTPS with it. Gone when `t` (a test) ends. */
export function makeCertificate(t) {
  const dir = mkdtempSync(join(tmpdir(), 'x0t-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
  const made = ['-x509', '-nodes', '-days', '2', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-subj', '/CN=x0-relay'];
  execFileSync('openssl', ['req', ...made, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return ['--tls-listen', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key];
}
