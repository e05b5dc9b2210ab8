#!/bin/busybox sh
# First process of the lab guest: mounts, the modules that the cases need, the driver, power off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export BASCULE_BINARY=/init
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
$bb mount -t tmpfs run /run
$bb mount -t tmpfs tmp /tmp
$bb mkdir -p /run/netns
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for module in crc32c_generic veth bridge 8021q ip_vs $($bb grep '^ip_vs_' /etc/bascule/modules-load); do
	$bb modprobe "$module" || $bb printf '\n@@note no module %s\n' "$module"
done
echo 0 >/proc/sys/kernel/printk
/lab/driver guest
$bb printf '\n@@end %s\n' $?
$bb sync
$bb poweroff -f
