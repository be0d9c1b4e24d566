"""An application waits for the answer of HOST:7 while another process on the same host binds
HOST's (mapped, hence local) address and port and sends a forged answer.

Prints what the application received first.
"""

import argparse
import socket


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("--timeout", type=float, default=20)
    args = parser.parse_args()

    forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    forger.bind((args.host, 7))
    application = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    application.settimeout(args.timeout)
    application.connect((args.host, 7))
    # B answers late, so a forged answer that is delivered comes first.
    application.send(b"delay 1 hello")
    try:
        forger.sendto(b"forged", application.getsockname())
    except PermissionError:
        pass  # The rules may say so at once.
    print(application.recv(65535).decode())


main()
