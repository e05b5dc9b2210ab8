#!/bin/sh
# Runs after post-build.sh: $2 is the board. The host's bascule-image makes root file system, slot, records, data
# and partition table from kernel, GRUB and binary of this build; genimage puts them together. The disk is
# images/bascule-BOARD.img.
set -eu

board="$2"
parts="$BINARIES_DIR/bascule-parts"

kernel=$(sed -n 's/^BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE="\(.*\)"$/\1/p' "$BR2_CONFIG")

# bascule-image looks for GRUB's modules in one directory of each format.
rm -rf "$parts"
mkdir -p "$parts/grub"
for modules in "$BUILD_DIR"/grub2-*/build-*/grub-core; do
	format=$(basename "$(dirname "$modules")")
	ln -s "$modules" "$parts/grub/${format#build-}"
done

# The tool was built from a copy in Buildroot's output, which may lie in a repository of another project, for instance
# Buildroot's own: the image names the commit of the sources that were copied.
sources=$(cd "$(dirname "$0")/../.." && pwd)

GIT_DIR="$sources/.git" \
GIT_WORK_TREE="$sources" \
PATH="$HOST_DIR/bin:$HOST_DIR/sbin:$PATH" \
BASCULE_TOOLS=provided \
BASCULE_GRUB="$parts/grub" \
bascule-image parts \
	--board "$board" \
	--kernel-build "$BUILD_DIR/linux-$kernel" \
	--binary "$TARGET_DIR/usr/bin/bascule" \
	--into "$parts" \
	--reproducible

cp "$parts"/bascule-*.img "$BINARIES_DIR"
exec support/scripts/genimage.sh -c "$parts/genimage.cfg"
