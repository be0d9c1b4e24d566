"""A name server for the DNS proxy's tests, whose names say how it behaves.

upstream.py ADDRESS PORT: UDP and TCP. Answers to A questions have 1.1.1.1, by the first label:

  slow-N      after N seconds
  lost        over UDP not at all, over TCP at once
  cut         over UDP only TC; 60 addresses over TCP
  long        60 addresses, over UDP too
  forged      first 7.7.7.7 under another ID, to another question, with another case of letters, from
              another port, and octets that are no DNS; the right answer after that
  junk        nothing but such octets
  half        over TCP half an answer, then the end; over UDP TC
  fail        SERVFAIL
  none        NODATA, without an SOA
  others      at once

Each question is a line on standard output: protocol, name, the client's port, the ID.
"""

import os
import socket
import socketserver
import struct
import sys
import threading
import time


def read_question(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    return labels, struct.unpack("!H", query[at + 1 : at + 3])[0], at + 5


def reply(query, end, flags=0x8180, addresses=()):
    header = query[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4)
    return header + query[12:end] + b"".join(record + bytes(address) for address in addresses)


def answers(query, protocol, peer):
    """What is sent back: messages, each after a pause in seconds."""
    labels, qtype, end = read_question(query)
    what = labels[0].lower()
    print(protocol, ".".join(labels), qtype, peer[1], query[:2].hex(), flush=True)
    good = reply(query, end, addresses=[(1, 1, 1, 1)])
    many = reply(query, end, addresses=[(1, 1, 1, n) for n in range(60)])
    cut = reply(query, end, flags=0x8380)
    if qtype != 1 or what == "none":
        return [(0, reply(query, end))]
    if what.startswith("slow-"):
        return [(float(what[5:]), good)]
    if what == "fail":
        return [(0, reply(query, end, flags=0x8182))]
    if what == "junk":
        return [(0, os.urandom(40)) for _ in range(20)]
    if protocol == "TCP":
        return [(0, {"cut": many, "long": many, "half": good[:-9]}.get(what, good))]
    if what == "lost":
        return []
    if what in ("cut", "half"):
        return [(0, cut)]
    if what == "long":
        return [(0, many)]
    if what == "forged":
        bad = reply(query, end, addresses=[(7, 7, 7, 7)])
        other_id = bytes([bad[0] ^ 1]) + bad[1:]
        other_name = bad[:13] + b"g" + bad[14:]
        other_case = bad[:13] + bytes([bad[13] ^ 0x20]) + bad[14:]
        query_again = bad[:2] + b"\x01\x00" + bad[4:]
        lies = [other_id, other_name, other_case, query_again, b"", os.urandom(30), bad[:20]]
        return [(0, lie) for lie in lies] + [("elsewhere", bad), (0.1, good)]
    return [(0, good)]


def serve_udp(sock, other):
    def give(query, peer):
        for pause, message in answers(query, "UDP", peer):
            if pause == "elsewhere":
                other.sendto(message, peer)
                continue
            time.sleep(pause)
            sock.sendto(message, peer)

    while True:
        query, peer = sock.recvfrom(4096)
        threading.Thread(target=give, args=(query, peer), daemon=True).start()


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while len(length := self.rfile.read(2)) == 2:
            query = self.rfile.read(struct.unpack("!H", length)[0])
            half = read_question(query)[0][0] == "half"
            for pause, message in answers(query, "TCP", self.client_address):
                time.sleep(pause)
                self.wfile.write(struct.pack("!H", len(message) + 9 * half) + message)
            if half:
                return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    address, port = sys.argv[1], int(sys.argv[2])
    sock, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    sock.bind((address, port))
    other.bind((address, port + 1))
    server = Server((address, port), Connection)
    threading.Thread(target=serve_udp, args=(sock, other), daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()


main()
