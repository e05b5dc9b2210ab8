//! Our agent in a namespace: started, killed, asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bascule_core::router::Role;
use bascule_core::status::{RouterLine, Status};
use bascule_image::board::Board;
use bascule_image::net::Netns;
use bascule_image::toolchain::{self, Profile};
use nix::sys::signal::Signal;

use super::process::{Process, TempDir, both_outputs};

/// How long anything that happens at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);
/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(10);

/// Names the binary that the cases use, so that it is built once per run.
pub const VARIABLE: &str = "BASCULE_BINARY";

/// The static binary that ships.
///
/// # Errors
/// It cannot be built.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BINARY.get() {
        return Ok(path);
    }
    let path = match std::env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => toolchain::cargo_build(Board::of_this_machine(), Profile::Lab)?,
    };
    Ok(BINARY.get_or_init(|| path))
}

/// Runs `bascule` with `arguments` to its end: exit success and both outputs.
///
/// # Errors
/// It cannot be started.
pub fn bascule(arguments: &[&str]) -> Result<(bool, String)> {
    let (status, text) = both_outputs(Command::new(binary()?).args(arguments))?;
    Ok((status.success(), text))
}

/// An agent with its configuration file and run directory.
#[derive(Debug)]
pub struct Agent {
    name: String,
    netns: String,
    direct: bool,
    dir: TempDir,
    process: Option<Process>,
}

impl Agent {
    /// Starts an agent in a namespace.
    ///
    /// # Errors
    /// The binary cannot be built or started.
    pub fn start(netns: &Netns, name: &str, config: &str) -> Result<Self> {
        Self::new(netns, name, config, false)
    }

    /// As [`Agent::start`], without `ip netns exec`, which takes half a second in an emulated guest. Nothing
    /// ends the process with this one, so this is for guests, which end as a whole.
    ///
    /// # Errors
    /// As there.
    pub fn start_inside(netns: &Netns, name: &str, config: &str) -> Result<Self> {
        Self::new(netns, name, config, true)
    }

    fn new(netns: &Netns, name: &str, config: &str, direct: bool) -> Result<Self> {
        let mut agent = Self {
            name: name.to_owned(),
            netns: netns.name().to_owned(),
            direct,
            dir: TempDir::new(name)?,
            process: None,
        };
        agent.write_config(config)?;
        agent.respawn()?;
        Ok(agent)
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("bascule.toml")
    }

    /// Its run directory.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }

    /// Replaces the configuration file, without telling the agent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_config(&self, config: &str) -> Result<()> {
        let path = self.config_path();
        fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts the process (again) with what is in its directories.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn respawn(&mut self) -> Result<()> {
        let (config, run) = (self.config_path(), self.run_dir());
        fs::create_dir_all(&run)?;
        let state = self.dir.path().join("state");
        let places = [&config, &run, &state].map(|path| path.to_string_lossy());
        let [config, run, state] = &places;
        let arguments = ["agent", "--config", config, "--run-dir", run, "--state-dir", state];
        if self.direct {
            self.process = Some(Process::start_inside(&self.netns, binary()?, &arguments, &self.log())?);
            return Ok(());
        }
        let (netns, binary) = (self.netns.as_str(), binary()?.to_string_lossy().into_owned());
        // `ip netns exec` replaces itself, so the process id is the agent's own.
        let mut full = vec!["netns", "exec", netns, &binary];
        full.extend(arguments);
        self.process = Some(Process::start(None, Path::new("ip"), &full, &self.log())?);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The process.
    ///
    /// # Errors
    /// It was killed.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("agent {} is not running", self.name))
    }

    /// `kill -9`, and nothing else: directories and kernel stay as they are.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// What a power cut leaves: no process and nothing of what was in memory (`/run`).
    ///
    /// # Errors
    /// The run directory cannot be emptied.
    pub fn lose_power(&mut self) -> Result<()> {
        self.kill9();
        fs::remove_dir_all(self.run_dir())?;
        Ok(())
    }

    /// Orderly stop: SIGTERM and wait.
    ///
    /// # Errors
    /// It does not end in time, or not with success.
    pub fn stop(&mut self) -> Result<()> {
        let name = self.name.clone();
        let status = self.process()?.terminate(STOP)?;
        self.process = None;
        ensure!(status.success(), "agent {name} ended with {status} on SIGTERM\n{}", self.tail());
        Ok(())
    }

    /// SIGHUP: read the configuration again.
    ///
    /// # Errors
    /// It is not running.
    pub fn hang_up(&mut self) -> Result<()> {
        self.process()?.signal(Signal::SIGHUP)
    }

    /// `bascule reload`: whether it was accepted, and what it said.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn reload(&self) -> Result<(bool, String)> {
        bascule(&["reload", "--run-dir", &self.run_dir().to_string_lossy()])
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        super::process::tail(&self.log())
    }

    /// Its whole log.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// `bascule show status --json`.
    ///
    /// # Errors
    /// The agent does not answer, or not with a status.
    pub fn status(&self) -> Result<Status> {
        let run = self.run_dir();
        let (good, text) = bascule(&["show", "status", "--json", "--run-dir", &run.to_string_lossy()])?;
        ensure!(good, "`bascule show status` of agent {} failed: {}", self.name, text.trim());
        let from = text.find('{').unwrap_or(0);
        serde_json::from_str(&text[from..]).with_context(|| format!("not a status: {text}"))
    }

    /// Waits until the status is as `wanted`.
    ///
    /// # Errors
    /// Not within `limit`; the text holds `what`, the last status and the end of the log.
    pub fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Status) -> bool,
    ) -> Result<Status> {
        let end = Instant::now() + limit;
        loop {
            let last = self.status();
            if let Ok(status) = &last
                && wanted(status)
            {
                return last;
            }
            let running = self.process.as_mut().is_some_and(Process::running);
            if !running || Instant::now() >= end {
                let last = match last {
                    Ok(status) => format!("{status:#?}"),
                    Err(error) => format!("{error:#}"),
                };
                let state = if running { "" } else { " (its process has ended)" };
                bail!(
                    "agent {} did not get there within {limit:?}{state}: {what}\nlast status: {last}\n{}{}",
                    self.name,
                    self.tail(),
                    self.process.as_ref().map(Process::threads).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every virtual router is Master.
    ///
    /// # Errors
    /// Not within `limit`.
    pub fn wait_master(&mut self, limit: Duration) -> Result<Status> {
        self.wait("Master in every virtual router", limit, |status| all_are(status, &Role::Master))
    }

    /// Waits until every virtual router is Backup.
    ///
    /// # Errors
    /// Not within `limit`.
    pub fn wait_backup(&mut self, limit: Duration) -> Result<Status> {
        self.wait("Backup in every virtual router", limit, |status| all_are(status, &Role::Backup))
    }
}

fn all_are(status: &Status, role: &Role) -> bool {
    !status.routers.is_empty() && status.routers.iter().all(|router| router.status.role == *role)
}

/// The virtual router of that name.
///
/// # Errors
/// There is none.
pub fn router<'a>(status: &'a Status, name: &str) -> Result<&'a RouterLine> {
    let found = status.routers.iter().find(|router| router.name.as_str() == name);
    found.with_context(|| format!("no virtual router {name} in {status:?}"))
}
