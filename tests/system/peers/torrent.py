"""A BitTorrent transfer between two peers that know each other, without a tracker.

torrent.py seed FILE TORRENT PORT                  makes TORRENT and seeds FILE until it is killed
torrent.py fetch TORRENT DIRECTORY ADDRESS PORT    downloads it from that peer
"""

import os
import sys
import time

import libtorrent

PATIENCE = 60


def session(port):
    return libtorrent.session({
        "listen_interfaces": f"0.0.0.0:{port}",
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True,
    })


def seed(path, torrent, port):
    files = libtorrent.file_storage()
    libtorrent.add_files(files, path)
    made = libtorrent.create_torrent(files, 64 * 1024)
    libtorrent.set_piece_hashes(made, os.path.dirname(path))
    with open(torrent, "wb") as file:
        file.write(libtorrent.bencode(made.generate()))
    peer = session(port)
    handle = peer.add_torrent({"ti": libtorrent.torrent_info(torrent),
                               "save_path": os.path.dirname(path)})
    while not handle.status().is_seeding:
        time.sleep(0.1)
    print("ready", flush=True)
    while True:
        time.sleep(60)


def fetch(torrent, directory, address, port):
    peer = session(0)
    handle = peer.add_torrent({"ti": libtorrent.torrent_info(torrent), "save_path": directory})
    deadline = time.monotonic() + PATIENCE
    handle.connect_peer((address, int(port)))
    while not handle.status().is_seeding:
        if time.monotonic() > deadline:
            sys.exit(f"got {handle.status().progress:.0%} in {PATIENCE} s")
        time.sleep(0.1)


{"seed": seed, "fetch": fetch}[sys.argv[1]](*sys.argv[2:])
