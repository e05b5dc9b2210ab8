#!/bin/sh
# Checks this tree against a Buildroot: buildroot-ext/check.sh PATH_TO_BUILDROOT [DIRECTORY_TO_WORK_IN]
# Style of every file, every symbol of the defconfigs known and kept, each defconfig as Buildroot would save it, and a
# Rust that builds this program. Downloads and builds nothing but Buildroot's Kconfig. The check of style is Buildroot's
# utils/check-package, which needs shellcheck, flake8 and the Python module magic.
set -eu

buildroot=$(cd "${1:?usage: $0 PATH_TO_BUILDROOT [DIRECTORY_TO_WORK_IN]}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work="${2:-$(mktemp -d)}"
failed=0

say() {
	echo "check.sh: $*"
}

fail() {
	say "FAILED: $*" >&2
	failed=1
}

if [ ! -f "$buildroot/package/pkg-cargo.mk" ]; then
	say "$buildroot is no Buildroot with support for cargo packages" >&2
	exit 1
fi

say "style"
find "$here" -type f -exec "$buildroot/utils/check-package" -b {} + ||
	fail "utils/check-package has warnings"

# Cargo refuses a compiler that is older, but only after the whole toolchain is built.
say "Rust"
wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$here/../Cargo.toml")
there=$(sed -n 's/^RUST_BIN_VERSION = //p' "$buildroot/package/rust-bin/rust-bin.mk")
oldest=$(printf '%s\n' "$wanted" "$there" | sort -V | head -n 1)
if [ -z "$wanted" ] || [ "$oldest" != "$wanted" ]; then
	fail "Buildroot's Rust is $there; Cargo.toml asks for $wanted"
fi

for defconfig in "$here"/configs/*_defconfig; do
	name=$(basename "$defconfig")
	out="$work/$name"
	say "$name"
	mkdir -p "$out"
	if ! make -s -C "$buildroot" O="$out" BR2_EXTERNAL="$here" "$name" >"$out/log" 2>&1; then
		cat "$out/log" >&2
		fail "$name cannot be loaded"
		continue
	fi

	# Kconfig drops what it does not know or what depends on something else, and says nothing.
	while read -r line; do
		case "$line" in
		"") ;;
		"# "*" is not set")
			symbol=${line#"# "}
			symbol=${symbol%% *}
			if grep -q "^$symbol=" "$out/.config"; then
				fail "$name: $symbol is set"
			fi
			;;
		"#"*) ;;
		*)
			grep -qxF "$line" "$out/.config" || fail "$name: $line is dropped"
			;;
		esac
	done <"$defconfig"

	make -s -C "$buildroot" O="$out" BR2_EXTERNAL="$here" \
		savedefconfig BR2_DEFCONFIG="$out/saved" >>"$out/log" 2>&1 ||
		fail "$name cannot be saved"
	if ! diff -u "$defconfig" "$out/saved"; then
		fail "$name is not as Buildroot saves it: take $out/saved"
	fi

	# The kernel's archive must be in Buildroot's own list or in ours.
	version=$(sed -n 's/^BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE="\(.*\)"$/\1/p' "$defconfig")
	grep -qF "linux-$version.tar.xz" "$here/patches/linux/linux.hash" \
		"$buildroot/linux/linux.hash" ||
		fail "$name: no hash of linux-$version.tar.xz"
done

[ "$failed" = 0 ] && say "all is well"
exit "$failed"
