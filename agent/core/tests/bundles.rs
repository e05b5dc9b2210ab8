//! Bad bundles: every way that a file may be wrong is refused, and for its own reason.
//!
//! The files go through what an installation does: pieces of the file, the head first, then its verification, then
//! the payload. `cargo test -p bascule-core --test bundles -- --nocapture` prints the counts.

use std::collections::BTreeMap;

use bascule_core::bundle::{
    Head, Header, Key, KeyId, Keys, Kind, Manifest, Older, Payload, PayloadInfo, Refused, Running, Signature,
    Verified, acceptable, message,
};
use bascule_core::release::{RollbackIndex, Sha256, Version};
use ed25519_dalek::{Signer, SigningKey};

/// A payload that no test runs out of, and that is still quickly hashed a thousand times.
const PAYLOAD: usize = 20_000;

/// A signing key and its name.
struct Hand(SigningKey, &'static str, Kind);

impl Hand {
    fn new(seed: u8, name: &'static str, kind: Kind) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]), name, kind)
    }

    fn public(&self) -> Key {
        Key::new(self.1.parse().unwrap(), self.2, self.0.verifying_key().as_bytes()).unwrap()
    }

    fn sign(&self, manifest: &[u8]) -> Signature {
        let bytes = self.0.sign(&message(manifest)).to_bytes();
        Signature { key: self.public().id(), bytes }
    }
}

fn release() -> Hand {
    Hand::new(1, "release-2026", Kind::Release)
}

fn next() -> Hand {
    Hand::new(2, "release-2027", Kind::Release)
}

fn stranger() -> Hand {
    Hand::new(3, "stranger", Kind::Release)
}

/// The key in the source tree, which everybody has.
fn development() -> Hand {
    let text = include_str!("../../../config/keys/development.key");
    let secret = text.lines().find_map(|line| line.strip_prefix("secret = \"")).unwrap();
    let secret = bascule_core::release::unhex(secret.trim_end_matches('"')).unwrap();
    Hand(SigningKey::from_bytes(&secret), "development", Kind::Development)
}

fn trusted() -> Keys {
    Keys::new(vec![release().public(), next().public()]).unwrap()
}

fn running() -> Running {
    Running {
        board: "x86_64".parse().unwrap(),
        version: Version::new(0, 2, 0),
        floor: RollbackIndex(3),
        room: 1 << 20,
    }
}

fn payload() -> Vec<u8> {
    let mut rng = Rng(7);
    (0..PAYLOAD).map(|_| rng.below(256) as u8).collect()
}

fn manifest() -> Manifest {
    let payload = payload();
    let info = PayloadInfo { length: payload.len() as u64, sha256: Sha256::of(&payload) };
    let mut manifest = Manifest::new(
        "x86_64".parse().unwrap(),
        Version::new(0, 3, 0),
        RollbackIndex(3),
        Version::new(0, 1, 0),
        info,
    );
    manifest.commit = "0123456789ab".to_owned();
    manifest.built = 1_790_000_000;
    manifest
}

/// A bundle of `manifest` in any text, with the signatures of `hands`, and the usual payload.
fn bundle(manifest: &str, hands: &[&Hand]) -> Vec<u8> {
    let signatures: Vec<Signature> = hands.iter().map(|hand| hand.sign(manifest.as_bytes())).collect();
    let mut file = Head::assemble(manifest.as_bytes(), &signatures).unwrap();
    file.extend(payload());
    file
}

fn good() -> Vec<u8> {
    bundle(&manifest().render(), &[&release()])
}

/// Goes through a file as an installation does, in pieces of `piece` bytes; also tells how many bytes of payload
/// would have been written.
fn install(file: &[u8], piece: usize, keys: &Keys, running: &Running) -> (Result<Verified, Refused>, u64) {
    let mut head = Head::new();
    let mut checked: Option<(Verified, Payload)> = None;
    for chunk in file.chunks(piece) {
        let mut rest = chunk;
        if checked.is_none() {
            match head.take(chunk) {
                Ok(used) => rest = &chunk[used..],
                Err(refused) => return (Err(refused), 0),
            }
            assert!(head.bytes().len() <= Head::MAX);
            if head.is_whole() {
                let verified = head.verify(keys).and_then(|verified| {
                    acceptable(&verified, running, Older::Refuse)?;
                    Ok(verified)
                });
                match verified {
                    Ok(verified) => checked = Some((verified.clone(), Payload::new(verified.manifest()))),
                    Err(refused) => return (Err(refused), 0),
                }
            }
        }
        if let Some((_, payload)) = &mut checked
            && let Err(refused) = payload.feed(rest)
        {
            return (Err(refused), payload.taken());
        }
    }
    match checked {
        None => (head.verify(keys), 0),
        Some((verified, payload)) => {
            let taken = payload.taken();
            (payload.finish().map(|()| verified), taken)
        }
    }
}

fn refusal(file: &[u8]) -> Refused {
    install(file, 4096, &trusted(), &running()).0.expect_err("must be refused")
}

/// The variant's name, for counting.
fn name(refused: &Refused) -> String {
    let text = format!("{refused:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

/// xorshift64*: the same sequence everywhere.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn add(&mut self, refused: &Refused) {
        *self.0.entry(name(refused)).or_default() += 1;
    }

    fn print(&self, what: &str) {
        let list: Vec<String> = self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("{what}: {} refused ({})", self.0.values().sum::<usize>(), list.join(", "));
    }
}

#[test]
fn a_good_bundle_passes_in_pieces_of_any_size() {
    let file = good();
    for piece in [1, 7, 16, 17, 71, 4096, file.len()] {
        let (verified, taken) = install(&file, piece, &trusted(), &running());
        let verified = verified.unwrap();
        assert_eq!(verified.manifest(), &manifest());
        assert_eq!(verified.signer().name.as_str(), "release-2026");
        assert_eq!(taken, PAYLOAD as u64);
    }
}

#[test]
fn one_changed_byte_anywhere_is_refused() {
    let file = good();
    let head = file.len() - PAYLOAD;
    let mut rng = Rng(2026);
    let mut counts = Counts::default();
    // A thousand places over the whole file, and every single one of the head.
    let places: Vec<usize> = (0..1000).map(|_| rng.below(file.len())).chain(0..head).collect();
    for &at in &places {
        let mut bad = file.clone();
        bad[at] ^= 1 + rng.below(255) as u8;
        let (result, taken) = install(&bad, 4096, &trusted(), &running());
        let refused = result.expect_err(&format!("byte {at} was changed"));
        // Within header and manifest nothing of the payload may have been asked for; one more signature (of nobody)
        // makes the payload begin later, and its hash tells.
        if at < head && !matches!(refused, Refused::PayloadCutOff { .. }) {
            assert_eq!(taken, 0, "byte {at}: {refused}");
        }
        if at >= head {
            assert!(matches!(refused, Refused::Hash { .. }), "byte {at}: {refused}");
        }
        counts.add(&refused);
    }
    assert_eq!(counts.0.values().sum::<usize>(), 1000 + head);
    counts.print("changed at 1000 random places and at every byte of the head");
}

#[test]
fn every_bit_of_a_signature_and_of_its_key_counts() {
    let manifest = manifest().render();
    let start = Header::LEN + manifest.len();
    let file = good();
    let mut counts = Counts::default();
    for bit in 0..72 * 8 {
        let mut bad = file.clone();
        bad[start + bit / 8] ^= 1 << (bit % 8);
        let refused = refusal(&bad);
        let expected = if bit / 8 < 8 { "UnknownKey" } else { "BadSignature" };
        assert_eq!(name(&refused), expected, "bit {bit}");
        counts.add(&refused);
    }
    counts.print("one bit of the signature");
}

#[test]
fn a_bundle_that_is_cut_off_anywhere_is_refused() {
    let file = good();
    let head = file.len() - PAYLOAD;
    let mut counts = Counts::default();
    for len in (0..head).chain((head..file.len()).step_by(37)).chain([file.len() - 1]) {
        let refused = refusal(&file[..len]);
        match (&refused, len < head) {
            (Refused::HeadCutOff { have, .. }, true) => assert_eq!(*have, len),
            (Refused::PayloadCutOff { have, need }, false) => {
                assert_eq!((*have, *need), ((len - head) as u64, PAYLOAD as u64));
            }
            _ => panic!("cut off at {len}: {refused}"),
        }
        counts.add(&refused);
    }
    counts.print("cut off");
}

#[test]
fn what_follows_a_bundle_is_refused_and_never_taken() {
    let mut counts = Counts::default();
    for more in [1, 16, 511, 512, 4096, 100_000] {
        for piece in [1, 4096, 1 << 20] {
            let mut file = good();
            file.extend(vec![0; more]);
            let (result, taken) = install(&file, piece, &trusted(), &running());
            let refused = result.expect_err("must be refused");
            assert_eq!(refused, Refused::Trailing(PAYLOAD as u64));
            assert!(taken <= PAYLOAD as u64);
            counts.add(&refused);
        }
    }
    counts.print("trailing data");
}

#[test]
fn only_the_keys_of_the_image_count() {
    let text = manifest().render();
    let refused = refusal(&bundle(&text, &[&stranger()]));
    let Refused::UnknownKey { signed, trusted } = &refused else { panic!("{refused}") };
    assert_eq!(*signed, stranger().public().id().to_string());
    assert_eq!(trusted, "release-2026, release-2027");

    // Unsigned: a header with none, since none can be assembled.
    let mut file = good();
    file[12..16].fill(0);
    assert_eq!(refusal(&file), Refused::Unsigned);
    assert_eq!(Head::assemble(text.as_bytes(), &[]), Err(Refused::Unsigned));

    // Either active key, alone or beside one that is not known here; so a key can be replaced.
    for hands in [&[&release()][..], &[&next()], &[&stranger(), &next()], &[&release(), &next()]] {
        install(&bundle(&text, hands), 512, &self::trusted(), &running()).0.unwrap();
    }
}

#[test]
fn the_development_key_counts_only_where_it_is_trusted_and_the_refusal_says_what_it_is() {
    let file = bundle(&manifest().render(), &[&development()]);
    let refused = refusal(&file);
    assert_eq!(name(&refused), "DevelopmentKey");
    assert!(refused.to_string().contains("everybody has that key"), "{refused}");

    let text = include_str!("../../../config/keys/development.toml");
    let keys = Keys::parse(text).unwrap();
    assert_eq!(keys.kind(), Kind::Development);
    assert_eq!(keys.list(), [development().public()]);
    assert_eq!(development().public().id(), KeyId::DEVELOPMENT);
    let verified = install(&file, 512, &keys, &running()).0.unwrap();
    assert_eq!(verified.signer().kind, Kind::Development);
    // And it trusts no release key by itself.
    assert_eq!(name(&install(&good(), 512, &keys, &running()).0.unwrap_err()), "UnknownKey");
}

#[test]
fn a_signature_of_a_trusted_key_must_fit_whatever_the_others_are() {
    let text = manifest().render();
    let other = text.replace("0.3.0", "0.4.0");
    // Over another manifest; over the manifest without the words before it; under another key's name.
    let elsewhere = release().sign(other.as_bytes());
    let bare =
        Signature { key: release().public().id(), bytes: release().0.sign(text.as_bytes()).to_bytes() };
    let borrowed = Signature { key: release().public().id(), bytes: stranger().sign(text.as_bytes()).bytes };
    for bad in [elsewhere, bare, borrowed] {
        for signatures in [&[bad][..], &[next().sign(text.as_bytes()), bad]] {
            let mut file = Head::assemble(text.as_bytes(), signatures).unwrap();
            file.extend(payload());
            assert_eq!(refusal(&file), Refused::BadSignature("release-2026".parse().unwrap()));
        }
    }
}

#[test]
fn signatures_are_one_to_four_and_each_of_another_key() {
    let text = manifest().render();
    for hands in [&[&release(), &release()][..], &[&stranger(), &release(), &stranger()]] {
        assert_eq!(name(&refusal(&bundle(&text, hands))), "SignedTwice");
    }
    let five: Vec<Hand> = (10..15).map(|seed| Hand::new(seed, "k", Kind::Release)).collect();
    let signatures: Vec<Signature> = five.iter().map(|hand| hand.sign(text.as_bytes())).collect();
    assert_eq!(Head::assemble(text.as_bytes(), &signatures), Err(Refused::SignatureCount(5)));
    let mut all = vec![release()];
    all.extend(five.into_iter().take(3));
    install(&bundle(&text, &all.iter().collect::<Vec<_>>()), 512, &trusted(), &running()).0.unwrap();
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_stored() {
    let file = good();
    let with = |at: usize, number: u32| {
        let mut bad = file.clone();
        bad[at..at + 4].copy_from_slice(&number.to_le_bytes());
        refusal(&bad)
    };
    for length in [0, 65_537, 1 << 24, u32::MAX - 15, u32::MAX] {
        assert_eq!(with(8, length), Refused::ManifestLength(length));
    }
    for count in [5, 1 << 24, u32::MAX] {
        assert_eq!(with(12, count), Refused::SignatureCount(count));
    }
    // The signatures begin elsewhere then.
    for length in [1, 100, 65_536] {
        assert!(matches!(name(&with(8, length)).as_str(), "UnknownKey" | "HeadCutOff"), "{length}");
    }
    // A manifest as long as allowed passes; one byte more cannot be made.
    let comment = |len: usize| {
        let text = manifest().render();
        format!("{text}#{}", "x".repeat(len - text.len() - 1))
    };
    install(&bundle(&comment(65_536), &[&release()]), 4096, &trusted(), &running()).0.unwrap();
    let long = comment(65_537);
    let signature = release().sign(long.as_bytes());
    assert_eq!(Head::assemble(long.as_bytes(), &[signature]), Err(Refused::ManifestLength(65_537)));
}

#[test]
fn a_payload_that_is_announced_too_long_is_refused_before_its_first_byte() {
    let with = |length: &str| {
        let text = manifest().render().replace(&format!("length = {PAYLOAD}"), &format!("length = {length}"));
        let (result, taken) = install(&bundle(&text, &[&release()]), 4096, &trusted(), &running());
        assert_eq!(taken, 0, "{length}");
        result.expect_err("must be refused")
    };
    assert_eq!(with("0"), Refused::PayloadLength(0));
    assert_eq!(with(&(1_u64 << 60).to_string()), Refused::PayloadLength(1 << 60));
    assert_eq!(with("1073741825"), Refused::PayloadLength(1_073_741_825));
    for text in ["-1", "1.5", "18446744073709551616", "\"9\"", "true"] {
        assert_eq!(name(&with(text)), "Manifest", "{text}");
    }
    // Larger than a slot of this box.
    assert_eq!(with("1048577"), Refused::NoRoom { length: 1_048_577, room: 1 << 20 });
    // Announced longer or shorter than it is: found at the end, or at the first byte too many.
    for (length, expected) in [(PAYLOAD + 1, "PayloadCutOff"), (PAYLOAD - 1, "Trailing")] {
        let text = manifest().render().replace(&format!("length = {PAYLOAD}"), &format!("length = {length}"));
        assert_eq!(name(&refusal(&bundle(&text, &[&release()]))), expected);
    }
}

#[test]
fn the_wrong_board_an_older_version_and_one_below_the_floor_are_refused_with_the_way_out() {
    let with = |change: fn(&mut Manifest)| {
        let mut manifest = manifest();
        change(&mut manifest);
        refusal(&bundle(&manifest.render(), &[&release()])).to_string()
    };
    let board = with(|m| m.board = "aarch64".parse().unwrap());
    assert!(board.contains("board aarch64") && board.contains("this box is x86_64"), "{board}");
    let older = with(|m| m.version = Version::new(0, 1, 9));
    assert!(older.contains("0.1.9 is older than 0.2.0"), "{older}");
    let floor = with(|m| m.rollback_index = RollbackIndex(2));
    assert!(floor.contains("rollback index 2") && floor.contains("release with 3"), "{floor}");
    let from = with(|m| m.min_from = Version::new(0, 2, 1));
    assert!(from.contains("install 0.2.1 first"), "{from}");
}

#[test]
fn an_older_version_is_installed_when_asked_for_but_never_below_the_floor() {
    let verified = |version, index| {
        let mut manifest = manifest();
        (manifest.version, manifest.rollback_index) = (version, RollbackIndex(index));
        let file = bundle(&manifest.render(), &[&release()]);
        let mut head = Head::new();
        head.take(&file).unwrap();
        head.verify(&trusted()).unwrap()
    };
    let old = Version::new(0, 1, 0);
    assert_eq!(acceptable(&verified(old, 3), &running(), Older::Install), Ok(()));
    assert!(matches!(
        acceptable(&verified(old, 2), &running(), Older::Install),
        Err(Refused::BelowFloor { .. })
    ));
    // The same version again is no step back.
    assert_eq!(acceptable(&verified(running().version, 3), &running(), Older::Refuse), Ok(()));
}

#[test]
fn a_signed_manifest_that_is_not_understood_is_refused() {
    let text = manifest().render();
    let mut counts = Counts::default();
    for (from, to, expected) in [
        ("format = 1", "format = 2", "ManifestFormat"),
        ("format = 1", "format = -1", "Manifest"),
        ("format = 1\n", "", "Manifest"),
        ("format = 1", "format = 1\nformat = 1", "Manifest"),
        ("\"x86_64\"", "\"X86/64\"", "Manifest"),
        ("\"0.3.0\"", "\"0.3\"", "Manifest"),
        ("rollback-index = 3", "rollback-index = 4294967296", "Manifest"),
        ("rollback-index = 3", "rollback_index = 3", "Manifest"),
        ("sha256 = \"", "sha256 = \"0", "Manifest"),
        ("sha256 = ", "offset = 0, sha256 = ", "Manifest"),
        ("0123456789ab", "\\u001b[2J", "Manifest"),
        ("payload = ", "payload-two = ", "Manifest"),
        ("\n", "\n\u{0}", "Manifest"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text, "{from}");
        let refused = refusal(&bundle(&bad, &[&release()]));
        assert_eq!(name(&refused), expected, "{to}: {refused}");
        let shown = refused.to_string();
        assert!(shown.is_ascii() && !shown.contains(char::is_control), "{shown:?}");
        counts.add(&refused);
    }
    // What a later release may add is passed over.
    let more = format!("notes = \"https://example.org\"\n{text}[later]\nx = 1\n");
    install(&bundle(&more, &[&release()]), 512, &trusted(), &running()).0.unwrap();
    counts.print("signed, but not understood");
}

#[test]
fn garbage_is_refused() {
    let mut rng = Rng(99);
    let mut counts = Counts::default();
    for round in 0..2000 {
        let mut file: Vec<u8> = (0..rng.below(3000)).map(|_| rng.below(256) as u8).collect();
        // Half of it begins well.
        if round % 2 == 0 && file.len() > 16 {
            file[..8].copy_from_slice(b"BASCULE\x01");
            file[8..16].copy_from_slice(&[rng.below(200) as u8, 0, 0, 0, rng.below(6) as u8, 0, 0, 0]);
        }
        counts.add(&refusal(&file));
    }
    counts.add(&refusal(b"# GRUB Environment Block\n"));
    let refused = refusal(b"PK\x03\x04aaaaaaaaaaaaaaaaa");
    assert_eq!(refused, Refused::NotABundle);
    assert_eq!(refusal(b"BASCULE\x02aaaaaaaaaaaaaaaaa"), Refused::Format(2));
    counts.print("garbage");
    assert!(counts.0.len() >= 4, "{:?}", counts.0);
}
