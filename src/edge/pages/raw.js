// JSON as text: its parts as they stand there, because parsing and writing again would change numbers such as 1e400.

/** The texts of an array's elements, or of an object's keys and values in turn; `json` is known to be one of them. */
export function partsOf(json) {
  const parts = [];
  let [depth, from] = [0, 0];
  for (const { 0: token, index } of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}:,]/g)) {
    if (token === '[' || token === '{') {
      depth += 1;
      if (depth === 1) from = index + 1;
    } else if (token === ']' || token === '}') {
      depth -= 1;
      if (depth === 0) parts.push(json.slice(from, index).trim());
    } else if (depth === 1 && (token === ',' || token === ':')) {
      parts.push(json.slice(from, index).trim());
      from = index + 1;
    }
  }
  return parts.filter((text) => text !== '');
}

/** The text of an object's member; of two of one name, the last. */
export function memberOf(json, name) {
  const parts = partsOf(json);
  const at = parts.findLastIndex((text, index) => index % 2 === 0 && JSON.parse(text) === name);
  return at < 0 ? undefined : parts[at + 1];
}

/** The texts of the messages in an answer or a frame. */
export function messagesOf(json) {
  const list = memberOf(json, 'messages');
  return list?.startsWith('[') ? partsOf(list) : [];
}

/** The value, or null if it is no JSON. */
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// ---- A payload that is to arrive as it was typed goes through the client as a string, and leaves as what it stands for.

const MARK = 'x0-relay-page, as typed:';
const MARKED = new RegExp(`"${MARK}(?:[^"\\\\]|\\\\.)*"`);

/** Stands for the JSON text `typed`. */
export const standIn = (typed) => MARK + typed;

/** A request or frame with the text in the place of its stand-in. */
export const asTyped = (json) => json.replace(MARKED, (text) => JSON.parse(text).slice(MARK.length));
