//! What a machine is made of, and the QEMU command line that makes it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Accelerator, Console, Machine, console, monitor, packages};
use crate::board::Board;
use crate::build::Slot;
use crate::net::{Netns, Tap, leashed};
use crate::{host, initramfs};

/// How a machine starts.
#[derive(Clone, Debug)]
pub enum Boot {
    /// By its own firmware from a disk image, which it writes to.
    Disk {
        /// Raw image.
        image: PathBuf,
        /// Firmware that starts it.
        firmware: Firmware,
    },
    /// Directly from a kernel.
    Kernel {
        /// Kernel.
        kernel: PathBuf,
        /// Archives of the root file system, unpacked one over the other.
        initrds: Vec<PathBuf>,
        /// Command line.
        cmdline: String,
    },
}

/// The firmware that starts a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS; x86_64 only.
    Bios,
    /// OVMF or AAVMF.
    Uefi,
    /// U-Boot with its own UEFI; aarch64 only.
    UBoot,
}

impl Boot {
    /// From a disk image by the board's quickest firmware.
    #[must_use]
    pub fn disk(board: Board, image: impl Into<PathBuf>) -> Self {
        let firmware = match board {
            Board::X86_64 => Firmware::Bios,
            Board::Aarch64 => Firmware::Uefi,
        };
        Self::Disk { image: image.into(), firmware }
    }

    /// A slot's kernel and root file system directly, with further archives over it and further words on the
    /// command line.
    #[must_use]
    pub fn slot(slot: &Slot, extra: &[&Path], words: &str) -> Self {
        let kernel = slot.vmlinux.as_ref().unwrap_or(&slot.kernel).clone();
        let mut initrds = vec![slot.initramfs.clone()];
        initrds.extend(extra.iter().map(|path| path.to_path_buf()));
        Self::Kernel { kernel, initrds, cmdline: format!("{} {words}", slot.cmdline) }
    }
}

/// What a network card is connected to.
#[derive(Clone, Debug)]
enum Nic {
    Tap(Tap),
    /// QEMU's own translator of addresses: needs no root.
    User,
}

/// Everything about a machine before it starts.
#[derive(Clone, Debug)]
pub struct Setup {
    name: String,
    board: Board,
    boot: Boot,
    memory: u32,
    nics: Vec<Nic>,
    once: bool,
    counted: bool,
    extra: Vec<String>,
    log: Option<PathBuf>,
    writes: Option<PathBuf>,
    monitored: bool,
}

impl Setup {
    /// A machine with 512 MiB, one processor and no network. The name is that of its console and its log.
    #[must_use]
    pub fn new(name: &str, board: Board, boot: Boot) -> Self {
        let (name, nics, extra) = (name.to_owned(), Vec::new(), Vec::new());
        let (log, writes) = (None, None);
        Self {
            name,
            board,
            boot,
            memory: 512,
            nics,
            once: false,
            counted: false,
            extra,
            log,
            writes,
            monitored: false,
        }
    }

    /// The machine's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Adds a network card on a port of a segment.
    #[must_use]
    pub fn tap(mut self, tap: &Tap) -> Self {
        self.nics.push(Nic::Tap(tap.clone()));
        self
    }

    /// Adds a network card on QEMU's user-mode network.
    #[must_use]
    pub fn user_network(mut self) -> Self {
        self.nics.push(Nic::User);
        self
    }

    /// A reboot of the guest ends QEMU.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Under emulation the guest's clock counts instructions, one nanosecond each, instead of the time of this
    /// machine: what happens between two lines of its log takes the same on a busy machine and on an idle one.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Adds arguments of QEMU.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.extra.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Writes the console's log to this file instead of `out/log/NAME.log`.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Gives it a control line, [`Machine::monitor`].
    #[must_use]
    pub fn monitored(mut self) -> Self {
        self.monitored = true;
        self
    }

    /// Starts as a machine that was kept in this file ([`super::Monitor::keep`]), which was made alike and whose disk
    /// is the same.
    #[must_use]
    pub fn resume(self, file: &Path) -> Self {
        let from = format!("exec:cat '{}'", file.display());
        self.arguments(&["-incoming", &from])
    }

    /// Records every write and flush of the disk in this file, in the format of the kernel's log-writes target
    /// (Documentation/admin-guide/device-mapper/log-writes.rst). The record is complete once the machine was ended
    /// by [`Machine::end`].
    #[must_use]
    pub fn record_writes(mut self, path: impl Into<PathBuf>) -> Self {
        self.writes = Some(path.into());
        self
    }

    /// The arguments of QEMU but for the serial line, with the program first.
    ///
    /// # Errors
    /// Archives cannot be joined into one file.
    pub fn command_line(&self) -> Result<Vec<String>> {
        let mut words: Vec<String> = vec![program(self.board).into()];
        let mut add = |line: &str| words.extend(line.split_whitespace().map(str::to_owned));
        let mut machine = machine(self.board).to_owned();
        if self.counted {
            // Instructions can be counted on one thread only.
            machine = machine.replace("thread=multi", "thread=single");
        }
        add(&format!("{machine} -smp 1 -m {}", self.memory));
        add("-nodefaults -no-user-config -display none");
        if self.once {
            add("-no-reboot");
        }
        if self.counted && Accelerator::of(self.board) == Accelerator::Tcg {
            add("-icount shift=0");
        }
        for (number, nic) in self.nics.iter().enumerate() {
            let (backend, mac) = match nic {
                Nic::Tap(tap) => {
                    (format!("tap,ifname={},script=no,downscript=no", tap.name), format!(",mac={}", tap.mac))
                }
                Nic::User => ("user".to_owned(), String::new()),
            };
            add(&format!(
                "-netdev {backend},id=net{number} -device virtio-net-pci,netdev=net{number},romfile={mac}"
            ));
        }
        words.extend(self.boot_arguments()?);
        if self.monitored {
            let socket = monitor::socket(&self.name)?;
            words.extend(["-qmp".to_owned(), format!("unix:{},server=on,wait=off", socket.display())]);
        }
        words.extend(self.extra.iter().cloned());
        Ok(words)
    }

    fn boot_arguments(&self) -> Result<Vec<String>> {
        let word = str::to_owned;
        match &self.boot {
            Boot::Disk { image, firmware } => {
                let mut words = match firmware {
                    Firmware::Bios => Vec::new(),
                    Firmware::Uefi => vec![word("-bios"), word(uefi(self.board))],
                    Firmware::UBoot => vec![word("-bios"), word("/usr/lib/u-boot/qemu_arm64/u-boot.bin")],
                };
                words.extend(disk(image, self.writes.as_deref())?);
                words.extend([word("-device"), word("virtio-blk-pci,drive=disk,bootindex=0")]);
                Ok(words)
            }
            Boot::Kernel { kernel, initrds, cmdline } => {
                let mut words = vec![
                    word("-kernel"),
                    kernel.display().to_string(),
                    word("-append"),
                    cmdline.trim().to_owned(),
                ];
                if let Some(initrd) = self.one_archive(initrds)? {
                    words.extend([word("-initrd"), initrd.display().to_string()]);
                }
                Ok(words)
            }
        }
    }

    /// The archives in one file, as QEMU takes only one.
    fn one_archive(&self, initrds: &[PathBuf]) -> Result<Option<PathBuf>> {
        if initrds.len() < 2 {
            return Ok(initrds.first().cloned());
        }
        let joined = console::run_dir()?.join(format!("{}.initrd", self.name));
        let parts: Vec<&Path> = initrds.iter().map(PathBuf::as_path).collect();
        initramfs::concatenate(&parts, &joined)?;
        Ok(Some(joined))
    }

    /// Starts the machine inside `netns`, which is the segment's if it has taps.
    ///
    /// # Errors
    /// QEMU cannot be started. That it exits soon after is seen on the console.
    pub fn start_in(self, netns: &Netns) -> Result<Machine> {
        self.spawn(|program| netns.command(program))
    }

    /// Starts the machine in the network namespace of this process.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn start(self) -> Result<Machine> {
        self.spawn(|program| leashed(program))
    }

    /// Runs the machine with its console on this terminal until it or the user ends it (Ctrl-A x; Ctrl-A c is
    /// QEMU's own prompt).
    ///
    /// # Errors
    /// QEMU cannot be started, or fails.
    pub fn interact(&self) -> Result<()> {
        let words = self.command_line()?;
        let mut command = leashed(&words[0]);
        command.args(&words[1..]).args(["-serial", "mon:stdio"]);
        let status = command.status().with_context(|| format!("cannot start {}", words[0]))?;
        if !status.success() {
            bail!("{} ended with {status}", words[0]);
        }
        Ok(())
    }

    fn spawn(self, command: impl FnOnce(&str) -> Command) -> Result<Machine> {
        let words = self.command_line()?;
        let log = match &self.log {
            Some(path) => path.clone(),
            None => host::log_path(&self.name)?,
        };
        if let Some(dir) = log.parent() {
            fs::create_dir_all(dir)?;
        }
        let errors = log.with_extension("qemu.log");
        let stderr = File::create(&errors).with_context(|| format!("cannot write {}", errors.display()))?;
        let mut command = command(&words[0]);
        command.args(&words[1..]).args(["-monitor", "none", "-serial", "stdio"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().with_context(|| {
            let needed = packages(self.board).join(" ");
            format!("cannot start {} (Debian packages: {needed})", words[0])
        })?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{} has no pipes", words[0])
        };
        let started = Instant::now();
        let console = Console::start(&self.name, input, output, &log)?;
        Ok(Machine { setup: self, child, console, errors, started })
    }
}

/// The disk: an image, and where its writes are recorded. Unsafe caching means that the image survives QEMU, not the
/// host.
fn disk(image: &Path, writes: Option<&Path>) -> Result<Vec<String>> {
    // Commas in a value are doubled.
    let value = |path: &Path| path.display().to_string().replace(',', ",,");
    let Some(log) = writes else {
        let drive = format!("if=none,id=disk,format=raw,cache=unsafe,file={}", value(image));
        return Ok(vec!["-drive".to_owned(), drive]);
    };
    File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let file = |node: &str, path| format!("driver=file,node-name={node},cache.no-flush=on,filename={path}");
    let nodes = [
        file("medium", value(image)),
        file("log", value(log)),
        "driver=blklogwrites,node-name=disk,file=medium,log=log".to_owned(),
    ];
    Ok(nodes.into_iter().flat_map(|node| ["-blockdev".to_owned(), node]).collect())
}

/// The emulator of a board.
pub(super) fn program(board: Board) -> &'static str {
    match board {
        Board::X86_64 => "qemu-system-x86_64",
        Board::Aarch64 => "qemu-system-aarch64",
    }
}

/// Where Debian puts the UEFI firmware.
fn uefi(board: Board) -> &'static str {
    match board {
        Board::X86_64 => "/usr/share/ovmf/OVMF.fd",
        Board::Aarch64 => "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
    }
}

/// Machine type and processor. Under emulation the newest ARM processor is eight times slower than an old one.
fn machine(board: Board) -> &'static str {
    match (board, Accelerator::of(board)) {
        (Board::X86_64, Accelerator::Kvm) => "-accel kvm -M q35 -cpu host",
        (Board::X86_64, Accelerator::Tcg) => "-accel tcg,thread=multi -M q35 -cpu max",
        (Board::Aarch64, Accelerator::Kvm) => "-accel kvm -M virt,gic-version=host -cpu host",
        (Board::Aarch64, Accelerator::Tcg) => "-accel tcg,thread=multi -M virt,gic-version=3 -cpu cortex-a57",
    }
}
