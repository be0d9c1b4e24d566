"""A name server whose names have a NAT record only, and whose answers about it are slow.

slow_dns.py ADDRESS SECONDS [SECONDS]: listens on UDP port 53 of ADDRESS. Every name has the NAT record
203.0.113.1:100 192.168.0.2, told after SECONDS; any other question is answered NODATA, at once or after
the second number of seconds.
"""

import heapq
import select
import socket
import struct
import sys
import time

NAT_TYPE = 65324
SO_RCVBUFFORCE = 33  # Linux; Python has no name for it
RDATA = bytes([203, 0, 113, 1, 0, 100, 192, 168, 0, 2])


def question_end(query):
    at = 12
    while query[at]:
        at += query[at] + 1
    return at + 5


def reply(query, end, answers):
    header = query[:2] + struct.pack("!HHHHH", 0x8400, 1, len(answers), 0, 0)
    return header + query[12:end] + b"".join(answers)


def main():
    address, seconds = sys.argv[1], [float(text) for text in sys.argv[2:]] + [0.0]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    sock.bind((address, 53))
    record = b"\xc0\x0c" + struct.pack("!HHIH", NAT_TYPE, 1, 300, len(RDATA)) + RDATA
    print("ready", flush=True)
    late = []  # (when, answer, peer)
    while True:
        while late and late[0][0] <= time.monotonic():
            sock.sendto(*heapq.heappop(late)[1:])
        patience = max(0, late[0][0] - time.monotonic()) if late else None
        if not select.select([sock], [], [], patience)[0]:
            continue
        query, peer = sock.recvfrom(4096)
        end = question_end(query)
        is_nat = struct.unpack("!H", query[end - 4 : end - 2])[0] == NAT_TYPE
        answer = reply(query, end, [record] if is_nat else [])
        heapq.heappush(late, (time.monotonic() + seconds[0 if is_nat else 1], answer, peer))


main()
