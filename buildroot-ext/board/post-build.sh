#!/bin/sh
# Runs when all packages are built: $1 is the target directory, $2 the board. What is in the target directory does
# not become the root file system (post-image.sh makes that), so all there is to do is to refuse a wrong binary.
set -eu

binary="$1/usr/bin/bascule"
for readelf in "$HOST_DIR"/bin/*-linux-*readelf; do
	break
done

headers=$("$readelf" -lW "$binary")
case "$headers" in
*INTERP*)
	echo "bascule: $binary is a dynamic program; the box has no libraries" >&2
	exit 1
	;;
esac
