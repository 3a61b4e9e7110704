// How x0's browser client talks to its message server, written from docs of the wire (docs/x0-wire.md): one poll
// after the other, each a preflighted POST to a URL of its own, for good as long as the answer is 200 with JSON.
// A classic script: it defines `X0Client`.

'use strict';

class X0Client {
  /**
   * @param {object} options
   * @param {string} options.getUrl      where to poll
   * @param {string} options.setUrl      where a documented message goes
   * @param {string} options.handlerUrl  where the form button and network events go
   * @param {*} options.session          this page's session; null, '' and undefined are sent as such
   * @param {(message: object) => void} options.onMessage  called with every delivered message
   * @param {(at: number) => void} [options.onPoll]        a poll has been sent
   * @param {(text: string, at: number) => void} [options.onAnswer]  a poll was answered with 200
   * @param {(reason: string) => void} [options.onStop]    polling has ended, until the page is loaded again
   */
  constructor(options) {
    Object.assign(this, { onPoll() {}, onAnswer() {}, onStop() {} }, options);
    /** Why polling ended, or false. */
    this.stopped = false;
  }

  /** Sends one poll; its answer sends the next. */
  poll() {
    const body = JSON.stringify({ session_src: this.session, type: 'GET', SessionData: this.sessionData() });
    this.onPoll(X0Client.now());
    X0Client.request('POST', this.getUrl, '', body, (status, text) => {
      if (status !== 200) return this.stop(`status ${status}`); // 0: refused or broken
      this.onAnswer(text, X0Client.now());
      let answer;
      try {
        answer = text === '' ? {} : JSON.parse(text);
      } catch {
        return this.stop('not JSON');
      }
      this.deliver(answer.messages ?? []);
      this.poll();
    });
  }

  /** Hands the messages over in one loop: one that throws loses those after it, as in x0. */
  deliver(messages) {
    try {
      for (const message of messages) this.onMessage(message);
    } catch (error) {
      console.error('a message could not be handled:', error);
    }
  }

  stop(reason) {
    this.stopped = reason;
    this.onStop(reason);
  }

  /** The documented message. `payload` is JSON text, so that the caller chooses how its numbers are spelled. */
  send(destination, payload) {
    const head = `{"session_dst":${JSON.stringify(destination)},"payload":${payload}`;
    return X0Client.once('POST', this.setUrl, '', `${head},"SessionData":${JSON.stringify(this.sessionData())}}`);
  }

  /** What the app's button sends: a form, of which the server makes a net-message. */
  submit(destination, form) {
    const body = {
      RequestData: { FormlistSelectDstUser: { DstUserSession: destination }, FormlistExchangeData: form },
      SessionData: this.sessionData(),
    };
    return X0Client.once('POST', this.handlerUrl, '', JSON.stringify(body));
  }

  /** A network event: everything in the query, where `+` is a space. */
  fire(destination, payload) {
    const query = { SYS_SESSION: this.session, Type: 'SET', DestinationSession: destination, Payload: payload };
    return X0Client.once('GET', this.handlerUrl, `&${new URLSearchParams(query)}`, null);
  }

  sessionData() {
    return { ID: 'SYS_SESSION', Value: this.session };
  }

  /** One request as a promise of `{status, text}`. */
  static once(method, url, query, body) {
    return new Promise((resolve) => {
      X0Client.request(method, url, query, body, (status, text) => resolve({ status, text }));
    });
  }

  /** The request layer: these headers and a random query on every request, so every one is preflighted. */
  static request(method, url, query, body, done) {
    const xhr = new XMLHttpRequest();
    xhr.open(method, `${url}?a__=${X0Client.tenDigits()}${query}`);
    xhr.setRequestHeader('Content-Type', 'application/json; charset=UTF-8');
    xhr.setRequestHeader('Accept', 'application/json');
    xhr.setRequestHeader('Cache-Control', 'max-age=0');
    xhr.setRequestHeader('Upgrade-Insecure-Requests', '1');
    xhr.onloadend = () => done(xhr.status, xhr.responseText);
    xhr.send(body);
  }

  static tenDigits() {
    return Array.from({ length: 10 }, () => Math.floor(Math.random() * 10)).join('');
  }

  /** Milliseconds since 1970 with fractions: comparable between the pages of one machine. */
  static now() {
    return performance.timeOrigin + performance.now();
  }
}
