#!/usr/bin/env python3
"""A stand-in for x0's own front, written from the facts in docs/x0-wire.md section 3.

It turns HTTP into one JSON datagram for the message server's Unix socket and passes the answer back: one connection,
one exchange, at most 4096 bytes read. An empty GET is asked again, up to ten times, one second apart.
"""

import argparse
import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

READ_MAX = 4096


def exchange(path, packet):
    """One connection, one datagram each way; b"" if the server closes without an answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(path)
        server.send(json.dumps(packet).encode())
        return server.recv(READ_MAX)


def failure(error):
    return json.dumps({"error": True, "exception_id": type(error).__name__, "exception": str(error)}).encode()


def packet_of_body(path, body):
    """The server's packet for a request with a JSON body; a member that is absent stays absent."""
    packet = {"type": body.get("type") or path.rsplit("/", 1)[-1].upper()}
    if "session_src" in body:
        packet["session_src"] = body["session_src"]
    elif "Value" in body.get("SessionData", {}):
        packet["session_src"] = body["SessionData"]["Value"]
    form = body.get("RequestData")
    if form is not None:
        packet["type"] = "SET"
        packet["session_dst"] = form["FormlistSelectDstUser"]["DstUserSession"]
        packet["payload"] = {
            "msg-type": "net-message",
            "method-id": "set-data",
            "dst-object": "FormlistExchangeData",
            "payload": form["FormlistExchangeData"],
        }
    else:
        packet.update({name: body[name] for name in ("session_dst", "payload") if name in body})
    return packet


def packet_of_query(query):
    """The server's packet for a network event."""
    packet = {"type": query["Type"], "session_src": query["SYS_SESSION"]}
    if packet["type"] == "SET":
        packet.update(session_dst=query["DestinationSession"], payload=json.loads(query["Payload"]))
    return packet


class Front(BaseHTTPRequestHandler):
    """One HTTP request; the server object carries the options."""

    def do_OPTIONS(self):
        self.reply(b"")

    def do_GET(self):
        query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.reply(self.relay(lambda: packet_of_query(query)) if query else b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.reply(self.relay(lambda: packet_of_body(urlsplit(self.path).path, json.loads(body))))

    def relay(self, make_packet):
        """The answer for the client: whatever goes wrong is told at once."""
        options = self.server.options
        try:
            packet = make_packet()
            tries = options.tries if packet["type"] == "GET" else 1
            for attempt in range(tries):
                if attempt > 0:
                    time.sleep(options.interval)
                answer = exchange(options.socket, packet)
                parsed = json.loads(answer)  # fails when the answer is empty, or was cut
                if parsed["messages"] is not None:
                    break
            return answer
        except (OSError, ValueError, KeyError) as error:
            return failure(error)

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "*")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("socket", help="the message server's socket")
    arguments.add_argument("--tries", type=int, default=10, help="how often a GET asks")
    arguments.add_argument("--interval", type=float, default=1.0, help="seconds between two tries")
    front = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    front.daemon_threads = True
    front.options = arguments.parse_args()
    print(f"front http://127.0.0.1:{front.server_port}", flush=True)
    front.serve_forever()


if __name__ == "__main__":
    main()
