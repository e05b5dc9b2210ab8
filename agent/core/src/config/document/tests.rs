//! Documents: the text and back, commands, edits, differences.

use super::*;
use crate::config::edit::Edit;

fn document(text: &str) -> Document {
    match Document::parse(text, "f") {
        Ok(document) => document,
        Err(problems) => panic!("{}", problems.iter().map(Problem::render).collect::<String>()),
    }
}

fn words(line: &str) -> Vec<String> {
    crate::config::words::split(line).into_iter().map(|word| word.text).collect()
}

/// Applies `set` lines to nothing.
fn made(lines: &[&str]) -> Document {
    let mut document = Document::default();
    for line in lines {
        set(&mut document, line).unwrap_or_else(|misedit| panic!("{line}: {misedit:?}"));
    }
    document
}

fn set(document: &mut Document, line: &str) -> Result<(), Misedit> {
    document.apply(&Edit::Set(words(line)))
}

const WEB: [&str; 9] = [
    "system hostname lb1",
    "interface eth0 addresses 192.0.2.11/24",
    "vrrp web interface eth0 vrid 51 priority 150",
    "vrrp web addresses 192.0.2.100/24",
    "vrrp web addresses 10.1.0.1/24 interface eth1",
    "virtual-server web address 192.0.2.100 port 80",
    "virtual-server web check kind tcp",
    "virtual-server web real-server 10.1.0.21:80 weight 2",
    "virtual-server web real-server 10.1.0.22:80",
];

const WEB_TEXT: &str = "[system]\n\
    hostname = \"lb1\"\n\
    \n\
    [interface.eth0]\n\
    addresses = [\"192.0.2.11/24\"]\n\
    \n\
    [vrrp.web]\n\
    interface = \"eth0\"\n\
    vrid = 51\n\
    priority = 150\n\
    addresses = [\"192.0.2.100/24\", { address = \"10.1.0.1/24\", interface = \"eth1\" }]\n\
    \n\
    [virtual-server.web]\n\
    address = \"192.0.2.100\"\n\
    port = 80\n\
    check = { kind = \"tcp\" }\n\
    real-server.\"10.1.0.21:80\" = { weight = 2 }\n\
    real-server.\"10.1.0.22:80\" = {}\n";

#[test]
fn set_lines_make_the_canonical_text_that_the_model_reads() {
    let document = made(&WEB);
    assert_eq!(document.print(), WEB_TEXT);
    assert_eq!(Document::parse(WEB_TEXT, "f"), Ok(document.clone()));
    assert!(document.check().is_ok(), "{:?}", document.check());
}
