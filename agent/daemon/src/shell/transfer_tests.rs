//! Files over a pseudo-terminal from the programs that people send with: `sb` and `sx` (Debian's lrzsz).

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;

use super::console::Console;
use super::desk::Desk;
use super::tty::Tty;
use crate::scratch::Scratch;
use crate::update::{Got, Serial, Source};

/// Every byte, the troublesome ones often: marks, flow control, interrupts, what ends blocks.
fn content(length: usize) -> Vec<u8> {
    let hard = [0xff, 0xff, 0x00, 0x11, 0x13, 0x03, 0x04, 0x18, 0x1a, 0x0d, 0x0a, 0x7f];
    (0..length).map(|at| if at % 3 == 0 { hard[at / 3 % hard.len()] } else { (at / 7 % 256) as u8 }).collect()
}

/// A console of which somebody holds the other end, and a sender there; `None` without lrzsz. The sender has pipes: it
/// would set the mode of a terminal, and both ends of a pseudo-terminal have the same.
fn sender(program: &str, file: &std::path::Path) -> Option<(Desk<Tty>, Child)> {
    let pty = openpty(None, None).unwrap();
    let (slave, master) = (File::from(pty.slave), File::from(pty.master));
    let desk = Desk::new(Tty::raw(slave.try_clone().unwrap(), slave).unwrap());
    let child = Command::new(program)
        .args(["-k", "-q"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(mut child) => {
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let back = master.try_clone().unwrap();
            thread::spawn(move || carry(master, input));
            thread::spawn(move || carry(output, back));
            Some((desk, child))
        }
        Err(error) => {
            println!("skipped: {program} cannot be started ({error}); it is in the package lrzsz");
            None
        }
    }
}

/// Until one side is gone.
fn carry(mut from: impl Read, mut to: impl Write) {
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn ended(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    panic!("the sender does not end");
}

fn receive(program: &str, length: usize, expect: bool) {
    let dir = Scratch::new("transfer");
    let (path, sent) = (dir.path().join("x.bundle"), content(length));
    std::fs::write(&path, &sent).unwrap();
    let Some((mut desk, mut child)) = sender(program, &path) else { return };
    let (mut got, mut buffer, start) = (Vec::<u8>::new(), vec![0; 700], Instant::now());
    let mut serial = Serial::new(&mut desk);
    loop {
        assert!(start.elapsed() < Duration::from_secs(120), "{} of {length} bytes", got.len());
        match serial.read(&mut buffer).unwrap() {
            Got::Bytes(count) => got.extend(&buffer[..count]),
            Got::Waiting => {}
            Got::End => break,
        }
        // As an install does once it has read the head.
        if expect && got.len() >= 512 {
            serial.expect(length as u64);
        }
    }
    drop(serial);
    assert!(got == sent, "{program}: {} of {length} bytes", got.len());
    assert!(ended(&mut child), "{program} says that it failed");
}

#[test]
fn a_file_comes_by_ymodem_with_its_exact_length() {
    for length in [1, 1_024, 50_001] {
        receive("sb", length, false);
    }
}

#[test]
fn a_file_comes_by_xmodem_without_its_padding() {
    receive("sx", 50_001, true);
}

#[test]
fn a_transfer_that_is_given_up_ends_the_sender_and_leaves_nothing_behind_to_be_taken_for_commands() {
    let dir = Scratch::new("transfer");
    let path = dir.path().join("x.bundle");
    std::fs::write(&path, content(200_000)).unwrap();
    let Some((mut desk, mut child)) = sender("sb", &path) else { return };
    let mut serial = Serial::new(&mut desk);
    let start = Instant::now();
    while !matches!(serial.read(&mut [0; 100]).unwrap(), Got::Bytes(_)) {
        assert!(start.elapsed() < Duration::from_secs(60));
    }
    drop(serial);
    assert!(!ended(&mut child), "it was not told");
    // What the sender says when it ends is read away, too, or the line has hung up.
    assert!(!matches!(desk.listen(Duration::from_millis(200)), Ok(Some(_))));
}
