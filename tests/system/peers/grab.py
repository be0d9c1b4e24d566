"""Tries to get a UDP port as an ordinary user, with every option that shares one.

Prints EADDRINUSE if it cannot, the options that succeeded otherwise.
"""

import errno
import os
import socket
import sys

OPTIONS = {"none": [], "REUSEADDR": [socket.SO_REUSEADDR], "REUSEPORT": [socket.SO_REUSEPORT],
           "both": [socket.SO_REUSEADDR, socket.SO_REUSEPORT]}
NOBODY = 65534


def got(address, port, options):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            sock.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        return True


os.setuid(NOBODY)
winners = [name for name, options in OPTIONS.items() if got(sys.argv[1], int(sys.argv[2]), options)]
print(" ".join(winners) or "EADDRINUSE")
