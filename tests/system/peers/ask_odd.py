"""Asks a name server for A records and shows what arrives, octet by octet.

ask_odd.py SERVER raw NAME REPLIES: asks once, and prints a line of each of so many replies: "mapped ADDRESS
OCTETS" if the last record before the additional ones is an address of 127/8, else the reply in hex
without its ID. The question must come back in the case in which it was asked.

ask_odd.py SERVER overtake HANGING: asks for hang0, hang1, ... and, after every tenth, for a name that
has an address; prints "HANGING-ANSWERED ORDINARY-ANSWERED OVERTAKEN", the last being how many of the
ordinary ones were answered before the hanging one that was asked just before.
"""

import select
import socket
import struct
import sys
import time

DEADLINE = 20


def wire(name):
    labels = name.encode("latin-1").split(b".")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(number, name):
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + wire(name) + b"\0\1\0\1"


def connected(server):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.connect((server, 53))
    return sock


def shown(reply, asked):
    # The added record: type A, class IN, a TTL of a minute at most, four octets of 127/8.
    at = reply.find(b"\0\1\0\1\0\0\0", len(asked))
    if at > 0 and reply[at + 8 : at + 11] == b"\0\4\x7f":
        assert reply[12 : len(asked)] == asked[12:], "the question came back changed"
        return f"mapped {socket.inet_ntoa(reply[at + 10 : at + 14])} {len(reply)}"
    return reply[2:].hex()


def raw(sock, name, count):
    asked = query(0x4E41, name)
    sock.settimeout(DEADLINE)
    sock.send(asked)
    for _ in range(int(count)):
        print(shown(sock.recv(65535), asked))


def overtake(sock, hanging):
    hanging, order, left = int(hanging), [], set()
    deadline = time.monotonic() + DEADLINE

    def receive(patience):
        while select.select([sock], [], [], patience)[0]:
            number = struct.unpack("!H", sock.recv(65535)[:2])[0]
            order.append(number)
            left.discard(number)

    for number in range(hanging):
        left.add(number)
        sock.send(query(number, f"hang{number}.odd"))
        if number % 10 == 9:
            ordinary = 0x8000 | number
            left.add(ordinary)
            sock.send(query(ordinary, "here.odd"))
            receive(0.001)
    while left and time.monotonic() < deadline:
        receive(0.1)
    place = {number: index for index, number in enumerate(order)}
    ordinary = [number for number in place if number & 0x8000]
    last = len(order)
    overtaken = [n for n in ordinary if place[n] < place.get(n & 0x7FFF, last)]
    print(len(place) - len(ordinary), len(ordinary), len(overtaken))


def main():
    sock = connected(sys.argv[1])
    {"raw": raw, "overtake": overtake}[sys.argv[2]](sock, *sys.argv[3:])


main()
