//! The resolver's file: `/etc/resolv.conf` of a box is a link to it, because the root file system is read-only.

use std::net::IpAddr;
use std::path::Path;

use crate::store::{self, StoreError};

/// Its name in the run directory.
const FILE: &str = "resolv.conf";

/// Writes it. Unreachable servers are given up after two seconds, so that a command is not stuck for half a minute.
///
/// # Errors
/// When it cannot be written.
pub fn write(run_dir: &Path, servers: &[IpAddr]) -> Result<(), StoreError> {
    store::replace_volatile(&run_dir.join(FILE), text(servers).as_bytes())
}

fn text(servers: &[IpAddr]) -> String {
    let mut text = "# Made from [system] name-servers.\n".to_owned();
    text.extend(servers.iter().map(|server| format!("nameserver {server}\n")));
    // Without a server the resolver asks this machine, in vain: it shall not wait long for that.
    let patience = if servers.is_empty() { "timeout:1 attempts:1" } else { "timeout:2 attempts:2" };
    text + &format!("options {patience}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn servers_come_in_their_order_and_a_change_replaces_the_file() {
        let dir = Scratch::new("resolver");
        let servers: Vec<IpAddr> = vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        write(dir.path(), &servers).unwrap();
        let read = || std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(
            read().lines().skip(1).collect::<Vec<_>>(),
            ["nameserver 192.0.2.53", "nameserver 2001:db8::53", "options timeout:2 attempts:2"]
        );
        write(dir.path(), &[]).unwrap();
        assert_eq!(read().lines().skip(1).collect::<Vec<_>>(), ["options timeout:1 attempts:1"]);
    }
}
