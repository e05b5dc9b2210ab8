//! `show version`: program, kernel, machine, and the slot that runs.

use bascule_core::shell::report::Report;
use bascule_core::shell::table::facts;
use nix::sys::utsname::uname;
use serde_json::json;

use super::files::Files;
use crate::init::cmdline;

/// Version of this program.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

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
    let lines = facts(&[
        ("program", format!("Bascule {PROGRAM}")),
        ("kernel", format!("{name} {release} {architecture}")),
        ("kernel build", built.clone()),
        ("machine", machine.clone().unwrap_or_else(unknown)),
        ("slot", slot.clone().unwrap_or_else(|| "not started from a slot".to_owned())),
    ]);
    let json = json!({
        "program": PROGRAM,
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
}
