//! `bascule check FILE`: what the agent would say to a configuration, without running it.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use bascule_core::config::{Checked, Config, Problem};

/// Longest file that is read. The parser refuses what is longer than its own, smaller limit.
const FILE_MAX: u64 = 8 << 20;

/// Checks the file and prints every problem. Succeeds when the agent would run it; warnings do not fail.
pub fn command(path: &Path) -> ExitCode {
    let name = path.display().to_string();
    let text = match read(path) {
        Ok(text) => text,
        Err(reason) => {
            eprintln!("error: {name}: {reason}");
            return ExitCode::FAILURE;
        }
    };
    match Config::parse(&text, &name) {
        Ok(checked) => {
            print_all(&checked.warnings);
            println!("{name}: good, {}", summary(&checked));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            print_all(&problems);
            eprintln!("{name}: refused, {}", count(problems.len(), "error"));
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8 text: save the file as UTF-8")
    })
}

fn print_all(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{}", problem.render());
    }
}

fn summary(checked: &Checked) -> String {
    let config = &checked.config;
    let real: usize = config.virtual_server.values().map(|server| server.real_server.len()).sum();
    [
        count(config.vrrp.len(), "virtual router"),
        count(config.virtual_server.len(), "virtual server"),
        count(real, "real server"),
        count(checked.warnings.len(), "warning"),
    ]
    .join(", ")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_good_file_succeeds_and_a_bad_or_unreadable_one_fails() {
        let scratch = Scratch::new("check");
        let path = scratch.path().join("box.toml");
        assert_eq!(command(&path), ExitCode::FAILURE, "not there");
        std::fs::write(&path, "[system]\nhostname = \"lb1\"\n").expect("written");
        assert_eq!(command(&path), ExitCode::SUCCESS);
        std::fs::write(&path, "[system]\nhostnam = \"lb1\"\n").expect("written");
        assert_eq!(command(&path), ExitCode::FAILURE);
        std::fs::write(&path, b"[system]\nhostname = \"\xff\"\n").expect("written");
        assert_eq!(read(&path), Err("line 2 is not UTF-8 text: save the file as UTF-8".to_owned()));
    }

    #[test]
    fn the_summary_counts_what_would_run() {
        let text =
            "[virtual-server.a]\naddress = \"192.0.2.1\"\nport = 80\nreal-server.\"10.0.0.1:80\" = {}\n";
        let checked = Config::parse(text, "f").expect("good");
        assert_eq!(summary(&checked), "0 virtual routers, 1 virtual server, 1 real server, 1 warning");
    }
}
