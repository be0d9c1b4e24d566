"""Sends one datagram from a connected UDP socket, as most applications do, and prints the answer.

Exit status: 0 answered, 2 the kernel reported an error (its name is printed), 3 nothing came.
"""

import argparse
import errno
import socket
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("text")
    parser.add_argument("--source-port", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=20)
    args = parser.parse_args()

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(args.timeout)
    sock.bind(("", args.source_port))
    try:
        sock.connect((args.host, args.port))
        sock.send(args.text.encode())
        print(sock.recv(65535).decode())
    except TimeoutError:
        print("no answer")
        sys.exit(3)
    except OSError as error:
        print(errno.errorcode.get(error.errno, str(error)))
        sys.exit(2)


main()
