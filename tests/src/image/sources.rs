//! Where a bundle comes from on a real box: a web server that stops sending, one with a certificate of the operator's
//! own authority, a USB stick, the console's own line. The bundle is a small one that is installed and never started.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_core::release::Version;
use bascule_image::board::{Board, Flavour};
use bascule_image::disk;
use bascule_image::edition::Edition;
use bascule_image::host;
use bascule_image::net::leashed;
use bascule_image::qemu::{self, Boot, Machine, Setup, login};
use bascule_image::slot::{self, Slot};
use bascule_image::toolchain::Profile;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::runner::{Case, Context, Outcome};

use super::boot::{ANSWER, BOOT, log_in_to};
use super::life;
use super::spy::{self, Spy};
use super::web::{HOST, STALLS, Web};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case {
        name: "update sources: a server that stalls is told and cancelled; TLS, a USB stick and YMODEM on the console install",
        limit: Duration::from_secs(1_200),
        run,
    }]
}

/// Over the line, or after a server that stalled.
const LONG: Duration = Duration::from_secs(240);

/// Master of an address, on QEMU's network.
const CONFIG: &str = r#"[system]
hostname = "box"

[interface.eth0]
addresses = ["10.0.2.15/24"]

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

fn run(context: &mut Context) -> Result<Outcome> {
    host::need(qemu::packages(Board::X86_64))?;
    host::need(&["lrzsz", "openssl"])?;
    // The cloud kernel has no USB.
    let slot = spy::bugged(context, &slot::slot(Board::X86_64, Profile::Lab, Flavour::Generic)?)?;
    let image = context.log("disk.img");
    let (authority, tls) = authority(context)?;
    disk::make(&slot, &image, &login::seed(CONFIG))?;
    let (version, bundle) = small(context, &slot)?;
    let files = vec![("/n1".to_owned(), bundle.clone())];
    let (web, secure) = (Web::serve(files.clone())?, Web::serve_secure(files, tls)?);
    let stick = context.log("stick.img");
    make_stick(&stick, &bundle)?;
    let drive = format!("if=none,id=stick,format=raw,file={}", stick.display());
    let setup = Setup::new("sources", Board::X86_64, Boot::disk(Board::X86_64, image))
        .user_network()
        .arguments(&["-device", "qemu-xhci", "-drive", &drive, "-device", "usb-storage,drive=stick"])
        .log(context.log("console.log"));
    let machine = spy::wired(setup, "sources").start()?;
    log_in_to(&machine, "box(MASTER)> ", BOOT)?;
    let mut spy = Spy::connect("sources", BOOT)?;

    let begin = Instant::now();
    let done = |way: &str| println!("{way}: done after {:.0} s", begin.elapsed().as_secs_f64());
    stalls(&machine, &mut spy, &web)?;
    done("stalling server");
    believe(&machine, &secure, &authority)?;
    machine.console.send(&format!("update install {}", secure.url("/n1")))?;
    machine.expect("read back and verified", LONG)?;
    forget(&machine, version)?;
    done("TLS");
    machine.console.send("update install usb:nosuch.bundle")?;
    machine.expect("n1.bundle", ANSWER)?;
    machine.expect("> ", ANSWER)?;
    machine.console.send("update install usb:n1.bundle")?;
    machine.expect("read back and verified", LONG)?;
    forget(&machine, version)?;
    done("stick");
    serial(&machine, &bundle)?;
    forget(&machine, version)?;
    done("console's line");
    let length = fs::metadata(&bundle)?.len();
    Ok(Outcome::Passed(format!("{length} bytes each, {:.0} s in all", begin.elapsed().as_secs_f64())))
}

/// A certificate authority made for this run, and a server of [`HOST`] that it vouches for.
fn authority(context: &Context) -> Result<(String, ServerConfig)> {
    let path = |name: &str| context.log(name).display().to_string();
    let (key, own, server) = (path("server.key"), path("ca.pem"), path("server.pem"));
    let (own_key, request, extension) = (path("ca.key"), path("server.csr"), path("server.ext"));
    fs::write(&extension, format!("subjectAltName=IP:{HOST}\n"))?;
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"];
    let openssl = |arguments: &[&str]| -> Result<()> {
        let done = Command::new("openssl").args(arguments).output().context("cannot start openssl")?;
        ensure!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    };
    let begin =
        ["req", "-x509", "-days", "3", "-subj", "/CN=test authority", "-keyout", &own_key, "-out", &own];
    openssl(&[begin.as_slice(), &curve].concat())?;
    let begin = ["req", "-subj", "/CN=test server", "-keyout", &key, "-out", &request];
    openssl(&[begin.as_slice(), &curve].concat())?;
    openssl(&[
        "x509",
        "-req",
        "-days",
        "3",
        "-in",
        &request,
        "-CA",
        &own,
        "-CAkey",
        &own_key,
        "-CAcreateserial",
        "-extfile",
        &extension,
        "-out",
        &server,
    ])?;
    let certificate = CertificateDer::from_pem_slice(&fs::read(&server)?)?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&key)?)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok((fs::read_to_string(&own)?, config))
}

/// The bundle of a next version that has no kernel.
fn small(context: &Context, slot: &Slot) -> Result<(Version, PathBuf)> {
    let kernel = context.log("no-kernel");
    let noise = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0];
    fs::write(&kernel, (0..100_000).map(noise).collect::<Vec<u8>>())?;
    let edition = Edition::of_this_tree()?;
    let version = Version::new(999, 0, 0);
    let slot =
        Slot { initramfs: kernel.clone(), kernel, edition: edition.with_version(version), ..slot.clone() };
    Ok((version, life::bundle(context, "n1", &slot)?))
}

/// The server stops in the middle: the console says so, the box balances, and another console can end it.
fn stalls(machine: &Machine, spy: &mut Spy, web: &Web) -> Result<()> {
    machine.console.send(&format!("update install {}{STALLS}", web.url("/n1")))?;
    machine.expect("Going on in ", LONG)?;
    // The console is told first, other consoles a moment later.
    let told = Instant::now();
    loop {
        let (status, code) = spy.run("/init update status")?;
        let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(code == 0 && status.contains("runs:"), "update status ended with {code}: {status}");
        if status.contains("nothing came for") {
            break;
        }
        ensure!(told.elapsed() < ANSWER, "the stall is not told: {status}");
        std::thread::sleep(Duration::from_secs(1));
    }
    let (address, _) = spy.run("/bin/busybox ip address show dev eth0")?;
    ensure!(address.contains("10.0.2.100/24"), "the box gave up its address: {address}");
    let (services, _) = spy.run("cat /proc/net/ip_vs")?;
    ensure!(services.contains("0A000264:0050"), "the box balances no more: {services}");
    let (text, code) = spy.run("/init update cancel")?;
    ensure!(code == 0, "update cancel ended with {code}: {text}");
    machine.expect("cancelled", ANSWER)?;
    machine.expect("Slot b is empty", ANSWER)?;
    // On a busy machine the prompt may tell of another role.
    machine.expect("> ", ANSWER)?;
    Ok(())
}

/// The server's authority is unknown until it is pasted.
fn believe(machine: &Machine, web: &Web, authority: &str) -> Result<()> {
    machine.console.send(&format!("update install {}", web.url("/n1")))?;
    machine.expect("cannot prove who it is", LONG)?;
    machine.expect("> ", ANSWER)?;
    machine.console.send("update authority set")?;
    machine.expect("Ctrl-C leaves", ANSWER)?;
    for line in authority.lines() {
        machine.console.send(line)?;
    }
    machine.console.send_bytes(b"\x04")?;
    machine.expect("1 authority of your own is believed", ANSWER)?;
    machine.expect("> ", ANSWER).map(drop)
}

/// It is there, and then it is not.
fn forget(machine: &Machine, version: Version) -> Result<()> {
    machine.expect("> ", ANSWER)?;
    machine.console.send("show slots")?;
    machine.expect(&version.to_string(), ANSWER)?;
    machine.expect("> ", ANSWER)?;
    machine.console.send("update cancel")?;
    machine.expect("Slot b is empty.", ANSWER)?;
    machine.expect("> ", ANSWER)?;
    Ok(())
}

/// `sb` on the console's line.
fn serial(machine: &Machine, bundle: &Path) -> Result<()> {
    let mut line = UnixStream::connect(machine.console.socket()).context("the console's line")?;
    machine.console.send("update install serial")?;
    machine.expect("Send the bundle now", ANSWER)?;
    drain(&mut line)?;
    let end = |line: &UnixStream| -> Result<Stdio> { Ok(OwnedFd::from(line.try_clone()?).into()) };
    let mut command: Command = leashed("sb");
    let status = command
        .args(["-q", "-k"])
        .arg(bundle)
        .stdin(end(&line)?)
        .stdout(end(&line)?)
        .status()
        .context("cannot start sb (Debian package lrzsz)")?;
    ensure!(status.success(), "sb ended with {status}\n{}", machine.console.tail());
    machine.expect("read back and verified", LONG)?;
    Ok(())
}

/// Reads away what the console showed before, so that only the receiver is heard.
fn drain(line: &mut UnixStream) -> Result<()> {
    line.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut bytes = [0; 4_096];
    // The receiver asks every few seconds: this ends.
    while line.read(&mut bytes).is_ok_and(|count| count > 1) {}
    Ok(line.set_read_timeout(None)?)
}

/// A FAT volume with the bundle.
fn make_stick(path: &Path, bundle: &Path) -> Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(16 << 20)?;
    fatfs::format_volume(&mut file, fatfs::FormatVolumeOptions::new()).context("cannot format the stick")?;
    let volume = fatfs::FileSystem::new(file, fatfs::FsOptions::new())?;
    volume.root_dir().create_file("n1.bundle")?.write_all(&fs::read(bundle)?)?;
    volume.unmount()?;
    Ok(())
}
