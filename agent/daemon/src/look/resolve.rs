//! Names to addresses, without holding the console up.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use bascule_core::shell::table::wrap;
use nix::net::if_::if_nametoindex;

use crate::shell::console::Console;

/// How often Ctrl-C is looked for while something else is waited for.
pub const GLANCE: Duration = Duration::from_millis(50);

/// Prints a text that may be too long for a line.
///
/// # Errors
/// When the terminal is gone.
pub fn tell(console: &mut dyn Console, text: &str) -> io::Result<()> {
    let mut lines = Vec::new();
    wrap(&mut lines, "", text);
    lines.iter().try_for_each(|line| console.say(line))
}

/// An address as it is written, `fe80::1%eth0` included; `None` when it is a name.
///
/// # Errors
/// Why an address cannot be used, in words.
pub fn literal(host: &str) -> Result<Option<SocketAddr>, String> {
    if let Some((address, interface)) = host.split_once('%')
        && let Ok(address) = address.parse::<Ipv6Addr>()
    {
        let index = if_nametoindex(interface)
            .map_err(|_| format!("{host}: there is no interface {interface}; see \"show interfaces\""))?;
        return Ok(Some(SocketAddr::V6(SocketAddrV6::new(address, 0, 0, index))));
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
            Err(format!("{host} is link-local: add the interface, for instance {host}%eth0"))
        }
        Ok(address) => Ok(Some(SocketAddr::new(address, 0))),
        Err(_) => Ok(None),
    }
}

/// The address of a host. What went wrong has been told; `None` then, and when Ctrl-C came first.
///
/// # Errors
/// When the terminal is gone.
pub fn resolve(host: &str, console: &mut dyn Console) -> io::Result<Option<SocketAddr>> {
    match literal(host) {
        Ok(Some(address)) => return Ok(Some(address)),
        Ok(None) => {}
        Err(reason) => return tell(console, &reason).map(|()| None),
    }
    let (answer, wait) = channel();
    let name = host.to_owned();
    // The resolver of the C library cannot be interrupted; a thread that is left behind ends by itself.
    std::thread::Builder::new().name("resolve".into()).spawn(move || {
        let _ = answer.send((name.as_str(), 0).to_socket_addrs().map(|mut found| found.next()));
    })?;
    loop {
        let failed = match wait.recv_timeout(GLANCE) {
            Ok(Ok(Some(address))) => return Ok(Some(address)),
            Ok(Ok(None)) => "it has no address".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(RecvTimeoutError::Timeout) if console.pause(Duration::ZERO)? => return Ok(None),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => "the resolver ended".to_owned(),
        };
        let text = format!("{host} cannot be resolved: {failed}: give an address, or check the name servers");
        return tell(console, &text).map(|()| None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::testing::Memory;

    #[test]
    fn addresses_need_no_resolver_and_link_local_ones_need_an_interface() {
        assert_eq!(literal("10.0.0.1"), Ok(Some("10.0.0.1:0".parse().unwrap())));
        assert!(matches!(literal("fe80::1%lo"), Ok(Some(SocketAddr::V6(v6))) if v6.scope_id() > 0));
        assert!(literal("fe80::1").unwrap_err().contains("fe80::1%eth0"));
        assert!(literal("fe80::1%nosuch0").unwrap_err().contains("no interface nosuch0"));
        assert_eq!(literal("www.example.org"), Ok(None));
    }

    #[test]
    fn a_name_that_cannot_be_says_so_and_the_way_out() {
        let mut console = Memory { pauses: 1_000, ..Memory::default() };
        assert_eq!(resolve("no such host", &mut console).unwrap(), None);
        let said = console.said.borrow().join(" ");
        assert!(said.contains("no such host cannot be resolved") && said.contains("name servers"), "{said}");
    }
}
