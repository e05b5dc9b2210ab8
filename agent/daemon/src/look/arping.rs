//! `arping`.

use std::io;
use std::net::IpAddr;

use bascule_core::net::IfName;

use crate::shell::console::Console;

/// Asks who has an address, until `count` or Ctrl-C. Whether there was an answer.
///
/// # Errors
/// When the terminal is gone.
pub fn arping(
    address: IpAddr,
    interface: Option<&IfName>,
    count: Option<u32>,
    console: &mut dyn Console,
) -> io::Result<bool> {
    let _ = (address, interface, count);
    console.say("arping is on its way")?;
    Ok(false)
}
