#!/bin/sh
# Stands for the builder's work: build.sh SOURCE TARGET [EXTRA...] takes some
# seconds and makes a server of two megabytes, and two more for each extra. What it
# makes depends on its arguments and the machine's busybox only.
set -eu
source=$1 target=$2
shift 2

piece() { # FILE FROM COUNT
	dd if=/bin/busybox of="$1" bs=65536 skip="$2" count="$3" 2>/dev/null
}

mkdir -p "$target/bin" "$target/lib"
cp -R "$source/." "$target/lib/"
for i in 0 1 2 3; do
	piece "$target/bin/server$i" "$i" 8
done
for extra in "$@"; do
	piece "$target/lib/$extra-0" 0 16
	piece "$target/lib/$extra-1" 4 16
done
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
	gzip -c /bin/busybox | sha256sum >>"$target/files.sha256"
done
find "$target" -type f ! -name files.sha256 | sort | xargs sha256sum >>"$target/files.sha256"
