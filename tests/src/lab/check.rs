//! `bascule check` on each mistake that the issue names: the exact line, and that the exit status says so.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::runner::{Case, Context, Outcome};

use super::agent::bascule;
use super::process::TempDir;
use super::{case, passed};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("`bascule check` tells each mistake with its line and the way out, all at once", 60, mistakes),
        case("`bascule check` accepts a good file and tells a missing one", 60, good_and_missing),
    ]
}

const GOOD: &str = r#"interface.eth0.addresses = ["192.0.2.11/24"]

[vrrp.web]
interface = "eth0"
vrid = 51
priority = 150
addresses = ["192.0.2.100/24"]

[virtual-server.web]
address = "192.0.2.100"
port = 80
forward = "dr"
real-server."192.0.2.21:80" = {}
"#;

/// A mistake in the good file and what must be told of it.
struct Mistake {
    from: &'static str,
    to: &'static str,
    /// Line and column, and the path of the object.
    place: &'static str,
    message: &'static str,
    way_out: &'static str,
}

const MISTAKES: [Mistake; 6] = [
    Mistake {
        from: "priority = 150",
        to: "prioity = 150",
        place: "6:1, vrrp.web.prioity",
        message: "unknown key \"prioity\"",
        way_out: "did you mean priority?",
    },
    Mistake {
        from: "priority = 150",
        to: "priority = 255",
        place: "6:12, vrrp.web.priority",
        message: "priority 255 is for the owner of 192.0.2.100, and eth0 does not have it",
        way_out: "use 1 to 254, or list 192.0.2.100 in interface.eth0.addresses if it is the box's own",
    },
    Mistake {
        from: "port = 80\n",
        to: "port = 0\n",
        place: "11:8, virtual-server.web.port",
        message: "port 0 cannot carry a service",
        way_out: "use 1 to 65535",
    },
    Mistake {
        from: "192.0.2.21:80",
        to: "[2001:db8::1]:80",
        place: "13:13, virtual-server.web.real-server.\"[2001:db8::1]:80\"",
        message: "direct routing cannot reach the IPv6 server [2001:db8::1]:80 for an IPv4 service",
        way_out: "the packet is forwarded unchanged: give the server's IPv4 address",
    },
    Mistake {
        from: "[virtual-server.web]",
        to: "[vrrp.two]\ninterface = \"eth0\"\nvrid = 52\naddresses = [\"192.0.2.100/24\"]\n[virtual-server.web]",
        place: "7:14, vrrp.web.addresses[0]",
        message: "192.0.2.100 is already in vrrp.two (line 12)",
        way_out: "a virtual address belongs to one virtual router: remove one of the two",
    },
    Mistake {
        from: "[virtual-server.web]",
        to: "[vrrp.two]\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.101/24\"]\n[virtual-server.web]",
        place: "5:8, vrrp.web.vrid",
        message: "IPv4 virtual router id 51 on eth0 is already that of vrrp.two (line 11)",
        way_out: "two virtual routers on one segment need two ids",
    },
];

impl Mistake {
    fn applied(&self, text: &str) -> String {
        text.replacen(self.from, self.to, 1)
    }
}

fn mistakes(_: &mut Context) -> Result<Outcome> {
    let dir = TempDir::new("check")?;
    let path = dir.path().join("bad.toml");
    let name = path.to_string_lossy().into_owned();
    let check = |text: &str| -> Result<(bool, Vec<String>)> {
        fs::write(&path, text)?;
        let (good, said) = bascule(&["check", &name])?;
        Ok((good, said.lines().map(str::to_owned).collect()))
    };
    let told = |said: &[String], mistake: &Mistake| {
        let lines = [
            format!("error: {}", mistake.message),
            format!("--> {name}:{}", mistake.place),
            format!("= {}", mistake.way_out),
        ];
        lines.iter().all(|line| said.iter().any(|told| told.trim() == line))
    };
    for mistake in &MISTAKES {
        let text = mistake.applied(GOOD);
        ensure!(text != GOOD, "{:?} is not in the good file", mistake.from);
        let (good, said) = check(&text)?;
        ensure!(!good, "a file with {:?} is accepted: {said:?}", mistake.to);
        ensure!(
            told(&said, mistake),
            "with {:?} it must tell {:?} at {} with the way out {:?}, and says\n{}",
            mistake.to,
            mistake.message,
            mistake.place,
            mistake.way_out,
            said.join("\n")
        );
        let errors = said.iter().filter(|line| line.starts_with("error:")).count();
        ensure!(errors == 1, "with {:?} it tells {errors} errors: {said:#?}", mistake.to);
    }
    // Several at once are all told.
    for several in [[0, 2], [1, 3], [1, 2], [3, 5]] {
        let several = several.map(|index| &MISTAKES[index]);
        let text = several.iter().rev().fold(GOOD.to_owned(), |text, mistake| mistake.applied(&text));
        let (good, said) = check(&text)?;
        ensure!(!good, "a file with several mistakes is accepted");
        for mistake in several {
            let line = format!("error: {}", mistake.message);
            ensure!(
                said.contains(&line),
                "of several mistakes this is not told: {line}\n{}",
                said.join("\n")
            );
        }
    }
    Ok(passed(format!("{} mistakes", MISTAKES.len())))
}

fn good_and_missing(_: &mut Context) -> Result<Outcome> {
    let dir = TempDir::new("check")?;
    let path = dir.path().join("good.toml");
    let name = path.to_string_lossy().into_owned();
    let (good, said) = bascule(&["check", &name])?;
    ensure!(!good && said.contains(&name), "a missing file: {said}");
    fs::write(&path, GOOD)?;
    let (good, said) = bascule(&["check", &name])?;
    ensure!(good, "a good file is refused: {said}");
    // An interface that this machine does not have may be there on the box.
    fs::write(&path, GOOD.replace("eth0", "eth77"))?;
    let (good, missing) = bascule(&["check", &name])?;
    ensure!(good, "a file with an interface that is not here is refused: {missing}");
    let line = said.lines().last().context("nothing was said")?;
    Ok(passed(line.replace(&name, "good.toml")))
}
