//! What a prompt tells: the state that whoever types must not overlook.

use core::time::Duration;

use super::line::Mode;
use crate::control::Standing;

/// The prompt without an agent.
pub const NO_AGENT: &str = "(NO AGENT)";

/// The prompt: `lb1(MASTER)> `, `lb1*# `, `lb1[confirm 4:31]# `, `lb1[testing 1.4.0]> `, `lb1[maintenance]> `,
/// `FAILSAFE# `. Without an agent there is nothing to tell but that.
#[must_use]
pub fn prompt(standing: Option<&Standing>, mode: Mode) -> String {
    let end = match mode {
        Mode::Operational => '>',
        Mode::Configuration => '#',
    };
    let Some(standing) = standing else { return format!("{NO_AGENT}{end} ") };
    if standing.failsafe {
        // No configuration of the operator runs: nothing else matters.
        let star = if standing.uncommitted { "*" } else { "" };
        return format!("FAILSAFE{star}# ");
    }
    let mut prompt = standing.hostname.clone();
    if !standing.role.is_empty() && mode == Mode::Operational {
        prompt += &format!("({})", standing.role);
    }
    if let Some(version) = &standing.testing {
        prompt += &format!("[testing {version}]");
    }
    if standing.maintenance {
        prompt += "[maintenance]";
    }
    if let Some(left) = standing.confirm {
        prompt += &format!("[confirm {}]", clock(left));
    }
    if standing.uncommitted {
        prompt.push('*');
    }
    format!("{prompt}{end} ")
}

/// The line above the prompt at a level of the configuration.
#[must_use]
pub fn level(level: &[String]) -> Option<String> {
    let words: Vec<String> = level.iter().map(|word| crate::config::words::quote(word)).collect();
    (!level.is_empty()).then(|| format!("[edit {}]", words.join(" ")))
}

/// `4:31`, `1:00:05`; a begun second counts.
fn clock(left: Duration) -> String {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mode::{Configuration, Operational};

    fn lb1() -> Standing {
        Standing { hostname: "lb1".into(), role: "MASTER".into(), ..Standing::default() }
    }

    #[test]
    fn a_prompt_tells_what_must_not_be_overlooked() {
        assert_eq!(prompt(Some(&lb1()), Operational), "lb1(MASTER)> ");
        assert_eq!(prompt(Some(&lb1()), Configuration), "lb1# ");
        let dirty = Standing { uncommitted: true, ..lb1() };
        assert_eq!(prompt(Some(&dirty), Configuration), "lb1*# ");
        let confirm = Standing { confirm: Some(Duration::from_millis(270_100)), ..lb1() };
        assert_eq!(prompt(Some(&confirm), Configuration), "lb1[confirm 4:31]# ");
        let alone = Standing { role: String::new(), ..lb1() };
        let testing = Standing { testing: Some("1.4.0".into()), ..alone.clone() };
        assert_eq!(prompt(Some(&testing), Operational), "lb1[testing 1.4.0]> ");
        let maintenance = Standing { maintenance: true, ..alone };
        assert_eq!(prompt(Some(&maintenance), Operational), "lb1[maintenance]> ");
        let failsafe = Standing { failsafe: true, ..lb1() };
        assert_eq!(prompt(Some(&failsafe), Operational), "FAILSAFE# ");
        assert_eq!(prompt(None, Operational), "(NO AGENT)> ");
    }

    #[test]
    fn a_countdown_has_hours_when_it_needs_them_and_never_shows_zero_early() {
        assert_eq!(clock(Duration::from_secs(3_605)), "1:00:05");
        assert_eq!(clock(Duration::from_millis(1)), "0:01");
        assert_eq!(clock(Duration::ZERO), "0:00");
    }

    #[test]
    fn a_level_is_shown_as_it_would_be_typed() {
        assert_eq!(level(&[]), None);
        let words = ["virtual-server", "web"].map(str::to_owned);
        assert_eq!(level(&words).as_deref(), Some("[edit virtual-server web]"));
    }
}
