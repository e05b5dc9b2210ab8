//! Devices that arrive: the kernel's announcements (`lib/kobject_uevent.c`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};

/// A socket that hears them.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Opens it.
    ///
    /// # Errors
    /// When the kernel has no such sockets.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd =
            socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkKObjectUEvent)?;
        // A burst at boot is many devices long.
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &(1 << 20));
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(Self(fd))
    }

    /// The modaliases of devices that arrived since the last call, at most a thousand.
    pub fn arrivals(&self) -> Vec<String> {
        let mut aliases = Vec::new();
        let mut bytes = [0; 8_192];
        for _ in 0..1_000 {
            match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => aliases.extend(modalias(&bytes[..count])),
                // Overrun: what was lost is found by the next look at all devices.
                Err(nix::errno::Errno::ENOBUFS | nix::errno::Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        aliases
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The modalias of a device that was added: `add@/devices/...`, then `NAME=value`, each ended by NUL.
fn modalias(message: &[u8]) -> Option<String> {
    let mut fields = message.split(|byte| *byte == 0);
    fields.next().filter(|head| head.starts_with(b"add@"))?;
    let alias = fields.find_map(|field| field.strip_prefix(b"MODALIAS="))?;
    String::from_utf8(alias.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_added_devices_with_a_modalias_count() {
        let message = |head: &str| format!("{head}@/devices/x\0ACTION=add\0MODALIAS=usb:v1\0SEQNUM=4\0");
        assert_eq!(modalias(message("add").as_bytes()).as_deref(), Some("usb:v1"));
        assert_eq!(modalias(message("remove").as_bytes()), None);
        assert_eq!(modalias(b"add@/devices/x\0ACTION=add\0"), None);
        assert_eq!(modalias(b""), None);
    }
}
