//! Archives in cpio's `newc` format, which the kernel unpacks as its first root file system.
