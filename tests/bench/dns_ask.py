"""Asks for A records one after the other, and says how long each answer took.

dns_ask.py SERVER NAME COUNT: prints "P50 P99" in microseconds. A `#` in NAME becomes a number that was
never there before. One that gets no answer within 3 s took 3 s.

dns_ask.py SERVER stuck SECONDS: keeps about a thousand replies waiting, with 500 lookups for them open:
200 new names a second, each asked five times, at a server that answers questions for the NAT type
after 2.5 s only.
"""

import os
import socket
import struct
import sys
import time

PATIENCE = 3
UNIQUE = os.urandom(6).hex()


def question(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number % 65536, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def open_socket(server):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.connect((server, 53))
    return sock


def one(sock, query):
    """Seconds until the answer to this question."""
    began = time.perf_counter()
    sock.send(query)
    try:
        while sock.recv(4096)[:2] != query[:2]:
            pass
    except TimeoutError:
        return PATIENCE
    return time.perf_counter() - began


def measure(server, name, count):
    sock = open_socket(server)
    asked = (name.replace("#", f"{UNIQUE}-{number}") for number in range(count))
    queries = [question(number, text) for number, text in enumerate(asked)]
    took = sorted(one(sock, query) for query in queries)
    at = lambda part: took[min(count - 1, int(count * part))] * 1e6
    print(f"{at(0.5):.1f} {at(0.99):.1f}")


def stuck(server, seconds):
    socks = [open_socket(server) for _ in range(5)]
    for sock in socks:
        sock.setblocking(False)
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        number += 1
        for sock in socks:
            try:
                sock.send(question(number, f"{UNIQUE}-{number}.stuck.example"))
                sock.recv(4096)
            except BlockingIOError:
                pass
        time.sleep(max(0, began + number / 200 - time.monotonic()))


def main():
    server, name, number = sys.argv[1:]
    if name == "stuck":
        stuck(server, float(number))
    else:
        measure(server, name, int(number))


main()
