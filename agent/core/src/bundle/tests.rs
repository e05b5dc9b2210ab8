use super::*;

fn list(entries: &[(&str, &str, u8)]) -> String {
    let entry = |(name, kind, seed): &(&str, &str, u8)| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[*seed; 32]).verifying_key();
        let public: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[key]]\nname = \"{name}\"\nkind = \"{kind}\"\npublic = \"{public}\"\n")
    };
    entries.iter().map(entry).collect()
}

#[test]
fn two_release_keys_may_be_active_and_no_third() {
    let two = list(&[("a", "release", 1), ("b", "release", 2)]);
    let keys = Keys::parse(&two).unwrap();
    assert_eq!(keys.kind(), Kind::Release);
    assert_eq!(keys.list().iter().map(Key::render).collect::<String>(), two);
    let three = list(&[("a", "release", 1), ("b", "release", 2), ("c", "release", 3)]);
    let error = Keys::parse(&three).unwrap_err();
    assert!(matches!(error, KeyError::TooMany { kind: Kind::Release, count: 3, max: 2 }), "{error}");
    // A development key beside them makes it a development image.
    let mixed = list(&[("a", "release", 1), ("b", "release", 2), ("dev", "development", 3)]);
    assert_eq!(Keys::parse(&mixed).unwrap().kind(), Kind::Development);
}

#[test]
fn a_list_of_keys_that_is_not_in_order_is_refused_with_the_key_named() {
    let good = list(&[("a", "release", 1)]);
    let refusal = |text: &str| Keys::parse(text).unwrap_err().to_string();
    assert!(refusal("").contains("never be updated"));
    assert!(
        refusal(&list(&[("a", "release", 1), ("a", "release", 2)])).contains("key a is in the list twice")
    );
    assert!(refusal(&list(&[("a", "release", 1), ("b", "development", 1)])).contains("key b"));
    assert!(refusal(&good.replace("release", "trusted")).contains("trusted"));
    assert!(refusal(&good.replace("public = \"", "public = \"0")).contains("key a"));
    assert!(refusal(&format!("{good}secret = \"1\"\n")).contains("secret"));
    assert!(refusal(&format!("{good}{}", "#".repeat(20_000))).contains("16384"));
    // The neutral element: any signature would do.
    let weak = format!("01{}", "0".repeat(62));
    let text = format!("[[key]]\nname = \"w\"\nkind = \"release\"\npublic = \"{weak}\"\n");
    assert!(refusal(&text).contains("weak"));
}

#[test]
fn what_a_manifest_prints_it_reads_again() {
    let payload = PayloadInfo { length: 17_000_000, sha256: crate::release::Sha256::of(b"x") };
    let board: Board = "x86_64".parse().unwrap();
    let mut manifest =
        Manifest::new(board, Version::new(0, 2, 0), RollbackIndex(1), Version::new(0, 1, 0), payload);
    manifest.commit = "0123456789ab-dirty".to_owned();
    manifest.built = 1_790_000_000;
    assert_eq!(Manifest::parse(manifest.render().as_bytes()), Ok(manifest));
}

#[test]
fn the_head_takes_its_own_bytes_and_leaves_the_payload() {
    let signature = Signature { key: KeyId([7; 8]), bytes: [9; 64] };
    let whole = Head::assemble(b"manifest", &[signature]).unwrap();
    assert_eq!(whole.len(), 16 + 8 + 72);
    let file = [whole.as_slice(), b"payload"].concat();
    for first in 0..=file.len() {
        let mut head = Head::new();
        let used = head.take(&file[..first]).unwrap();
        assert_eq!(used, first.min(whole.len()));
        assert_eq!(head.is_whole(), first >= whole.len());
        assert_eq!(head.take(&file[used..]).unwrap(), whole.len() - used);
        assert_eq!(head.bytes(), whole);
        assert_eq!(head.take(b"more").unwrap(), 0);
        assert_eq!(head.unverified(), Ok((&b"manifest"[..], vec![signature])));
    }
}
