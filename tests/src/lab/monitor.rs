//! Every change of addresses in a namespace, as the kernel reports it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_image::net::Netns;

use super::process::{Process, TempDir, wait_for};

/// `ip monitor address` in a namespace, until dropped.
#[derive(Debug)]
pub struct Monitor {
    _process: Process,
    _dir: TempDir,
    log: PathBuf,
}

impl Monitor {
    /// Starts it, and proves with an address on the loopback that it sees changes.
    ///
    /// # Errors
    /// It cannot be started or sees nothing.
    pub fn start(netns: &Netns) -> Result<Self> {
        let dir = TempDir::new("monitor")?;
        let log = dir.path().join("log");
        let arguments = ["-n", netns.name(), "-o", "monitor", "address"];
        let process = Process::start(None, "ip".as_ref(), &arguments, &log)?;
        let monitor = Self { _process: process, _dir: dir, log };
        wait_for("`ip monitor` reports an address", Duration::from_secs(5), || {
            let _ = netns.ip("address add 127.9.9.9/32 dev lo");
            std::thread::sleep(Duration::from_millis(20));
            let _ = netns.ip("address del 127.9.9.9/32 dev lo");
            monitor.text().contains("127.9.9.9").then_some(())
        })?;
        Ok(monitor)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The reports about an address so far.
    pub fn about(&self, address: &str) -> Vec<String> {
        let text = self.text();
        text.lines().filter(|line| line.contains(&format!(" {address}/"))).map(str::to_owned).collect()
    }

    /// Fails when anything happened to one of the addresses since the start.
    ///
    /// # Errors
    /// Something did; the text has the reports.
    pub fn untouched(&self, addresses: &[&str]) -> Result<()> {
        for address in addresses {
            let reports = self.about(address);
            ensure!(reports.is_empty(), "{address} was touched: {reports:#?}");
        }
        Ok(())
    }
}
