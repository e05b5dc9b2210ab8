//! The two programs that are compared, each as one router of a pair in a namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use crate::board::Board;
use crate::host;
use crate::net::{Host, Process};
use crate::toolchain::{self, Profile};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// Two of our agents
    Bascule,
    /// Two of Debian's keepalived
    Keepalived,
}

impl Program {
    /// Its name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bascule => "bascule",
            Self::Keepalived => "keepalived",
        }
    }

    /// Its version, in its own words.
    pub(super) fn version(self, binary: &Path) -> Result<String> {
        let mut command = std::process::Command::new(binary);
        let output =
            command.arg("--version").output().with_context(|| format!("cannot run {}", binary.display()))?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    }

    /// Builds or installs it.
    pub(super) fn prepare(self) -> Result<PathBuf> {
        match self {
            Self::Bascule => match std::env::var_os("BASCULE_BINARY") {
                Some(path) => Ok(path.into()),
                None => toolchain::cargo_build(Board::of_this_machine(), Profile::Release),
            },
            Self::Keepalived => {
                host::need(&["keepalived"])?;
                Ok("/usr/sbin/keepalived".into())
            }
        }
    }
}

/// What a router of a pair is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    /// Time between adverts.
    pub advert: Duration,
    /// Priority.
    pub priority: u8,
    /// Virtual address with its prefix length.
    pub address: &'static str,
}

/// A running router.
#[derive(Debug)]
pub(super) struct Router {
    process: Process,
    /// Where a program that forks writes its child's pid.
    child: Option<PathBuf>,
}

impl Router {
    /// Starts `binary` in a host's namespace; its files are in `dir`.
    pub(super) fn start(
        program: Program,
        binary: &Path,
        host: &Host,
        dir: &Path,
        role: Role,
    ) -> Result<Self> {
        // A pid file of the run before could name a process of now.
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let file = dir.join("config");
        let mut command = host.netns.command(binary);
        let child = match program {
            Program::Bascule => {
                fs::write(&file, ours(role))?;
                command.arg("agent").arg("--config").arg(&file).arg("--run-dir").arg(dir);
                None
            }
            Program::Keepalived => {
                fs::write(&file, keepalived(role))?;
                let (pid, child) = (dir.join("pid"), dir.join("child.pid"));
                command.args(["-n", "-l", "-P", "-f"]).arg(&file).arg("-p").arg(pid).arg("-r").arg(&child);
                Some(child)
            }
        };
        let process = Process::start(&mut command, &dir.join("log"))?;
        Ok(Self { process, child })
    }

    /// SIGKILL to all its processes.
    pub(super) fn kill(&mut self) -> Result<()> {
        // The child first: when its parent dies it would say good-bye on the network, which a power cut does not.
        let pid = self.child.as_ref().and_then(|path| fs::read_to_string(path).ok());
        if let Some(pid) = pid.and_then(|text| text.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.process.kill()?;
        Ok(())
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> String {
        self.process.tail()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn ours(role: Role) -> String {
    let Role { advert, priority, address } = role;
    format!(
        "[vrrp.front]\ninterface = \"eth0\"\nvrid = 51\npriority = {priority}\nadvert-interval = \"{}ms\"\n\
         addresses = [\"{address}\"]\n",
        advert.as_millis()
    )
}

/// With real-time priority, as for us: the comparison is of the programs, not of their defaults.
fn keepalived(role: Role) -> String {
    let Role { advert, priority, address } = role;
    format!(
        "global_defs {{\n  vrrp_version 3\n  vrrp_rt_priority 50\n}}\n\
         vrrp_instance front {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n  priority {priority}\n  \
         advert_int {}\n  virtual_ipaddress {{\n    {address}\n  }}\n}}\n",
        advert.as_secs_f64()
    )
}
