//! `show version`: program, kernel, machine, and the slot that runs.

use std::sync::LazyLock;

use bascule_core::shell::report::Report;
use bascule_core::shell::table::facts;
use nix::sys::utsname::uname;
use serde_json::json;

use super::files::Files;
use crate::init::cmdline;

/// Version of this program.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");
/// What the image build wrote about the image: lines of `name=value`.
const RELEASE: &str = "/etc/bascule/release";
/// What a user of a development image must know: it trusts a key that everybody has.
const DEVELOPMENT: &str = "DEVELOPMENT IMAGE: anybody can sign an update for it. Not for the field.";

/// What the image that runs says of itself; nothing when this is not a box.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its version: that of updates.
    pub version: Option<String>,
    /// `release`, or `development` when it trusts a key that everybody has.
    pub kind: Option<String>,
    /// The sources it was made from.
    pub commit: Option<String>,
}

impl Image {
    /// Reads it.
    #[must_use]
    pub fn of(files: &Files) -> Self {
        let text = files.read(RELEASE).unwrap_or_default();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        Self { version: value("version"), kind: value("kind"), commit: value("commit") }
    }

    fn is_development(&self) -> bool {
        self.kind.as_deref() == Some("development")
    }

    /// One line about it.
    fn line(&self) -> Option<String> {
        let Self { version: Some(version), kind, commit } = self else { return None };
        let kind = kind.as_deref().unwrap_or("of unknown kind");
        Some(format!("{version}, {kind}, commit {}", commit.as_deref().unwrap_or("unknown")))
    }
}

/// The version of what runs: the image's, of the program when this is not a box. A running image does not change.
#[must_use]
pub fn running() -> &'static str {
    static VERSION: LazyLock<Option<String>> = LazyLock::new(|| Image::of(&Files::default()).version);
    VERSION.as_deref().unwrap_or(PROGRAM)
}

/// What whoever comes to a console is greeted with.
#[must_use]
pub fn banner(files: &Files) -> Vec<String> {
    let image = Image::of(files);
    let mut lines = vec![format!("Bascule {}", image.version.as_deref().unwrap_or(PROGRAM))];
    if image.is_development() {
        lines.push(DEVELOPMENT.to_owned());
    }
    lines
}

/// The model of the machine, from its firmware tables or its device tree.
#[must_use]
pub fn machine(files: &Files) -> Option<String> {
    let dmi = |name: &str| files.line(&format!("/sys/class/dmi/id/{name}"));
    let words: Vec<String> = [dmi("sys_vendor"), dmi("product_name")].into_iter().flatten().collect();
    if words.is_empty() { files.line("/proc/device-tree/model") } else { Some(words.join(" ")) }
}

/// The slot that was booted, from the kernel's command line.
#[must_use]
pub fn slot(files: &Files) -> Option<String> {
    cmdline::parse(&files.read("/proc/cmdline").ok()?).slot
}

/// `show version`.
#[must_use]
pub fn show(files: &Files) -> Report {
    let (machine, slot) = (machine(files), slot(files));
    let kernel = uname().ok().map(|uts| {
        let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
        [text(uts.sysname()), text(uts.release()), text(uts.machine()), text(uts.version())]
    });
    let [name, release, architecture, built] = kernel.unwrap_or_default();
    let unknown = || "not known".to_owned();
    let image = Image::of(files);
    let mut lines = facts(&[
        ("program", format!("Bascule {PROGRAM}")),
        ("image", image.line().unwrap_or_else(|| "not started from an image".to_owned())),
        ("kernel", format!("{name} {release} {architecture}")),
        ("kernel build", built.clone()),
        ("machine", machine.clone().unwrap_or_else(unknown)),
        ("slot", slot.clone().unwrap_or_else(|| "not started from a slot".to_owned())),
    ]);
    if image.is_development() {
        lines.push(DEVELOPMENT.to_owned());
    }
    let json = json!({
        "program": PROGRAM,
        "image": { "version": image.version, "kind": image.kind, "commit": image.commit },
        "kernel": release,
        "kernel_name": name,
        "kernel_build": built,
        "architecture": architecture,
        "machine": machine,
        "slot": slot,
    });
    Report { lines, json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, files, fits};

    #[test]
    fn machine_and_slot_come_from_firmware_and_command_line() {
        let (_kept, files) = files(&[
            ("/sys/class/dmi/id/sys_vendor", "QEMU\n"),
            ("/sys/class/dmi/id/product_name", "Standard PC (Q35)\n"),
            ("/proc/cmdline", "quiet bascule.slot=b"),
        ]);
        let report = show(&files);
        fits(&report);
        assert!(report.lines.contains(&"machine       QEMU Standard PC (Q35)".to_owned()), "{report:?}");
        assert!(report.lines.contains(&"slot          b".to_owned()), "{report:?}");
        assert_eq!(at(&report.json, "slot"), "b");
    }

    #[test]
    fn a_board_with_a_device_tree_names_its_model() {
        let (_kept, files) = files(&[("/proc/device-tree/model", "Raspberry Pi 4\0")]);
        assert_eq!(machine(&files).as_deref(), Some("Raspberry Pi 4"));
        assert_eq!(slot(&files), None);
    }
    #[test]
    fn a_development_image_says_so_in_its_banner_and_a_release_image_does_not() {
        let text = "version=0.3.0\nboard=x86_64\ncommit=0123456789ab\nkind=development\n";
        let (_kept, development) = files(&[(RELEASE, text)]);
        assert_eq!(banner(&development), ["Bascule 0.3.0", DEVELOPMENT]);
        let report = show(&development);
        fits(&report);
        assert!(report.lines.contains(&DEVELOPMENT.to_owned()), "{report:?}");
        assert_eq!(at(&report.json, "image")["kind"], "development");

        let (_kept, release) = files(&[(RELEASE, &text.replace("development", "release"))]);
        assert_eq!(banner(&release), ["Bascule 0.3.0"]);
        let report = show(&release);
        assert!(
            report.lines.contains(&"image         0.3.0, release, commit 0123456789ab".to_owned()),
            "{report:?}"
        );
        assert!(!report.lines.contains(&DEVELOPMENT.to_owned()));

        let (_kept, none) = files(&[]);
        assert_eq!(banner(&none), [format!("Bascule {PROGRAM}")]);
    }
}
