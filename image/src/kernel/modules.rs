//! The modules of an image: those of the lists in `board/` with all they need.

use super::{Kernel, depmod};
use crate::board::Board;
use crate::host::{self, Step};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

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
    /// `into/lib/modules/RELEASE`; `into/lib/modules` is emptied first. Returns the names that init loads.
    ///
    /// # Errors
    /// When a module is missing from the kernel, or a file cannot be copied.
    pub fn modules(&self, board: Board, into: &Path) -> Result<Vec<String>> {
        self.take(&lists(board)?, into)
    }

    /// As [`Kernel::modules`], of a list of one's own.
    ///
    /// # Errors
    /// As there.
    pub fn take(&self, wanted: &[(Use, String)], into: &Path) -> Result<Vec<String>> {
        let read = |name: &str| {
            let path = self.modules.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let chosen = select(wanted, &read("modules.dep")?, &read("modules.builtin")?);
        ensure!(
            chosen.missing.is_empty() || self.lenient,
            "kernel {} lacks these modules of board/modules.txt and board/*/modules.txt: {}",
            self.release,
            chosen.missing.join(" ")
        );
        // Of any release: all that lies there goes into the image.
        let all = into.join("lib/modules");
        if all.exists() {
            fs::remove_dir_all(&all).with_context(|| format!("cannot empty {}", all.display()))?;
        }
        let top = all.join(&self.release);
        fs::create_dir_all(&top).with_context(|| format!("cannot make {}", top.display()))?;
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
            fs::copy(self.modules.join(name), top.join(name))
                .with_context(|| format!("cannot copy {name} of kernel {}", self.release))?;
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
    fn a_kernel_with_everything_built_in_leaves_no_module_of_another_behind() {
        host::need(&["kmod"]).unwrap();
        let base = std::env::temp_dir().join(format!("bascule-builtin-{}", std::process::id()));
        let modules = base.join("kernel/lib/modules/2.0");
        fs::create_dir_all(&modules).unwrap();
        for (name, text) in [
            ("modules.dep", ""),
            ("modules.order", ""),
            ("modules.builtin", "kernel/fs/ext4/ext4.ko\n"),
            ("modules.builtin.modinfo", ""),
        ] {
            fs::write(modules.join(name), text).unwrap();
        }
        let into = base.join("tree");
        fs::create_dir_all(into.join("lib/modules/1.0")).unwrap();
        fs::write(into.join("lib/modules/1.0/old.ko"), "old").unwrap();
        let kernel = Kernel {
            release: "2.0".into(),
            image: base.join("image"),
            vmlinux: None,
            edition: "2.0".into(),
            unknown: &["sysrq=0"],
            modules,
            lenient: false,
        };
        assert_eq!(kernel.command_line("quiet sysrq=0 sysrq=01 rdinit=/init"), "quiet sysrq=01 rdinit=/init");
        assert!(kernel.take(&wanted("load ext4"), &into).unwrap().is_empty());
        let names: Vec<_> =
            fs::read_dir(into.join("lib/modules")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["2.0"]);
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = parse_list("# fine\n\nload a # why\nlaod b").unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("laod b"), "{error}");
    }
}
