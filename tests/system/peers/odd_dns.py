"""A name server that answers oddly, as the first label of the name says.

odd_dns.py ADDRESS [mute]: listens on UDP port 53 of ADDRESS; `mute` says nothing about NAT records. Every name has the NAT record
203.0.113.1:100 192.168.0.2, but not `none` and those that begin with `hang`, of whose NAT records it
says nothing at all. For each question of that type it prints "nat NAME". To questions for A it replies
as ODD says, NODATA by default.
"""

import socket
import struct
import sys

NAT_TYPE = 65324
SO_RCVBUFFORCE = 33  # Linux; Python has no name for it
RDATA = bytes([203, 0, 113, 1, 0, 100, 192, 168, 0, 2])
OWNER = b"\xc0\x0c"
SOA = b"\0" + struct.pack("!HHIH", 6, 1, 60, 22) + b"\0\0" + struct.pack("!5I", 1, 2, 3, 4, 60)


def record(owner, rtype, rdata):
    return owner + struct.pack("!HHIH", rtype, 1, 300, len(rdata)) + rdata


def wire(name):
    labels = name.split(".")
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


ADDRESS = record(OWNER, 1, bytes([192, 0, 2, 1]))
# name: (flags, answers that are promised, octets behind the question)
ODD = {
    "here": (0x8400, 1, ADDRESS),
    "denied": (0x8403, 0, b""),
    "broken": (0x8402, 0, b""),
    "cut": (0x8600, 0, b""),
    "alias": (0x8400, 1, record(OWNER, 5, wire("plain.odd"))),
    "circle": (0x8400, 1, record(OWNER, 5, OWNER)),
    "redirected": (0x8400, 1, record(wire("odd"), 39, wire("even"))),
    # A pointer to itself, one forward, one beyond the end, a label type that nobody has defined.
    "loop": (0x8400, 1, lambda at: record(struct.pack("!H", 0xC000 | at), 1, bytes(4))),
    "forward": (0x8400, 1, lambda at: record(struct.pack("!H", 0xC000 | at + 2), 1, bytes(4))),
    "beyond": (0x8400, 1, record(b"\xff\xff", 5, OWNER)),
    "label": (0x8400, 1, record(b"\x80a", 5, OWNER)),
    "missing": (0x8400, 9, b""),
    "trailing": (0x8400, 0, b"more"),
    "long": (0x8400, 1, record(OWNER, 5, b"")[:-2] + b"\xff\xff"),
}


def question(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1").lower())
        at += query[at] + 1
    return labels, struct.unpack("!H", query[at + 1 : at + 3])[0], at + 5


def message(query, end, flags, counts, body):
    return query[:2] + struct.pack("!HHHHH", flags, 1, *counts) + query[12:end] + body


def replies(query):
    labels, qtype, end = question(query)
    first = labels[0] if labels else ""
    if qtype == NAT_TYPE:
        print("nat", ".".join(labels), flush=True)
        if first.startswith("hang") or "mute" in sys.argv:
            return []
        if first == "none":
            return [message(query, end, 0x8400, (0, 1, 0), SOA)]
        return [message(query, end, 0x8400, (1, 0, 0), record(OWNER, NAT_TYPE, RDATA))]
    if first == "twice":
        return [message(query, end, 0x8400, (0, 0, 0), b"")] * 2
    if first == "garbage":
        good = message(query, end, 0x8400, (0, 0, 0), b"")
        return [query[:2] + bytes(range(256)), good[:15], b"", good]
    if first == "big":
        texts = b"".join(record(OWNER, 16, b"\xc8" + b"x" * 200) for _ in range(12))
        return [message(query, end, 0x8400, (0, 0, 12), texts)]
    flags, answers, body = ODD.get(first, (0x8400, 0, b""))
    body = body(end) if callable(body) else body
    return [message(query, end, flags, (answers, 0, 0), body)]


def main():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    sock.bind((sys.argv[1], 53))
    print("ready", flush=True)
    while True:
        query, peer = sock.recvfrom(4096)
        for reply in replies(query):
            sock.sendto(reply, peer)


main()
