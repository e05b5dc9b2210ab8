//! What a command may do: change something (refused to whoever may only read, and written down), end service (asked
//! first).

use super::command::{Candidate, Command, Update, When};
use crate::overrides::{Operation, ServerOverride, ServiceOverride};

/// Whether a command changes something, and so is for administrators and the audit log.
#[must_use]
pub fn changes(command: &Command) -> bool {
    match command {
        Command::Help
        | Command::Show(_)
        | Command::Monitor(_)
        | Command::Ping { .. }
        | Command::Traceroute { .. }
        | Command::Arping { .. }
        | Command::Check { .. }
        | Command::Terminal { .. }
        | Command::Exit
        | Command::Logout => false,
        // Empties the table with -C.
        Command::Ipvsadm(arguments) => !arguments.iter().all(|argument| reads(argument)),
        Command::Operate(_)
        | Command::Backup { .. }
        | Command::SupportBundle { .. }
        | Command::FactoryReset
        | Command::Setup
        | Command::Reboot(_)
        | Command::Poweroff(_)
        | Command::Configure(_)
        | Command::Reload
        | Command::RestartAgent
        | Command::PeerKey(_)
        | Command::Authority(_)
        | Command::User(_) => true,
        Command::Update(update) => *update != Update::Status,
        Command::Candidate(candidate) => candidate_changes(candidate),
        Command::Run(command) => changes(command),
    }
}

/// A session is an administrator's, but only what it changes is written down.
const fn candidate_changes(candidate: &Candidate) -> bool {
    match candidate {
        Candidate::Level(_)
        | Candidate::Up
        | Candidate::Top
        | Candidate::Compare(_)
        | Candidate::Validate => false,
        Candidate::Edit(_)
        | Candidate::Commit { .. }
        | Candidate::Confirm
        | Candidate::Rollback(_)
        | Candidate::Discard
        | Candidate::SaveRescue
        | Candidate::Load { .. } => true,
    }
}

/// Whether an argument of ipvsadm only lists (`-Ln`, `--stats`).
fn reads(argument: &str) -> bool {
    match argument.strip_prefix("--") {
        Some(long) => ["list", "save", "numeric", "stats", "rate", "daemon", "connection"].contains(&long),
        None => argument.strip_prefix('-').is_some_and(|short| short.bytes().all(|b| b"LlSnc".contains(&b))),
    }
}

/// The question that a command asks first because it ends service, if it does.
#[must_use]
pub fn question(command: &Command) -> Option<String> {
    match command {
        Command::Operate(operation) => operation_question(operation),
        Command::FactoryReset => Some("Wipe configuration, users and keys, and restart this box?".to_owned()),
        Command::Reboot(When::Now | When::In(_)) => Some("Restart this box?".to_owned()),
        Command::Poweroff(When::Now | When::In(_)) => Some("Switch this box off?".to_owned()),
        Command::Update(update) => update_question(update),
        Command::Run(command) => question(command),
        Command::Reboot(When::Cancel)
        | Command::Poweroff(When::Cancel)
        | Command::Help
        | Command::Show(_)
        | Command::Monitor(_)
        | Command::Ping { .. }
        | Command::Traceroute { .. }
        | Command::Arping { .. }
        | Command::Check { .. }
        | Command::Backup { .. }
        | Command::SupportBundle { .. }
        | Command::Setup
        | Command::Terminal { .. }
        | Command::Configure(_)
        | Command::Exit
        | Command::Logout
        | Command::Reload
        | Command::RestartAgent
        | Command::Ipvsadm(_)
        | Command::PeerKey(_)
        | Command::Authority(_)
        | Command::User(_)
        | Command::Candidate(_) => None,
    }
}

fn update_question(update: &Update) -> Option<String> {
    match update {
        Update::Pair { .. } => {
            Some("Update both boxes: the other one restarts first, then this one?".to_owned())
        }
        Update::Activate => Some("Restart this box into the installed system, on trial?".to_owned()),
        Update::Rollback => Some("Restart this box into the system that ran before?".to_owned()),
        Update::Install { .. } | Update::Status | Update::Confirm | Update::Cancel => None,
    }
}

fn operation_question(operation: &Operation) -> Option<String> {
    let all = |router: &Option<crate::net::Name>| {
        router
            .as_ref()
            .map_or_else(|| "every virtual router".to_owned(), |name| format!("virtual router {name}"))
    };
    match operation {
        Operation::RealServer { service, server, to } => match to {
            ServerOverride::Enable => None,
            ServerOverride::Drain { .. } => Some(format!("Drain {service}/{server}: no new connections?")),
            ServerOverride::Halt => Some(format!("Halt {service}/{server}: its connections end?")),
        },
        Operation::Service { service, to } => match to {
            ServiceOverride::Enable => None,
            ServiceOverride::Disable => Some(format!("Disable {service}: nothing will answer?")),
            ServiceOverride::Sorry => Some(format!("Send new connections of {service} to its sorry server?")),
        },
        Operation::Yield { router, .. } => Some(format!("Hand the addresses of {} over?", all(router))),
        Operation::Takeover { router, .. } => Some(format!("Take the addresses of {} over?", all(router))),
        Operation::Normal { .. } | Operation::Maintenance(false) => None,
        Operation::Maintenance(true) => Some("Take this box out of service?".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::BundleFrom;
    use super::*;

    #[test]
    fn listing_the_ipvs_table_is_reading_and_emptying_it_is_not() {
        let ipvsadm =
            |arguments: &[&str]| changes(&Command::Ipvsadm(arguments.iter().map(|a| (*a).into()).collect()));
        assert!(!ipvsadm(&["-Ln", "--stats"]) && !ipvsadm(&["-Sn"]) && !ipvsadm(&[]));
        assert!(ipvsadm(&["-C"]) && ipvsadm(&["-L", "-C"]) && ipvsadm(&["--clear"]) && ipvsadm(&["web"]));
    }

    #[test]
    fn looking_at_an_update_is_reading_and_what_restarts_the_box_is_asked_first() {
        let update = Command::Update;
        assert!(!changes(&update(Update::Status)) && question(&update(Update::Status)).is_none());
        for command in [Update::Activate, Update::Rollback] {
            assert!(question(&update(command.clone())).is_some() && changes(&update(command)));
        }
        let install = Update::Install { from: BundleFrom::Serial, older: false };
        for command in [Update::Confirm, Update::Cancel, install] {
            assert!(question(&update(command.clone())).is_none() && changes(&update(command)));
        }
    }

    #[test]
    fn what_runs_from_configuration_mode_is_as_dangerous_as_elsewhere() {
        let run = |command| Command::Run(Box::new(command));
        assert!(changes(&run(Command::Reload)) && !changes(&run(Command::Help)));
        assert!(question(&run(Command::Reboot(When::Now))).is_some());
        assert!(question(&Command::Reboot(When::Cancel)).is_none());
    }
}
