//! Kernel modules: which files a name or a device's modalias needs, in order, and loading them.
//!
//! The tables are those of kmod (`modules.dep`, `.alias`, `.softdep`, `.builtin` in `/lib/modules/RELEASE`).
//! There is no modprobe in the image.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use thiserror::Error;

/// Why a module was not loaded.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// No such module.
    #[error("module {0} is not in this image")]
    Unknown(String),
    /// Its file could not be opened.
    #[error("module {path}: {error}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The kernel refused it.
    #[error("module {path}: the kernel refuses it: {}", .errno.desc())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
}

/// The tables of one kernel release.
#[derive(Debug, Default)]
pub struct Index {
    /// Files relative to the release's directory: the module's own, then those it needs, nearest first.
    files: HashMap<String, Vec<String>>,
    /// Pattern and module.
    aliases: Vec<(String, String)>,
    /// Modules that should be loaded before.
    before: HashMap<String, Vec<String>>,
    builtin: HashSet<String>,
}

/// Dashes and underscores are the same in a module's name.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split(".ko").next().unwrap_or(file))
}

impl Index {
    /// Reads the tables of the release in `directory`. Missing ones are empty.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        Self::parse(
            &text("modules.dep"),
            &text("modules.alias"),
            &text("modules.softdep"),
            &text("modules.builtin"),
        )
    }

    fn parse(dep: &str, alias: &str, softdep: &str, builtin: &str) -> Self {
        let mut index = Self::default();
        for line in dep.lines() {
            if let Some((path, needs)) = line.split_once(':') {
                let files = std::iter::once(path).chain(needs.split_ascii_whitespace());
                index.files.insert(name_of(path), files.map(str::to_owned).collect());
            }
        }
        for line in alias.lines() {
            if let [Some("alias"), Some(pattern), Some(module)] = first_words(line) {
                index.aliases.push((normal_pattern(pattern), normal(module)));
            }
        }
        for line in softdep.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("softdep"), Some(module)) = (words.next(), words.next()) {
                let pre =
                    words.skip_while(|word| *word != "pre:").skip(1).take_while(|word| *word != "post:");
                index.before.entry(normal(module)).or_default().extend(pre.map(normal));
            }
        }
        index.builtin = builtin.lines().map(name_of).collect();
        index
    }

    /// The files to load for `name`, in order: soft dependencies, needed modules, itself. Empty for what is built
    /// into the kernel. A name may also be an alias (`crypto-crc32c`).
    ///
    /// # Errors
    /// When there is no such module.
    pub fn order(&self, name: &str) -> Result<Vec<&str>, ModuleError> {
        let mut order = Vec::new();
        let known = self.add(&normal(name), &mut order, &mut HashSet::new());
        if known { Ok(order) } else { Err(ModuleError::Unknown(name.to_owned())) }
    }

    fn add<'a>(&'a self, name: &str, order: &mut Vec<&'a str>, seen: &mut HashSet<String>) -> bool {
        if self.builtin.contains(name) || !seen.insert(name.to_owned()) {
            return true;
        }
        let Some(files) = self.files.get(name) else {
            let matching = self.matching(name);
            return matching
                .into_iter()
                .map(|module| self.add(module, order, seen))
                .fold(false, |a, b| a | b);
        };
        // The last that is needed comes first (depmod.d(5)); each may have soft dependencies of its own.
        for file in files.iter().rev() {
            for soft in self.before.get(&name_of(file)).into_iter().flatten() {
                // A soft dependency that is not there is not needed.
                self.add(soft, order, seen);
            }
            if !order.contains(&file.as_str()) {
                order.push(file);
            }
        }
        true
    }

    /// The modules that say they drive `modalias` (`pci:v00001AF4d...`).
    #[must_use]
    pub fn matching(&self, modalias: &str) -> BTreeSet<&str> {
        let text = normal(modalias);
        self.aliases
            .iter()
            .filter(|(pattern, _)| matches(pattern.as_bytes(), text.as_bytes()))
            .map(|(_, module)| module.as_str())
            .collect()
    }
}

fn first_words(line: &str) -> [Option<&str>; 3] {
    let mut words = line.split_ascii_whitespace();
    [words.next(), words.next(), words.next()]
}

/// As `normal`, but a dash within brackets is a range.
fn normal_pattern(pattern: &str) -> String {
    let mut within = false;
    pattern
        .chars()
        .map(|c| {
            within = match c {
                '[' => true,
                ']' => false,
                _ => within,
            };
            if c == '-' && !within { '_' } else { c }
        })
        .collect()
}

/// Shell patterns as in modules.alias: `*`, `?`, `[a-f0]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the text differs: behind the last star, one byte of text further.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(p + 1),
            Some(b'[') => class(&pattern[p..], text[t]).map(|length| p + length),
            Some(byte) if *byte == text[t] => Some(p + 1),
            Some(_) | None => None,
        };
        match (step, star) {
            (Some(next), _) => (p, t) = (next, t + 1),
            (None, Some((behind, from))) => {
                star = Some((behind, from + 1));
                (p, t) = (behind, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the class at the start of `pattern` when it holds `byte`.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().position(|b| *b == b']')?;
    let mut inside = &pattern[1..end];
    let mut holds = false;
    while let [first, rest @ ..] = inside {
        if let [b'-', last, rest @ ..] = rest {
            holds |= (*first..=*last).contains(&byte);
            inside = rest;
        } else {
            holds |= *first == byte;
            inside = rest;
        }
    }
    holds.then_some(end + 1)
}

/// Loads modules of the running kernel.
#[derive(Debug)]
pub struct Loader {
    directory: PathBuf,
    index: Index,
    /// Files that are loaded or were refused: each is tried once.
    tried: HashSet<String>,
}

impl Loader {
    /// For the running kernel.
    #[must_use]
    pub fn new() -> Self {
        let release = nix::sys::utsname::uname().map(|name| name.release().to_owned()).unwrap_or_default();
        let directory = Path::new("/lib/modules").join(release);
        Self { index: Index::read(&directory), directory, tried: HashSet::new() }
    }

    /// Loads a module by name with all it needs. What is there already is a success.
    ///
    /// # Errors
    /// When it is not in the image or the kernel refuses it.
    pub fn load(&mut self, name: &str) -> Result<(), ModuleError> {
        let files: Vec<String> = self.index.order(name)?.into_iter().map(str::to_owned).collect();
        for file in files {
            if self.tried.insert(file.clone()) {
                load_file(&self.directory.join(&file))?;
            }
        }
        Ok(())
    }

    /// Whether this module drives a watchdog, by where its file lies.
    #[must_use]
    pub fn drives_watchdog(&self, name: &str) -> bool {
        let files = self.index.order(name).unwrap_or_default();
        files.last().is_some_and(|file| file.contains("/drivers/watchdog/"))
    }

    /// Loads what drives a device, if that is a watchdog.
    pub fn load_watchdog_for(&mut self, modalias: &str) -> Vec<ModuleError> {
        let modules: Vec<String> = self.index.matching(modalias).into_iter().map(str::to_owned).collect();
        let watchdogs = modules.iter().filter(|module| self.drives_watchdog(module));
        let watchdogs: Vec<&String> = watchdogs.collect();
        watchdogs.into_iter().filter_map(|module| self.load(module).err()).collect()
    }

    /// Loads what drives a device. Errors are for the log: another module may drive it.
    pub fn load_for(&mut self, modalias: &str) -> Vec<ModuleError> {
        let modules: Vec<String> = self.index.matching(modalias).into_iter().map(str::to_owned).collect();
        modules.iter().filter_map(|module| self.load(module).err()).collect()
    }
}

fn load_file(path: &Path) -> Result<(), ModuleError> {
    let file = File::open(path).map_err(|error| ModuleError::Open { path: path.to_owned(), error })?;
    let compressed = path.extension().is_some_and(|extension| extension != "ko");
    // MODULE_INIT_COMPRESSED_FILE (include/uapi/linux/module.h), which nix does not name.
    let flags = ModuleInitFlags::from_bits_retain(if compressed { 4 } else { 0 });
    match finit_module(&file, &CString::default(), flags) {
        // ENODEV: the hardware that it drives is not there.
        Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => Ok(()),
        Err(errno) => Err(ModuleError::Refused { path: path.to_owned(), errno }),
    }
}

/// The modaliases of all devices that are there.
#[must_use]
pub fn present() -> BTreeSet<String> {
    let directories =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    directories(Path::new("/sys/bus"))
        .flat_map(|bus| directories(&bus.join("devices")))
        .filter_map(|device| fs::read_to_string(device.join("modalias")).ok())
        .map(|alias| alias.trim().to_owned())
        .filter(|alias| !alias.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/fs/ext4/ext4.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/a.ko:
kernel/b.ko:
";
    const ALIAS: &str = "\
# Aliases extracted from modules themselves.
alias virtio:d00000001v* virtio_net
alias pci:v00008086d000025ABsv*sd*bc*sc*i* i6300esb
alias crypto-crc32c crc32c_intel
alias cpu:type:x86,ven*fam*mod*:feature:*00[8-9A]* crc32c-intel
";
    const SOFTDEP: &str = "\
# Soft dependencies
softdep libcrc32c pre: crypto-crc32c
softdep a pre: b post: ext4
softdep b pre: a missing
";

    fn index() -> Index {
        Index::parse(DEP, ALIAS, SOFTDEP, "kernel/fs/nls/nls_base.ko\nkernel/lib/some-thing.ko\n")
    }

    #[test]
    fn what_is_needed_comes_first() {
        assert_eq!(
            index().order("virtio-net").unwrap(),
            [
                "kernel/net/core/failover.ko",
                "kernel/drivers/net/net_failover.ko",
                "kernel/drivers/net/virtio_net.ko"
            ]
        );
    }

    #[test]
    fn soft_dependencies_are_loaded_before_also_by_alias_and_of_needed_modules() {
        assert_eq!(
            index().order("ext4").unwrap(),
            [
                "kernel/arch/x86/crypto/crc32c-intel.ko.xz",
                "kernel/lib/libcrc32c.ko.xz",
                "kernel/fs/ext4/ext4.ko.xz"
            ]
        );
    }

    #[test]
    fn soft_dependencies_in_a_circle_and_missing_ones_do_no_harm() {
        assert_eq!(index().order("a").unwrap(), ["kernel/b.ko", "kernel/a.ko"]);
        assert_eq!(index().order("b").unwrap(), ["kernel/a.ko", "kernel/b.ko"]);
    }

    #[test]
    fn built_in_modules_need_nothing_and_unknown_ones_are_named() {
        assert!(index().order("nls-base").unwrap().is_empty());
        assert!(index().order("some_thing").unwrap().is_empty());
        assert_eq!(
            index().order("nonsense").unwrap_err().to_string(),
            "module nonsense is not in this image"
        );
    }

    #[test]
    fn a_modalias_finds_its_drivers() {
        let index = index();
        let found = |alias: &str| index.matching(alias).into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(found("virtio:d00000001v00001AF4"), ["virtio_net"]);
        assert_eq!(found("pci:v00008086d000025ABsv00000000sd00000000bc08sc80i00"), ["i6300esb"]);
        assert_eq!(found("pci:v00008086d000025ACsv00000000sd00000000bc08sc80i00"), [""; 0]);
        assert_eq!(found("cpu:type:x86,ven0000fam0006mod008E:feature:,0001,009F,"), ["crc32c_intel"]);
        assert_eq!(found("cpu:type:x86,ven0000fam0006mod008E:feature:,0001,00BF,"), [""; 0]);
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let cases: [(&str, &str, bool); 9] = [
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "aXbc", false),
            ("?", "", false),
            ("[0-9a]x", "ax", true),
            ("[0-9a]x", "bx", false),
            ("[unclosed", "u", false),
            ("ab", "abc", false),
            ("abc", "ab", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
