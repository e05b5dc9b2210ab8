//! The guest lab: a kernel with IPVS in QEMU, where client, directors and real servers are namespaces.
//!
//! One boot runs all its cases, because booting is what takes the time; each is a case of its own in the count.
//! The guest's driver is this same program. It reports on the serial line, the first case's process keeps what
//! it said for the others.

mod console;
mod drain;
mod driver;
mod examples;
mod failover;
mod health;
mod park;
mod repair;
mod servers;
mod table;
mod traffic;
mod vlan;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::host;
use bascule_image::initramfs::{self, ExtraFile};
use bascule_image::qemu::{self, Boot, Setup};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};
use crate::shared::{self, Report};

pub use driver::run as drive;

/// After this the guest is given up.
const LIMIT: Duration = Duration::from_secs(1_200);
/// How long it may say nothing: the longest single case.
const SILENCE: Duration = Duration::from_secs(150);

/// A case inside the guest.
pub struct GuestCase {
    /// What holds, as a sentence.
    pub name: &'static str,
    /// Tries it.
    pub run: fn(&mut park::Park) -> Result<String>,
}

fn guest_cases() -> Vec<GuestCase> {
    let groups = [
        table::cases(),
        examples::cases(),
        traffic::cases(),
        repair::cases(),
        health::cases(),
        drain::cases(),
        console::cases(),
        vlan::cases(),
        failover::cases(),
    ];
    groups.into_iter().flatten().collect()
}

/// The cases as the runner sees them.
pub fn cases() -> Vec<Case> {
    guest_cases().into_iter().map(|case| Case { name: case.name, limit: LIMIT, run: from_guest }).collect()
}

/// The verdict of one case, from the guest that the first of them has booted.
fn from_guest(context: &mut Context) -> Result<Outcome> {
    shared::verdict(context, "lab guest", boot)
}

/// Boots the guest and reads its reports until it switches itself off.
fn boot(context: &mut Context) -> Result<Vec<Report>> {
    host::need(qemu::packages(Board::X86_64))?;
    host::need(&["ipvsadm", "busybox-static", "iproute2", "util-linux"])?;
    let slot = build::slot(Board::X86_64, Profile::Lab, Flavour::Cloud)?;
    let tools = context.log("tools.cpio");
    initramfs::extra(&tool_files()?, &tools)?;
    let only = std::env::var("BASCULE_GUEST_ONLY").map(|only| format!("lab.only={only}")).unwrap_or_default();
    let words = format!("console=ttyS0 rdinit=/lab/init panic=-1 {only}");
    let setup = Setup::new("lab", Board::X86_64, Boot::slot(&slot, &[&tools], &words));
    let begin = Instant::now();
    let machine = setup.memory(1024).once().log(context.log("console.log")).start()?;
    let mut reports = Vec::new();
    loop {
        let seen = machine.expect("\n@@", SILENCE).and_then(|_| machine.expect("\n", SILENCE));
        // The next mark may share this end of line: it is looked for from here on with its own.
        let line = match seen {
            Ok(seen) => seen.text,
            Err(error) if reports.is_empty() => return Err(error),
            Err(error) => {
                context.say(format!("{error:#}"));
                return Ok(reports);
            }
        };
        let line = line.trim();
        context.say(format!("{:7.1} {line}", begin.elapsed().as_secs_f64()));
        if let Some(json) = line.strip_prefix("case ") {
            reports.push(serde_json::from_str(json).with_context(|| format!("not a report: {json}"))?);
        } else if line.starts_with("end") {
            return Ok(reports);
        }
        if begin.elapsed() > LIMIT {
            bail!("the guest still runs after {} s\n{}", LIMIT.as_secs(), machine.console.tail());
        }
    }
}

fn tool_files() -> Result<Vec<ExtraFile>> {
    let file = |from: PathBuf, to: &str| ExtraFile { from, to: to.to_owned(), mode: 0o755 };
    let data = host::root().join("tests/data/guest-init.sh");
    let mut files = vec![
        file(data, "/lab/init"),
        file(std::env::current_exe()?, "/lab/driver"),
        file("/bin/busybox".into(), "/bin/busybox"),
    ];
    for entry in fs::read_dir(host::root().join("config/examples"))? {
        let entry = entry?;
        let to = format!("{}/{}", examples::EXAMPLES, entry.file_name().to_string_lossy());
        files.push(ExtraFile { from: entry.path(), to, mode: 0o644 });
    }
    for program in ["ip", "bridge", "ipvsadm", "setpriv"] {
        let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let found = places.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists());
        let found = found.with_context(|| format!("no program {program} on this machine"))?;
        files.push(file(found, &format!("/usr/bin/{program}")));
    }
    Ok(files)
}
