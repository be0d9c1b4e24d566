#!/usr/bin/python3
"""rtp.py PCAP from|to PORT: writes the media of RTP packets from or to a UDP port, in order of their
sequence numbers, without what came twice. The capture is of Ethernet or of an nflog group."""

import struct
import sys

ETHERNET, NFLOG = 1, 239
NFULA_PAYLOAD = 9


def main():
    name, side, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    media = {}
    for packet in packets(open(name, "rb").read()):
        header = (packet[0] & 15) * 4
        source, destination = struct.unpack_from("!HH", packet, header)
        rtp = packet[header + 8:]
        if packet[9] == 17 and port == (source if side == "from" else destination):
            media[struct.unpack_from("!H", rtp, 2)[0]] = rtp[12:]
    sys.stdout.buffer.write(b"".join(media[number] for number in sorted(media)))


def packets(capture):
    """IPv4 packets, see pcap-savefile(5)."""
    link = struct.unpack_from("<I", capture, 20)[0]
    at = 24
    while at + 16 <= len(capture):
        length = struct.unpack_from("<I", capture, at + 8)[0]
        frame = capture[at + 16:at + 16 + length]
        at += 16 + length
        if link == ETHERNET and frame[12:14] == b"\x08\x00":
            yield frame[14:]
        elif link == NFLOG:
            yield payload(frame)


def payload(frame):
    """Of an nflog record: family, version, resource, then attributes of length, type, value."""
    at = 4
    while True:
        length, kind = struct.unpack_from("<HH", frame, at)
        if kind & 0x7fff == NFULA_PAYLOAD:
            return frame[at + 4:at + length]
        at += (length + 3) // 4 * 4


main()
