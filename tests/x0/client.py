#!/usr/bin/env python3
"""One exchange on a message server's socket: sends a packet as it is given and prints the answer.

    client.py SOCKET '{"type":"GET","session_src":"tab-a"}'

Exit code 1 if the server closes without an answer, cannot be reached or is silent for too long.
"""

import argparse
import socket
import sys


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("socket", help="the message server's socket")
    arguments.add_argument("packet", help="what to send, byte for byte")
    arguments.add_argument("--read", type=int, default=4096, help="how many bytes of the answer to take; x0 takes 4096")
    arguments.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for the answer")
    options = arguments.parse_args()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            server.settimeout(options.timeout)
            server.connect(options.socket)
            server.send(options.packet.encode())
            answer = server.recv(options.read)
    except OSError as error:
        sys.exit(f"{options.socket}: {error}")
    if not answer:
        sys.exit(f"{options.socket}: closed without an answer")
    print(answer.decode(errors="replace"))


if __name__ == "__main__":
    main()
