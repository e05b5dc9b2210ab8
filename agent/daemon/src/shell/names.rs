//! Live names for completion: what the agent has, and the interfaces that the kernel has.

use std::fs;

use bascule_core::control::{Reply, Request, SessionId};
use bascule_core::shell::args::Names;

use super::Agent;

/// The names of a box.
pub struct Live<'a> {
    pub agent: &'a dyn Agent,
    pub session: Option<SessionId>,
}

impl Names for Live<'_> {
    fn names(&self, path: &[&str]) -> Vec<String> {
        let words = path.iter().map(|word| (*word).to_owned()).collect();
        let mut names = match self.agent.ask(&Request::Names { session: self.session, path: words }) {
            Ok(Reply::Lines(names)) => names,
            Ok(_) | Err(_) => Vec::new(),
        };
        if path == ["interface"] {
            let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
            // Interfaces are directories; a kernel with bonding built in has a file `bonding_masters` beside them.
            let interfaces = entries.filter(|entry| entry.path().is_dir());
            names.extend(interfaces.filter_map(|entry| entry.file_name().into_string().ok()));
            names.sort();
            names.dedup();
        }
        names
    }
}
