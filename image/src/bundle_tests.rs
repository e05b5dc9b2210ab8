use super::*;

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("bascule-bundle-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn slot(dir: &Path) -> Slot {
    let file = |name: &str, len: usize| {
        let path = dir.join(name);
        fs::write(&path, name.repeat(len)).unwrap();
        path
    };
    Slot {
        board: Target::X86_64,
        kernel: file("vmlinuz", 1000),
        vmlinux: None,
        initramfs: file("initramfs", 20_000),
        cmdline: "quiet".into(),
        binary: file("bascule", 1),
        edition: Edition::of_this_tree().unwrap(),
        source: Source { commit: "0123456789ab".into(), time: 1_790_000_000 },
    }
}

fn trusted(keys: &[&SecretKey]) -> Keys {
    Keys::new(keys.iter().map(|key| key.public.clone()).collect()).unwrap()
}

#[test]
fn a_bundle_holds_the_slot_archive_and_what_it_is() {
    let dir = scratch("make");
    let (slot, key) = (slot(&dir), SecretKey::development().unwrap());
    let out = dir.join(file_name(&slot));
    assert!(out.ends_with(format!("bascule-x86_64-{}.bundle", env!("CARGO_PKG_VERSION"))));
    let made = make(&slot, std::slice::from_ref(&key), &out).unwrap();
    let verified = verify(&out, &trusted(&[&key])).unwrap();
    assert_eq!(verified.manifest(), &made);
    assert_eq!(made.board.as_str(), "x86_64");
    assert_eq!((made.built, made.commit.as_str()), (1_790_000_000, "0123456789ab"));
    let archive = disk::archive(&slot).unwrap();
    assert!(fs::read(&out).unwrap().ends_with(&archive));
    assert_eq!(made.payload.length, archive.len() as u64);
    let shown = show(&out).unwrap();
    assert!(shown.contains("board = \"x86_64\"") && shown.contains("everybody has"), "{shown}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_release_key_signs_what_the_development_key_has_signed_and_takes_its_place() {
    let dir = scratch("sign");
    let (slot, development) = (slot(&dir), SecretKey::development().unwrap());
    let release = SecretKey::read(&keys::new("r1", Kind::Release, &dir).unwrap().secret).unwrap();
    let next = SecretKey::read(&keys::new("r2", Kind::Release, &dir).unwrap().secret).unwrap();
    let out = dir.join("b.bundle");
    make(&slot, std::slice::from_ref(&development), &out).unwrap();
    let refusal = |keys: &[&SecretKey]| format!("{:#}", verify(&out, &trusted(keys)).unwrap_err());
    assert!(refusal(&[&release]).contains("everybody has that key"));
    sign(&out, &release, true).unwrap();
    verify(&out, &trusted(&[&release])).unwrap();
    assert!(refusal(&[&development]).contains("no key that this box trusts"));
    // A second one: boxes that trust either take it.
    sign(&out, &next, false).unwrap();
    for key in [&release, &next] {
        verify(&out, &trusted(&[key])).unwrap();
    }
    let twice = sign(&out, &next, false).unwrap_err().to_string();
    assert!(twice.contains("already"), "{twice}");
    assert_eq!(show(&out).unwrap().matches("signature of key").count(), 2);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_damaged_bundle_is_refused_and_not_signed() {
    let dir = scratch("damaged");
    let (slot, key) = (slot(&dir), SecretKey::development().unwrap());
    let release = SecretKey::read(&keys::new("r", Kind::Release, &dir).unwrap().secret).unwrap();
    let out = dir.join("b.bundle");
    make(&slot, std::slice::from_ref(&key), &out).unwrap();
    let good = fs::read(&out).unwrap();
    let last = good.len() - 1;
    let mut changed = good.clone();
    changed[last] ^= 1;
    for (bad, reason) in [
        (changed, "instead of"),
        (good[..last].to_vec(), "cut off"),
        (good[..40].to_vec(), "cut off"),
        ([good.as_slice(), b"x"].concat(), "goes on"),
        (Vec::new(), "cut off"),
        (b"PK\x03\x04 is some other file".to_vec(), "not a Bascule bundle"),
    ] {
        fs::write(&out, &bad).unwrap();
        let refusal = format!("{:#}", verify(&out, &trusted(&[&key])).unwrap_err());
        assert!(refusal.contains(reason), "{refusal}");
        let unsigned = format!("{:#}", sign(&out, &release, true).unwrap_err());
        assert!(unsigned.contains(reason), "{unsigned}");
        assert_eq!(fs::read(&out).unwrap(), bad, "it stays as it was");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_bundle_needs_one_to_four_keys_and_the_build_says_when_no_box_would_take_it() {
    let dir = scratch("keys");
    let slot = slot(&dir);
    let out = dir.join("b.bundle");
    assert!(make(&slot, &[], &out).is_err());
    assert!(!out.exists());
    let release = SecretKey::read(&keys::new("r", Kind::Release, &dir).unwrap().secret).unwrap();
    let development = SecretKey::development().unwrap();
    let list = trusted(&[&release]);
    let text = warning(Kind::Release, &list, std::slice::from_ref(&development.public)).unwrap();
    assert!(text.contains("release image trusts (r)"), "{text}");
    assert_eq!(warning(Kind::Release, &list, &[development.public, release.public]), None);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_a_bundle_shows_cannot_act_on_the_terminal() {
    let dir = scratch("show");
    let out = dir.join("b.bundle");
    let key = SecretKey::development().unwrap();
    let text = b"x = \"\x1b[2J\xff\"\n";
    fs::write(&out, Head::assemble(text, &[key.sign(text)]).unwrap()).unwrap();
    let shown = show(&out).unwrap();
    assert!(shown.is_ascii() && !shown.contains('\x1b'), "{shown:?}");
    fs::remove_dir_all(dir).unwrap();
}
