"""Traffic of many kinds at once, every octet of it checked, with a line for whatever goes wrong.

traffic.py serve NAME                     answers at TCP and UDP port 4000 until it is killed
traffic.py run HOST SERVER FILE [KIND...] goes on until SIGTERM, then prints a summary

SERVER is the name that the server at HOST must have. Kinds: down and up (long transfers over one TCP
connection each), short (one connection after the other), udp (datagrams of all sizes from one socket),
ports (datagrams from ever new sockets), ping, names (www.example). FILE always says how far each has come, a line a kind; the
summary is a line a kind, too: "KIND done N failed N wrong N lost N", of which "wrong" is what no disturbance
excuses. What fails is printed at once.
"""

import errno
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PORT = 4000
BLOCK = 65536
# What transfers send at most, octets a second: the test is about what happens, not how fast.
RATE = 3_000_000
PATIENCE = 20
PRINTING = threading.Lock()
START = time.monotonic()


def say(*words):
    with PRINTING:
        print(f"{time.monotonic() - START:7.2f}", *words, flush=True)


# ---- octets that both sides know ------------------------------------------------------------------

PATTERN = random.Random(4787).randbytes(1 << 20)


def octets(start, length):
    """`length` octets of an endless repeatable stream, from octet `start` on."""
    at = start % len(PATTERN)
    part = PATTERN[at:at + length]
    while len(part) < length:
        part += PATTERN[:length - len(part)]
    return part


def offset_of(seed):
    return seed * 7919 % len(PATTERN)


class Pace:
    """Keeps to a rate."""

    def __init__(self):
        self.next = time.monotonic()

    def wait(self, length):
        self.next = max(self.next + length / RATE, time.monotonic() - 0.1)
        time.sleep(max(0, self.next - time.monotonic()))


# ---- the server -----------------------------------------------------------------------------------

def serve_connection(sock, peer, name):
    """A request is "down SEED LENGTH" or "up SEED LENGTH", a line; the greeting says who answers."""
    try:
        sock.sendall(f"{name}\n".encode())
        line = b""
        while not line.endswith(b"\n"):
            part = sock.recv(1)
            if not part:
                return
            line += part
        say("tcp", "%s:%d" % peer, line.decode("ascii", "replace").strip())
        what, seed, length = line.split()
        start, length = offset_of(int(seed)), int(length)
        if what == b"down":
            pace, sent = Pace(), 0
            while sent < length:
                part = octets(start + sent, min(BLOCK, length - sent))
                pace.wait(len(part))
                sock.sendall(part)
                sent += len(part)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
        else:
            got = 0
            while got < length:
                part = sock.recv(BLOCK)
                if not part:
                    return
                if part != octets(start + got, len(part)):
                    say("WRONG OCTETS", "%s:%d" % peer, got)
                    sock.sendall(b"wrong\n")
                    return
                got += len(part)
            sock.sendall(b"right\n")
    except OSError as error:
        say("tcp", "%s:%d" % peer, "ended", error)
    finally:
        sock.close()


def serve_datagrams(name):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", PORT))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    while True:
        data, peer = sock.recvfrom(65535)
        try:
            sock.sendto(name.encode().ljust(8) + data, peer)
        except OSError as error:
            say("udp", "%s:%d" % peer, error)


def serve(name):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", PORT))
    listener.listen(256)
    threading.Thread(target=serve_datagrams, args=(name,), daemon=True).start()
    print("ready", flush=True)
    while True:
        sock, peer = listener.accept()
        threading.Thread(target=serve_connection, args=(sock, peer, name), daemon=True).start()


# ---- the client -----------------------------------------------------------------------------------

class Wrong(Exception):
    """What no disturbance excuses: octets that were changed, or somebody else's answer."""


class Kind:
    octets = 0

    def __init__(self, host, server):
        self.host, self.server = host, server
        self.done = self.failed = self.wrong = self.lost = 0
        self.stopping = False

    def run(self):
        seed = 0
        while not self.stopping:
            seed += 1
            self.began = time.monotonic()
            try:
                self.once(seed)
                self.done += 1
            except Wrong as error:
                self.wrong += 1
                say(self.name, "WRONG", error)
            except (OSError, EOFError) as error:
                if self.stopping:
                    break
                self.failed += 1
                name = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
                took = time.monotonic() - self.began
                say(self.name, "failed", name, f"after {took:.2f} s", self.where())
                time.sleep(0.2)

    def where(self):
        return ""

    def progress(self):
        return self.done

    def summary(self):
        return f"{self.name} done {self.done} failed {self.failed} wrong {self.wrong} lost {self.lost}"

    def open(self, request):
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        sock.connect((self.host, PORT))
        sock.sendall(request.encode() + b"\n")
        greeting = b""
        while not greeting.endswith(b"\n"):
            part = sock.recv(1)
            if not part:
                raise EOFError
            greeting += part
        if greeting.decode().strip() != self.server:
            raise Wrong(f"{greeting} answered")
        return sock


class Down(Kind):
    name = "down"

    def progress(self):
        return self.octets

    def once(self, seed, length=1 << 40):
        self.got = 0
        with self.open(f"down {seed} {length}") as sock:
            start = offset_of(seed)
            while self.got < length and not self.stopping:
                part = sock.recv(BLOCK)
                if not part:
                    raise EOFError
                if part != octets(start + self.got, len(part)):
                    raise Wrong(f"octets changed after {self.got}")
                self.got += len(part)
                self.octets += len(part)

    def where(self):
        return f"after {self.got} octets"


class Up(Kind):
    name = "up"

    def progress(self):
        return self.octets

    def once(self, seed, length=1 << 40):
        self.sent = 0
        with self.open(f"up {seed} {length}") as sock:
            start, pace = offset_of(seed), Pace()
            while self.sent < length and not self.stopping:
                part = octets(start + self.sent, min(BLOCK, length - self.sent))
                pace.wait(len(part))
                sock.sendall(part)
                self.sent += len(part)
                self.octets += len(part)
                if select.select([sock], [], [], 0)[0] and self.sent < length:
                    if not (said := sock.recv(99)):
                        raise EOFError
                    raise Wrong(f"said {said!r} after {self.sent}")
            if not self.stopping and sock.recv(99) != b"right\n":
                raise Wrong("did not confirm")

    def where(self):
        return f"after {self.sent} octets"


class Short(Kind):
    name = "short"

    def once(self, seed):
        kind = Down if seed % 2 else Up
        kind.once(self, seed, random.choice([1, 700, 1500, 20000]))
        time.sleep(0.02)


class Udp(Kind):
    name = "udp"
    sizes = [1, 100, 1000, 1400, 1444, 1445, 1472, 1473, 3000, 9000, 20000]

    def once(self, seed):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect((self.host, PORT))
            while not self.stopping:
                self.exchange(sock)
                time.sleep(0.02)

    def exchange(self, sock):
        number = random.getrandbits(63)
        size = random.choice(self.sizes)
        data = struct.pack("!Q", number) + octets(offset_of(number), size)
        sock.send(data)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                back = sock.recv(65535)
            except TimeoutError:
                break
            if back[:8].rstrip() != self.server.encode():
                raise Wrong(f"{back[:8]} answered")
            seen = struct.unpack("!Q", back[8:16])[0]
            if back[16:] != octets(offset_of(seen), len(back) - 16):
                raise Wrong(f"a datagram of {len(back)} octets was changed")
            if seen == number:
                if len(back) != len(data) + 8:
                    raise Wrong(f"a datagram of {len(data)} octets became {len(back) - 8}")
                self.done += 1
                return
        self.lost += 1


class Ports(Udp):
    name = "ports"
    sizes = [1, 1444, 3000]

    def once(self, seed):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            sock.connect((self.host, PORT))
            self.exchange(sock)
        time.sleep(0.05)


class Ping(Kind):
    name = "ping"

    def once(self, seed):
        size = str(random.choice([16, 56, 1400, 3000]))
        command = ["ping", "-n", "-c", "1", "-W", "1", "-s", size, self.host]
        status = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode
        if status == 1:
            self.lost += 1
        time.sleep(0.1)


class Names(Kind):
    """A name that has nothing to do with tunnels, by the C library's resolver, which asks twice."""
    name = "names"

    def once(self, seed):
        address = socket.gethostbyname("www.example")
        if address != "198.51.100.80":
            raise Wrong(f"www.example is {address}")
        time.sleep(0.05)


def run(host, server, progress, *names):
    kinds = {kind.name: kind for kind in (Down, Up, Short, Udp, Ports, Ping, Names)}
    random.seed(int(os.environ.get("SEED", "1")))
    address = socket.gethostbyname(host)
    work = [kinds[name](address, server) for name in names or kinds]
    for kind in work:
        threading.Thread(target=kind.run, daemon=True).start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("ready", flush=True)
    while not stop.wait(0.1):
        with open(progress + ".new", "w") as file:
            file.writelines(f"{kind.name} {kind.progress()}\n" for kind in work)
        os.replace(progress + ".new", progress)
    for kind in work:
        kind.stopping = True
    for kind in work:
        print(kind.summary(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    {"serve": serve, "run": run}[sys.argv[1]](*sys.argv[2:])
