/*!
 * sysAsyncNotifyMsgHandler.js of x0-relay: stands in for x0's file of this name. Receives a page's messages over WebSocket
 * (docs/protocol-v1.md), by polling where that is blocked, and never stops asking. README.md says how to install it.
 * Written from docs/x0-wire.md, not from x0's source. A classic script in ES5. MIT OR Apache-2.0
 */
(function (global) {
  'use strict';

  /** x0's own, where its file is loaded before this one: then this file replaces how messages come, not what they do. */
  var existing = typeof sysAsyncNotifyMsgHandler === 'function' ? sysAsyncNotifyMsgHandler : null;
  if (existing && existing.x0) return; // this file, a second time
  var originalGetMsg = existing && existing.prototype && existing.prototype.getMsg;

  // ---- x0's side: what is asked of the page. Each member may be replaced by the page: sysAsyncNotifyMsgHandler.x0. ----

  var DEFAULT_URL = 'http://x0-msg-server.x0.localnet:8080/python/MsgHandler.py';

  var x0 = {
    /** The address to poll and this page's session, looked up before every connection, as both may change. */
    target: function (handler) {
      if (originalGetMsg) return overhear(handler);
      return { url: search(handler, isUrl) || DEFAULT_URL, session: search(handler, isSession) };
    },

    /** The object that a message's `dst-object` names. */
    object: function (id) {
      return call(sysFactory, 'getObjectByID', [id]);
    },

    /** What each `method-id` does with that object. */
    methods: {
      'set-data': function (object, message) {
        call(object, 'setData', [message.payload, message]);
      }
    },

    /** What each `msg-type` does. */
    kinds: {
      'net-message': function (message) {
        var id = message['dst-object'];
        var object = x0.object(id);
        if (!object) throw new Error('dst-object: this page has no object "' + id + '"');
        known(x0.methods, message, 'method-id')(object, message);
      },
      'net-phone': function (message) {
        call(sysFactory, 'netPhone', [message]);
      },
      'sys-indicator': function (message) {
        call(sysFactory, 'sysIndicator', [message]);
      }
    },

    /** A message's `fire-events`, after what its kind does. */
    fireEvents: function (events, message) {
      call(sysFactory, 'fireEvents', [events, message]);
    },

    /** A message's `switch-screen-id`, last of all. */
    switchScreen: function (id, message) {
      call(sysFactory, 'switchScreen', [id, message]);
    }
  };

  function call(object, method, values) {
    if (typeof object[method] === 'function') return object[method].apply(object, values);
    throw new Error('there is no ' + method + '(): say in sysAsyncNotifyMsgHandler.x0 what stands for it');
  }

  function known(table, message, member) {
    var word = message[member];
    if (Object.prototype.hasOwnProperty.call(table, word)) return table[word];
    throw new Error(member + ' is ' + JSON.stringify(word) + '; known are ' + Object.keys(table).join(', '));
  }

  /** Lets x0's own getMsg say where and as whom it polls, and keeps its request from being sent. */
  function overhear(handler) {
    var prototype = XMLHttpRequest.prototype;
    var open = prototype.open;
    var send = prototype.send;
    var told = {};
    prototype.open = function (method, url) {
      told.url = String(url).replace(/\?.*$/, '');
      return open.apply(this, arguments);
    };
    prototype.send = function (body) {
      told.session = (parse(body) || {}).session_src;
    };
    try {
      originalGetMsg.call(handler);
    } catch (error) {
      complain("x0's own getMsg failed", error);
    } finally {
      prototype.open = open;
      prototype.send = send;
    }
    return told;
  }

  function isUrl(key, value) {
    return key === 'MsgServerGetURL' && value !== '';
  }

  function isSession(key, value, holder) {
    if (key === 'Value') return value !== '' && holder.ID === 'SYS_SESSION';
    return value !== '' && /^(sys_?session|(sys_?)?session_?(id|value))$/i.test(key);
  }

  /** The nearest string that `fits`, breadth first through the handler and sysFactory, four levels deep. */
  function search(handler, fits) {
    var level = [handler];
    var seen = [];
    if (typeof sysFactory !== 'undefined') level.push(sysFactory);
    for (var depth = 0; depth < 4; depth += 1) {
      var below = [];
      for (var at = 0; at < level.length; at += 1) {
        var keys = Object.keys(level[at]);
        for (var k = 0; k < keys.length; k += 1) {
          var value = member(level[at], keys[k]);
          if (typeof value === 'string' && fits(keys[k], value, level[at])) return value;
          if (isPlain(value) && seen.length < 1000 && seen.indexOf(value) < 0) {
            seen.push(value);
            below.push(value);
          }
        }
      }
      level = below;
    }
    return null;
  }

  function member(object, key) {
    try {
      return object[key];
    } catch (error) {
      return null; // a getter that is not for us
    }
  }

  function isPlain(value) {
    return value !== null && typeof value === 'object' && value !== global && !member(value, 'nodeType');
  }

  // ---- The global that x0 uses. -------------------------------------------------------------------------------------

  function Handler(argument) {
    this.argument = argument;
    this.state = state;
  }

  if (existing && !originalGetMsg) complain('x0\'s own file has no getMsg on its prototype: it is replaced as a whole');
  var Global = originalGetMsg ? existing : Handler;

  /** Begins to receive, for this object from now on; once begun, calling it again changes nothing. */
  Global.prototype.getMsg = function () {
    owner = this;
    this.state = state;
    listen();
    if (state === 'idle' || state === 'superseded') begin();
  };

  /** Takes a poll's answer: an object, or its text. */
  Global.prototype.callbackXMLRPCAsync = function (answer) {
    if (typeof answer === 'string') answer = parse(answer);
    var messages = (answer && answer.messages) || [];
    for (var at = 0; at < messages.length; at += 1) hand(this, messages[at]);
    this.getMsg();
  };

  /** Does what one message asks for; throws if it cannot. */
  if (!originalGetMsg) {
    Global.prototype.processMsg = function (message) {
      known(x0.kinds, message, 'msg-type')(message);
      if (message['fire-events']) x0.fireEvents(message['fire-events'], message);
      if (message['switch-screen-id']) x0.switchScreen(message['switch-screen-id'], message);
    };
  }

  Global.x0 = x0;
  global.sysAsyncNotifyMsgHandler = Global;

  // ---- What comes in. -----------------------------------------------------------------------------------------------

  /** Hands a message on. One that cannot be handled must not keep those behind it. */
  function hand(handler, message) {
    try {
      handler.processMsg(message);
    } catch (error) {
      complain('a message could not be handled', error, message);
    }
  }

  /** Takes what a frame, or the answer to a poll of protocol v1, brings. */
  function receive(batch) {
    if (batch.gap) {
      if (batch.gap.reason === 'epoch') last = 0; // the numbers begin anew
      if (batch.gap.reason !== 'taken') complain('messages are lost (' + batch.gap.reason + ')', batch.gap);
    }
    for (var at = 0; at < batch.messages.length; at += 1) take(batch.messages[at]);
    cursor = batch.cursor;
  }

  /** Hands one message of protocol v1 on in x0's form, unless it has been here. */
  function take(message) {
    if (message.seq <= last || ids[message.id]) return;
    var payload = message.payload;
    var isObject = payload !== null && typeof payload === 'object' && !Array.isArray(payload);
    var given = isObject ? payload : { payload: payload };
    given.session_src = message.from;
    hand(owner, given);
    last = message.seq;
    ids[message.id] = true; // in another epoch the same message has another number
    order.push(message.id);
    if (order.length > 512) delete ids[order.shift()];
  }

  // ---- How it comes: one thing at a time is under way, a socket, a request, or a timer. -----------------------------

  /** In milliseconds. */
  var WELCOME = 4000; // a socket that is not welcome by then is blocked
  var STEADY = 5000; // one that brought nothing and ended sooner too: some proxies let sockets in, and end them
  var UPGRADE_FIRST = 5000; // between a blocked socket and the next try, doubling
  var UPGRADE_LAST = 60000;
  var RETRY_FIRST = 250; // between failures, doubling, with full jitter
  var RETRY_LAST = 5000;
  var QUIET = 20000; // a socket that has been silent so long is asked
  var ANSWER = 8000; // and is dead if it says nothing
  var REFUSED = 15; // s, before a signed session that is refused is shown again
  /** A signed session: ID.EXPIRY.SIGNATURE. */
  var SIGNED = /^([\s\S]+)\.[1-9]\d{0,10}\.[\w-]{16,}$/;
  var PACE = 1000; // between polls that bring nothing, from beginning to beginning; and looks for a session

  var owner = null;
  var state = 'idle';
  var here = { url: null, session: null };
  var base = ''; // the address without /get
  var signed = false; // the session has to be shown as a credential, and protocol v1 knows it by another name
  var name = null; // that name, when the server has told it; the session, if it is not signed
  var cursor = null; // everything up to here has been handed on
  var last = 0; // the newest seq
  var ids = {};
  var order = [];

  var socket = null;
  var since = 0; // when the socket was welcome; 0: there is none, or it is not yet
  var useful = false; // it has brought something
  var heard = 0; // when it last said something
  var asked = false; // it has been asked and has said nothing since
  var request = null;
  var timer = 0;
  var hasty = false; // the timer may be cut short: nobody told us to wait

  var failures = 0;
  var blocks = 0;
  var socketDue = 0; // when a socket may be tried again
  var hasV1; // whether the server has protocol v1; undefined as long as it is not known

  function drop() {
    clearTimeout(timer);
    hasty = asked = useful = false;
    since = 0;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    if (request) {
      request.onloadend = null;
      request.abort();
    }
    socket = request = null;
  }

  function wait(ms, mayBeCut) {
    drop();
    hasty = mayBeCut;
    timer = setTimeout(step, ms);
  }

  /** Goes on receiving, the best way that is due. */
  function step() {
    drop();
    var target = lookUp();
    if (!target.session) {
      announce('offline');
      wait(PACE, true);
      return;
    }
    if (moved(target)) settleAt(target);
    if (Date.now() < socketDue) poll();
    else if (global.WebSocket) withTicket(connect);
    else if (name) poll();
    else withTicket(poll);
  }

  function begin() {
    announce('connecting');
    step();
  }

  function lookUp() {
    try {
      return x0.target(owner);
    } catch (error) {
      complain('no address, no session', error);
      return {};
    }
  }

  function moved(target) {
    return target.url !== here.url || target.session !== here.session;
  }

  function settleAt(target) {
    var same = target.url === here.url && idOf(target.session) === idOf(here.session);
    here = target;
    socketDue = 0;
    if (same) return; // newer credentials for the mailbox that it was
    signed = SIGNED.test(here.session);
    name = signed ? null : here.session;
    base = absolute(target.url).replace(/[?#].*$/, '').replace(/\/python\/MsgHandler\.py$|([^\/:]\/*)\/[^\/]*$/, '$1');
    cursor = null;
    last = failures = blocks = 0;
    ids = {};
    order = [];
    hasV1 = undefined;
    announce('connecting');
  }

  function idOf(session) {
    var found = SIGNED.exec(session);
    return found ? found[1] : session;
  }

  function absolute(url) {
    if (/^https?:\/\//i.test(url)) return url;
    if (/^\/\//.test(url)) return location.protocol + url;
    if (/^\//.test(url)) return location.protocol + '//' + location.host + url;
    return location.href.replace(/[^\/]*([?#].*)?$/, '') + url;
  }

  function query() {
    return '?session=' + encodeURIComponent(name) + (cursor ? '&after=' + encodeURIComponent(cursor) : '');
  }

  // ---- WebSocket ----------------------------------------------------------------------------------------------------

  /** A signed session gets a ticket for its socket; with a relay that has no tickets it is a name like any other. */
  function withTicket(next) {
    if (!signed) return next('');
    ask('POST', base + '/v1/tickets', JSON.stringify({ session: here.session }), WELCOME, function (status, answer, after) {
      if (answer && answer.ticket) {
        name = answer.session || here.session;
        next('&ticket=' + encodeURIComponent(answer.ticket));
      } else if (status === 404 || status === 405) {
        signed = false;
        name = here.session;
        next('');
      } else if (status === 429 || status >= 500) {
        failed(status, after);
      } else {
        name = null;
        blocked(); // by something in between, or for good: x0's own poll will tell
      }
    });
  }

  function connect(ticket) {
    try {
      socket = new global.WebSocket(base.replace(/^http/i, 'ws') + '/v1/ws' + query() + ticket, 'x0-relay.v1');
    } catch (error) {
      return blocked(); // not allowed here: a page over https, a server over http
    }
    timer = setTimeout(blocked, WELCOME);
    socket.onmessage = function (event) {
      heard = Date.now();
      asked = false;
      onFrame(parse(event.data) || {});
    };
    socket.onclose = function (event) {
      if (event.code === 4001) superseded();
      else lost();
    };
  }

  function onFrame(frame) {
    if (frame.type === 'welcome') {
      clearTimeout(timer);
      timer = setTimeout(watch, QUIET);
      since = heard;
      hasV1 = true;
      cursor = cursor || frame.cursor;
      announce('websocket');
    } else if (frame.type === 'messages') {
      receive(frame);
      useful = true;
      say({ type: 'ack', cursor: cursor });
    } else if (frame.type === 'goodbye') {
      if (frame.reason === 'superseded') superseded();
      else comeBack(frame.retry_after);
    } else if (frame.type === 'expiring') {
      if (moved(lookUp())) step(); // the page has a newer session already
    } else if (frame.type === 'error') {
      complain('the relay refuses something', frame);
    }
  }

  function say(frame) {
    if (socket && socket.readyState === 1) socket.send(JSON.stringify(frame));
  }

  /** Looks after the socket: whether it lives, and is still the right one. */
  function watch() {
    if (moved(lookUp())) step();
    else if (asked) lost();
    else if (Date.now() - heard >= QUIET) probe(ANSWER);
    else timer = setTimeout(watch, QUIET);
  }

  function probe(within) {
    clearTimeout(timer);
    asked = true;
    say({ type: 'ping' });
    timer = setTimeout(watch, within);
  }

  function lost() {
    if (!since || (!useful && Date.now() - since < STEADY)) return blocked();
    failures = blocks = socketDue = 0;
    retry(0);
  }

  /** Polls, and tries a socket again later. */
  function blocked() {
    drop();
    socketDue = Date.now() + Math.min(UPGRADE_LAST, UPGRADE_FIRST * Math.pow(2, blocks)) * (0.5 + Math.random() / 2);
    blocks += 1;
    hasV1 = hasV1 || undefined;
    poll();
  }

  // ---- Polling ------------------------------------------------------------------------------------------------------

  /** With a cursor where the server has protocol v1, as x0 does where it has not. */
  function poll() {
    if (state !== 'polling') timer = setTimeout(announce, PACE, 'polling');
    if (hasV1 === false || !name) pollX0();
    else pollV1();
  }

  function pollV1() {
    var began = Date.now();
    ask('GET', base + '/v1/messages' + query() + '&wait=10', null, 25000, function (status, answer, after) {
      if (status === 200 && answer && Array.isArray(answer.messages)) {
        hasV1 = true;
        receive(answer);
        if (answer.superseded) superseded();
        else if (answer.retry_after !== undefined) comeBack(answer.retry_after);
        else goOn(began, answer.messages.length > 0 || answer.gap);
      } else if (status === 400) {
        cursor = null; // the server's mailbox is another one than the cursor's
        last = 0;
        complain('the relay refuses the poll', answer);
        failed(status, after);
      } else if (signed && status === 401) {
        name = null; // it has expired: the page may have another one by then
        socketDue = 0;
        failed(status, after);
      } else if (status === 429 || status >= 500 || (status === 0 && hasV1)) {
        failed(status, after);
      } else {
        hasV1 = false; // no such address here, or none that a page of another origin may see
        poll();
      }
    });
  }

  function pollX0() {
    var began = Date.now();
    var url = here.url + (here.url.indexOf('?') < 0 ? '?' : '&') + 'a__=' + Math.floor(1e9 + Math.random() * 9e9);
    var body = { session_src: here.session, type: 'GET', SessionData: { ID: 'SYS_SESSION', Value: here.session } };
    ask('POST', url, JSON.stringify(body), 60000, function (status, answer, after, text) {
      if (status === 200 && text === '') answer = {};
      if (status === 200 && answer && !answer.error) {
        owner.callbackXMLRPCAsync(answer);
        goOn(began, answer.messages && answer.messages.length > 0);
      } else {
        if (answer && answer.error) complain('the server refuses the poll', answer);
        failed(status, signed && answer && answer.error ? REFUSED : after);
      }
    });
  }

  /** After an answer: at once, unless it came too soon and brought nothing. */
  function goOn(began, brought) {
    failures = 0;
    announce('polling');
    var rest = began + PACE - Date.now();
    if (brought || rest <= 0) step();
    else wait(rest, false);
  }

  function failed(status, after) {
    hasV1 = hasV1 || undefined;
    if (status === 0) blocks = socketDue = 0; // the server is away: that says nothing about sockets
    retry(after);
  }

  /** One request. `done` is told the status (0: none came), the answer if it is JSON, Retry-After in seconds, the text. */
  function ask(method, url, body, timeout, done) {
    var mine = request = new XMLHttpRequest();
    mine.open(method, url, true);
    mine.timeout = timeout;
    if (body) {
      mine.setRequestHeader('Content-Type', 'application/json; charset=UTF-8');
      mine.setRequestHeader('Accept', 'application/json');
    } else if (signed) {
      mine.setRequestHeader('Authorization', 'Bearer ' + here.session);
    }
    mine.onloadend = function () {
      clearTimeout(timer);
      request = null;
      var waits = mine.status === 429 || mine.status === 503;
      done(mine.status, parse(mine.responseText), waits ? mine.getResponseHeader('Retry-After') : 0, mine.responseText);
    };
    mine.send(body);
  }

  // ---- Away, and back -----------------------------------------------------------------------------------------------

  function retry(seconds) {
    announce('offline');
    var most = Math.min(RETRY_LAST, RETRY_FIRST * Math.pow(2, failures));
    failures += 1;
    wait(Math.max(100 + Math.random() * most, (Number(seconds) || 0) * 1000), true);
  }

  /** The relay ends, and says when another one will be there. */
  function comeBack(seconds) {
    announce('offline');
    failures = blocks = socketDue = 0;
    wait(Math.min(60, Number(seconds) || 1) * 1000, false);
  }

  /** Another page has this session now. It keeps it until somebody turns to this one. */
  function superseded() {
    drop();
    announce('superseded');
  }

  /** Something has happened to the page: it is seen, or used, or has a network again. */
  function wake(event) {
    var used = event.type === 'pointerdown' || event.type === 'keydown';
    var network = event.type === 'online';
    if (!network && document.visibilityState === 'hidden') return;
    if (state === 'superseded') {
      if (!network) begin();
    } else if (used) {
      // it is as it was
    } else if (since) {
      if (!asked && Date.now() - heard > STEADY) probe(WELCOME);
    } else if (hasty || (network && request && hasV1)) {
      step(); // a poll of the network before may hang; with a cursor it can be given up
    }
  }

  var listening = false;
  function listen() {
    if (listening) return;
    listening = true;
    document.addEventListener('visibilitychange', wake);
    var events = ['online', 'focus', 'pageshow', 'pointerdown', 'keydown'];
    for (var at = 0; at < events.length; at += 1) global.addEventListener(events[at], wake, true);
  }

  /** Tells the page how it receives: connecting, websocket, polling, offline, superseded. */
  function announce(now) {
    if (now === state) return;
    state = owner.state = now;
    if (typeof CustomEvent === 'function') global.dispatchEvent(new CustomEvent('x0-relay-state', { detail: now }));
  }

  function parse(text) {
    try {
      return JSON.parse(text);
    } catch (error) {
      return null;
    }
  }

  function complain() {
    if (global.console) console.error.apply(console, ['x0-relay:'].concat([].slice.call(arguments)));
  }
})(this);
