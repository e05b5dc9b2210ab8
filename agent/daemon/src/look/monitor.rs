//! Every `monitor`.

use std::io;

use bascule_core::shell::command::Monitor;

use crate::shell::Agent;
use crate::shell::console::Console;

/// Tells what changes, until Ctrl-C.
///
/// # Errors
/// When the terminal is gone.
pub fn monitor(what: &Monitor, agent: &dyn Agent, console: &mut dyn Console) -> io::Result<()> {
    let _ = (what, agent);
    console.say("monitor is on its way")
}
