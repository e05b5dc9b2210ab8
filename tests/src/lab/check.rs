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

/// A mistake in the good file: what is replaced by what, and the line that must be told.
const MISTAKES: [(&str, &str, &str); 6] = [
    (
        "priority = 150",
        "prioity = 150",
        "6:1: vrrp.web.prioity: unknown key \"prioity\" (did you mean priority?)",
    ),
    (
        "priority = 150",
        "priority = 255",
        "6:12: vrrp.web.priority: priority 255 is for the owner of 192.0.2.100, and eth0 does not have it (use 1 to \
         254, or list 192.0.2.100 in interface.eth0.addresses if it is the box's own)",
    ),
    (
        "port = 80\n",
        "port = 0\n",
        "11:8: virtual-server.web.port: port 0 cannot carry a service (use 1 to 65535)",
    ),
    (
        "192.0.2.21:80",
        "[2001:db8::1]:80",
        "13:13: virtual-server.web.real-server.\"[2001:db8::1]:80\": direct routing cannot reach the IPv6 server \
         [2001:db8::1]:80 for an IPv4 service (the packet is forwarded unchanged: give the server's IPv4 address)",
    ),
    (
        "[virtual-server.web]",
        "[vrrp.two]\ninterface = \"eth0\"\nvrid = 52\naddresses = [\"192.0.2.100/24\"]\n[virtual-server.web]",
        "7:14: vrrp.web.addresses[0]: 192.0.2.100 is already in vrrp.two (line 12) (a virtual address belongs to one \
         virtual router: remove one of the two)",
    ),
    (
        "[virtual-server.web]",
        "[vrrp.two]\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.101/24\"]\n[virtual-server.web]",
        "5:8: vrrp.web.vrid: IPv4 virtual router id 51 on eth0 is already that of vrrp.two (line 11) (two virtual \
         routers on one segment need two ids)",
    ),
];

fn mistakes(_: &mut Context) -> Result<Outcome> {
    let dir = TempDir::new("check")?;
    let path = dir.path().join("bad.toml");
    let name = path.to_string_lossy().into_owned();
    let check = |text: &str| -> Result<(bool, Vec<String>)> {
        fs::write(&path, text)?;
        let (good, said) = bascule(&["check", &name])?;
        Ok((good, said.lines().map(str::to_owned).collect()))
    };
    for (from, to, wanted) in MISTAKES {
        let text = GOOD.replacen(from, to, 1);
        ensure!(text != GOOD, "{from:?} is not in the good file");
        let (good, said) = check(&text)?;
        let wanted = format!("{name}:{wanted}");
        ensure!(!good, "a file with {to:?} is accepted: {said:?}");
        ensure!(said.contains(&wanted), "with {to:?} it must say\n{wanted}\nand says\n{}", said.join("\n"));
        let errors = said.iter().filter(|line| line.starts_with(&format!("{name}:"))).count();
        ensure!(errors == 1, "with {to:?} it tells {errors} errors: {said:#?}");
    }
    // Several at once are all told.
    let text = MISTAKES[..4].iter().fold(GOOD.to_owned(), |text, (from, to, _)| text.replacen(from, to, 1));
    let (good, said) = check(&text)?;
    ensure!(!good);
    for word in ["6:1:", "11:8:", "13:13:"] {
        let told = said.iter().any(|line| line.starts_with(&format!("{name}:{word}")));
        ensure!(told, "of several mistakes that at {word} is not told: {said:#?}");
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
