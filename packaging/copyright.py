#!/usr/bin/env python3
"""copyright.py VENDORED: prints debian/copyright for the crates that vendor.sh put there.

    packaging/vendor.sh /tmp/crates && packaging/copyright.py /tmp/crates > debian/copyright
"""

import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
# SPDX's names, and those of Debian's copyright format 1.0 where they differ.
NAMES = [("Apache-2.0 WITH LLVM-exception", "Apache-2.0-LLVM"), ("/", " or "), ("MIT", "Expat"),
         (" OR ", " or "), (" AND ", " and "), (") and", "), and"), ("(", ""), (")", "")]


def main(vendored):
    groups = defaultdict(list)
    for crate in sorted(Path(vendored).iterdir()):
        if (crate / "src/lib.rs").read_bytes():
            groups[licence(crate), holders(crate)].append(crate.name)
    print((HERE / "copyright.head").read_text())
    for (name, who), crates in sorted(groups.items(), key=lambda group: group[1]):
        print("Files:", "\n ".join(f"vendor/{crate}/*" for crate in crates))
        print("Copyright:", "\n ".join(who))
        print(f"License: {name}\n")
    print((HERE / "copyright.licences").read_text(), end="")


def manifest(crate):
    return tomllib.loads((crate / "Cargo.toml").read_text())["package"]


def licence(crate):
    name = manifest(crate)["license"]
    for spdx, debian in NAMES:
        name = name.replace(spdx, debian)
    return name


def holders(crate):
    """Those whom its licence files name; else its authors."""
    found = set()
    for file in crate.glob("LICEN[CS]E*"):
        if file.is_file():
            text = file.read_text(errors="replace")
            found |= set(re.findall(r"^ *Copyright *(?:\([cC]\)|©)? *(\d.*?|The .*?)\.?$", text, re.M))
    found = {who for who in found if "[yyyy]" not in who and "HOLDER" not in who.upper()}
    return tuple(sorted(found or manifest(crate).get("authors") or ["The developers of the crates above"]))


main(*sys.argv[1:])
