"""Sends lines over one TCP connection and prints the answer to each before the next is sent.

talk.py [--source-port N] HOST PORT LINE...      "quiet N" instead of a line: says nothing for N seconds
"""

import argparse
import socket
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("lines", nargs="+")
    parser.add_argument("--source-port", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=30)
    args = parser.parse_args()

    sock = socket.socket()
    sock.settimeout(args.timeout)
    sock.bind(("", args.source_port))
    sock.connect((args.host, args.port))
    file = sock.makefile("rw")
    for line in args.lines:
        if line.startswith("quiet "):
            time.sleep(float(line.split()[1]))
        else:
            print(line, file=file, flush=True)
            print(file.readline(), end="", flush=True)


main()
