//! `show system`: uptime, processor, memory, disk, temperatures, clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bascule_core::shell::report::Report;
use bascule_core::shell::table::{age, binary, facts};
use bascule_core::time::utc;
use nix::sys::statvfs::statvfs;
use serde_json::json;

use super::files::Files;
use super::version;
use crate::sys;
use crate::system::ClockState;

/// Over which the use of the processors is measured.
const SAMPLE: Duration = Duration::from_millis(200);
/// Where configuration and state live.
pub const DATA: &str = "/data";
/// Where the agent of a box says what it knows of the clock.
const CLOCK: &str = "/run/bascule/clock.json";

/// Memory in bytes, from `/proc/meminfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All.
    pub total: u64,
    /// What a program can still get.
    pub available: u64,
}

impl Memory {
    /// From the text of `/proc/meminfo`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0).saturating_mul(1_024)
        };
        Self { total: field("MemTotal"), available: field("MemAvailable") }
    }
}

/// Busy and all ticks of the processors together, from the first line of `/proc/stat`.
#[must_use]
pub fn ticks(text: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user.
    let all: u64 = numbers.iter().take(8).sum();
    let idle: u64 = numbers.iter().skip(3).take(2).sum();
    (numbers.len() >= 4).then_some((all.saturating_sub(idle), all))
}

/// Space of a file system in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All.
    pub total: u64,
    /// Left for ordinary users.
    pub free: u64,
}

impl Space {
    /// In whole percent, rounded up: a disk with a byte left is not yet full, one at 99.1% is nearly.
    #[must_use]
    pub fn used_percent(&self) -> u64 {
        let used = self.total.saturating_sub(self.free);
        if self.total == 0 { 0 } else { used.saturating_mul(100).div_ceil(self.total) }
    }
}

/// Space of the file system that `path` is on.
#[must_use]
pub fn space(path: &std::path::Path) -> Option<Space> {
    let stat = statvfs(path).ok()?;
    // The types of these numbers differ between platforms.
    #[allow(clippy::useless_conversion, reason = "u32 on some platforms")]
    let (unit, total, free) =
        (u64::from(stat.fragment_size()), u64::from(stat.blocks()), u64::from(stat.blocks_available()));
    Some(Space { total: total.saturating_mul(unit), free: free.saturating_mul(unit) })
}

/// A temperature in thousandths of a degree Celsius.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temperature {
    /// Which sensor.
    pub sensor: String,
    /// Now.
    pub milli_celsius: i64,
    /// Where the hardware protects itself, when it says.
    pub critical: Option<i64>,
}

/// Every sensor of the thermal zones and of hwmon.
#[must_use]
pub fn temperatures(files: &Files) -> Vec<Temperature> {
    let mut found = Vec::new();
    let thermal = "/sys/class/thermal";
    for zone in files.list(thermal).iter().filter(|name| name.starts_with("thermal_zone")) {
        let file = |name: &str| format!("{thermal}/{zone}/{name}");
        let Some(milli_celsius) = files.number(&file("temp")) else { continue };
        let trips = (0..16).find(|trip| {
            files.line(&file(&format!("trip_point_{trip}_type"))).as_deref() == Some("critical")
        });
        let critical = trips.and_then(|trip| files.number(&file(&format!("trip_point_{trip}_temp"))));
        let sensor = files.line(&file("type")).unwrap_or_else(|| zone.clone());
        found.push(Temperature { sensor, milli_celsius, critical });
    }
    let hwmon = "/sys/class/hwmon";
    for chip in files.list(hwmon) {
        let name = files.line(&format!("{hwmon}/{chip}/name")).unwrap_or_else(|| chip.clone());
        for input in files.list(&format!("{hwmon}/{chip}")) {
            let Some(sensor) = input.strip_suffix("_input").filter(|name| name.starts_with("temp")) else {
                continue;
            };
            let file = |suffix: &str| format!("{hwmon}/{chip}/{sensor}_{suffix}");
            let Some(milli_celsius) = files.number(&file("input")) else { continue };
            let label = files.line(&file("label")).unwrap_or_else(|| sensor.to_owned());
            let critical = files.number(&file("crit"));
            found.push(Temperature { sensor: format!("{name} {label}"), milli_celsius, critical });
        }
    }
    found
}

fn degrees(milli: i64) -> String {
    format!("{}.{} C", milli / 1_000, (milli % 1_000).abs() / 100)
}

/// The seconds since the kernel started, from `/proc/uptime`.
#[must_use]
pub fn uptime(files: &Files) -> Option<Duration> {
    let text = files.read("/proc/uptime").ok()?;
    text.split_whitespace().next()?.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// Wall clock in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `show system`.
#[must_use]
pub fn show(files: &Files) -> Report {
    let stat = || ticks(&files.read("/proc/stat").ok()?);
    let before = stat();
    std::thread::sleep(SAMPLE);
    let busy = before.zip(stat()).map(|(before, after)| {
        let all = after.1.saturating_sub(before.1);
        after.0.saturating_sub(before.0).saturating_mul(100).checked_div(all).unwrap_or(0)
    });
    report(files, busy, sys::clock_synchronised())
}

fn report(files: &Files, busy_percent: Option<u64>, synchronised: Option<bool>) -> Report {
    let cpuinfo = files.read("/proc/cpuinfo").unwrap_or_default();
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map(|(_, model)| model.trim().to_owned());
    let load = files.line("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let memory = Memory::parse(&files.read("/proc/meminfo").unwrap_or_default());
    let disk = space(&files.path(DATA));
    let temperatures = temperatures(files);
    let up = uptime(files);
    let now = now();
    let unknown = || "not known".to_owned();
    let mut pairs = vec![
        ("machine", version::machine(files).unwrap_or_else(unknown)),
        ("uptime", up.map_or_else(unknown, age)),
        ("processors", format!("{processors} {}", model.as_deref().unwrap_or_default())),
        ("processor use", busy_percent.map_or_else(unknown, |busy| format!("{busy}%"))),
        ("load (1 5 15 min)", load.join(" ")),
        ("memory", format!("{} free of {}", binary(memory.available), binary(memory.total))),
        (
            "data partition",
            disk.map_or_else(
                || format!("no file system at {DATA}"),
                |disk| {
                    let (free, total) = (binary(disk.free), binary(disk.total));
                    format!("{free} free of {total}, {}% used", disk.used_percent())
                },
            ),
        ),
    ];
    for one in &temperatures {
        let limit = one.critical.map(|limit| format!(", critical at {}", degrees(limit))).unwrap_or_default();
        pairs.push(("temperature", format!("{}: {}{limit}", one.sensor, degrees(one.milli_celsius))));
    }
    if temperatures.is_empty() {
        pairs.push(("temperature", "no sensor".to_owned()));
    }
    pairs.push(("clock (UTC)", utc(now)));
    let clock = match synchronised {
        Some(true) => "synchronised with a time server",
        Some(false) => "NOT synchronised: log and history have the box's own time",
        None => "not known whether it is synchronised",
    };
    pairs.push(("clock state", clock.to_owned()));
    let kept = files.read(CLOCK).ok().and_then(|text| ClockState::parse(&text));
    pairs.extend(kept.iter().map(|kept| ("time server", kept.line())));
    let sensor = |one: &Temperature| {
        json!({
            "sensor": one.sensor,
            "milli_celsius": one.milli_celsius,
            "critical_milli_celsius": one.critical,
        })
    };
    let json = json!({
        "machine": version::machine(files),
        "uptime_seconds": up.map(|up| up.as_secs()),
        "processors": processors,
        "processor_model": model,
        "processor_busy_percent": busy_percent,
        "load": load,
        "memory_total_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "data_total_bytes": disk.map(|disk| disk.total),
        "data_free_bytes": disk.map(|disk| disk.free),
        "data_used_percent": disk.map(|disk| disk.used_percent()),
        "temperatures": temperatures.iter().map(sensor).collect::<Vec<_>>(),
        "clock_unix_seconds": now,
        "clock_synchronised": synchronised,
        "clock_server": kept,
    });
    Report { lines: facts(&pairs), json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::{at, files, fits};

    #[test]
    fn memory_and_ticks_are_read_from_what_the_kernel_prints() {
        let text = "MemTotal:       24684084 kB\nMemFree:        18693588 kB\nMemAvailable:   22108860 kB\n";
        assert_eq!(Memory::parse(text), Memory { total: 24_684_084 * 1_024, available: 22_108_860 * 1_024 });
        assert_eq!(Memory::parse("junk"), Memory::default());
        assert_eq!(ticks("cpu  100 20 30 600 50 0 5 2 3 0\ncpu0 1 2 3 4\n"), Some((157, 807)));
        assert_eq!(ticks("intr 1 2 3"), None);
    }

    #[test]
    fn a_disk_is_full_only_when_nothing_is_left() {
        let percent = |free| Space { total: 1_000, free }.used_percent();
        assert_eq!([0, 1, 9, 10, 500, 1_000].map(percent), [100, 100, 100, 99, 50, 0]);
        assert_eq!(Space::default().used_percent(), 0);
        assert!(space(std::path::Path::new("/")).is_some_and(|space| space.total > 0));
    }

    #[test]
    fn everything_is_told_in_lines_and_json() {
        let (_kept, files) = files(&[
            ("/proc/uptime", "90061.25 1.0\n"),
            ("/proc/loadavg", "7.60 6.63 4.67 10/181 14290\n"),
            (
                "/proc/cpuinfo",
                "processor\t: 0\nmodel name\t: ACME 3000\nprocessor\t: 1\nmodel name\t: ACME 3000\n",
            ),
            ("/proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n"),
            ("/sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "45250\n"),
            ("/sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n"),
            ("/sys/class/thermal/thermal_zone0/trip_point_1_type", "critical\n"),
            ("/sys/class/thermal/thermal_zone0/trip_point_1_temp", "100000\n"),
            ("/sys/class/hwmon/hwmon0/name", "coretemp\n"),
            ("/sys/class/hwmon/hwmon0/temp1_input", "44000\n"),
            ("/sys/class/hwmon/hwmon0/temp1_label", "Core 0\n"),
            (
                "/run/bascule/clock.json",
                "{\"server\":\"ntp1\",\"stratum\":2,\"offset-micros\":-1500,\"delay-micros\":900,\
                 \"answered\":1,\"steps\":0,\"problem\":null}",
            ),
        ]);
        let report = report(&files, Some(12), Some(false));
        fits(&report);
        let text = report.lines.join("\n");
        for line in [
            "uptime             1d01h",
            "processors         2 ACME 3000",
            "processor use      12%",
            "load (1 5 15 min)  7.60 6.63 4.67",
            "memory             512 MiB free of 1.0 GiB",
            "temperature        x86_pkg_temp: 45.2 C, critical at 100.0 C",
            "temperature        coretemp Core 0: 44.0 C",
            "clock state        NOT synchronised: log and history have the box's own time",
            "time server        ntp1 (stratum 2), offset -1.5 ms, delay 0.9 ms",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        assert_eq!(at(&report.json, "temperatures.0.critical_milli_celsius"), 100_000);
        assert_eq!(at(&report.json, "memory_available_bytes"), 536_870_912);
        assert_eq!(at(&report.json, "processors"), 2);
    }
}
