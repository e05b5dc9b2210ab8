//! Failsafe by a key at the start, and back.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::disk;
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Setup, login};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ALONE, ANSWER, BOOT, log_in_to};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "failsafe by a key: nothing of the configuration runs, the password is asked for, a restart leaves it",
        limit: Duration::from_secs(900),
        run,
    }]
}

fn run(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    let slot = build::slot(Board::X86_64, Profile::Lab, Flavour::Cloud)?;
    let image = context.log("disk.img");
    disk::make(&slot, &image, &login::seed(ALONE))?;
    let setup = Setup::new("failsafe", Board::X86_64, Boot::disk(Board::X86_64, image));
    let machine = setup.user_network().log(context.log("console.log")).start()?;
    machine.expect("Press f within 3 seconds", BOOT)?;
    machine.console.send_bytes(b"f")?;
    machine.expect("Failsafe: built-in configuration", ANSWER)?;
    log_in_to(&machine, "FAILSAFE# ", BOOT)?;
    machine.console.send("show status")?;
    let status = machine.expect("repairs:", ANSWER)?.text;
    ensure!(!status.contains("MASTER") && !status.contains("192.0.2.100"), "in failsafe runs:\n{status}");
    machine.console.send("show alarms")?;
    machine.expect("asked for on ttyS0", ANSWER)?;
    machine.console.send("reboot")?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")?;
    log_in_to(&machine, "alone(MASTER)> ", BOOT)?;
    Ok(Outcome::Passed("FAILSAFE# after the key, MASTER after a restart".to_owned()))
}
