//! Host tool of Bascule (`cargo image`): builds the static binary, the initramfs and the disk images,
//! boots them in QEMU, and runs the demo, the test tiers and the benchmarks.
//!
//! Everything it makes lies under `out/` (for the user) and under cargo's target directory (caches).

pub mod apt;
pub mod artifact;
pub mod bench;
pub mod board;
pub mod build;
pub mod bundle;
pub mod cpio;
pub mod demo;
pub mod disk;
pub mod edition;
pub mod host;
pub mod initramfs;
pub mod kernel;
pub mod keys;
pub mod load;
pub mod net;
pub mod papers;
pub mod parts;
pub mod qemu;
pub mod run;
pub mod slot;
pub mod source;
pub mod test;
pub mod toolchain;
