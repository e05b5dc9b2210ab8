//! Whether KVM is any good here.
//!
//! That `/dev/kvm` can be opened proves nothing: a nested KVM may emulate every instruction and then fail. So a
//! guest of a few bytes has to count to 33 million and switch itself off in time: a tenth of a second with KVM,
//! and with plain emulation too, minutes or for ever with such a KVM.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::console::run_dir;
use super::setup::program;
use crate::board::Board;

/// How long the probe may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(4);

/// What runs a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, by the kernel's help.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accelerator {
    /// The environment variable that answers for the probe: `kvm` or `tcg`.
    pub const VARIABLE: &str = "BASCULE_ACCEL";

    /// The best one that works for this board.
    #[must_use]
    pub fn of(board: Board) -> Self {
        if board == Board::of_this_machine() && Self::found() == Self::Kvm.name() {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }

    /// The name of the one that works for this machine's own board; probed once in a process.
    #[must_use]
    pub fn found() -> &'static str {
        static FOUND: OnceLock<&str> = OnceLock::new();
        FOUND.get_or_init(|| {
            let kvm = match std::env::var(Self::VARIABLE).as_deref() {
                Ok("kvm") => true,
                Ok("tcg") => false,
                Ok(_) | Err(_) => Self::Kvm.works(Board::of_this_machine()).unwrap_or(false),
            };
            if kvm { Self::Kvm.name() } else { Self::Tcg.name() }
        })
    }

    /// QEMU's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Whether a guest of this board runs to its end in time.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn works(self, board: Board) -> Result<bool> {
        if self == Self::Kvm && !Path::new("/dev/kvm").exists() {
            return Ok(false);
        }
        let file = run_dir()?.join(format!("probe-{board}.img"));
        let (image, arguments, good) = guest(board, self, &file);
        fs::write(&file, image)?;
        let mut command = Command::new(program(board));
        command.args([
            "-accel",
            self.name(),
            "-m",
            "64",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args(arguments.split_whitespace());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code() == Some(good));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        child.wait()?;
        Ok(false)
    }
}

/// A boot sector: count ecx down from 0x2000000, write 0x10 to the debug-exit port, halt.
const X86: [u8; 18] =
    [0xfa, 0x66, 0xb9, 0, 0, 0, 2, 0x66, 0x49, 0x75, 0xfc, 0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
/// The exit status that QEMU's isa-debug-exit makes of 0x10.
const X86_EXIT: i32 = 0x10 << 1 | 1;
const SECTOR: usize = 512;
/// A floppy's size: SeaBIOS does not boot from a disk of one sector.
const DISK: usize = 1440 * 1024;

/// A kernel: count x1 down from 0x2000000, then PSCI SYSTEM_OFF (0x84000008) by hypervisor call, stay.
const ARM: [u32; 7] =
    [0xd2a0_4001, 0xf100_0421, 0x54ff_ffe1, 0x5280_0100, 0x72b0_8000, 0xd400_0002, 0x1400_0000];

/// The probe's guest, the arguments that start it from `file`, and QEMU's exit status when it succeeds.
fn guest(board: Board, accelerator: Accelerator, file: &Path) -> (Vec<u8>, String, i32) {
    let file = file.display();
    match board {
        Board::X86_64 => {
            let mut disk = X86.to_vec();
            disk.resize(SECTOR - 2, 0);
            disk.extend([0x55, 0xaa]);
            disk.resize(DISK, 0);
            let devices =
                "-M q35 -device isa-debug-exit,iobase=0xf4,iosize=4 -device virtio-blk-pci,drive=disk";
            (disk, format!("{devices} -drive if=none,id=disk,format=raw,readonly=on,file={file}"), X86_EXIT)
        }
        Board::Aarch64 => {
            let code = ARM.iter().flat_map(|word| word.to_le_bytes()).collect();
            let model = match accelerator {
                Accelerator::Kvm => "-M virt,gic-version=host -cpu host",
                Accelerator::Tcg => "-M virt,gic-version=3 -cpu cortex-a57",
            };
            (code, format!("{model} -kernel {file}"), 0)
        }
    }
}
