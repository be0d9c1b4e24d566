"""UDP datagrams of many sizes to an echo server; every octet that comes back is compared.

sizes.py HOST PORT MODE SIZE...
MODE is IP_MTU_DISCOVER: `want` (the default of sockets), `do` (DF set, never fragmented), `dont`.
Prints the largest size that passed, and "; EMSGSIZE from N on" if the kernel refused larger ones.
"""

import errno
import random
import socket
import string
import sys

IP_MTU_DISCOVER = 10
MODES = {"dont": 0, "want": 1, "do": 2}
PATIENCE, TRIES = 3, 3
LETTERS = string.ascii_letters + string.digits


def main(host, port, mode, *sizes):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, MODES[mode])
    sock.settimeout(PATIENCE)
    sock.connect((host, int(port)))
    passed = 0
    for size in map(int, sizes):
        text = "".join(random.choices(LETTERS, k=size))
        try:
            try:
                exchange(sock, text)
            except OSError as error:
                # A router has told the kernel, which tells the socket, and makes fragments from now on.
                if error.errno != errno.EMSGSIZE or mode != "want":
                    raise
                exchange(sock, text)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            print(f"{passed}; EMSGSIZE from {size} on")
            return
        passed = size
    print(passed)


def exchange(sock, text):
    """A lost datagram is sent again, as UDP applications do."""
    for _ in range(TRIES):
        sock.send(text.encode())
        try:
            while (answer := sock.recv(65535).decode().rpartition(": ")[2]) != text:
                if len(answer) == len(text):
                    sys.exit(f"{len(text)} octets came back changed")
            return
        except TimeoutError:
            continue
    sys.exit(f"{len(text)} octets: no answer")


main(*sys.argv[1:])
