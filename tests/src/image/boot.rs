//! One box from its disk image: to the status on its console, by every firmware; and with a bad configuration.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_image::board::{Board, Flavour};
use bascule_image::build::{self, Slot};
use bascule_image::disk;
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Firmware, Machine, Setup, login};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::spy::{self, Spy};

/// From power-on to a prompt, under emulation on a busy machine.
pub const BOOT: Duration = Duration::from_secs(240);
/// An answer on the console.
pub const ANSWER: Duration = Duration::from_secs(30);

/// Between two looks at a prompt that is not as wanted.
const PROMPT: Duration = Duration::from_secs(10);

/// The cases.
pub fn cases() -> Vec<Case> {
    let limit = Duration::from_secs(600);
    vec![
        Case { name: "x86_64 boots under BIOS to the status on its console", limit, run: bios },
        Case { name: "x86_64 boots under UEFI to the status on its console", limit, run: uefi },
        Case { name: "aarch64 boots under UEFI to the status on its console", limit, run: arm },
        Case {
            name: "a bad configuration on the data partition: the box is up and says so",
            limit,
            run: bad_config,
        },
        Case {
            name: "process 1: sysrq is off, the root is read-only, a killed agent comes back every time",
            limit,
            run: init,
        },
    ]
}

/// A box alone: Master of an address on its only card.
pub const ALONE: &str = r#"[system]
hostname = "alone"

[interface.eth0]
addresses = ["192.0.2.1/24"]

[vrrp.front]
interface = "eth0"
vrid = 51
priority = 200
advert-interval = "100ms"
addresses = ["192.0.2.100/24"]

[virtual-server.web]
address = "192.0.2.100"
port = 80
scheduler = "rr"
real-server."192.0.2.21:80" = {}
"#;

/// Logs in and waits for a prompt. It tells the role of the moment it was drawn: a box that has just started may be
/// Backup then, so it is asked for again.
///
/// # Errors
/// Nobody is asked to log in, or the prompt never comes, each within `limit`.
pub fn log_in_to(machine: &Machine, prompt: &str, limit: Duration) -> Result<()> {
    machine.log_in(limit)?;
    let end = Instant::now() + limit;
    while machine.console.expect(prompt, PROMPT).is_err() {
        ensure!(Instant::now() < end, "no {prompt:?} within {limit:?}\n{}", machine.console.tail());
        machine.console.send("")?;
    }
    // Prompts that were asked for and come late must not be taken for the answer to what is typed next.
    thread::sleep(Duration::from_millis(500));
    machine.console.skip();
    Ok(())
}

fn switch_on(context: &Context, slot: &Slot, config: &str, firmware: Firmware) -> Result<Machine> {
    host::need(qemu::packages(slot.board))?;
    let image = context.log("disk.img");
    disk::make(slot, &image, &login::seed(config))?;
    let boot = Boot::Disk { image, firmware };
    let setup = Setup::new("box", slot.board, boot).user_network().log(context.log("console.log"));
    setup.start()
}

/// Types `show status` once the prompt is there, and returns what came.
fn status(machine: &Machine, prompt: &str) -> Result<String> {
    log_in_to(machine, prompt, BOOT)?;
    ask_status(machine)
}

fn ask_status(machine: &Machine) -> Result<String> {
    machine.console.send("show status")?;
    Ok(machine.expect("repairs:", ANSWER)?.text)
}

/// The status once it is as wanted, or the last of some tries: what has just begun takes its time.
fn settled(machine: &Machine, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let mut answer = ask_status(machine);
    for _ in 0..20 {
        if answer.as_ref().is_ok_and(|text| wanted(text)) {
            break;
        }
        thread::sleep(Duration::from_secs(1));
        answer = ask_status(machine);
    }
    answer
}

fn boots(context: &Context, board: Board, flavour: Flavour, firmware: Firmware) -> Result<Outcome> {
    let slot = build::slot(board, Profile::Lab, flavour)?;
    boots_slot(context, &slot, firmware)
}

/// Starts a slot and waits until the box is Master and all is as it should be.
///
/// # Errors
/// When it does not get there, and why.
pub fn boots_slot(context: &Context, slot: &Slot, firmware: Firmware) -> Result<Outcome> {
    let machine = switch_on(context, slot, ALONE, firmware)?;
    log_in_to(&machine, "alone(MASTER)> ", BOOT)?;
    // A box that has just become Master may still be adding its services.
    let text = settled(&machine, |text| !text.contains("NOT IN KERNEL"))?;
    let up = machine.started().elapsed();
    for wanted in ["/config/bascule.toml", "MASTER", "192.0.2.100/24 held", "in kernel", "kernel: as wanted"]
    {
        ensure!(text.contains(wanted), "the status has no {wanted:?}:\n{text}");
    }
    ensure!(!text.contains("PROBLEM"), "the status tells problems:\n{text}");
    machine.console.send("ipvsadm -Sn")?;
    machine.expect("-A -t 192.0.2.100:80 -s rr", ANSWER)?;
    machine.expect("-a -t 192.0.2.100:80 -r 192.0.2.21:80 -m -w 1", ANSWER)?;
    Ok(Outcome::Passed(format!("Master and asked {:.1} s after power-on", up.as_secs_f64())))
}

fn bios(context: &mut Context) -> Result<Outcome> {
    boots(context, Board::X86_64, Flavour::Generic, Firmware::Bios)
}

fn uefi(context: &mut Context) -> Result<Outcome> {
    boots(context, Board::X86_64, Flavour::Generic, Firmware::Uefi)
}

fn arm(context: &mut Context) -> Result<Outcome> {
    boots(context, Board::Aarch64, Flavour::Generic, Firmware::Uefi)
}

fn bad_config(context: &mut Context) -> Result<Outcome> {
    let slot = build::slot(Board::X86_64, Profile::Lab, Flavour::Cloud)?;
    let bad = ALONE.replace("priority = 200", "prioity = 200");
    let machine = switch_on(context, &slot, &bad, Firmware::Bios)?;
    // Failsafe, and no role: nothing of the bad file runs.
    let text = status(&machine, "FAILSAFE# ")?;
    // The console breaks lines at its width.
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in ["factory.toml", "prioity"] {
        ensure!(flat.contains(wanted), "the status does not tell {wanted:?}:\n{text}");
    }
    ensure!(!flat.contains("MASTER"), "a part of the bad configuration runs:\n{text}");
    let line = flat.find("configuration:").map_or("", |at| &flat[at..]);
    Ok(Outcome::Passed(line.chars().take(120).collect()))
}

fn init(context: &mut Context) -> Result<Outcome> {
    let slot = spy::bugged(context, &build::slot(Board::X86_64, Profile::Lab, Flavour::Cloud)?)?;
    let image = context.log("disk.img");
    disk::make(&slot, &image, &login::seed(ALONE))?;
    let setup = Setup::new("box", Board::X86_64, Boot::disk(Board::X86_64, image));
    let setup = spy::wired(setup.user_network().log(context.log("console.log")), "box");
    let machine = setup.start()?;
    log_in_to(&machine, "alone(MASTER)> ", BOOT)?;
    let mut spy = Spy::connect("box", BOOT)?;
    let mut ask = |command: &str| -> Result<(String, i32)> {
        let (text, status) = spy.run(command)?;
        Ok((text.trim().to_owned(), status))
    };
    ensure!(ask("cat /proc/sys/kernel/sysrq")?.0 == "0", "sysrq is {}", ask("cat /proc/sys/kernel/sysrq")?.0);
    for path in ["/x", "/etc/x", "/lib/x", "/sbin/x"] {
        let (text, status) = ask(&format!("touch {path}"))?;
        ensure!(status != 0 && text.contains("Read-only"), "touch {path} ended with {status}: {text}");
    }
    let (text, status) = ask("touch /run/x && touch /data/config/x && rm /data/config/x")?;
    ensure!(status == 0, "/run or /data is not writable: {text}");
    // Not one port before anybody has configured one.
    let (listening, _) = ask("cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A '")?;
    ensure!(listening == "0", "{listening} TCP ports are open");
    let (first, _) = ask("tr '\\0' ' ' </proc/1/cmdline")?;
    ensure!(first.starts_with("/init"), "process 1 is {first}");
    let shells = ask("ls -l /proc/[0-9]*/fd/0 2>/dev/null | grep -c ttyS0")?.0;
    let before = spy.agent()?.context("no agent runs")?;
    let mut took = Vec::new();
    for _ in 0..6 {
        let begin = Instant::now();
        let old = spy.kill_agent()?;
        spy.other_agent(Some(old), Duration::from_secs(60))?;
        took.push(begin.elapsed());
    }
    let after = spy.other_agent(Some(before), ANSWER)?;
    machine.console.send("")?;
    machine.console.skip();
    // Respawned ever later, the agent may have been away for more than three intervals: then it is Backup first.
    let text = settled(&machine, |text| text.contains("192.0.2.100/24 held"))?;
    ensure!(text.contains("192.0.2.100/24 held"), "after the kills:\n{text}");
    ensure!(after != before, "the agent is still process {before}");
    let took: Vec<String> = took.iter().map(|time| time.as_millis().to_string()).collect();
    Ok(Outcome::Passed(format!("back after {} ms; {shells} on ttyS0", took.join(" "))))
}
