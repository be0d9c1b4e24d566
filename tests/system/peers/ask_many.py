"""Asks one A question very often at once, and counts the answers.

ask_many.py SERVER NAME COUNT: prints "ANSWERED MAPPED", how many questions got an answer and how
many of these answers hold an address.
"""

import select
import socket
import struct
import sys
import time

SOCKETS = 8
DEADLINE = 20


def question(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def open_socket(server):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.connect((server, 53))
    return sock


def main():
    server, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sockets = [open_socket(server) for _ in range(SOCKETS)]
    for number in range(count):
        sockets[number % SOCKETS].send(question(number, name))
        # A pace that no socket buffer on the way overflows at.
        if number % 20 == 19:
            time.sleep(0.005)
    answers, deadline = {}, time.monotonic() + DEADLINE
    while len(answers) < count and (left := deadline - time.monotonic()) > 0:
        for sock in select.select(sockets, [], [], left)[0]:
            reply = sock.recv(4096)
            answers[reply[:2]] = reply[6:8] != b"\0\0"
    print(len(answers), sum(answers.values()))


main()
