"""A DNS client on one TCP connection (RFC 7766).

dns_tcp.py ADDRESS PORT order NAME...   all questions at once, then the end of writing: the names in the
                                        order in which their answers come
dns_tcp.py ADDRESS PORT idle            says nothing: the seconds until the server ends it
dns_tcp.py ADDRESS PORT drip            a length and then nothing: the same
dns_tcp.py ADDRESS PORT many COUNT      so many connections: how many of them get an answer
dns_tcp.py ADDRESS PORT garbage         octets that are no DNS, then a question: the names answered
"""

import os
import socket
import struct
import sys
import time


def query(name, ident):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01"
    return struct.pack("!H", len(message)) + message


def connect():
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
    return sock, sock.makefile("rb")


def read_answer(stream):
    length = stream.read(2)
    return stream.read(struct.unpack("!H", length)[0]) if len(length) == 2 else None


def name_of(message):
    at, labels = 12, []
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode())
        at += message[at] + 1
    return ".".join(labels)


def order(names):
    sock, stream = connect()
    sock.sendall(b"".join(query(name, ident) for ident, name in enumerate(names)))
    sock.shutdown(socket.SHUT_WR)
    while message := read_answer(stream):
        assert names[struct.unpack("!H", message[:2])[0]] == name_of(message)
        print(name_of(message))


def ended_after(first):
    sock, stream = connect()
    sock.sendall(first)
    start = time.monotonic()
    stream.read()
    print(round(time.monotonic() - start))


def many(count):
    connections = [connect() for _ in range(count)]
    answered = 0
    for sock, stream in connections:
        try:
            sock.sendall(query("some.test", 1))
            answered += read_answer(stream) is not None
        except ConnectionError:
            pass
    print(answered)


def garbage():
    sock, stream = connect()
    for _ in range(20):
        octets = os.urandom(40)
        # No question: QR is set.
        octets = octets[:2] + bytes([octets[2] | 0x80]) + octets[3:]
        sock.sendall(struct.pack("!H", len(octets)) + octets)
    sock.sendall(struct.pack("!H", 0) + query("some.test", 7))
    print(name_of(read_answer(stream)))


what, rest = sys.argv[3], sys.argv[4:]
if what == "order":
    order(rest)
elif what == "idle":
    ended_after(b"")
elif what == "drip":
    ended_after(b"\x01\x00half")
elif what == "many":
    many(int(rest[0]))
elif what == "garbage":
    garbage()
