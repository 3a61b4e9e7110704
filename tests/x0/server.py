#!/usr/bin/env python3
"""A stand-in for x0's own message server, written from the facts in docs/x0-wire.md section 3, weaknesses included.

One process, one exchange at a time, at most 4096 bytes read, a pause with every request, no timeout for a silent peer,
and a closed connection instead of an answer when anything is wrong. An answer goes out whole, however long: cut is what
the other side doesn't read.
"""

import argparse
import json
import os
import socket
import time

READ_MAX = 4096


def handle(mailboxes, request, generation):
    """The answer to one request; the generations differ in what removes."""
    kind, source = request["type"], request["session_src"]
    if kind == "SET":
        payload = request["payload"]
        payload["session_src"] = source
        mailboxes.setdefault(request["session_dst"], []).append(payload)
        return {"messages": None, "status": "ok"}
    if kind == "GET":
        messages = mailboxes.get(source)
        if generation == "current":
            mailboxes.pop(source, None)
        return {"messages": messages}
    if kind == "DEL":
        if generation == "old":
            mailboxes.pop(source, None)
        return {"messages": None}
    raise ValueError(kind)


def serve(listener, pause, generation):
    mailboxes = {}
    while True:
        peer, _ = listener.accept()
        with peer:
            try:
                request = json.loads(peer.recv(READ_MAX))
                time.sleep(pause)
                peer.send(json.dumps(handle(mailboxes, request, generation)).encode())
            except (OSError, ValueError, KeyError, TypeError):
                pass  # closed without an answer


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("socket", help="where to listen")
    arguments.add_argument("--pause", type=float, default=1.0, help="seconds that every request takes")
    arguments.add_argument("--generation", choices=["current", "old"], default="current",
                           help="current: GET removes, DEL is ignored; old: GET does not remove, DEL does")
    options = arguments.parse_args()
    if os.path.exists(options.socket):
        os.unlink(options.socket)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(options.socket)
        listener.listen(128)
        print(f"server {options.socket}", flush=True)
        serve(listener, options.pause, options.generation)


if __name__ == "__main__":
    main()
