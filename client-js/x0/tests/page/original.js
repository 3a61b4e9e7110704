// A stand-in for x0's own sysAsyncNotifyMsgHandler.js, written from docs/x0-wire.md and not from x0's source: one poll after
// the other, and no more of them after one that failed. It reaches the page in ways that nothing outside of it knows
// (closed over in `page`), so the drop-in loaded after it can only leave the handling to it. A classic script.

'use strict';

var sysAsyncNotifyMsgHandler = (function () {
  var page = {
    poll: function (done) {
      var xhr = new XMLHttpRequest();
      xhr.open('POST', sysFactory.SysConfig.MsgServer.MsgServerGetURL + '?a__=' + Math.floor(1e9 + Math.random() * 9e9));
      xhr.setRequestHeader('Content-Type', 'application/json; charset=UTF-8');
      xhr.onload = function () {
        if (xhr.status === 200) done(xhr.responseText === '' ? {} : JSON.parse(xhr.responseText));
      };
      var session = sysFactory.Session.Value || null;
      xhr.send(JSON.stringify({ session_src: session, type: 'GET', SessionData: { ID: 'SYS_SESSION', Value: session } }));
    },
  };

  function Original(argument) {
    this.ScreenOrWhatever = argument;
  }

  Original.prototype.getMsg = function () {
    var self = this;
    page.poll(function (answer) {
      self.answer = answer;
      self.callbackXMLRPCAsync();
    });
  };

  Original.prototype.callbackXMLRPCAsync = function () {
    var messages = this.answer.messages || [];
    for (var at = 0; at < messages.length; at += 1) this.processMsg(messages[at]);
    this.getMsg();
  };

  Original.prototype.processMsg = function (message) {
    if (message.payload.fail) throw new Error('asked to fail');
    x0Page.note({ did: "x0's own", payload: message.payload, from: message.session_src });
  };

  return Original;
})();
