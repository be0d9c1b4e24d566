"""Forges tunnel packets: any outer source, any inner packet, right or wrong.

forge.py udp  SOURCE:PORT TARGET:PORT INNER:PORT INNER:PORT TEXT
forge.py tcp  SOURCE:PORT TARGET:PORT INNER:PORT INNER:PORT         (a SYN)
forge.py fuzz SOURCE:PORT TARGET:PORT INNER INNER COUNT [SEED]      (damaged packets, repeatable)
"""

import random
import socket
import struct
import sys

UDP, TCP, ICMP = 17, 6, 1


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, target, protocol, payload):
    """An IPv4 packet (RFC 791) without options."""
    def header(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), random.getrandbits(16), 0,
                           64, protocol, check, socket.inet_aton(source), socket.inet_aton(target))
    state = random.getstate()
    first = header(0)
    random.setstate(state)  # The same identification in both.
    return header(checksum(first)) + payload


def pseudo(source, target, protocol, length):
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!HH", protocol, length)


def udp(source, target, payload):
    """A UDP datagram (RFC 768) in IPv4; endpoints are (address, port)."""
    length = 8 + len(payload)
    head = struct.pack("!HHH", source[1], target[1], length)
    check = checksum(pseudo(source[0], target[0], UDP, length) + head + b"\0\0" + payload)
    return ipv4(source[0], target[0], UDP, head + struct.pack("!H", check or 0xFFFF) + payload)


def tcp_syn(source, target):
    """A TCP SYN (RFC 9293) in IPv4."""
    def segment(check):
        return struct.pack("!HHIIBBHHH", source[1], target[1], 1000, 0, 0x50, 0x02, 65535, check, 0)
    check = checksum(pseudo(source[0], target[0], TCP, 20) + segment(0))
    return ipv4(source[0], target[0], TCP, segment(check))


def icmp_echo(source, target):
    body = struct.pack("!HH", random.getrandbits(16), 1) + b"payload"
    check = checksum(b"\x08\0\0\0" + body)
    return ipv4(source, target, ICMP, struct.pack("!BBH", 8, 0, check) + body)


# ---- damage: each takes a lawful inner packet and returns something else -------------------------

def truncate(dice, packet, _):
    return packet[:dice.randrange(len(packet))]


def flip(dice, packet, _):
    damaged = bytearray(packet)
    for _ in range(dice.randint(1, 8)):
        damaged[dice.randrange(len(damaged))] = dice.getrandbits(8)
    return bytes(damaged)


def noise(dice, *_):
    return dice.randbytes(dice.choice([0, 1, 2, 19, 20, 21, 28, 60, 1400]))


def field(offset, width):
    """Overwrites one header field with a random value."""
    def damage(dice, packet, _):
        return packet[:offset] + dice.randbytes(width) + packet[offset + width:]
    return damage


def nested(dice, packet, ends):
    """A tunnel in a tunnel, many times: to the same host's port 100 again."""
    for _ in range(dice.randint(1, 20)):
        packet = udp((ends[0], 100), (ends[1], 100), packet)
    return packet


def keepalive(*_):
    return b"\xff"


VERSION_AND_IHL, TOTAL_LENGTH, FRAGMENT, PROTOCOL = field(0, 1), field(2, 2), field(6, 2), field(9, 1)
SOURCE, TARGET, TRANSPORT = field(12, 4), field(16, 4), field(20, 8)
DAMAGES = [truncate, flip, noise, nested, keepalive, VERSION_AND_IHL, TOTAL_LENGTH, FRAGMENT,
           PROTOCOL, SOURCE, TARGET, TRANSPORT]


def fuzzed(ends, count, seed):
    random.seed(seed)
    dice = random
    for _ in range(count):
        ports = dice.randrange(1, 65536), dice.randrange(1, 65536)
        lawful = dice.choice([
            udp((ends[0], ports[0]), (ends[1], ports[1]), b"fuzz"),
            tcp_syn((ends[0], ports[0]), (ends[1], ports[1])),
            icmp_echo(*ends),
        ])
        yield dice.choice(DAMAGES)(dice, lawful, ends)


def endpoint(text):
    address, port = text.split(":")
    return address, int(port)


def main():
    kind, source, target, *inner = sys.argv[1:]
    source, target = endpoint(source), endpoint(target)
    if kind == "fuzz":
        seed = int(inner[3]) if len(inner) > 3 else 1
        packets = fuzzed(inner[:2], int(inner[2]), seed)
    elif kind == "tcp":
        packets = [tcp_syn(endpoint(inner[0]), endpoint(inner[1]))]
    else:
        packets = [udp(endpoint(inner[0]), endpoint(inner[1]), inner[2].encode())]

    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for packet in packets:
        raw.sendto(udp(source, target, packet), (target[0], 0))


main()
