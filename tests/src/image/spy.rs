//! A shell inside a box, on a second serial line, for what the console of a box does not show or do: looking at
//! processes and files, `kill -9`. The box is the real one; the shell starts before its init and is no part of it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bascule_image::build::Slot;
use bascule_image::host;
use bascule_image::initramfs::{self, ExtraFile};
use bascule_image::qemu::Setup;

use crate::runner::Context;

/// How long a command may take in an emulated box.
const PATIENCE: Duration = Duration::from_secs(60);

/// The slot with the shell in it.
///
/// # Errors
/// The archive cannot be made.
pub fn bugged(context: &Context, slot: &Slot) -> Result<Slot> {
    host::need(&["busybox-static"])?;
    let file = |from: PathBuf, to: &str| ExtraFile { from, to: to.to_owned(), mode: 0o755 };
    let files = [
        file(host::root().join("tests/data/spy-init.sh"), "/lab/spy"),
        file("/bin/busybox".into(), "/bin/busybox"),
    ];
    let extra = context.log("spy.cpio");
    initramfs::extra(&files, &extra)?;
    let joined = context.log("initramfs");
    initramfs::concatenate(&[&slot.initramfs, &extra], &joined)?;
    let cmdline = slot.cmdline.replace("rdinit=/init", "rdinit=/lab/spy");
    ensure!(cmdline != slot.cmdline, "the command line names no rdinit=/init: {}", slot.cmdline);
    Ok(Slot { initramfs: joined, cmdline, ..slot.clone() })
}

/// The socket of a box's second serial line.
pub fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bascule-spy-{}-{name}", std::process::id()))
}

/// Adds the second serial line to a machine.
pub fn wired(setup: Setup, name: &str) -> Setup {
    let line = format!("socket,id=spy,path={},server=on,wait=off", socket(name).display());
    setup.arguments(&["-chardev", &line, "-device", "isa-serial,chardev=spy,index=1"])
}

/// The shell.
#[derive(Debug)]
pub struct Spy {
    stream: UnixStream,
    unread: String,
}

impl Spy {
    /// Waits until the shell answers.
    ///
    /// # Errors
    /// Not in time.
    pub fn connect(name: &str, limit: Duration) -> Result<Self> {
        let path = socket(name);
        let end = Instant::now() + limit;
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => bail!("no second serial line at {}: {error}", path.display()),
            }
        };
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut spy = Self { stream, unread: String::new() };
        // What is typed before the shell is there is lost, or is read late.
        for number in 1.. {
            if Instant::now() >= end {
                break;
            }
            let command = format!("stty raw -echo; PS1=; PS2=; echo @@''ready {number}\n");
            spy.stream.write_all(command.as_bytes())?;
            if spy.read_until(&format!("@@ready {number}\n"), Duration::from_secs(number)).is_ok() {
                return Ok(spy);
            }
        }
        bail!("no shell answers on the second serial line of {name}: {:?}", spy.unread)
    }

    fn read_until(&mut self, mark: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        let mut bytes = [0; 1024];
        loop {
            if let Some(at) = self.unread.find(mark) {
                let rest = self.unread.split_off(at + mark.len());
                let found = std::mem::replace(&mut self.unread, rest);
                return Ok(found[..at].to_owned());
            }
            ensure!(Instant::now() < end, "no {mark} on the second serial line: {:?}", self.unread);
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("the second serial line has ended"),
                Ok(length) => self.unread += &String::from_utf8_lossy(&bytes[..length]).replace('\r', ""),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs a command and returns what it wrote and its exit status.
    ///
    /// # Errors
    /// No end of it in time.
    pub fn run(&mut self, command: &str) -> Result<(String, i32)> {
        self.stream.write_all(format!("echo @@''begin; {command}; echo @@''end $?\n").as_bytes())?;
        self.read_until("@@begin\n", PATIENCE)?;
        let text = self.read_until("@@end ", PATIENCE).with_context(|| format!("after {command:?}"))?;
        let status = self.read_until("\n", PATIENCE)?;
        Ok((text, status.trim().parse().with_context(|| format!("exit status {status:?}"))?))
    }

    /// The process ids of the box's agent (its prober is another).
    ///
    /// # Errors
    /// The shell does not answer.
    pub fn agent(&mut self) -> Result<Option<u32>> {
        let (text, _) = self.run("ps -o pid,args")?;
        let agent = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(2) == Some(&"agent") { words[0].parse().ok() } else { None }
        };
        Ok(text.lines().find_map(agent))
    }

    /// Waits until an agent runs that is not `old`.
    ///
    /// # Errors
    /// Not in time.
    pub fn other_agent(&mut self, old: Option<u32>, limit: Duration) -> Result<u32> {
        let end = Instant::now() + limit;
        loop {
            match self.agent()? {
                Some(pid) if Some(pid) != old => return Ok(pid),
                _ if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
                other => bail!("no other agent than {old:?} within {limit:?}: {other:?}"),
            }
        }
    }

    /// `kill -9` of the agent. Returns its process id.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_agent(&mut self) -> Result<u32> {
        let pid = self.agent()?.context("no agent runs in the box")?;
        let (text, status) = self.run(&format!("kill -9 {pid}"))?;
        ensure!(status == 0, "kill -9 {pid}: {text}");
        Ok(pid)
    }
}
