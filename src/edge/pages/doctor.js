// The doctor's page: runs the checks, shows each finding as it comes, and makes a report of them.

import { terms } from './ask.js';
import { CHECKS } from './checks.js';
import { longChecks } from './waits.js';

const element = (id) => document.getElementById(id);

const WAITS_S = [10, 30, 60];
/** The relay lets nobody wait longer. */
const WAIT_MOST_S = 60;
const PATIENCE_S = 8;
const TICK_MS = 250;
const LABELS = { todo: 'to do', running: 'running', good: 'good', info: 'note', warn: 'warning', fault: 'fault', skipped: 'left out' };

/**
 * `?waits=10,30,60&patience=8&streams=8`, in seconds: how long polls wait, how long an answer that should come at once may
 * take, and how long the beginning of an event stream.
 */
function settings() {
  const said = new URLSearchParams(location.search);
  const numbers = (text) => text.split(',').map(Number).filter((number) => number > 0 && number <= WAIT_MOST_S);
  const waits = numbers(said.get('waits') ?? '');
  const [patience = PATIENCE_S] = numbers(said.get('patience') ?? '');
  const [streams = patience] = numbers(said.get('streams') ?? '');
  return { waits: waits.length > 0 ? waits : WAITS_S, patience, streams };
}

/** What is on the page: a row for each check. */
function row({ id, title }) {
  const item = element('check').content.cloneNode(true).firstElementChild;
  item.dataset.check = id;
  item.querySelector('.name').textContent = title;
  element('checks').append(item);
  const show = (verdict, words = '', fix = '') => {
    const label = item.querySelector('.verdict');
    label.dataset.verdict = verdict;
    label.textContent = LABELS[verdict];
    item.querySelector('.words').textContent = words;
    item.querySelector('.fix').textContent = fix;
    item.querySelector('.fix').hidden = fix === '';
  };
  show('todo');
  return show;
}

/** Runs one check; whatever happens is a finding. */
async function perform({ check, show }, found) {
  if (check.v1 && !found.v1) {
    const finding = { verdict: 'skipped', words: 'It needs protocol v1.' };
    show(finding.verdict, finding.words);
    return finding;
  }
  show('running');
  const finding = await check.run(found).catch((error) => ({ verdict: 'warn', words: `The check itself failed: ${error.message}` }));
  show(finding.verdict, finding.words, finding.fix);
  return finding;
}

async function examine() {
  const { waits, patience, streams } = settings();
  terms.patience = patience * 1000;
  terms.streams = streams * 1000;
  terms.token = element('token').value.trim();
  element('checks').replaceChildren();
  for (const id of ['again', 'copy']) element(id).disabled = true;
  const quick = CHECKS.map((check) => ({ check, show: row(check) }));
  const long = longChecks(waits).map((check) => ({ check, show: row(check) }));
  const progress = element('progress');
  progress.max = quick.length + long.length;
  progress.value = 0;
  const found = {};
  const findings = [];
  const done = (entry, finding) => {
    findings.push({ ...finding, id: entry.check.id, title: entry.check.title });
    progress.value += 1;
  };
  for (const entry of quick) {
    tell('waiting', `Checking: ${entry.check.title} …`);
    done(entry, await perform(entry, found));
    // Without a relay there is nothing else to find out.
    if (found.version === undefined) break;
  }
  if (found.version !== undefined) await waitLong(long, found, Math.max(...waits), done);
  conclude(findings, found, [...quick, ...long].map(({ check }) => check.id));
}

async function waitLong(long, found, longest, done) {
  tell('waiting', `Waiting up to ${longest} s, to see what lives so long …`);
  const end = performance.now() + longest * 1000;
  const ticking = setInterval(() => {
    element('left').textContent = `${Math.max(0, Math.ceil((end - performance.now()) / 1000))} s to go`;
  }, TICK_MS);
  await Promise.all(long.map(async (entry) => done(entry, await perform(entry, found))));
  clearInterval(ticking);
  element('left').textContent = '';
}

function conclude(findings, found, order) {
  findings.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
  const bad = findings.filter(({ verdict }) => verdict === 'fault' || verdict === 'warn');
  const names = bad.map(({ title }) => title).join(', ');
  if (bad.length === 0) tell('good', 'Done. Nothing is in the way.');
  else tell('trouble', `Done. ${bad.length === 1 ? 'One check has' : `${bad.length} checks have`} something to say: ${names}.`);
  if (found.asked) element('access').open = true;
  element('report').textContent = report(findings, found);
  for (const id of ['again', 'copy']) element(id).disabled = false;
}

function report(findings, { version }) {
  const head = [
    `x0-relay doctor, ${new Date().toISOString()}`,
    `address  ${new URL('.', document.baseURI).href}`,
    `relay    ${version === undefined ? 'not reached' : `x0-relay ${version}`}`,
    `browser  ${navigator.userAgent}`,
    '',
  ];
  const lines = findings.flatMap(({ verdict, title, words, fix }) => [
    `${LABELS[verdict].padEnd(8)} ${title}: ${words}`,
    ...(fix ? fix.split('\n').map((line) => `           ${line}`) : []),
  ]);
  return [...head, ...lines].join('\n');
}

function tell(mood, words) {
  const state = element('state');
  state.dataset.mood = mood;
  state.textContent = words;
}

element('again').addEventListener('click', examine);
element('copy').addEventListener('click', async () => {
  const copied = await navigator.clipboard?.writeText(element('report').textContent).then(() => true, () => false);
  element('copied').textContent = copied ? 'Copied.' : 'The browser does not allow copying; the report is below.';
  if (!copied) element('report').closest('details').open = true;
});
examine();
