"""Takes as much of a DNS proxy as it can get.

dns_hog.py ADDRESS udp COUNT   so many different questions at once, whose answers take 4 s. Prints "asked"
                               when all are sent and those without a place have been refused, then how
                               many got an address.
dns_hog.py ADDRESS tcp COUNT   so many connections. Prints how many of them get an answer, and uses those
                               until it is ended.
"""

import select
import socket
import struct
import sys
import time

REFUSED = 20
DEADLINE = 60


def question(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def udp(address, count):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, 53))
    answers, asked = [], False
    answered = lambda wait: select.select([sock], [], [], wait)[0]
    take = lambda: answers.append(sock.recv(4096)[6:8] != b"\0\0")
    for number in range(count):
        sock.send(question(number, f"slow-4.n{number}.test"))
        # A pace that no socket buffer on the way overflows at, nor our own.
        if number % 20 == 19:
            time.sleep(0.005)
            while answered(0):
                take()
    end = time.monotonic() + DEADLINE
    while len(answers) < count and time.monotonic() < end:
        if answered(0.2):
            take()
        elif len(answers) >= REFUSED and not asked:
            asked = True
            print("asked", flush=True)
    print(sum(answers), flush=True)


def ask(sock):
    message = question(1, "some.test")
    try:
        sock.sendall(struct.pack("!H", len(message)) + message)
        return len(sock.recv(4096)) > 2
    except ConnectionError:
        return False


def tcp(address, count):
    socks = [socket.create_connection((address, 53), timeout=30) for _ in range(count)]
    served = [sock for sock in socks if ask(sock)]
    print(len(served), flush=True)
    while all([ask(sock) for sock in served]):
        time.sleep(1)


{"udp": udp, "tcp": tcp}[sys.argv[2]](sys.argv[1], int(sys.argv[3]))
