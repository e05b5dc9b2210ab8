//! What happens to a box over several versions, for the cases that look at it or cut it short: bundles to install, a
//! service to balance, and the steps of an update on its console.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_core::release::{RollbackIndex, Version};
use bascule_image::board::{Board, Flavour};
use bascule_image::bundle;
use bascule_image::edition::Edition;
use bascule_image::host;
use bascule_image::keys::SecretKey;
use bascule_image::qemu::Machine;
use bascule_image::slot::{self, Slot};
use bascule_image::toolchain::Profile;

use crate::runner::Context;

use super::boot::{ANSWER, BOOT};
use super::web::HOST;

/// The gate takes half a minute at least.
pub const VERDICT: Duration = Duration::from_secs(400);
/// A bundle of some 15 MB, written and read back, under emulation on a busy machine.
pub const INSTALL: Duration = Duration::from_secs(300);

/// The version so many after this tree's, with this rollback index. Its kernel says how it was started, a panic of it
/// takes a second, and `words` are added to its command line.
pub fn version(by: u32, index: u32, words: &str) -> Result<Slot> {
    let edition = Edition::of_this_tree()?;
    let edition = match by {
        0 => edition,
        _ => {
            let version = successor(edition.version, by)?;
            edition.with_version(version).with_rollback_index(RollbackIndex(index))
        }
    };
    let slot = slot::slot_as(Board::X86_64, Profile::Lab, Flavour::Cloud, &edition)?;
    let cmdline = slot.cmdline.replace("quiet loglevel=4", "loglevel=6").replace("panic=10", "panic=1");
    ensure!(cmdline.contains("loglevel=6 panic=1 "), "the command line is another one: {cmdline}");
    Ok(Slot { cmdline: format!("{cmdline} {words}").trim().to_owned(), ..slot })
}

/// The version so many after this one.
pub fn successor(version: Version, by: u32) -> Result<Version> {
    let text = version.to_string();
    let (rest, last) = text.rsplit_once('.').context("a version has dots")?;
    let last: u32 = last.parse()?;
    Ok(format!("{rest}.{}", last + by).parse()?)
}

/// The bundle of a slot.
pub fn bundle(context: &Context, name: &str, slot: &Slot) -> Result<PathBuf> {
    let key = SecretKey::read(&host::root().join("config/keys/development.key"))?;
    let path = context.log(&format!("{name}.bundle"));
    bundle::make(slot, &[key], &path)?;
    Ok(path)
}

/// A box alone on QEMU's network, with one service whose only server is this machine's web server.
pub fn config(port: u16) -> String {
    format!(
        r#"[system]
hostname = "box"

[interface.eth0]
addresses = ["10.0.2.15/24"]

[route.default]
to = "0.0.0.0/0"
via = "{HOST}"

[vrrp.front]
interface = "eth0"
vrid = 51
advert-interval = "100ms"
addresses = ["10.0.2.100/24"]

[virtual-server.web]
address = "10.0.2.100"
port = 80
check = {{ kind = "tcp", interval = "5s", timeout = "5s" }}
real-server."{HOST}:{port}" = {{}}
"#
    )
}

/// Asks until the answer is as wanted.
pub fn until(
    machine: &Machine,
    command: &str,
    limit: Duration,
    wanted: impl Fn(&str) -> bool,
) -> Result<String> {
    let start = Instant::now();
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

/// The service is as the gate shall find it again.
pub fn balances(machine: &Machine) -> Result<()> {
    until(machine, "show status", BOOT, |text| text.lines().any(|line| line.contains(" up "))).map(drop)
}

/// Installs a bundle.
pub fn install(machine: &Machine, url: &str) -> Result<()> {
    machine.console.send(&format!("update install {url}"))?;
    machine.expect("read back and verified", INSTALL).map(drop)
}

/// Activates what is installed, which is this version; the box restarts then.
pub fn activate(machine: &Machine, version: Version) -> Result<()> {
    machine.console.send("update activate")?;
    machine.expect("(y/N) ", ANSWER)?;
    machine.console.send("y")?;
    machine.expect(&format!("Version {version}"), ANSWER)?;
    machine.expect("is activated", ANSWER).map(drop)
}

/// Whether `show slots` tells that this version is good.
pub fn good(text: &str, version: Version) -> bool {
    let version = version.to_string();
    text.lines().any(|line| line.contains(&version) && line.contains("good"))
}
