"""A small real server that tells what it saw: HTTP on TCP port 80, echo on TCP and UDP ports 7 and 7007.

GET /            "This is NAME."
GET /whoami      the client's address and port as they arrived here
GET /FILE        a file of the directory given by --files
PUT /            the SHA-256 of the body
UDP TEXT         "NAME saw ADDRESS:PORT: TEXT"
UDP delay N TEXT the same, after N seconds
TCP LINE         the same, a line

Every request is a line on standard output.
"""

import argparse
import hashlib
import http.server
import pathlib
import shutil
import socket
import socketserver
import sys
import threading
import time

CHUNK = 1 << 20
PRINTING = threading.Lock()


# The second one is none of the well-known ports, in whose name no gateway opens flows.
ECHO_PORTS = (7, 7007)


def report(protocol, peer, text):
    """One line, in one piece whatever other threads print, without control characters."""
    text = text.encode("unicode_escape").decode()
    with PRINTING:
        print(protocol, "%s:%d" % peer, text, flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        if not name:
            self.answer(f"This is {self.server.name}.\n")
        elif name == "whoami":
            self.answer("%s:%d\n" % self.client_address)
        else:
            self.send_file(name)

    def do_PUT(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        while left > 0 and (data := self.rfile.read(min(left, CHUNK))):
            digest.update(data)
            left -= len(data)
        self.answer(digest.hexdigest() + "\n")

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, name):
        path = self.server.files / pathlib.PurePath(name).name
        if not path.is_file():
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        with path.open("rb") as file:
            shutil.copyfileobj(file, self.wfile, CHUNK)

    def log_request(self, code="-", size="-"):
        report("tcp", self.client_address, self.requestline)

    def log_message(self, format, *args):
        report("tcp", self.client_address, format % args)


class WebServer(http.server.ThreadingHTTPServer):
    # Two hundred connections arrive at once in one test.
    request_queue_size = 512
    daemon_threads = True


def echo(sock, name):
    while True:
        data, peer = sock.recvfrom(65535)
        text = data.decode(errors="replace")
        report("udp", peer, text[:80])
        reply = (f"{name} saw %s:%d: {text}" % peer).encode()
        delay = float(text.split()[1]) if text.startswith("delay ") else 0
        if delay:
            threading.Timer(delay, sock.sendto, (reply, peer)).start()
        else:
            sock.sendto(reply, peer)


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            text = line.decode().rstrip("\n")
            report("tcp", self.client_address, text[:80])
            if text.startswith("delay "):
                time.sleep(float(text.split()[1]))
            peer = "%s:%d" % self.client_address
            self.wfile.write(f"{self.server.name} saw {peer}: {text}\n".encode())


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--address", default="0.0.0.0")
    parser.add_argument("--files", type=pathlib.Path, default=pathlib.Path("/nonexistent"))
    args = parser.parse_args()

    web = WebServer((args.address, 80), Handler)
    web.name, web.files = args.name, args.files
    for port in ECHO_PORTS:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((args.address, port))
        threading.Thread(target=echo, args=(udp, args.name), daemon=True).start()
        lines = EchoServer((args.address, port), Echo)
        lines.name = args.name
        threading.Thread(target=lines.serve_forever, daemon=True).start()
    print("ready", flush=True)
    web.serve_forever()


main()
