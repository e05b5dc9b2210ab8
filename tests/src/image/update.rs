//! A whole life of a box: version N, an update to N+1 that is kept, one to N+2 that is not, and N+1 again. Everything
//! goes through the firmware, the loader and real restarts, as on a box in a rack.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bascule_core::release::Version;
use bascule_image::board::{Board, Flavour};
use bascule_image::bundle;
use bascule_image::disk;
use bascule_image::edition::Edition;
use bascule_image::host;
use bascule_image::keys::SecretKey;
use bascule_image::qemu::{self, Boot, Firmware, Machine, Setup, login};
use bascule_image::slot::{self, Slot};
use bascule_image::toolchain::Profile;

use crate::runner::{Case, Context, Outcome};

use super::boot::{ANSWER, BOOT};

/// The gate takes half a minute at least.
const VERDICT: Duration = Duration::from_secs(400);
/// A download of some 20 MB, written and read back, under emulation on a busy machine.
const INSTALL: Duration = Duration::from_secs(300);

/// Four starts and a gate under emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(1_500);

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "x86_64 under BIOS is updated from N to N+1, goes back from a bad N+2, and runs N+1",
        limit: LIMIT,
        run: |context| life(context, Board::X86_64, Flavour::Cloud, Firmware::Bios),
    }]
}

/// Written, and not part of a whole run yet.
pub fn unproven() -> Vec<Case> {
    vec![
        Case {
            name: "x86_64 under UEFI is updated from N to N+1, goes back from a bad N+2, and runs N+1",
            limit: LIMIT,
            run: |context| life(context, Board::X86_64, Flavour::Cloud, Firmware::Uefi),
        },
        Case {
            name: "aarch64 under UEFI is updated from N to N+1, goes back from a bad N+2, and runs N+1",
            limit: LIMIT,
            run: |context| life(context, Board::Aarch64, Flavour::Generic, Firmware::Uefi),
        },
    ]
}

/// Alone on QEMU's network, whose gateway is this machine.
const CONFIG: &str = r#"[system]
hostname = "box"

[interface.eth0]
addresses = ["10.0.2.15/24"]

[route.default]
to = "0.0.0.0/0"
via = "10.0.2.2"

[vrrp.front]
interface = "eth0"
vrid = 51
advert-interval = "100ms"
addresses = ["10.0.2.100/24"]

[virtual-server.web]
address = "10.0.2.100"
port = 80
real-server."10.0.2.2:80" = {}
"#;

/// Seen from a guest, this machine.
const HOST: &str = "10.0.2.2";

fn life(context: &mut Context, board: Board, flavour: Flavour, firmware: Firmware) -> Result<Outcome> {
    host::need(qemu::packages(board))?;
    let edition = Edition::of_this_tree()?;
    let n = edition.version;
    let (n1, n2) = (successor(n, 1)?, successor(n, 2)?);
    let slot = |version| slot::slot_as(board, Profile::Lab, flavour, &edition.clone().with_version(version));
    let first = slot(n)?;
    let key = SecretKey::read(&host::root().join("config/keys/development.key"))?;
    let good = context.log("n1.bundle");
    bundle::make(&slot(n1)?, std::slice::from_ref(&key), &good)?;
    let bad = context.log("n2.bundle");
    bundle::make(&doomed(slot(n2)?), std::slice::from_ref(&key), &bad)?;

    let image = context.log("disk.img");
    disk::make(&first, &image, &login::seed(CONFIG))?;
    let web = Web::serve(vec![("/n1".to_owned(), good), ("/n2".to_owned(), bad)])?;
    let setup = Setup::new("life", board, Boot::Disk { image, firmware }).user_network();
    let machine = setup.log(context.log("console.log")).start()?;
    machine.log_in(BOOT)?;
    machine.expect("box(MASTER)> ", BOOT)?;

    update(&machine, &web.url("/n1"), n1)?;
    machine.log_in(BOOT)?;
    machine.expect(&format!("[testing {n1}]> "), BOOT)?;
    until(&machine, "show slots", VERDICT, |text| good_slot(text, n1))?;
    machine.console.send("")?;
    machine.expect("box(MASTER)> ", BOOT)?;

    update(&machine, &web.url("/n2"), n2)?;
    // It uses its tries up by itself, each ending in a panic.
    machine.log_in(BOOT * 3)?;
    machine.expect("box(MASTER)> ", BOOT)?;
    let slots = until(&machine, "show slots", ANSWER, |text| text.contains("bad"))?;
    ensure!(good_slot(&slots, n1), "N+1 should run and be good:\n{slots}");
    machine.console.send("show boot")?;
    let why = machine.expect("box(MASTER)> ", ANSWER)?.text;
    ensure!(why.contains("tries"), "why N+2 is gone is not told:\n{why}");
    machine.console.send("show version")?;
    let version = machine.expect("box(MASTER)> ", ANSWER)?.text;
    ensure!(version.contains(&n1.to_string()), "{version}");
    Ok(Outcome::Passed(format!("{n} to {n1} kept, {n2} given up after its tries, {n1} runs")))
}

fn successor(version: Version, by: u32) -> Result<Version> {
    let text = version.to_string();
    let (rest, last) = text.rsplit_once('.').context("a version has dots")?;
    let last: u32 = last.parse()?;
    Ok(format!("{rest}.{}", last + by).parse()?)
}

/// The same system, told to panic.
fn doomed(slot: Slot) -> Slot {
    Slot { cmdline: format!("{} bascule.fail=panic", slot.cmdline), ..slot }
}

/// Installs and activates; the box restarts then.
fn update(machine: &Machine, url: &str, version: Version) -> Result<()> {
    machine.console.send(&format!("update install {url}"))?;
    machine.expect("read back and verified", INSTALL)?;
    machine.console.send("update activate")?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")?;
    machine.expect(&format!("Version {version}"), ANSWER)?;
    Ok(())
}

fn good_slot(text: &str, version: Version) -> bool {
    let version = version.to_string();
    text.lines().any(|line| line.contains(&version) && line.contains("good"))
}

/// Asks until the answer is as wanted.
fn until(machine: &Machine, command: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let start = std::time::Instant::now();
    loop {
        machine.console.skip();
        machine.console.send(command)?;
        let text = machine.expect("> ", ANSWER)?.text;
        if wanted(&text) {
            return Ok(text);
        }
        ensure!(start.elapsed() < limit, "{command} never said what was waited for; last:\n{text}");
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// Serves files to the guest on loopback, which QEMU shows it as its gateway.
struct Web {
    port: u16,
    goes_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    fn serve(files: Vec<(String, PathBuf)>) -> Result<Web> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let goes_on = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&goes_on);
        let thread = std::thread::spawn(move || {
            while flag.load(Ordering::Relaxed) {
                match listener.accept() {
                    // One box, one download at a time.
                    Ok((stream, _)) => drop(answer(stream, &files)),
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        });
        Ok(Web { port, goes_on, thread: Some(thread) })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{HOST}:{}{path}", self.port)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, files: &[(String, PathBuf)]) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut request = Vec::new();
    let mut bytes = [0; 1_024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut bytes)?;
        ensure!(count > 0 && request.len() < 16_384, "no request");
        request.extend_from_slice(&bytes[..count]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let asked = request.split(' ').nth(1).unwrap_or_default();
    let found = files.iter().find(|(path, _)| path == asked);
    match found.map(|(_, file)| content(file)).transpose()? {
        Some(content) => {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&content)?;
        }
        None => {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?
        }
    }
    Ok(())
}

fn content(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
