// Shows what a back end says of its work: a bar for each job.

import { connect } from '../../client-js/dist/x0-relay.min.js';

const base = new URLSearchParams(location.search).get('relay') ?? 'http://127.0.0.1:8080';
const element = (id) => document.getElementById(id);

// The session outlives a reload: the back end goes on to the same one.
const session = sessionStorage.getItem('session') ?? `page-${crypto.getRandomValues(new Uint32Array(2)).join('')}`;
sessionStorage.setItem('session', session);

const relay = connect(base, { session });
relay.on('state', showState);
relay.on('message', ({ type, payload }) => {
  if (type === 'progress') show(payload);
});

function show({ job, done, total }) {
  let bar = document.querySelector(`progress[data-job="${CSS.escape(job)}"]`);
  if (!bar) {
    bar = document.createElement('progress');
    bar.dataset.job = job;
    const label = document.createElement('label');
    label.append(document.createElement('span'), bar);
    element('jobs').append(label);
  }
  bar.max = total;
  bar.value = done;
  bar.previousSibling.textContent = done < total ? `${job}: ${done} of ${total}` : `${job}: done`;
}

function showState({ name, transport }) {
  element('state').textContent = transport ? `Online, over ${transport}.` : `${name} …`;
}

showState(relay.state);
element('python').textContent = `python3 examples/progress/backend.py ${base} ${session}`;
element('curl').textContent = `examples/progress/backend.sh ${base} ${session}`;
