//! A whole life of a box: version N, an update to N+1 that is kept, updates to an N+2 that is not, each for another
//! fault, and N+1 again. Everything goes through the firmware, the loader and real restarts, as on a box in a rack.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_core::release::Version;
use bascule_image::board::{Board, Flavour};
use bascule_image::disk;
use bascule_image::edition::Edition;
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Firmware, Machine, Setup, login};
use bascule_image::slot::{self, Slot};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ANSWER, BOOT, log_in_to};
use super::life::{self, VERDICT, good, successor, until};
use super::web::Web;

/// Many starts and a gate under emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(2_400);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "x86_64 under BIOS is updated from N to N+1, leaves an N+2 that panics, is ill or loses its configuration",
            limit: LIMIT,
            run: |context| {
                live(context, Board::X86_64, Flavour::Cloud, Firmware::Bios, &[PANIC, HEALTH, MIGRATE])
            },
        },
        Case {
            name: "x86_64 under UEFI is updated from N to N+1, leaves an N+2 that panics or hangs: the watchdog bites",
            limit: LIMIT,
            run: |context| live(context, Board::X86_64, Flavour::Generic, Firmware::Uefi, &[PANIC, HANG]),
        },
        Case {
            name: "aarch64 under UEFI is updated from N to N+1, leaves an N+2 whose process 1 crashes",
            limit: LIMIT,
            run: |context| live(context, Board::Aarch64, Flavour::Generic, Firmware::Uefi, &[INIT]),
        },
        Case {
            name: "aarch64 under U-Boot is updated from N to N+1, leaves an N+2 whose agent does not stay up",
            limit: LIMIT,
            run: |context| live(context, Board::Aarch64, Flavour::Generic, Firmware::UBoot, &[CRASH]),
        },
    ]
}

/// A version that must not be kept: the fault it makes, and how the box tells of it.
#[derive(Clone, Copy, Debug)]
struct Bad {
    /// Of `bascule.fail=`.
    fault: &'static str,
    /// What the console shows in the trial, in this order.
    console: &'static [&'static str],
    /// What `show boot` says in the old system.
    why: &'static [&'static str],
}

/// The loader's own count ended it.
const TRIES: &str = "used its 2 tries without being confirmed";

const PANIC: Bad = Bad {
    fault: "panic",
    console: &["bascule.fail=panic: process 1 ends", "Kernel panic", "Kernel panic"],
    why: &[TRIES, "used all its tries"],
};
const INIT: Bad = Bad {
    fault: "init",
    console: &["bascule.fail=init: process 1 crashes", "Kernel panic", "Kernel panic"],
    why: &[TRIES],
};
const HANG: Bad = Bad {
    fault: "hang",
    console: &["process 1 stands still", "process 1 stands still"],
    why: &[TRIES, "the watchdog (i6300ESB timer) restarted the box"],
};
const CRASH: Bad = Bad {
    fault: "crash",
    console: &["this system is not kept: the agent ended five times in two minutes"],
    why: &["the agent ended five times in two minutes"],
};
const HEALTH: Bad = Bad {
    fault: "health",
    console: &["this system is not kept: service web has 0 usable real servers, before it had 1"],
    why: &["service web has 0 usable real servers, before it had 1"],
};
const MIGRATE: Bad = Bad {
    fault: "migrate",
    console: &["this system is not kept: configuration generation", "none of the operator's"],
    why: &["configuration generation", "none of the operator's"],
};

fn live(
    context: &mut Context,
    board: Board,
    flavour: Flavour,
    firmware: Firmware,
    bads: &[Bad],
) -> Result<Outcome> {
    host::need(qemu::packages(board))?;
    let edition = Edition::of_this_tree()?;
    let n = edition.version;
    let (n1, n2) = (successor(n, 1)?, successor(n, 2)?);
    let slot = |version| slot::slot_as(board, Profile::Lab, flavour, &edition.clone().with_version(version));
    let first = slot(n)?;
    let files = bundles(context, &slot(n1)?, &slot(n2)?, bads)?;
    let web = Web::serve(files)?;
    let image = context.log("disk.img");
    disk::make(&first, &image, &login::seed(&life::config(web.port())))?;
    let mut setup = Setup::new("life", board, Boot::Disk { image, firmware }).user_network();
    if board == Board::X86_64 {
        setup = setup.arguments(&["-device", "i6300esb"]);
    }
    let machine = setup.log(context.log("console.log")).start()?;
    log_in_to(&machine, "box(MASTER)> ", BOOT)?;

    update(&machine, &web.url("/n1"), n1)?;
    log_in_to(&machine, &format!("[testing {n1}]> "), BOOT)?;
    until(&machine, "show slots", VERDICT, |text| good(text, n1))?;
    machine.console.send("")?;
    machine.expect("box(MASTER)> ", BOOT)?;
    println!("{n1} is kept after {:.0} s", machine.started().elapsed().as_secs_f64());

    for bad in bads {
        let begin = Instant::now();
        goes_back(&machine, &web, bad, n1, n2).with_context(|| format!("bascule.fail={}", bad.fault))?;
        println!("{}: {n1} again after {:.0} s", bad.fault, begin.elapsed().as_secs_f64());
    }
    machine.console.send("show version")?;
    let version = machine.expect("box(MASTER)> ", ANSWER)?.text;
    ensure!(version.contains(&n1.to_string()), "{version}");
    let faults: Vec<&str> = bads.iter().map(|bad| bad.fault).collect();
    Ok(Outcome::Passed(format!("{n} to {n1} kept, {n2} given up ({}), {n1} runs", faults.join(", "))))
}

/// Installs what must not be kept, and waits until the box is back in `n1` by itself and says why.
fn goes_back(machine: &Machine, web: &Web, bad: &Bad, n1: Version, n2: Version) -> Result<()> {
    update(machine, &web.url(&format!("/{}", bad.fault)), n2)?;
    for words in bad.console {
        machine.expect(words, BOOT * 2)?;
    }
    // The system on trial may have asked for a login as well.
    machine.expect("Press f within", BOOT)?;
    log_in_to(machine, "box(MASTER)> ", BOOT)?;
    let slots = until(machine, "show slots", ANSWER, |text| text.contains("bad"))?;
    ensure!(good(&slots, n1), "N+1 should run and be good:\n{slots}");
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    machine.console.send("show boot")?;
    let why = flat(&machine.expect("command line", ANSWER)?.text);
    for wanted in bad.why {
        ensure!(why.contains(wanted), "show boot has no {wanted:?}: {why}");
    }
    machine.expect("box(MASTER)> ", ANSWER)?;
    machine.console.send("show log 1000 | match slots:")?;
    let log = flat(&machine.expect("box(MASTER)> ", ANSWER)?.text);
    // What is longer than a line is broken, and only its first part has the word that was asked for.
    let begin = bad.why[0].split(' ').take(2).collect::<Vec<_>>().join(" ");
    ensure!(log.contains(&begin), "the log has no {begin:?}: {log}");
    Ok(())
}

/// The bundles: one to keep, and one for every fault.
fn bundles(context: &Context, good: &Slot, bad: &Slot, bads: &[Bad]) -> Result<Vec<(String, PathBuf)>> {
    let all =
        std::iter::once(("n1", good.clone())).chain(bads.iter().map(|one| (one.fault, doomed(bad, one))));
    all.map(|(name, slot)| Ok((format!("/{name}"), life::bundle(context, name, &slot)?))).collect()
}

/// The same system, told to fail. A test need not wait for all of the gate's time.
fn doomed(slot: &Slot, bad: &Bad) -> Slot {
    let cmdline = &slot.cmdline;
    Slot { cmdline: format!("{cmdline} bascule.fail={} bascule.gate=60", bad.fault), ..slot.clone() }
}

/// Installs and activates, once the service is as the gate shall find it again; the box restarts then.
fn update(machine: &Machine, url: &str, version: Version) -> Result<()> {
    life::balances(machine)?;
    life::install(machine, url)?;
    life::activate(machine, version)
}
