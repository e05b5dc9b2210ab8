//! The system that a box is compared with: busybox, a script, Debian's keepalived, and of the kernel's modules
//! those it needs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::REST;
use crate::board::Board;
use crate::host::{self, Step};
use crate::initramfs::{self, ExtraFile};
use crate::kernel::{Kernel, Use};

/// What it loads: its card and IPVS. What these need comes along.
// Without crc32c, which the kernel asks for and nothing here loads by itself, ip_vs does not start.
const MODULES: [&str; 5] = ["crc32c_generic", "virtio_pci", "virtio_net", "ip_vs", "ip_vs_rr"];
const KEEPALIVED: &str = "/usr/sbin/keepalived";

/// Does the same as the other box's configuration.
const CONFIG: &str = "\
global_defs {
  vrrp_version 3
}
vrrp_instance front {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority 100
  advert_int 1
  virtual_ipaddress {
    192.0.2.100/24
  }
}
virtual_server 192.0.2.100 80 {
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 192.0.2.21 80 {
  }
}
";

/// A system that can be started.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Root file system, compressed as ours is.
    pub initramfs: PathBuf,
    /// Bytes of keepalived and the libraries it needs.
    pub program: u64,
    /// keepalived's own words.
    pub version: String,
}

/// The first process: as little as keepalived can do with.
fn script() -> String {
    let busybox = "/bin/busybox";
    let mut lines = format!(
        "#!{busybox} sh\n\
         {busybox} mkdir -p /proc /sys /dev /run\n\
         {busybox} mount -t proc proc /proc\n\
         {busybox} mount -t sysfs sysfs /sys\n\
         {busybox} mount -t devtmpfs devtmpfs /dev\n\
         {busybox} mount -t tmpfs tmpfs /run\n"
    );
    for module in MODULES {
        // Of one that is built in busybox says that it does not know it.
        lines.push_str(&format!("{busybox} modprobe {module} 2>/dev/null\n"));
    }
    lines.push_str(&format!(
        "{busybox} ip link set lo up\n\
         {busybox} ip address add 192.0.2.2/24 dev eth0\n\
         {busybox} ip link set eth0 up\n\
         {KEEPALIVED} -n -l -G -f /etc/keepalived.conf >/dev/kmsg 2>&1 &\n\
         {busybox} sleep {}\n\
         {busybox} grep Mem /proc/meminfo >/dev/console\n\
         while true; do {busybox} sleep 1000; done\n",
        REST.as_secs()
    ));
    lines
}

/// Builds it for `kernel`.
///
/// # Errors
/// A package cannot be had, or a file not be read.
pub fn build(board: Board, kernel: &Kernel) -> Result<Peer> {
    ensure!(board == Board::of_this_machine(), "keepalived is taken from this machine, which is no {board}");
    host::need(&["busybox-static", "keepalived", "zstd"])?;
    let dir = host::target().join("bench-boot");
    let step = Step::begin("build a system of busybox and keepalived");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let file = |from: &Path, to: &str, mode| ExtraFile { from: from.to_owned(), to: to.to_owned(), mode };
    let programs = dir.join("programs.cpio");
    initramfs::extra(&[file(KEEPALIVED.as_ref(), KEEPALIVED, 0o755)], &programs)?;
    let rest = dir.join("rest.cpio");
    initramfs::extra(
        &[
            file("/bin/busybox".as_ref(), "/bin/busybox", 0o755),
            file(&write("init", &script())?, "/init", 0o755),
            file(&write("keepalived.conf", CONFIG)?, "/etc/keepalived.conf", 0o644),
        ],
        &rest,
    )?;
    let tree = dir.join("tree");
    let wanted: Vec<(Use, String)> = MODULES.iter().map(|name| (Use::Load, (*name).to_owned())).collect();
    let load = kernel.take(&wanted, &tree)?;
    let mut modules = Vec::new();
    initramfs::modules(&tree, &load)?.write(&mut modules)?;
    let modules_file = dir.join("modules.cpio");
    fs::write(&modules_file, modules)?;
    let whole = dir.join("whole.cpio");
    initramfs::concatenate(&[&modules_file, &programs, &rest], &whole)?;
    let initramfs = dir.join("initramfs");
    compress(&whole, &initramfs)?;
    let program = fs::metadata(&programs)?.len();
    step.done();
    Ok(Peer { initramfs, program, version: version()? })
}

/// At the level of an image that is flashed.
fn compress(from: &Path, to: &Path) -> Result<()> {
    let mut zstd = Command::new("zstd")
        .args(["-q", "-f", "-T0", "-19", "-o"])
        .arg(to)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start zstd")?;
    zstd.stdin.take().context("zstd has no input")?.write_all(&fs::read(from)?)?;
    ensure!(zstd.wait()?.success(), "zstd failed");
    Ok(())
}

fn version() -> Result<String> {
    let output = Command::new(KEEPALIVED).arg("--version").output().context("cannot run keepalived")?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_calls_every_tool_by_its_path_as_there_are_no_links_to_busybox() {
        for line in script().lines().skip(1) {
            let call = line.strip_prefix("while true; do ").unwrap_or(line);
            assert!(call.starts_with("/bin/busybox ") || call.starts_with(KEEPALIVED), "{line}");
        }
    }
}
