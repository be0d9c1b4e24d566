"""The kernel's own sockets of transport protocols besides TCP and UDP.

sockets.py serve NAME                       SCTP, DCCP, UDP-Lite at port 4001, until it is killed
sockets.py ask PROTOCOL ADDRESS OCTETS      sends so many octets; the answer must name their SHA-256

The answer is "NAME saw ADDRESS: DIGEST".
"""

import hashlib
import random
import socket
import sys
import threading

PORT, PATIENCE = 4001, 60
# Socket type and protocol number; Python has no name for DCCP's type (6).
KINDS = {"sctp": (socket.SOCK_STREAM, 132), "dccp": (6, 33), "udplite": (socket.SOCK_DGRAM, 136)}
SOL_DCCP, DCCP_SERVICE = 269, 2


def make(protocol):
    kind, number = KINDS[protocol]
    sock = socket.socket(socket.AF_INET, kind, number)
    if protocol == "dccp":
        sock.setsockopt(SOL_DCCP, DCCP_SERVICE, b"TEST")
    return sock


def digest(name, peer, data):
    return f"{name} saw {peer[0]}: {hashlib.sha256(data).hexdigest()}".encode()


def serve_datagrams(sock, name):
    while True:
        data, peer = sock.recvfrom(65535)
        sock.sendto(digest(name, peer, data), peer)


def serve_connections(sock, name, protocol):
    sock.listen(8)
    while True:
        connection, peer = sock.accept()
        data = connection.recv(65535)
        # A stream says how long it is.
        while protocol == "sctp" and len(data) < int.from_bytes(data[:4], "big"):
            data += connection.recv(65535)
        connection.send(digest(name, peer, data))


def serve(name):
    for protocol in KINDS:
        sock = make(protocol)
        sock.bind(("", PORT))
        if protocol == "udplite":
            work = threading.Thread(target=serve_datagrams, args=(sock, name))
        else:
            work = threading.Thread(target=serve_connections, args=(sock, name, protocol))
        work.start()
    print("ready", flush=True)


def ask(protocol, address, octets):
    octets = int(octets)
    data = octets.to_bytes(4, "big") + random.randbytes(octets - 4)
    sock = make(protocol)
    sock.settimeout(PATIENCE)
    sock.connect((address, PORT))
    # SCTP keeps the bounds of messages, and one must fit the send buffer.
    message = 10000 if protocol == "sctp" else len(data)
    for at in range(0, len(data), message):
        sock.send(data[at:at + message])
    answer = sock.recv(65535).decode()
    said, _, seen = answer.partition(": ")
    right = hashlib.sha256(data).hexdigest()
    print(said if seen == right else f"wrong octets: {answer}")


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
