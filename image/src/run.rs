//! `cargo image run`: one box with its serial console on this terminal. `cargo image console`: the console of a
//! box that runs already.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::board::{Board, Flavour};
use crate::disk::Seed;
use crate::host::{self, Step};
use crate::qemu::{self, Boot, Firmware, Setup};
use crate::toolchain::Profile;
use crate::{build, disk};

/// Ctrl-A, as in QEMU.
const ESCAPE: u8 = 0x01;
/// How long answers are shown after the end of keys that come from a pipe.
const ANSWER: Duration = Duration::from_secs(3);

/// Arguments of `cargo image run`.
#[derive(clap::Args)]
pub struct Args {
    /// Board of the box
    #[arg(long, value_enum, default_value_t = Board::of_this_machine())]
    board: Board,
    /// Box configuration (TOML) to start with
    #[arg(long)]
    config: Option<PathBuf>,
    /// Start by UEFI instead of BIOS (aarch64 always does)
    #[arg(long)]
    uefi: bool,
    /// Start from the disk that the last run left, with what was configured on it
    #[arg(long, conflicts_with = "config")]
    again: bool,
}

/// Runs `cargo image run`. Needs no root: the network is QEMU's own.
///
/// # Errors
/// The image cannot be made, or QEMU fails.
pub fn command(args: Args) -> Result<()> {
    host::need(qemu::packages(args.board))?;
    let image = image(&args)?;
    let firmware = if args.uefi || args.board == Board::Aarch64 { Firmware::Uefi } else { Firmware::Bios };
    let setup = Setup::new("run", args.board, Boot::Disk { image, firmware }).user_network();
    println!("Ctrl-A x leaves.\n");
    let terminal = Terminal::keep();
    let result = setup.interact();
    drop(terminal);
    qemu::remove_ours();
    println!();
    result
}

/// The disk of the box: that of the last run if wanted, or else a new one.
fn image(args: &Args) -> Result<PathBuf> {
    let dir = host::out().join("run");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let image = dir.join(format!("{}.img", args.board));
    if args.again {
        if !image.exists() {
            bail!("there is no {} yet: run without --again first", image.display());
        }
        return Ok(image);
    }
    let seed = match &args.config {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Seed::configuration(&text)
        }
        None => Seed::factory(),
    };
    let slot = build::slot(args.board, Profile::Lab, Flavour::Generic)?;
    let step = Step::begin(format!("disk image {}", image.display()));
    disk::make(&slot, &image, &seed)?;
    step.done();
    Ok(image)
}

/// Arguments of `cargo image console`.
#[derive(clap::Args)]
pub struct ConsoleArgs {
    /// Name of the box; without it the names are listed
    name: Option<String>,
}

/// Runs `cargo image console`.
///
/// # Errors
/// No such console, or it went away.
pub fn console(args: &ConsoleArgs) -> Result<()> {
    let sockets = qemu::sockets();
    let Some(wanted) = &args.name else {
        for (name, socket) in &sockets {
            println!("{name}  {}", socket.display());
        }
        return Ok(());
    };
    let Some((name, socket)) = sockets.iter().find(|(name, _)| name == wanted) else {
        let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
        bail!(
            "no console {wanted:?} here; running: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        );
    };
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    println!("Console of {name}; Ctrl-A x leaves.\n");
    let terminal = Terminal::raw();
    let typed = stream.try_clone()?;
    thread::spawn(move || type_keys(typed));
    let mut buffer = [0u8; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let mut out = io::stdout().lock();
        out.write_all(&buffer[..length])?;
        out.flush()?;
    }
    drop(terminal);
    println!("\nleft {name}");
    Ok(())
}

/// Sends what is typed until Ctrl-A x; Ctrl-A Ctrl-A sends one Ctrl-A.
fn type_keys(mut stream: UnixStream) {
    let mut escaped = false;
    let mut keys = io::stdin().lock().bytes();
    loop {
        let Some(Ok(key)) = keys.next() else {
            // Keys from a pipe have ended: what they asked for is still to come.
            thread::sleep(ANSWER);
            break;
        };
        match (escaped, key) {
            (false, ESCAPE) => escaped = true,
            (true, b'x' | b'X') => break,
            (true | false, key) => {
                escaped = false;
                if stream.write_all(&[key]).is_err() {
                    break;
                }
            }
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// Puts the terminal back as it was when dropped; does nothing where there is no terminal.
struct Terminal(Option<Termios>);

impl Terminal {
    fn keep() -> Self {
        Self(tcgetattr(io::stdin().as_fd()).ok())
    }

    fn raw() -> Self {
        let kept = Self::keep();
        if let Some(mut modes) = kept.0.clone() {
            cfmakeraw(&mut modes);
            let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &modes);
        }
        kept
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, modes);
        }
    }
}
