// A stand-in for what x0 gives a page, written from docs/x0-wire.md: sysFactory with its settings and objects, and the
// request layer sysCallXMLRPC. Whatever a message does to the page is noted in `x0Page.shown`, and told to `report` where a
// test has put one. A classic script. x0's own names are not ours to know: these are the ones that the drop-in asks for
// unless it is told others.

'use strict';

var x0Page = {
  shown: [],
  note: function (what) {
    x0Page.shown.push(what);
    if (typeof report === 'function') report({ kind: 'shown', what: JSON.stringify(what) });
  },
};

/** An object of the page, to which data can be sent. */
function X0Object(id) {
  this.id = id;
}

X0Object.prototype.setData = function (payload, message) {
  if (payload && payload.fail) throw new Error('asked to fail');
  x0Page.note({ did: 'set-data', object: this.id, payload: payload, from: message.session_src });
};

var sysFactory = {
  SysConfig: { Language: 'en', MsgServer: { MsgServerGetURL: '', MsgServerSetURL: '' } },
  Session: { ID: 'SYS_SESSION', Value: '' },
  objects: { FormlistExchangeData: new X0Object('FormlistExchangeData'), Text1: new X0Object('Text1') },

  getObjectByID: function (id) {
    return Object.prototype.hasOwnProperty.call(sysFactory.objects, id) ? sysFactory.objects[id] : null;
  },
  netPhone: function (message) {
    x0Page.note({ did: 'phone', number: message['phonenr-src'], text: message['txt-id'], from: message.session_src });
  },
  sysIndicator: function (message) {
    x0Page.note({ did: 'indicator', id: message['notify-id'], status: message['notify-status'], from: message.session_src });
  },
  fireEvents: function (events) {
    x0Page.note({ did: 'events', events: events });
  },
  switchScreen: function (id) {
    x0Page.note({ did: 'screen', id: id });
  },
};

/** The request layer: adds the session to whatever is sent. `done` is told the status and the answer. */
function sysCallXMLRPC(url) {
  this.url = url;
}

sysCallXMLRPC.prototype.post = function (data, done) {
  var xhr = new XMLHttpRequest();
  xhr.open('POST', this.url + '?a__=' + Math.floor(1e9 + Math.random() * 9e9), true);
  xhr.setRequestHeader('Content-Type', 'application/json; charset=UTF-8');
  xhr.setRequestHeader('Accept', 'application/json');
  xhr.setRequestHeader('Cache-Control', 'max-age=0');
  xhr.setRequestHeader('Upgrade-Insecure-Requests', '1');
  xhr.onloadend = function () {
    done(xhr.status, xhr.responseText === '' ? null : JSON.parse(xhr.responseText));
  };
  data.SessionData = { ID: 'SYS_SESSION', Value: sysFactory.Session.Value };
  xhr.send(JSON.stringify(data));
};

/** Sends a documented message to MsgServerSetURL. */
x0Page.send = function (destination, payload, done) {
  new sysCallXMLRPC(sysFactory.SysConfig.MsgServer.MsgServerSetURL).post({ session_dst: destination, payload: payload }, done);
};

/** What the app's button sends: a form, of which the server makes a net-message. */
x0Page.exchange = function (destination, form, done) {
  var lists = { FormlistSelectDstUser: { DstUserSession: destination }, FormlistExchangeData: form };
  var url = sysFactory.SysConfig.MsgServer.MsgServerSetURL.replace(/\/set$/, '/python/MsgHandler.py');
  new sysCallXMLRPC(url).post({ RequestData: lists }, done);
};

/** Starts receiving, as x0 does once its page is there. */
x0Page.start = function (relay, session) {
  sysFactory.SysConfig.MsgServer.MsgServerGetURL = relay + '/get';
  sysFactory.SysConfig.MsgServer.MsgServerSetURL = relay + '/set';
  sysFactory.Session.Value = session;
  x0Page.handler = new sysAsyncNotifyMsgHandler(sysFactory);
  x0Page.handler.getMsg();
};
