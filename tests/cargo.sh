#!/bin/sh
# Prints a cargo that is new enough for this crate; fails if there is none.

# sudo drops the directory where rustup puts its commands.
for cargo in "$CARGO" cargo /usr/bin/cargo "$HOME/.cargo/bin/cargo"; do
    [ -n "$cargo" ] || continue
    version=$("$cargo" --version 2>/dev/null | awk '{ print $2 }')
    if [ -n "$version" ] && printf '1.88\n%s\n' "$version" | sort -C -V; then
        echo "$cargo"
        exit 0
    fi
done
echo "no cargo 1.88 or newer here: run \`make setup-build\`" >&2
exit 1
