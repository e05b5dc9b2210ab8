use super::*;
use crate::board::Board;
use crate::edition::Edition;
use crate::host;
use crate::source::Source;
use serde_json::Value;
use std::collections::BTreeSet;

fn slot(dir: &Path) -> Slot {
    fs::create_dir_all(dir).unwrap();
    let file = |name: &str| {
        let path = dir.join(name);
        fs::write(&path, name).unwrap();
        path
    };
    Slot {
        board: Board::X86_64,
        kernel: file("vmlinuz"),
        vmlinux: None,
        initramfs: file("initramfs"),
        cmdline: String::new(),
        binary: file("bascule"),
        edition: Edition::of_this_tree().unwrap(),
        source: Source { commit: "0123456789ab-dirty".into(), time: 1_790_000_000 },
    }
}

fn linux(copyright: Option<std::path::PathBuf>) -> Part {
    Part {
        kind: "operating-system",
        name: "linux-image-6.1.0-56-amd64".into(),
        version: "6.1.192-2".into(),
        purl: Some("pkg:deb/debian/linux-image-6.1.0-56-amd64@6.1.192-2?arch=amd64".into()),
        license: "GPL-2.0-only WITH Linux-syscall-note",
        source: "https://snapshot.debian.org/binary/linux-image-6.1.0-56-amd64/ (version 6.1.192-2)".into(),
        copyright,
    }
}

fn scratch(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("bascule-papers-{name}-{}", std::process::id()))
}

#[test]
fn the_bill_names_every_crate_of_the_binary_with_licence_and_checksum_and_no_tool() {
    let dir = scratch("bill");
    let slot = slot(&dir);
    let contents = Contents { crates: crates::of_binary(Board::X86_64).unwrap(), parts: vec![linux(None)] };
    let text = sbom::render(&slot, &contents).unwrap();
    let again = Contents { crates: crates::of_binary(Board::X86_64).unwrap(), parts: vec![linux(None)] };
    assert_eq!(text, sbom::render(&slot, &again).unwrap());
    let bill: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(bill["metadata"]["timestamp"], "2026-09-21T14:13:20Z");
    let components = bill["components"].as_array().unwrap();
    let names: BTreeSet<&str> = components.iter().map(|one| one["name"].as_str().unwrap()).collect();
    for linked in ["bascule", "bascule-core", "tokio", "ed25519-dalek", "linux-image-6.1.0-56-amd64"] {
        assert!(names.contains(linked), "{linked} is missing");
    }
    // What only builds or tests, or is a macro, is not in the binary.
    for tool in ["bascule-image", "bascule-tests", "proptest", "serde_derive", "gptman", "syn"] {
        assert!(!names.contains(tool), "{tool} is not linked");
    }
    assert!(components.len() > 80, "{}", components.len());
    for one in components {
        assert!(one["licenses"][0]["expression"].is_string(), "{one}");
        let own = ["bascule", "bascule-core"].contains(&one["name"].as_str().unwrap());
        let crates = one["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/"));
        assert_eq!(
            crates,
            one["hashes"][0]["content"].as_str().is_some_and(|hash| hash.len() == 64),
            "{one}"
        );
        assert!(own || one["purl"].is_string(), "{one}");
    }
    let references: BTreeSet<&str> = components.iter().filter_map(|one| one["bom-ref"].as_str()).collect();
    assert_eq!(references.len(), components.len(), "references are unique");
    for dependency in bill["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(references.contains(on.as_str().unwrap()), "{on} is no component");
        }
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_licences_come_with_their_texts_and_the_kernel_with_where_its_source_is() {
    let dir = scratch("texts");
    let slot = slot(&dir);
    let copyright = dir.join("copyright");
    fs::write(&copyright, "the kernel's authors\n").unwrap();
    let crates = crates::of_binary(Board::X86_64).unwrap();
    let contents = Contents { crates: crates.clone(), parts: vec![linux(Some(copyright))] };
    let text = licences::render(&slot, &contents).unwrap();
    assert_eq!(text, licences::render(&slot, &contents).unwrap());
    assert!(text.contains("source: https://snapshot.debian.org/binary/linux-image-6.1.0-56-amd64/"));
    assert!(text.contains("the kernel's authors"));
    assert!(text.contains("Permission is hereby granted, free of charge"), "MIT");
    assert!(text.contains("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"), "Apache");
    for one in &crates {
        assert!(text.contains(&format!("{} {}: ", one.id.0, one.id.1)), "{:?}", one.id);
    }
    assert!(text.contains("\nbascule\n\n") || text.contains("\nbascule, "), "Bascule's own terms");
    let without = text.matches("(its package holds no text)").count();
    assert!(without * 5 < crates.len(), "{without} of {} have no text", crates.len());
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn versions_are_found_in_changelogs_and_in_the_loader() {
    let log = "linux-signed-amd64 (6.1.192+2) bookworm-security; urgency=high\n\n  * x (y)\n";
    assert_eq!(distribution::newest(log).unwrap(), "6.1.192+2");
    assert_eq!(distribution::newest("nothing"), None);
    let module = b"\x7fELF\0GNU GRUB  version %s\x002.06-13+deb12u2\0normal\0";
    assert_eq!(distribution::version_in(module).unwrap(), "2.06-13+deb12u2");
    assert_eq!(distribution::version_in(b"2.06 or so\0"), None);
}

#[test]
fn versions_with_an_epoch_or_a_plus_are_encoded_in_package_urls() {
    assert_eq!(distribution::encoded("1:22.1.8-1~deb12u1"), "1%3A22.1.8-1~deb12u1");
    assert_eq!(distribution::encoded("2.06-13+deb12u2"), "2.06-13%2Bdeb12u2");
}

#[test]
fn old_spellings_of_a_choice_of_licences_become_spdx() {
    assert_eq!(sbom::expression("MIT/Apache-2.0"), "MIT OR Apache-2.0");
    assert_eq!(sbom::expression("Apache-2.0 / MIT"), "Apache-2.0 OR MIT");
    assert_eq!(sbom::expression("Apache-2.0 AND ISC"), "Apache-2.0 AND ISC");
}

#[test]
fn a_large_file_is_hashed_piece_by_piece() {
    let dir = scratch("hash");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("file");
    let bytes = vec![7; (1 << 20) + 13];
    fs::write(&path, &bytes).unwrap();
    assert_eq!(hash(&path).unwrap(), Sha256::of(&bytes));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_inputs_that_provenance_names_are_in_the_tree() {
    for name in provenance::INPUTS {
        assert!(host::root().join(name).is_file(), "{name}");
    }
    for board in [Board::X86_64, Board::Aarch64] {
        for name in provenance::OF_BOARD {
            assert!(board.dir().join(name).is_file(), "{board}: {name}");
        }
    }
}

#[test]
fn the_command_that_provenance_names_asks_for_the_kernel_that_was_taken() {
    let command = |origin| provenance::command(Board::X86_64, origin, crate::toolchain::Profile::Release);
    assert_eq!(command("source"), "cargo image build --board x86_64 --kernel source --profile release");
    assert_eq!(command("cloud"), "cargo image build --board x86_64 --flavour cloud --profile release");
}
