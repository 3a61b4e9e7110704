// Makes the documentation from openapi.json: contents, operations, schemas, kinds of problems. Whatever the description
// says becomes text, never markup.

/** The host that the description's examples name; the page shows its own. */
const EXAMPLE_HOST = 'http://127.0.0.1:8080';
const METHODS = ['get', 'post', 'put', 'delete'];

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; `null` children are left out. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const code = (text) => make('code', {}, text);

// ---- Text: paragraphs, lists, `code`, **strong** and [links](…)

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/).map((part) => {
    if (part.startsWith('`')) return code(part.slice(1, -1));
    if (part.startsWith('**')) return make('strong', {}, ...inline(part.slice(2, -2)));
    const link = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(part);
    return link ? make('a', { href: link[2] }, link[1]) : part;
  });
}

function prose(text = '') {
  return text.split('\n\n').filter(Boolean).map((block) => {
    const lines = block.split('\n');
    if (!lines.every((line) => line.startsWith('- '))) return make('p', {}, ...inline(block));
    return make('ul', {}, lines.map((line) => make('li', {}, ...inline(line.slice(2)))));
  });
}

// ---- Schemas

let api;

/** What a `$ref` leads to; anything else is itself. */
function resolve(node) {
  if (node?.$ref === undefined) return node;
  return resolve(node.$ref.slice(2).split('/').reduce((at, name) => at[name], api));
}

const nameOf = (ref) => ref.split('/').at(-1);

/** What a value is, in a few words, as nodes. */
function typeOf(schema) {
  if (schema.$ref) return [make('a', { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref))];
  if (schema.allOf) return typeOf(schema.allOf[0]);
  if (schema.oneOf) return schema.oneOf.flatMap((one, index) => [index ? ' or ' : '', ...typeOf(one)]);
  if (schema.const !== undefined) return [code(JSON.stringify(schema.const))];
  if (schema.enum) return schema.enum.flatMap((value, index) => [index ? ', ' : '', code(JSON.stringify(value))]);
  if (schema.type === 'array') return ['array of ', ...typeOf(schema.items)];
  if (schema.type === undefined) return ['any JSON'];
  return [[schema.type].flat().join(' or '), bounds(schema)];
}

function bounds({ minimum, maximum, minLength, maxLength }) {
  const [least, most] = [minimum ?? minLength, maximum ?? maxLength];
  const unit = maxLength === undefined ? '' : ' bytes';
  if (most === undefined) return least === undefined || least === 0 ? '' : `, ${least} or more`;
  return least === undefined ? `, at most ${most}${unit}` : `, ${least} to ${most}${unit}`;
}

function table(heads, rows) {
  const cells = (row) => make('tr', {}, row.map((cell) => make('td', {}, ...[cell].flat())));
  const head = make('thead', {}, make('tr', {}, heads.map((text) => make('th', { scope: 'col' }, text))));
  return make('div', { class: 'wide' }, make('table', {}, head, make('tbody', {}, rows.map(cells))));
}

function members(schema) {
  const rows = Object.entries(schema.properties).map(([name, member]) => {
    const must = schema.required?.includes(name) ? [' ', make('span', { class: 'must' }, 'required')] : [];
    return [[code(name), ...must], typeOf(member), prose(member.description)];
  });
  return table(['Member', 'Type', ''], rows);
}

/** All that is to be said of a schema. */
function shape(schema) {
  if (schema.properties) return [members(schema)];
  if (schema.oneOf?.some((one) => one.properties)) return schema.oneOf.map(members);
  return [make('p', {}, ...typeOf(schema), schema.pattern ? [', ', code(schema.pattern)] : '')];
}

// ---- Examples

/** A text to look at and to copy. */
function sample(caption, text) {
  const button = make('button', { type: 'button' }, 'Copy');
  // Browsers have a clipboard only for pages from this machine or over TLS.
  button.hidden = !navigator.clipboard;
  button.addEventListener('click', async () => {
    const copied = await navigator.clipboard.writeText(text).then(() => true, () => false);
    button.textContent = copied ? 'Copied' : 'The browser does not allow it';
    setTimeout(() => (button.textContent = 'Copy'), 2000);
  });
  return make('figure', {}, make('figcaption', {}, caption, button), make('pre', { tabindex: 0 }, code(text)));
}

const shown = (example) => (typeof example === 'string' ? example : JSON.stringify(example, null, 2));

/** The examples of each media type in `content`. */
function samples(content = {}) {
  return Object.entries(content).flatMap(([type, { example, examples = {} }]) => {
    const named = Object.entries(examples).map(([name, { value }]) => sample(`${name}, ${type}`, shown(value)));
    return example === undefined ? named : [sample(type, shown(example)), ...named];
  });
}

function codeSamples(operation) {
  const here = new URL('.', document.baseURI).href.slice(0, -1);
  return operation['x-codeSamples'].map(({ lang, source }) => sample(lang, source.replaceAll(EXAMPLE_HOST, here)));
}

// ---- Operations

function parameters(item, operation) {
  const all = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
  if (all.length === 0) return [];
  const rows = all.map(({ name, in: place, required, schema, description }) => {
    const must = required ? [' ', make('span', { class: 'must' }, 'required')] : [];
    return [[code(name), ...must], [...typeOf(schema), `, ${place}`], prose(description)];
  });
  return [make('h4', {}, 'Parameters'), table(['Name', 'Type', ''], rows)];
}

function requestBody({ requestBody: body }) {
  if (!body) return [];
  const [[type, { schema }]] = Object.entries(body.content);
  const what = make('p', {}, ...typeOf(schema), ` as ${type}${body.required ? '' : ', or nothing'}. `, ...inline(body.description ?? ''));
  return [make('h4', {}, 'Body'), what, ...shape(resolve(schema)), ...samples(body.content)];
}

/** What an event stream or a WebSocket carries. */
function carried(response) {
  const events = response['x-events']?.map(({ event, id, data, description }) => {
    return [[code(event)], typeOf(data), [...prose(description), id ? null : make('p', {}, 'Without ', code('id'), '.')]];
  });
  const frames = Object.entries(response['x-frames'] ?? {}).flatMap(([who, side]) =>
    resolve(side).oneOf.map((frame) => [[code(resolve(frame).properties.type.const)], [...typeOf(frame), ` from the ${who}`], prose(resolve(frame).description)]),
  );
  return [
    ...(events ? [make('h4', {}, 'Events'), table(['Event', 'Data', ''], events)] : []),
    ...(frames.length > 0 ? [make('h4', {}, 'Frames'), table(['Type', 'Schema', ''], frames)] : []),
  ];
}

function answers({ responses }) {
  const all = Object.entries(responses).map(([status, response]) => [status, resolve(response)]);
  const rows = all.map(([status, { description, content = {}, headers = {} }]) => {
    const types = Object.entries(content).map(([type, { schema }]) => make('p', {}, ...typeOf(schema), make('span', { class: 'hint' }, ` ${type}`)));
    const named = Object.keys(headers).filter((name) => !name.startsWith('Access-Control'));
    const extra = named.length > 0 ? make('p', { class: 'hint' }, `With ${named.join(', ')}.`) : null;
    return [[code(status)], types, [...prose(description), extra]];
  });
  const good = all.filter(([status]) => status < 400);
  return [
    make('h4', {}, 'Answers'),
    table(['Status', 'Body', ''], rows),
    ...good.flatMap(([, response]) => [...samples(response.content), ...carried(response)]),
  ];
}

const badge = (method) => make('span', { class: 'method', 'data-method': method }, method.toUpperCase());
const anchor = (id) => make('a', { class: 'anchor', href: `#${id}`, 'aria-label': 'Link to this' }, '#');

function article({ path, method, item, operation }) {
  const id = operation.operationId;
  return make(
    'article',
    { id, 'data-operation': `${method} ${path}` },
    make('h3', {}, operation.summary, anchor(id)),
    make('p', { class: 'place' }, badge(method), ' ', code(path)),
    prose(operation.description),
    make('h4', {}, 'Example'),
    codeSamples(operation),
    parameters(item, operation),
    requestBody(operation),
    answers(operation),
  );
}

function operations() {
  return Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, item, operation: item[method] })),
  );
}

// ---- The page

function chapter(id, title, ...content) {
  return make('section', { id }, make('h2', {}, title, ' ', anchor(id)), ...content);
}

function problems() {
  const rows = api['x-problems'].map(({ kind, status, description }) => [[code(kind)], [code(String(status))], prose(description)]);
  return chapter('problems', 'Kinds of problems', table(['Kind', 'Status', ''], rows));
}

function schemas() {
  const all = Object.entries(api.components.schemas).map(([name, schema]) => {
    const id = `schema-${name}`;
    return make('article', { id }, make('h3', {}, name, anchor(id)), prose(schema.description), shape(schema));
  });
  return chapter('schemas', 'Schemas', all);
}

function contents(all) {
  const link = (id, ...text) => make('li', {}, make('a', { href: `#${id}` }, ...text));
  const tags = api.tags.flatMap(({ name }) => {
    const own = all.filter(({ operation }) => operation.tags.includes(name));
    const items = own.map(({ path, method, operation }) => link(operation.operationId, badge(method), path));
    return [make('p', {}, name), make('ul', {}, items)];
  });
  return [...tags, make('p', {}, 'More'), make('ul', {}, link('problems', 'Kinds of problems'), link('schemas', 'Schemas'))];
}

function show() {
  const all = operations();
  const chapters = api.tags.map(({ name, description }) => {
    const own = all.filter(({ operation }) => operation.tags.includes(name));
    return chapter(`tag-${name}`, name, prose(description), own.map(article));
  });
  byId('version').textContent = `Version ${api.info.version}.`;
  byId('text').append(...prose(api.info.description), ...chapters, problems(), schemas());
  byId('links').append(...contents(all));
  // Beside the text there is room for it.
  byId('contents').open = matchMedia('(min-width: 60rem)').matches;
  byId('state').hidden = true;
  // The text was not there yet when the browser looked for its anchor.
  if (location.hash) location.replace(location.hash);
}

try {
  const response = await fetch('openapi.json');
  if (!response.ok) throw new Error(`status ${response.status}`);
  api = await response.json();
  show();
} catch (error) {
  byId('state').dataset.mood = 'trouble';
  byId('state').textContent = `The description cannot be read: ${error.message}.`;
}
