//! `show boot`, `show slots`: how this system was started, and what else is on the disk.

use std::fs::File;
use std::io::Read;

use bascule_core::shell::report::Report;
use bascule_core::shell::table::{Table, age, binary, facts};
use bascule_core::slot::{Evidence, Fallback, Record, SlotName};
use bascule_core::time::utc;
use serde_json::{Value, json};

use super::LookError;
use super::files::Files;
use super::{system, version};
use crate::init::{self, cmdline};
use crate::update::record::{self, StateError};

/// `WDIOF_CARDRESET`: the watchdog restarted the box (`Documentation/watchdog/watchdog-api.rst`).
const RESET_BY_WATCHDOG: i64 = 0x20;
/// A slot whose first bytes are all zero was never written.
const PROBE: usize = 64 << 10;

/// The record of this box, or why there is none to show.
fn kept() -> Result<Record, StateError> {
    Ok(record::open()?.record()?.clone())
}

/// `show boot`.
#[must_use]
pub fn show(files: &Files) -> Report {
    boot(files, &kept())
}

fn boot(files: &Files, kept: &Result<Record, StateError>) -> Report {
    let line = files.line("/proc/cmdline");
    let slot = version::slot(files);
    let at = cmdline::parse(line.as_deref().unwrap_or_default()).evidence.ok();
    let (loader, reason) = (loader(files), reason(files));
    let started = boot_time(files);
    let up = system::uptime(files);
    let unknown = || "not known".to_owned();
    let mut pairs = vec![
        ("started (UTC)", started.map_or_else(unknown, utc)),
        ("uptime", up.map_or_else(unknown, age)),
        ("slot", slot.clone().unwrap_or_else(|| "not started from a slot".to_owned())),
    ];
    if let Some(at) = &at {
        pairs.push(("why this slot", why(at)));
        pairs.push(("try", tried(at, kept.as_ref().ok())));
        let generation = at.generation.map_or_else(|| "none was whole".to_owned(), |one| one.to_string());
        pairs.push(("record", generation));
        pairs.push(("last change", last_change(kept)));
    }
    pairs.extend([
        ("boot loader", loader.clone()),
        ("firmware", firmware(files).to_owned()),
        ("reason", reason.clone()),
        ("command line", line.clone().unwrap_or_else(unknown)),
    ]);
    let json = json!({
        "started_unix_seconds": started,
        "uptime_seconds": up.map(|up| up.as_secs()),
        "slot": slot,
        "evidence": at,
        "record": kept.as_ref().ok(),
        "record_problem": kept.as_ref().err().filter(|_| at.is_some()).map(ToString::to_string),
        "loader": loader,
        "firmware": firmware(files),
        "reason": reason,
        "command_line": line,
    });
    Report { lines: facts(&pairs), json }
}

/// Why the loader took the slot that runs.
fn why(at: &Evidence) -> String {
    let other = at.slot.other();
    match (at.fallback, at.generation, at.failsafe) {
        (Some(Fallback::Load), _, _) => format!("slot {other} does not load"),
        (Some(Fallback::Tries), _, _) => format!("slot {other} used all its tries"),
        (Some(Fallback::Count), _, _) => format!("slot {other} could not be tried: the disk takes no writes"),
        (None, None, _) => "the boot loader found no whole record".to_owned(),
        (None, Some(_), true) => "it used all its tries, and there is no other slot".to_owned(),
        (None, Some(_), false) => "it is the first by the record".to_owned(),
    }
}

fn tried(at: &Evidence, record: Option<&Record>) -> String {
    let of = record.filter(|record| Some(record.generation()) == at.generation).and_then(Record::tries);
    match (at.tried, of) {
        (0, _) => "not counted".to_owned(),
        (tried, Some(of)) => format!("{tried} of {}", of.get()),
        (tried, None) => tried.to_string(),
    }
}

fn last_change(kept: &Result<Record, StateError>) -> String {
    match kept {
        Ok(record) => format!("{} (record {})", record.reason(), record.generation()),
        Err(error) => error.to_string(),
    }
}

/// When the kernel started, in seconds since 1970 by the clock as it is now (`btime` in `/proc/stat`).
fn boot_time(files: &Files) -> Option<u64> {
    let stat = files.read("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// What can be seen of the boot loader.
fn loader(files: &Files) -> String {
    if let Some(version) = files.line("/proc/device-tree/chosen/u-boot,version") {
        return format!("U-Boot {version}");
    }
    let cmdline = files.read("/proc/cmdline").unwrap_or_default();
    if cmdline.split_whitespace().any(|word| word.starts_with("BOOT_IMAGE=")) {
        // GRUB's `linux` command adds it (grub-core/loader/i386/linux.c).
        return "GRUB".to_owned();
    }
    // x86: who loaded the kernel (Documentation/arch/x86/boot.rst, type_of_loader); 7 is GRUB, 11 is QEMU.
    match files.number("/proc/sys/kernel/bootloader_type").map(|kind| kind >> 4) {
        Some(7) => "GRUB".to_owned(),
        Some(11) => "QEMU (the kernel was given directly)".to_owned(),
        Some(kind) => format!("type {kind}"),
        None => "not known: it left no trace".to_owned(),
    }
}

fn firmware(files: &Files) -> &'static str {
    if files.exists("/sys/firmware/efi") {
        "UEFI"
    } else if files.exists("/proc/device-tree") {
        "device tree"
    } else {
        "BIOS"
    }
}

/// Why the box started, where the hardware or the kernel left a trace.
fn reason(files: &Files) -> String {
    // What init found before it cleared the traces, on a box.
    let found = files.read(init::LAST_RESET).unwrap_or_default();
    if let Some(text) = found.lines().nth(1) {
        return text.to_owned();
    }
    let watchdogs = files.list("/sys/class/watchdog");
    let status = |name: &String| files.number(&format!("/sys/class/watchdog/{name}/bootstatus"));
    let reset = watchdogs.iter().filter_map(status).any(|status| status & RESET_BY_WATCHDOG != 0);
    let crashes = files.list("/sys/fs/pstore");
    match (reset, crashes.len()) {
        (true, _) => "the watchdog restarted the box".to_owned(),
        (false, 0) => "not known: neither a watchdog nor a crash left a trace".to_owned(),
        (false, count) => format!("the kernel may have crashed: {count} records in /sys/fs/pstore"),
    }
}

/// A partition of the disk that this system is on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    device: String,
    number: i64,
    name: Option<String>,
    bytes: u64,
    /// Whether anything was ever written there; `None` when it cannot be read.
    written: Option<bool>,
}

/// `show slots`.
///
/// # Errors
/// When no disk can be told to be this system's.
pub fn slots(files: &Files) -> Result<Report, LookError> {
    let booted = version::slot(files);
    let disk = disk(files).ok_or_else(|| LookError::Kernel {
        what: "the slots".to_owned(),
        error: "no disk is known to be this system's: no partition of it is mounted at /data".to_owned(),
        way_out: "an image that was started without a disk has no slots",
    })?;
    Ok(report(&disk, &partitions(files, &disk), booted.as_deref(), &kept()))
}

/// What the record says of a slot and of its part in the next start, as cells and as JSON.
fn recorded(record: &Record, slot: SlotName) -> ([String; 5], Value) {
    let (state, first) = (record.state(slot), record.first() == slot);
    let next = match record.tries() {
        Some(tries) if first => format!("first, {} tries", tries.get()),
        Some(_) | None if first => "first".to_owned(),
        Some(_) | None if record.other() == Some(slot) => "fallback".to_owned(),
        Some(_) | None => "-".to_owned(),
    };
    let image = state.image();
    let [version, index, hash] = image.map_or_else(
        || ["-", "-", "-"].map(str::to_owned),
        |image| {
            let hash = image.sha256.to_string();
            [image.version.to_string(), image.index.to_string(), hash.chars().take(12).collect()]
        },
    );
    let json = json!({
        "state": state.word(),
        "image": image,
        "first": first,
        "fallback": record.other() == Some(slot),
    });
    ([state.word().to_owned(), version, index, hash, next], json)
}

/// What the record says beside the slots.
fn record_lines(kept: &Result<Record, StateError>) -> Vec<String> {
    match kept {
        Ok(record) => facts(&[
            ("record", record.generation().to_string()),
            ("last change", record.reason().to_string()),
            ("lowest index", format!("{} (rollback index below which nothing is installed)", record.floor())),
            ("crashes", format!("{} in a row", record.crashes())),
        ]),
        Err(error) => facts(&[("record", error.to_string())]),
    }
}

/// The disk that /data is on.
fn disk(files: &Files) -> Option<String> {
    let mounts = files.read("/proc/mounts").ok()?;
    let device = mounts.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let device = words.next()?.strip_prefix("/dev/")?;
        (words.next()? == system::DATA).then(|| device.to_owned())
    })?;
    let of = |disk: &String| files.exists(&format!("/sys/block/{disk}/{device}/partition"));
    files.list("/sys/block").into_iter().find(of)
}

fn partitions(files: &Files, disk: &str) -> Vec<Partition> {
    let mut found: Vec<Partition> = files
        .list(&format!("/sys/block/{disk}"))
        .into_iter()
        .filter_map(|device| {
            let file = |name: &str| format!("/sys/block/{disk}/{device}/{name}");
            let number = files.number(&file("partition"))?;
            let uevent = files.read(&file("uevent")).unwrap_or_default();
            // The name in the partition table (`part_uevent` in block/partitions/core.c).
            let name = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(Into::into);
            // sysfs counts sectors of 512 bytes whatever the disk has.
            let bytes = u64::try_from(files.number(&file("size"))?).ok()?.saturating_mul(512);
            let written = written(files, &device);
            Some(Partition { device, number, name, bytes, written })
        })
        .collect();
    found.sort_by_key(|partition| partition.number);
    found
}

fn written(files: &Files, device: &str) -> Option<bool> {
    let mut start = Vec::new();
    let file = File::open(files.path(&format!("/dev/{device}"))).ok()?;
    file.take(PROBE as u64).read_to_end(&mut start).ok()?;
    Some(start.iter().any(|byte| *byte != 0))
}

fn report(
    disk: &str,
    partitions: &[Partition],
    booted: Option<&str>,
    kept: &Result<Record, StateError>,
) -> Report {
    let mut table = Table::new(&["SLOT", "RUNS", "STATE", "VERSION", ">INDEX", "SHA-256", "NEXT START"]);
    let mut others = Table::new(&["PARTITION", "DEVICE", ">SIZE", "CONTENT"]);
    let mut json_slots = Vec::new();
    for partition in partitions {
        let name = partition.name.clone().unwrap_or_else(|| format!("number {}", partition.number));
        let device = format!("/dev/{}", partition.device);
        let slot = name.strip_prefix("slot-").and_then(SlotName::of_word);
        let content = match (slot, partition.written) {
            (None, _) => "",
            (Some(_), Some(true)) => "written",
            (Some(_), Some(false)) => "empty",
            (Some(_), None) => "cannot be read",
        };
        others.row([name.clone(), device.clone(), binary(partition.bytes), content.to_owned()]);
        let Some(slot) = slot else { continue };
        let runs = booted == Some(slot.word());
        let unknown = || (["-"; 5].map(str::to_owned), Value::Null);
        let (cells, json) = kept.as_ref().map_or_else(|_| unknown(), |record| recorded(record, slot));
        let mut row = vec![slot.to_string(), if runs { "now" } else { "-" }.to_owned()];
        row.extend(cells);
        table.row(row);
        json_slots.push(json!({
            "slot": slot,
            "device": device,
            "size_bytes": partition.bytes,
            "written": partition.written,
            "booted": runs,
            "recorded": json,
        }));
    }
    let mut lines = vec![format!("disk /dev/{disk}")];
    lines.extend(table.lines());
    if table.is_empty() {
        lines.push("no slots on this disk".to_owned());
    }
    if booted.is_none() {
        lines.push("this system was not started from a slot: the command line names none".to_owned());
    }
    lines.push(String::new());
    if booted.is_some() {
        lines.extend(record_lines(kept));
        lines.push(String::new());
    }
    lines.extend(others.lines());
    let partition = |partition: &Partition| -> Value {
        json!({
            "number": partition.number,
            "name": partition.name,
            "device": format!("/dev/{}", partition.device),
            "size_bytes": partition.bytes,
        })
    };
    let json = json!({
        "disk": format!("/dev/{disk}"),
        "booted": booted,
        "record": kept.as_ref().ok(),
        "record_problem": kept.as_ref().err().filter(|_| booted.is_some()).map(ToString::to_string),
        "slots": json_slots,
        "partitions": partitions.iter().map(partition).collect::<Vec<_>>(),
    });
    Report { lines, json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, files, fits};
    use bascule_core::release::{RollbackIndex, Sha256, Version};
    use bascule_core::slot::{Image, Tries};

    /// 0.2.0 in slot B, activated by 0.1.0 in slot A.
    fn on_trial() -> Record {
        let image = |minor: u8| Image {
            version: Version::new(0, minor.into(), 0),
            index: RollbackIndex(minor.into()),
            sha256: Sha256::of(&[minor]),
        };
        let record = Record::factory(image(1));
        let at = Evidence::of(["bascule.slot=a", "bascule.gen=1", "bascule.try=0"]).unwrap();
        let record = record.begin_install(&at, &image(2)).unwrap().installed(&at, image(2)).unwrap();
        record.activate(&at, Tries::USUAL).unwrap()
    }

    #[test]
    fn show_boot_tells_which_try_of_which_slot_runs_and_why() {
        let told = |words: &str| {
            let (_kept, files) = files(&[("/proc/cmdline", words)]);
            let report = boot(&files, &Ok(on_trial()));
            fits(&report);
            report
                .lines
                .iter()
                .skip(2)
                .take(5)
                .map(|line| line.trim_end().to_owned())
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(
            told("bascule.slot=b bascule.gen=4 bascule.try=1"),
            "\
slot           b
why this slot  it is the first by the record
try            1 of 2
record         4
last change    0.2.0 in slot b is activated (record 4)"
        );
        let text = told("bascule.slot=a bascule.gen=4 bascule.try=0 bascule.fallback=tries");
        assert!(text.contains("slot b used all its tries") && text.contains("not counted"), "{text}");
        let text = told("bascule.slot=a bascule.record=none");
        assert!(text.contains("found no whole record") && text.contains("none was whole"), "{text}");
    }

    #[test]
    fn the_way_it_was_started_is_told_from_the_traces_it_left() {
        let (_kept, files) = files(&[
            ("/proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet bascule.slot=a console=ttyS0,115200\n"),
            ("/proc/stat", "cpu 1 2 3 4\nbtime 1795377909\n"),
            ("/proc/uptime", "61.5 1.0\n"),
            ("/sys/class/watchdog/watchdog0/bootstatus", "32\n"),
            ("/sys/firmware/efi/fw_platform_size", "64\n"),
        ]);
        let report = boot(&files, &Err(StateError::Unnamed));
        fits(&report);
        assert_eq!(
            report.lines.join("\n"),
            "\
started (UTC)  2026-11-22 20:05:09
uptime         1m01s
slot           a
boot loader    GRUB
firmware       UEFI
reason         the watchdog restarted the box
command line   BOOT_IMAGE=/vmlinuz quiet bascule.slot=a console=ttyS0,115200"
        );
        assert_eq!(at(&report.json, "slot"), "a");
    }

    #[test]
    fn what_init_found_goes_before_traces_that_may_be_old() {
        let (_kept, files) = files(&[
            ("/run/bascule/last-reset", "order\na restart was asked for\n"),
            ("/sys/class/watchdog/watchdog0/bootstatus", "32\n"),
        ]);
        assert_eq!(reason(&files), "a restart was asked for");
    }

    #[test]
    fn without_traces_nothing_is_made_up() {
        let (_kept, files) = files(&[]);
        let text = show(&files).lines.join("\n");
        assert!(text.contains("not known: neither a watchdog nor a crash left a trace"), "{text}");
        assert!(text.contains("not started from a slot"), "{text}");
        assert!(slots(&files).unwrap_err().to_string().contains("no disk is known"), "{text}");
    }

    #[test]
    fn slots_are_those_of_the_disk_that_has_the_data() {
        let partition = |device: &str, number: u32, name: &str, sectors: u32| {
            let file = |file: &str| format!("/sys/block/vda/{device}/{file}");
            vec![
                (file("partition"), format!("{number}\n")),
                (file("uevent"), format!("DEVNAME={device}\nPARTN={number}\nPARTNAME={name}\n")),
                (file("size"), format!("{sectors}\n")),
            ]
        };
        let mut texts: Vec<(String, String)> = vec![
            ("/proc/mounts".into(), "proc /proc proc rw 0 0\n/dev/vda6 /data ext4 rw 0 0\n".into()),
            ("/proc/cmdline".into(), "bascule.slot=b".into()),
            ("/sys/block/sda/sda1/partition".into(), "1".into()),
            ("/dev/vda3".into(), "\0\0\0\0".into()),
            ("/dev/vda4".into(), "MZ".into()),
        ];
        texts.extend(partition("vda3", 3, "slot-a", 262_144));
        texts.extend(partition("vda4", 4, "slot-b", 262_144));
        texts.extend(partition("vda6", 6, "data", 131_072));
        let texts: Vec<(&str, &str)> = texts.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let (_kept, files) = files(&texts);
        let disk = disk(&files).unwrap();
        let report = report(&disk, &partitions(&files, &disk), Some("b"), &Ok(on_trial()));
        fits(&report);
        assert_eq!(
            report.lines.join("\n"),
            "\
disk /dev/vda
SLOT RUNS STATE   VERSION INDEX SHA-256      NEXT START
a    -    good    0.1.0       1 4bf5122f3445 fallback
b    now  testing 0.2.0       2 dbc1b4c900ff first, 2 tries

record        4
last change   0.2.0 in slot b is activated
lowest index  1 (rollback index below which nothing is installed)
crashes       0 in a row

PARTITION DEVICE        SIZE CONTENT
slot-a    /dev/vda3  128 MiB empty
slot-b    /dev/vda4  128 MiB written
data      /dev/vda6 64.0 MiB"
        );
        assert_eq!(at(&report.json, "slots.1.recorded.image.version"), "0.2.0");
        assert_eq!(at(&report.json, "slots.1.booted"), true);
    }
}
