"""Packets of transport protocols for which this kernel may have no sockets, made and checked by hand.

raw.py answer NAME                          answers what arrives (UDP-Lite at port 4001) until killed
raw.py ask PROTOCOL ADDRESS PORT:PORT TEXT  sends one packet and prints the answer's text

PROTOCOL is sctp, dccp, udplite, or a number of a protocol without ports (PORT:PORT is then not used).
An answer has its ports exchanged and the text "NAME saw ADDRESS:PORT: TEXT". Whoever receives a packet
with a wrong checksum says so instead.
"""

import select
import socket
import struct
import sys
import time

NUMBERS = {"sctp": 132, "dccp": 33, "udplite": 136}
CHECKED = {number: name for name, number in NUMBERS.items()}
PORTLESS = (47, 50, 253)
PATIENCE = 10
ANSWERING = 4001


def crc32c(data):
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def internet_checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_checksum(number, source, target, segment):
    """The segment with the checksum of its protocol; the field counts as zero."""
    if number == NUMBERS["sctp"]:
        segment = segment[:8] + bytes(4) + segment[12:]
        return segment[:8] + struct.pack("<I", crc32c(segment)) + segment[12:]
    if number not in CHECKED:
        return segment
    segment = segment[:6] + bytes(2) + segment[8:]
    pseudo = socket.inet_aton(source) + socket.inet_aton(target)
    pseudo += struct.pack("!HH", number, len(segment))
    coverage = struct.unpack("!H", segment[4:6])[0] if CHECKED[number] == "udplite" else 0
    check = internet_checksum(pseudo + segment[:coverage or len(segment)])
    if check == 0 and CHECKED[number] == "udplite":
        check = 0xFFFF
    return segment[:6] + struct.pack("!H", check) + segment[8:]


def make(number, source, target, ports, text, answer):
    """A packet that a stateful firewall takes for the first of a connection, or its answer."""
    name = CHECKED.get(number)
    head = struct.pack("!HH", *ports) if name else b""
    if name == "sctp":  # One INIT or INIT ACK chunk (RFC 9260 section 3.3.2), the text as a parameter.
        parameter = struct.pack("!HH", 0x8000, 4 + len(text)) + text
        body = struct.pack("!IIHHI", 7, 65536, 1, 1, 1) + parameter
        chunk = struct.pack("!BBH", 2 if answer else 1, 0, 4 + len(body)) + body
        head += struct.pack("!II", 7 if answer else 0, 0) + chunk + bytes(-len(chunk) % 4)
        text = b""
    elif name == "dccp":  # Request or Response with a long sequence number (RFC 4340 section 5).
        words, kind = (7, 1) if answer else (5, 0)
        head += struct.pack("!BBHBBHI", words, 0, 0, kind << 1 | 1, 0, 0, 1)
        head += bytes(8 if answer else 0) + b"TEST"
    elif name == "udplite":  # The header and four octets are covered (RFC 3828).
        head += struct.pack("!HH", 12, 0)
    return with_checksum(number, source, target, head + text)


def text_of(number, segment):
    name = CHECKED.get(number)
    if name == "sctp":
        octets = struct.unpack("!H", segment[34:36])[0]
        return segment[36:32 + octets]
    if name == "dccp":
        return segment[segment[4] * 4:]
    return segment[8:] if name else segment


def occupy(port):
    """Keeps a kernel that knows UDP-Lite from answering "port unreachable" beside us."""
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, NUMBERS["udplite"])
        sock.bind(("", port))
        return sock
    except OSError:
        return None


def receive(sock, number):
    """Source address, ports, text of the next packet that has a right checksum."""
    packet = sock.recv(65535)
    segment = packet[(packet[0] & 15) * 4:]
    source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    ports = struct.unpack("!HH", segment[:4]) if number in CHECKED else (0, 0)
    right = with_checksum(number, source, target, segment) == segment
    text = text_of(number, segment) if right else b"wrong checksum"
    return source, target, ports, text


def answer(name):
    sockets = {}
    for number in list(CHECKED) + list(PORTLESS):
        sockets[socket.socket(socket.AF_INET, socket.SOCK_RAW, number)] = number
    keep = occupy(ANSWERING)  # noqa: F841, held open
    print("ready", flush=True)
    while True:
        for sock in select.select(list(sockets), [], [])[0]:
            number = sockets[sock]
            source, target, ports, text = receive(sock, number)
            print(number, f"{source}:{ports[0]}", text, flush=True)
            text = f"{name} saw {source}:{ports[0]}: ".encode() + text
            sock.sendto(make(number, target, source, ports[::-1], text, True), (source, 0))


def ask(protocol, target, ports, text):
    number = NUMBERS.get(protocol) or int(protocol)
    ports = tuple(int(port) for port in ports.split(":"))
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, number)
    sock.connect((target, 0))
    keep = occupy(ports[0]) if number == NUMBERS["udplite"] else None  # noqa: F841, held open
    source = sock.getsockname()[0]
    sock.send(make(number, source, target, ports, text.encode(), False))
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
        peer, _, seen, text = receive(sock, number)
        if peer == target and (number not in CHECKED or seen == ports[::-1]):
            print(text.decode())
            return
    sys.exit(f"no answer to protocol {number} in {PATIENCE} s")


if __name__ == "__main__":
    {"answer": answer, "ask": ask}[sys.argv[1]](*sys.argv[2:])
