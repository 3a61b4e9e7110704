"""Tables and plots from figures.json. No library: a plot is a few lines of SVG."""
import json, math, re, statistics

COLOURS = {'relay': '#0b6e4f', 'floor': '#888888', 'disk': '#b5541c', 'nchan': '#5b5ea6'}
LABELS = {'relay': 'x0-relay, in memory', 'disk': 'x0-relay, on disk', 'floor': 'floor (hyper alone)', 'nchan': 'nchan', 'calm': 'floor, its polls never back', 'single': 'x0-relay, in memory, `--threads 1`'}


class Figures:
    def __init__(self, results):
        self.results = results

    def all(self, name, server, key, x=None):
        rows = [r for r in self.results if r['name'] == name and r['server'] == server and (x is None or r.get('x') == x)]
        values = []
        for row in rows:
            value = row['found']
            for part in key.split('/'):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                values.append(value)
        return values

    def median(self, *key, **more):
        values = self.all(*key, **more)
        return statistics.median(values) if values else None

    def ratio(self, one, other, *, x=None):
        """The median of the rounds' own ratios: what a round has suffered, both of its sides have. Each side is a name, a
        server and a key."""
        pairs = zip(self.all(*one, x=x), self.all(*other, x=x))
        ratios = [a / b for a, b in pairs if b]
        return statistics.median(ratios) if ratios else None

    def spread(self, one, other, *, x=None):
        ratios = [a / b for a, b in zip(self.all(*one, x=x), self.all(*other, x=x)) if b]
        return f'{number(min(ratios))} to {number(max(ratios))}' if len(ratios) > 1 else '—'

    def points(self, name, server, key):
        xs = sorted({r['x'] for r in self.results if r['name'] == name and r['server'] == server and 'x' in r})
        points = [(x, self.median(name, server, key, x=x)) for x in xs]
        return [(x, y) for x, y in points if y is not None]

    def command(self, name, server, x=None):
        rows = [r for r in self.results if r['name'] == name and r['server'] == server and (x is None or r.get('x') == x)]
        found = next((r['command'] for r in rows), None)
        return re.sub(r' --url \S+| --json', '', found) if found else '—'


def number(value, digits=None):
    if value is None:
        return '—'
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f'{value:,.{digits}f}'


def ratio(a, b):
    return a / b if a is not None and b else None


def reached(value, bound, most):
    if value is None:
        return '—'
    return 'yes' if (value <= bound if most else value >= bound) else '**no**'


def table(head, rows):
    lines = ['| ' + ' | '.join(head) + ' |', '| ' + ' | '.join('---' for _ in head) + ' |']
    return '\n'.join(lines + ['| ' + ' | '.join(str(cell) for cell in row) + ' |' for row in rows])


def targets(f):
    rate, cpu, asked = 'messages_per_second', 'server_cpu_us_each', 'requests_per_second'
    p99 = 'send_to_receive_us/p99'
    many = max([r['x'] for r in f.results if r['name'] == 'latency' and 'x' in r], default=None)
    most = max([r['x'] for r in f.results if r['name'] == 'parked' and 'x' in r], default=None)
    by_pairs = f.points('pairs', 'relay', rate)
    lowest = ratio(min((y for _, y in by_pairs), default=None), max((y for _, y in by_pairs), default=None))
    floor_send = ('latency', 'floor', 'send_to_answer_us/p99')

    def against(one, other, x=None):
        return f.ratio(one, other, x=x), f.spread(one, other, x=x)

    alone = lambda value: (value, '—')
    rows = [
        ('relayed x0 messages a second, 64 pairs, against the floor: in memory', against(('x0', 'relay', rate), ('x0', 'floor', rate)), 0.90, False),
        ('the same with `--data-dir`, synced before each answer', against(('x0', 'disk', rate), ('x0', 'floor', rate)), 0.75, False),
        ('the same in memory, against nchan', against(('x0', 'relay', rate), ('x0', 'nchan', rate)), 1.0, False),
        ('processor time of a message, against nchan', against(('x0', 'relay', cpu), ('x0', 'nchan', cpu)), 1.0, True),
        ('over WebSocket (32 in flight), against x0 polling', against(('ws-32', 'relay', rate), ('x0', 'relay', rate)), 3.0, False),
        (f"send to receive, p99, {number(many, 0)} parked, against the answer to the floor's send: in memory", against(('latency', 'relay', p99), floor_send, many), 1.3, True),
        ('the same on disk', against(('latency', 'disk', p99), floor_send, many), 4.0, True),
        ('the same in memory, against a floor whose polls never come back', against(('latency', 'relay', p99), ('latency', 'calm', 'send_to_answer_us/p99'), many), 1.3, True),
        ('and on disk', against(('latency', 'disk', p99), ('latency', 'calm', 'send_to_answer_us/p99'), many), 4.0, True),
        (f'KiB of a parked poll on its second wait, {number(most, 0)} of them', alone(f.median('parked', 'relay', 'kib_each_second_wait', x=most)), 4.0, True),
        ('KiB of an idle WebSocket', alone(f.median('parked-ws', 'relay', 'kib_each')), 8.0, True),
        ('processor time of a re-poll, against the floor', against(('parked', 'relay', 'server_cpu_us_per_poll'), ('parked', 'floor', 'server_cpu_us_per_poll'), most), 1.3, True),
        ('stuck pollers', alone(f.median('stuck', 'relay', 'stuck')), 0, True),
        ('preflights a second, against the floor', against(('preflight', 'relay', asked), ('preflight', 'floor', asked)), 1.0, False),
        ('worst of 1 to 4,096 pairs, against the best', alone(lowest), 0.85, False),
    ]
    shown = [(what, number(value), spread, ('at most ' if most else 'at least ') + f'{bound:g}', reached(value, bound, most))
             for what, (value, spread), bound, most in rows]
    return table(['figure', 'median of the rounds', 'rounds', 'to reach', 'reached'], shown)


def throughput(f):
    rows = []
    for name, server, what in [('x0', 'relay', 'x0 polls'), ('x0', 'disk', 'x0 polls, on disk'), ('x0', 'floor', 'the floor: the same requests, no relay'), ('x0', 'nchan', 'nchan'),
                               ('v1', 'relay', 'v1 long poll'), ('sse', 'relay', 'server-sent events'), ('ws', 'relay', 'WebSocket'),
                               ('ws-32', 'relay', 'WebSocket, 32 in flight'), ('ws-32', 'disk', 'WebSocket, 32 in flight, on disk')]:
        rate = f.all(name, server, 'messages_per_second')
        if rate:
            rows.append((what, number(statistics.median(rate)), f'{number(min(rate))} to {number(max(rate))}', number(f.ratio((name, server, 'messages_per_second'), ('x0', 'floor', 'messages_per_second')), 2),
                         number(f.median(name, server, 'server_cpu_us_each'), 1), number(f.median(name, server, 'send_to_receive_us/p99'), 0), f'`{f.command(name, server)}`'))
    return table(['', 'messages/s', 'from … to', 'of the floor', 'server µs each', 'p99 µs', 'command'], rows)


def latency(f):
    rows = []
    many = max([r['x'] for r in f.results if r['name'] == 'latency' and 'x' in r], default=None)
    for server in ['floor', 'calm', 'relay', 'single', 'disk', 'nchan']:
        key = 'send_to_answer_us' if server in ('floor', 'calm') else 'send_to_receive_us'
        cells = [f.median('latency', server, f'{key}/{p}', x=many) for p in ['p50', 'p90', 'p99', 'p99.9']]
        if any(cells):
            rows.append((LABELS[server] + (' (a send\'s answer)' if key == 'send_to_answer_us' else ''), *[number(c, 0) for c in cells], number(f.median('latency', server, 'server_cpu_us_each', x=many), 0)))
    return table(['send to receive, µs', 'p50', 'p90', 'p99', 'p99.9', 'server µs each'], rows) + f'\n\n`{f.command("latency", "relay", many)}`'


def parked(f):
    rows = []
    most = max([r['x'] for r in f.results if r['name'] == 'parked' and 'x' in r], default=None)
    for name, server, what in [('parked', 'relay', 'x0 poll'), ('parked-v1', 'relay', 'v1 long poll'), ('parked-sse', 'relay', 'event stream'), ('parked-ws', 'relay', 'WebSocket'),
                               ('parked', 'floor', 'floor (hyper alone)'), ('parked', 'nchan', 'nchan')]:
        x = most if name == 'parked' else None
        if f.all(name, server, 'kib_each', x=x):
            rows.append((what, *[number(f.median(name, server, key, x=x), 1) for key in ['kib_each_first_wait', 'kib_each_second_wait', 'server_cpu_us_per_poll', 'server_cpu_percent']]))
    return table(['', 'KiB, first wait', 'KiB, later waits', 'µs of a re-poll', '% of a core'], rows) + f'\n\n`{f.command("parked", "relay", most)}`'


def churn(f):
    rows = []
    for server in ['relay', 'disk']:
        for over in ['x0', 'v1', 'sse', 'ws']:
            cells = [f.median(f'churn-{over}', server, key) for key in ['cuts', 'accepted', 'lost', 'repeated', 'stuck']]
            if cells[0] is not None:
                rows.append((f'{over}, {LABELS[server]}', *[number(c, 0) for c in cells]))
    stuck = [f.median('stuck', 'relay', key) for key in ['accepted', 'lost', 'repeated', 'stuck']]
    extra = f'\n\n`{f.command("churn-x0", "relay")}`'
    if f.all('stuck', 'relay', 'stuck'):
        extra += (f'\n\nUncut, `{f.command("stuck", "relay")}`: lost {number(stuck[1], 0)}, repeated {number(stuck[2], 0)}, stuck {number(stuck[3], 0)}; '
                  f'p99 {number(f.median("stuck", "relay", "send_to_receive_us/p99"), 0)} µs.')
    return table(['', 'cuts', 'accepted', 'lost', 'repeated', 'stuck'], rows) + extra


def plot(title, unit, series, path, x_label, log_y=False):
    series = [(name, points) for name, points in series if points]
    if not series:
        return False
    w, h, left, bottom, top, right = 640, 300, 70, 46, 34, 150
    xs = sorted({x for _, points in series for x, _ in points})
    ys = [y for _, points in series for _, y in points]
    lx = lambda x: math.log10(max(x, 1))
    x0, x1 = lx(xs[0]), max(lx(xs[-1]), lx(xs[0]) + 0.1)
    y1 = max(ys) * 1.1 or 1
    y0 = min(y for y in ys if y > 0) / 1.5 if log_y else 0
    fy = (lambda y: (math.log(max(y, y0)) - math.log(y0)) / (math.log(y1) - math.log(y0))) if log_y else (lambda y: y / y1)
    px = lambda x: left + (lx(x) - x0) / (x1 - x0) * (w - left - right)
    py = lambda y: h - bottom - fy(y) * (h - bottom - top)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="12">',
           f'<rect width="{w}" height="{h}" fill="white"/>', f'<text x="{left}" y="20" font-size="14">{title}</text>']
    steps = [y0 * (y1 / y0) ** (i / 4) for i in range(5)] if log_y else [y1 / 1.1 * i / 4 for i in range(5)]
    for y in steps:
        out.append(f'<line x1="{left}" x2="{w - right}" y1="{py(y):.1f}" y2="{py(y):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{py(y) + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for x in xs:
        out.append(f'<text x="{px(x):.1f}" y="{h - bottom + 18}" text-anchor="middle">{x:,}</text>')
    out.append(f'<text x="{(left + w - right) / 2}" y="{h - 8}" text-anchor="middle">{x_label}; {unit}</text>')
    for index, (name, points) in enumerate(series):
        colour = COLOURS.get(name, '#333')
        line = ' '.join(f'{px(x):.1f},{py(y):.1f}' for x, y in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        out.append(f'<text x="{w - right + 8}" y="{top + 16 + 18 * index}" fill="{colour}">{LABELS.get(name, name)}</text>')
    path.write_text('\n'.join(out + ['</svg>']) + '\n')
    return True


def render(source, docs):
    data = json.loads(source.read_text())
    f, about = Figures(data['results']), data['about']
    plots = docs / 'performance'
    plots.mkdir(exist_ok=True)
    rate = 'messages_per_second'
    plot('Throughput by pairs', 'messages a second', [(s, f.points('pairs', s, rate)) for s in ['relay', 'floor']], plots / 'pairs.svg', 'pairs of a sender and a receiver')
    plot('Throughput by message size', 'messages a second', [(s, f.points('size', s, rate)) for s in ['relay', 'floor']], plots / 'size.svg', 'bytes of a message')
    plot('Throughput by backlog', 'messages a second', [(s, f.points('backlog', s, rate)) for s in ['relay', 'disk']], plots / 'backlog.svg', 'messages waiting in other mailboxes')
    memory = lambda s: [(x, f.median('parked', s, 'server_resident_mib', x=x)) for x, _ in f.points('parked', s, 'server_resident_mib')]
    plot('Memory by parked polls', 'MiB resident', [(s, memory(s)) for s in ['relay', 'floor', 'nchan']], plots / 'parked.svg', 'sessions that wait')
    plot('Latency by parked polls', 'µs, p99, send to receive', [(s, f.points('latency', s, 'send_to_receive_us/p99')) for s in ['relay', 'disk', 'nchan']], plots / 'latency.svg', 'sessions that wait', log_y=True)
    where = (f'{about["date"]}, {about["cores"]} cores of {about["cpu"]}, Linux {about["kernel"]}, load and servers on the same cores, '
             'medians' + (', `--quick`' if about['quick'] else '') + '.')
    parts = dict(where=where, targets=targets(f), throughput=throughput(f), latency=latency(f), parked=parked(f), churn=churn(f))
    page = docs / 'performance.md'
    text = page.read_text()
    for name, part in parts.items():
        text, found = re.subn(rf'(<!-- {name} -->\n).*?(<!-- end -->)', lambda m: m[1] + part + '\n' + m[2], text, flags=re.S)
        if not found:
            raise SystemExit(f'{page} has no place for {name}')
    page.write_text(text)
    print(f'{page}, and plots in {plots}')
