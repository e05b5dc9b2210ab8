//! The distribution's kernel, trimmed to the modules a box needs.
//!
//! The package is downloaded and unpacked, never installed. Which version is whatever the package lists offer
//! the first time; it then stays until the cache is removed or `--refresh` is given.

use crate::apt::Downloads;
use crate::board::{Board, Flavour};
use crate::host::{self, Step};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel package, unpacked.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its release, as `uname -r` says it, such as `6.1.0-56-amd64`.
    pub release: String,
    /// The image a boot loader takes.
    pub image: PathBuf,
    /// x86_64 only: the same, uncompressed (ELF).
    pub vmlinux: Option<PathBuf>,
    modules: PathBuf,
    lenient: bool,
}

/// Fetches the kernel of `board`, or takes it from the cache. `refresh` asks the distribution for a newer one.
///
/// # Errors
/// When the package cannot be fetched or does not look as expected.
pub fn fetch(board: Board, flavour: Flavour, refresh: bool) -> Result<Kernel> {
    host::need(&["kmod", "lz4", "xz-utils", "zstd"])?;
    let dir = host::cache().join("kernel").join(format!("{board}-{}", flavour.name()));
    let lock = host::lock(&dir)?;
    fs::create_dir_all(&dir)?;
    let chosen = dir.join("package");
    if refresh || !chosen.exists() {
        let package = Downloads::open()?.dependency(meta_package(board, flavour), board, "linux-image-")?;
        fs::write(&chosen, package)?;
    }
    let package = fs::read_to_string(&chosen)?;
    let release = package.strip_prefix("linux-image-").context("not a kernel package")?.to_string();
    let root = Downloads::open()?.unpacked(&package, board)?;
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    ensure!(image.is_file(), "package {package} holds no {}", image.display());
    if !root.join("lib/modules").join(&release).join("modules.dep").exists() {
        depmod(&root, &release)?;
    }
    let vmlinux = match board {
        Board::X86_64 => Some(uncompressed(&image, &dir.join(format!("vmlinux-{release}")))?),
        Board::Aarch64 => None,
    };
    drop(lock);
    let modules = root.join("lib/modules").join(&release);
    Ok(Kernel { release, image, vmlinux, modules, lenient: flavour == Flavour::Cloud })
}

fn meta_package(board: Board, flavour: Flavour) -> &'static str {
    match (board, flavour) {
        (Board::X86_64, Flavour::Generic) => "linux-image-amd64",
        (Board::X86_64, Flavour::Cloud) => "linux-image-cloud-amd64",
        (Board::Aarch64, Flavour::Generic) => "linux-image-arm64",
        (Board::Aarch64, Flavour::Cloud) => "linux-image-cloud-arm64",
    }
}

fn depmod(root: &Path, release: &str) -> Result<()> {
    host::output(Command::new("/sbin/depmod").arg("-b").arg(root).arg(release)).map(drop)
}

/// Takes the kernel proper out of a bzImage (Documentation/x86/boot.rst: `setup_sects`, `payload_offset`,
/// `payload_length`). QEMU boots it by its PVH note and saves the guest the time to unpack it.
fn uncompressed(image: &Path, into: &Path) -> Result<PathBuf> {
    if into.exists() {
        return Ok(into.to_path_buf());
    }
    let bytes = fs::read(image)?;
    let payload = payload(&bytes).with_context(|| format!("{} is not a bzImage", image.display()))?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        _ => bail!("{} is compressed in a way that is not known here", image.display()),
    };
    let packed = into.with_extension("packed");
    // The build appends the length of the unpacked kernel to what the compressor wrote.
    fs::write(&packed, &payload[..payload.len() - 4])?;
    let unpacked = into.with_extension("part");
    let mut unpack = Command::new(program);
    unpack.arg("-dc").stdin(fs::File::open(&packed)?).stdout(fs::File::create(&unpacked)?);
    ensure!(unpack.status()?.success(), "{program} cannot unpack {}", image.display());
    fs::remove_file(packed)?;
    fs::rename(unpacked, into)?;
    Ok(into.to_path_buf())
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup_sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    let len = word(0x24c)?;
    if len < 4 { None } else { image.get(start..start.checked_add(len)?) }
}

/// What is to be done with a module of the lists in `board/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Init loads it at start.
    Load,
    /// It is there for hardware or configuration that wants it.
    Ship,
}

/// The module lists of `board`: `board/modules.txt`, then `board/NAME/modules.txt`.
///
/// # Errors
/// When a list cannot be read or a line of it is not understood.
pub fn lists(board: Board) -> Result<Vec<(Use, String)>> {
    let mut wanted = Vec::new();
    for path in [host::root().join("board/modules.txt"), board.dir().join("modules.txt")] {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        wanted.extend(parse_list(&text).with_context(|| format!("in {}", path.display()))?);
    }
    Ok(wanted)
}

fn parse_list(text: &str) -> Result<Vec<(Use, String)>> {
    let mut wanted = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        match words[..] {
            [] => {}
            ["load", name] => wanted.push((Use::Load, name.to_string())),
            ["ship", name] => wanted.push((Use::Ship, name.to_string())),
            _ => bail!("line {}: expected `load NAME` or `ship NAME`, found {line:?}", number + 1),
        }
    }
    Ok(wanted)
}

/// The modules of an image.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    /// Paths below `lib/modules/RELEASE`, dependencies included.
    pub files: BTreeSet<String>,
    /// What init loads at start, in order; names that are built in are left out.
    pub load: Vec<String>,
    /// Names on the lists that the kernel has not at all.
    pub missing: Vec<String>,
}

/// Finds the files of the `wanted` modules and of everything they depend on.
fn select(wanted: &[(Use, String)], dep: &str, builtin: &str) -> Selection {
    let builtin: BTreeSet<String> = builtin.lines().map(name_of).collect();
    let mut files = BTreeMap::new();
    let mut needs = BTreeMap::new();
    for (file, others) in dep.lines().filter_map(|line| line.split_once(':')) {
        files.insert(name_of(file), file);
        needs.insert(file, others);
    }
    let mut chosen = Selection { files: BTreeSet::new(), load: Vec::new(), missing: Vec::new() };
    for (usage, name) in wanted {
        let name = canonical(name);
        match files.get(&name) {
            Some(&file) => {
                // depmod lists all dependencies of a module, not only the direct ones.
                chosen.files.insert(file.to_string());
                chosen.files.extend(needs[file].split_whitespace().map(str::to_string));
                if *usage == Use::Load {
                    chosen.load.push(name);
                }
            }
            None if builtin.contains(&name) => {}
            None => chosen.missing.push(name),
        }
    }
    chosen
}

fn name_of(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    canonical(file.split(".ko").next().unwrap_or(file))
}

/// The kernel takes `-` and `_` in module names as the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

impl Kernel {
    /// Copies the modules of `board`'s lists, uncompressed, with fresh `modules.*` files into
    /// `into/lib/modules/RELEASE`, which is emptied first. Returns the names that init loads.
    ///
    /// # Errors
    /// When a module is missing from the kernel, or a file cannot be copied.
    pub fn modules(&self, board: Board, into: &Path) -> Result<Vec<String>> {
        let read = |name: &str| {
            let path = self.modules.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let chosen = select(&lists(board)?, &read("modules.dep")?, &read("modules.builtin")?);
        ensure!(
            chosen.missing.is_empty() || self.lenient,
            "kernel {} lacks these modules of board/modules.txt and board/{board}/modules.txt: {}",
            self.release,
            chosen.missing.join(" ")
        );
        let top = into.join("lib/modules").join(&self.release);
        if top.exists() {
            fs::remove_dir_all(&top)?;
        }
        let step = Step::begin(format!("take {} modules of kernel {}", chosen.files.len(), self.release));
        for file in &chosen.files {
            let to = top.join(file);
            fs::create_dir_all(to.parent().context("a module lies in a directory")?)?;
            fs::copy(self.modules.join(file), &to).with_context(|| format!("cannot copy {file}"))?;
            if to.extension().is_some_and(|ext| ext != "ko") {
                decompress(&to)?;
            }
        }
        for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            fs::copy(self.modules.join(name), top.join(name))?;
        }
        depmod(into, &self.release)?;
        step.done();
        Ok(chosen.load)
    }
}

/// Newer kernel packages have compressed modules; finit_module wants plain ones, and the initramfs is
/// compressed better as a whole.
fn decompress(file: &Path) -> Result<()> {
    let program = match file.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{} is compressed in a way that is not known here", file.display()),
    };
    let mut unpack = Command::new(program);
    if program == "zstd" {
        unpack.args(["-q", "--rm"]);
    }
    host::output(unpack.arg("-d").arg(file)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/net/netfilter/ipvs/ip_vs.ko: kernel/lib/libcrc32c.ko kernel/net/nf_conntrack.ko
kernel/net/netfilter/ipvs/ip_vs_rr.ko: kernel/net/netfilter/ipvs/ip_vs.ko kernel/lib/libcrc32c.ko kernel/net/nf_conntrack.ko
kernel/lib/libcrc32c.ko:
kernel/net/nf_conntrack.ko: kernel/lib/libcrc32c.ko
kernel/drivers/usb/storage/usb-storage.ko.xz:
kernel/drivers/net/other.ko: kernel/lib/libcrc32c.ko
";

    fn wanted(text: &str) -> Vec<(Use, String)> {
        parse_list(text).unwrap()
    }

    #[test]
    fn a_module_brings_what_it_depends_on_and_nothing_else() {
        let chosen = select(&wanted("load ip_vs_rr\nship usb_storage"), DEP, "");
        let files: Vec<&str> = chosen.files.iter().map(String::as_str).collect();
        assert_eq!(
            files,
            [
                "kernel/drivers/usb/storage/usb-storage.ko.xz",
                "kernel/lib/libcrc32c.ko",
                "kernel/net/netfilter/ipvs/ip_vs.ko",
                "kernel/net/netfilter/ipvs/ip_vs_rr.ko",
                "kernel/net/nf_conntrack.ko",
            ]
        );
        assert_eq!(chosen.load, ["ip_vs_rr"]);
        assert!(chosen.missing.is_empty());
    }

    #[test]
    fn a_built_in_module_is_neither_missing_nor_loaded() {
        let chosen = select(&wanted("load ext4\nload ip_vs\nship ghost"), DEP, "kernel/fs/ext4/ext4.ko\n");
        assert_eq!(chosen.load, ["ip_vs"]);
        assert_eq!(chosen.missing, ["ghost"]);
    }

    #[test]
    fn the_lists_in_board_are_well_formed_and_name_no_module_twice() {
        for board in [Board::X86_64, Board::Aarch64] {
            let names: Vec<String> = lists(board).unwrap().into_iter().map(|(_, name)| name).collect();
            let distinct: BTreeSet<&String> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{board}");
            for name in ["ip_vs", "ip_vs_rr", "ip_vs_pe_sip", "virtio_net", "ext4"] {
                assert!(names.iter().any(|other| other == name), "{board} needs {name}");
            }
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = parse_list("# fine\n\nload a # why\nlaod b").unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("laod b"), "{error}");
    }

    #[test]
    fn the_payload_of_a_bzimage_is_found_and_a_broken_header_refused() {
        let mut image = vec![0_u8; 4096];
        image[0x1f1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&8_u32.to_le_bytes());
        image[1552..1560].copy_from_slice(b"PAYLOAD!");
        assert_eq!(payload(&image), Some(&b"PAYLOAD!"[..]));
        image[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(payload(&image), None);
        assert_eq!(payload(b"MZ"), None);
    }
}
