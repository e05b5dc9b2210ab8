//! What only a real box shows: a USB stick, a BREAK on its line, what is there after a reboot and after a reset.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_image::board::{Board, Flavour};
use bascule_image::build;
use bascule_image::disk;
use bascule_image::host;
use bascule_image::qemu::{self, Boot, Machine, Setup, login};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ANSWER, BOOT};
use super::disk::spare_is_zero;

/// The cases.
pub fn cases() -> Vec<Case> {
    let limit = Duration::from_secs(600);
    vec![Case {
        name: "a console: a USB stick is read, a BREAK logs out, maintenance survives a reboot, a factory reset wipes all",
        limit,
        run,
    }]
}

/// What the stick has.
const EDITED: &str = "# Edited on a PC.\n[system]\nhostname = \"from-usb\"\n";

fn run(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    // The cloud kernel has no USB.
    let slot = build::slot(Board::X86_64, Profile::Lab, Flavour::Generic)?;
    let image = context.log("disk.img");
    let seed = login::seed("[system]\nhostname = \"lb1\"\n");
    disk::make(&slot, &image, &seed)?;
    let stick = context.log("stick.img");
    make_stick(&stick)?;
    let drive = format!("if=none,id=stick,format=raw,file={}", stick.display());
    let control = std::env::temp_dir().join(format!("bascule-qmp-{}", std::process::id()));
    let qmp = format!("unix:{},server=on,wait=off", control.display());
    let setup = Setup::new("console", Board::X86_64, Boot::disk(Board::X86_64, image.clone()))
        .user_network()
        .arguments(&["-device", "qemu-xhci", "-drive", &drive, "-device", "usb-storage,drive=stick"])
        .arguments(&["-qmp", &qmp])
        .log(context.log("console.log"));
    let machine = setup.start()?;
    machine.log_in(BOOT)?;
    machine.expect("lb1> ", ANSWER)?;

    machine.console.send("configure")?;
    machine.expect("lb1# ", ANSWER)?;
    machine.console.send("load merge usb:nosuch.toml")?;
    // Drivers of USB come when the box is up already.
    let told = machine.expect("lb1# ", ANSWER)?.text;
    ensure!(
        told.contains("lb1.toml") || told.contains("no USB stick"),
        "a missing file is answered by {told}"
    );
    let begin = Instant::now();
    loop {
        machine.console.send("load merge usb:lb1.toml")?;
        if machine.expect("# ", ANSWER)?.text.contains("lb1*") {
            break;
        }
        ensure!(
            begin.elapsed() < Duration::from_secs(60),
            "the stick is not read:\n{}",
            machine.console.tail()
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    machine.console.send("commit comment stick")?;
    machine.expect("from-usb# ", BOOT)?;

    // Half a line, then the BREAK: nothing of it is executed, and whoever comes next has to log in.
    machine.console.send_bytes(b"set system hostname broken")?;
    machine.expect("hostname broken", ANSWER)?;
    // A kernel with CONFIG_MAGIC_SYSRQ_SERIAL keeps the first BREAK on its console for itself, whatever
    // `kernel.sysrq` says (`uart_handle_break` in include/linux/serial_core.h).
    send_breaks(&control, 2)?;
    machine.expect("login: ", ANSWER)?;
    machine.console.send(login::USER)?;
    machine.expect("Password: ", ANSWER)?;
    machine.console.send(login::PASSWORD)?;
    machine.expect("from-usb> ", BOOT)?;
    machine.console.send("show configuration | match hostname")?;
    let kept = machine.expect("from-usb> ", ANSWER)?.text;
    ensure!(kept.contains("from-usb") && !kept.contains("broken"), "after the BREAK: {kept}");
    let _ = std::fs::remove_file(&control);

    confirmed(&machine, "maintenance enter")?;
    machine.expect("from-usb[maintenance]> ", ANSWER)?;
    confirmed(&machine, "reboot")?;
    machine.log_in(BOOT)?;
    machine.expect("from-usb[maintenance]> ", BOOT)?;
    machine.console.send("maintenance leave")?;
    machine.expect("from-usb> ", ANSWER)?;

    ensure!(!spare_is_zero(&image)?, "after two restarts in order there is no spare copy");
    confirmed(&machine, "factory-reset")?;
    let text = machine.expect(" 1/10 Host name", BOOT)?.text;
    ensure!(!text.contains("login: "), "after the reset somebody could log in:\n{text}");
    ensure!(spare_is_zero(&image)?, "the reset left a spare copy");
    Ok(Outcome::Passed("usb:lb1.toml committed, two reboots, setup asks again".to_owned()))
}

/// A command that asks first.
fn confirmed(machine: &Machine, command: &str) -> Result<()> {
    machine.console.send(command)?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")
}

/// A FAT volume over the whole disk, as many sticks have it.
fn make_stick(path: &Path) -> Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(16 << 20)?;
    fatfs::format_volume(&mut file, fatfs::FormatVolumeOptions::new()).context("cannot format the stick")?;
    let volume = fatfs::FileSystem::new(file, fatfs::FsOptions::new())?;
    volume.root_dir().create_file("lb1.toml")?.write_all(EDITED.as_bytes())?;
    volume.unmount()?;
    Ok(())
}

/// Has QEMU hold the serial line in the BREAK state so many times (QMP `chardev-send-break`).
fn send_breaks(control: &Path, count: usize) -> Result<()> {
    let mut qmp = UnixStream::connect(control).context("QEMU's control socket")?;
    qmp.set_read_timeout(Some(ANSWER))?;
    tell(&mut qmp, "{\"execute\":\"qmp_capabilities\"}")?;
    for _ in 0..count {
        tell(&mut qmp, "{\"execute\":\"chardev-send-break\",\"arguments\":{\"id\":\"serial0\"}}")?;
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn tell(qmp: &mut UnixStream, command: &str) -> Result<()> {
    qmp.write_all(command.as_bytes())?;
    let mut said = String::new();
    let mut bytes = [0; 1_024];
    while !said.contains("\"return\"") {
        let count = qmp.read(&mut bytes)?;
        ensure!(count > 0, "QEMU closed its control socket: {said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
        ensure!(!said.contains("\"error\""), "QEMU refused {command}: {said}");
    }
    Ok(())
}
