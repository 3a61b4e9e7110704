#!/usr/bin/env python3
"""The figures of docs/performance.md, by one command: `make figures`.

  figures.py run [--quick] [--only NAME,…]   measures, some 40 minutes on a quiet machine (--quick: 6), and writes target/figures/figures.json
  figures.py render                          writes the tables of docs/performance.md and the plots beside it from that

What is compared is measured in turns, round after round, on the same machine: each figure is the median of its rounds,
and counts as a ratio to the floor, or to another server, of the same run. Servers and load share the machine's cores.
nchan takes part if nginx and its module are installed (Debian: nginx-light libnginx-mod-nchan).
"""
import argparse, json, os, platform, pathlib, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get('X0_RELAY_BINARY', str(ROOT / 'target/release/x0-relay'))
OUT = ROOT / 'target/figures'
NCHAN_MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'
# In full a latency lasts several waits: polls that come back together are part of what it is about.
FULL = dict(rounds=5, seconds=3, latency=25, parked=15000, latency_parked=10000, rate=2000, stuck=300, churn=5)
QUICK = dict(rounds=3, seconds=2, latency=3, parked=3000, latency_parked=2000, rate=1000, stuck=10, churn=3)
# Servers that are others with an argument more: a floor whose polls never come back, a relay with one thread.
VARIANTS = dict(calm=('floor', '--wait', '3600000'), single=('relay', '--threads', '1'))


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    """One server on a port of its own, ended with the `with` block."""

    def __init__(self, kind, *extra):
        self.kind, *more = VARIANTS.get(kind, (kind,))
        self.name, self.extra, self.port = kind, [*more, *extra], free_port()
        self.url = f'http://127.0.0.1:{self.port}'

    def __enter__(self):
        self.dir = tempfile.mkdtemp(dir=OUT)
        os.chmod(self.dir, 0o755)
        at = f'127.0.0.1:{self.port}'
        environment = {k: v for k, v in os.environ.items() if not k.startswith(('X0_RELAY_', 'LISTEN_'))}
        if self.kind == 'floor':
            args = [BINARY, 'bench', 'floor', '--listen', at]
        elif self.kind == 'nchan':
            args = ['nginx', '-p', self.dir, '-c', self.nginx(), '-g', 'daemon off;']
        else:
            args = [BINARY, 'serve', '--listen', at, '--socket', 'none', '--connections', '19000']
            if self.kind == 'disk':
                args += ['--data-dir', os.path.join(self.dir, 'data')]
        log = open(os.path.join(self.dir, 'log'), 'wb')
        self.process = subprocess.Popen(args + self.extra, stdout=log, stderr=log, env=environment)
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', self.port)) == 0:
                    return self
            time.sleep(0.05)
        self.__exit__()
        raise SystemExit(f'{args} does not listen:\n' + open(os.path.join(self.dir, 'log')).read())

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT if self.kind == 'floor' else signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def nginx(self):
        path = os.path.join(self.dir, 'nginx.conf')
        with open(path, 'w') as f:
            f.write(f'''load_module {NCHAN_MODULE};
worker_processes 1; worker_rlimit_nofile 20000; pid {self.dir}/pid; error_log {self.dir}/error;
events {{ worker_connections 19000; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 3600s; nchan_shared_memory_size 512m;
  client_body_temp_path {self.dir}/b; proxy_temp_path {self.dir}/p; fastcgi_temp_path {self.dir}/f;
  uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s;
  server {{ listen 127.0.0.1:{self.port} backlog=4096 reuseport;
    location ~ ^/pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 100; }}
    location ~ ^/sub/(.+)$ {{ nchan_subscriber longpoll; nchan_channel_id $1; nchan_subscriber_timeout 10s; }} }} }}
''')
        return path


RESULTS, START = [], time.time()


def bench(server, name, kind, *args, **about):
    over = ['--over', 'nchan'] if server.kind == 'nchan' and kind != 'preflight' else []
    command = [BINARY, 'bench', kind, '--url', server.url, '--json', *over, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        # A figure that cannot be had is told, and does not cost the others.
        print(f'  FAILED {" ".join(command[1:])}: {done.stderr.strip()}', flush=True)
        return None
    found = json.loads(done.stdout)
    RESULTS.append(dict(name=name, server=server.name, command=' '.join(['x0-relay', *command[1:]]), **about, found=found))
    main = next((found[key] for key in ['messages_per_second', 'requests_per_second', 'kib_each', 'lost'] if key in found), '')
    print(f'{time.time() - START:6.0f} s  {name:22} {server.name:6} {main}', flush=True)
    return found


def with_nchan():
    return shutil.which('nginx') is not None and os.path.exists(NCHAN_MODULE)


def throughput(p):
    kinds = ['floor', 'relay', 'disk'] + (['nchan'] if with_nchan() else [])
    servers = {kind: Server(kind).__enter__() for kind in kinds}
    try:
        for number in range(p['rounds']):
            for kind in kinds:
                bench(servers[kind], 'x0', 'throughput', '--pairs', 64, '--seconds', p['seconds'])
            for name, more in [('v1', []), ('sse', []), ('ws', []), ('ws', ['--in-flight', 32])]:
                label = 'ws-32' if more else name
                bench(servers['relay'], label, 'throughput', '--over', name, '--pairs', 64, '--seconds', p['seconds'], *more)
            bench(servers['disk'], 'ws-32', 'throughput', '--over', 'ws', '--in-flight', 32, '--seconds', p['seconds'])
            for kind in ['floor', 'relay']:
                bench(servers[kind], 'preflight', 'preflight', '--connections', 64, '--seconds', p['seconds'])
    finally:
        for server in servers.values():
            server.__exit__()


def pairs(p):
    with Server('relay') as relay, Server('floor') as floor:
        for number in range(3 if p['rounds'] > 3 else 1):
            for count in [1, 16, 64, 256, 1024, 4096]:
                bench(relay, 'pairs', 'throughput', '--pairs', count, '--seconds', p['seconds'], x=count)
                bench(floor, 'pairs', 'throughput', '--pairs', count, '--seconds', p['seconds'], x=count)


def size(p):
    with Server('relay') as relay, Server('floor', '--bytes', '200') as floor:
        for count in [200, 1000, 4000, 16000, 60000]:
            bench(relay, 'size', 'throughput', '--bytes', count, '--seconds', p['seconds'], x=count)
            with Server('floor', '--bytes', str(count)) as floor:
                bench(floor, 'size', 'throughput', '--bytes', count, '--seconds', p['seconds'], x=count)


def backlog(p):
    with Server('relay') as relay, Server('disk') as disk:
        for server in [relay, disk]:
            filled = 0
            for count in [0, 10_000, 100_000, 400_000] if p['rounds'] > 3 else [0, 10_000]:
                fill(server, filled, count)
                filled = count
                bench(server, 'backlog', 'throughput', '--pairs', 64, '--seconds', p['seconds'], x=count)


def fill(server, start, end):
    """Messages that nobody fetches, 100 for a session, by pipelined requests."""
    with socket.create_connection(('127.0.0.1', server.port)) as conn:
        step = 500
        for base in range(start, end, step):
            out = []
            for n in range(base, min(base + step, end)):
                body = '{"session_src":"s","session_dst":"backlog-%d","payload":{"p":"%s"}}' % (n // 100, 'x' * 180)
                out.append('POST /set HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
            conn.sendall(''.join(out).encode())
            mark, seen, owed = b'"status": "ok"}', b'', len(out)
            while owed > 0:
                more = conn.recv(1 << 20) or sys.exit('the relay ended the connection')
                seen += more
                owed -= seen.count(mark)
                seen = seen[-len(mark) + 1:]


def latency(p):
    kinds = ['floor', 'calm', 'relay', 'single', 'disk'] + (['nchan'] if with_nchan() else [])
    for number in range(p['rounds']):
        for kind in kinds:
            with Server(kind) as server:
                args = ['--parked', p['latency_parked'], '--rate', p['rate'], '--seconds', p['latency']]
                bench(server, 'latency', 'latency', *args, x=p['latency_parked'])
    with Server('relay') as relay:
        for count in [100, 1000]:
            bench(relay, 'latency', 'latency', '--parked', count, '--rate', p['rate'], '--seconds', p['latency'], x=count)


def parked(p):
    for count in sorted({1000, 5000, p['parked']} if p['rounds'] > 3 else {1000, p['parked']}):
        for kind in ['relay', 'floor'] + (['nchan'] if with_nchan() and count == p['parked'] else []):
            with Server(kind) as server:
                bench(server, 'parked', 'parked', '--sessions', count, '--seconds', 20, x=count)
    for over in ['v1', 'sse', 'ws']:
        with Server('relay') as relay:
            bench(relay, f'parked-{over}', 'parked', '--over', over, '--sessions', p['parked'], '--seconds', 5)


def churn(p):
    with Server('relay') as relay, Server('disk') as disk:
        for server in [relay, disk]:
            for over in ['x0', 'v1', 'sse', 'ws']:
                bench(server, f'churn-{over}', 'churn', '--over', over, '--seconds', p['churn'])


def stuck(p):
    with Server('relay') as relay:
        args = ['--parked', p['parked'], '--rate', p['rate'], '--seconds', p['stuck']]
        bench(relay, 'stuck', 'latency', *args)


SECTIONS = [throughput, latency, parked, pairs, size, backlog, churn, stuck]


def run(args):
    OUT.mkdir(parents=True, exist_ok=True)
    chosen = args.only.split(',') if args.only else [section.__name__ for section in SECTIONS]
    p = QUICK if args.quick else FULL
    path = OUT / 'figures.json'
    before = json.loads(path.read_text())['results'] if args.only and path.exists() else []
    cpu = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), platform.machine())
    for section in SECTIONS:
        if section.__name__ not in chosen:
            continue
        section(p)
        # After each: what is broken off keeps what it has.
        about = dict(cores=os.cpu_count(), cpu=cpu, kernel=platform.release().split("-")[0], date=time.strftime('%Y-%m-%d'),
                     seconds=round(time.time() - START), quick=args.quick, settings=p)
        names = {r['name'] for r in RESULTS}
        kept = [r for r in before if r['name'] not in names]
        path.write_text(json.dumps(dict(about=about, results=kept + RESULTS), indent=1))
    print(f'{path}, after {time.time() - START:.0f} s')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = parser.add_subparsers(required=True)
    command = sub.add_parser('run')
    command.add_argument('--quick', action='store_true')
    command.add_argument('--only', help='sections: ' + ', '.join(section.__name__ for section in SECTIONS))
    command.set_defaults(go=run)
    command = sub.add_parser('render')
    command.set_defaults(go=lambda _: __import__('render').render(OUT / 'figures.json', ROOT / 'docs'))
    args = parser.parse_args()
    args.go(args)
