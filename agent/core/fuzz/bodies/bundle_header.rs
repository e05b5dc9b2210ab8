//! The head of a bundle: any bytes, in pieces of any size.

use std::sync::LazyLock;

use bascule_core::bundle::{Head, Header, Keys, Refused, verify};

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    Keys::parse(include_str!("../../../../config/keys/development.toml")).expect("the development key")
});

/// Checks what must hold of any bytes that are given as a bundle.
pub fn bundle_header(bytes: &[u8]) {
    // The first byte says how the others arrive.
    let Some((&piece, file)) = bytes.split_first() else { return };
    let piece = usize::from(piece) + 1;
    let (mut head, mut used) = (Head::new(), 0);
    let mut refused = None;
    for chunk in file.chunks(piece) {
        match head.take(chunk) {
            Ok(count) => {
                assert!(count <= chunk.len());
                used += count;
                if count < chunk.len() {
                    assert!(head.is_whole(), "bytes were left before the head was whole");
                    break;
                }
            }
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(head.bytes().len() <= Head::MAX);
    let plain = file.first_chunk::<{ Header::LEN }>().map(Header::parse);
    match (plain, refused) {
        (Some(Err(one)), Some(other)) => assert_eq!(one, other),
        (Some(Ok(header)), None) => {
            assert_eq!(used, header.head_len().min(file.len()));
            assert_eq!(head.bytes(), &file[..used]);
            assert_eq!(head.is_whole(), used == header.head_len());
            whole(&head);
        }
        (None, None) => assert_eq!(used, file.len()),
        (plain, refused) => panic!("pieces: {refused:?}, at once: {plain:?}"),
    }
}

/// What holds once the header is in order.
fn whole(head: &Head) {
    match head.unverified() {
        Ok((manifest, signatures)) => {
            assert!(head.is_whole());
            assert_eq!(Head::assemble(manifest, &signatures).as_deref(), Ok(head.bytes()));
        }
        Err(error) => assert!(!head.is_whole() || matches!(error, Refused::SignedTwice(_)), "{error}"),
    }
    // Nobody guesses a signature, so what is not signed is refused, in plain words.
    match verify(head.bytes(), &KEYS) {
        Ok(verified) => assert_eq!(verified.signer().name.as_str(), "development"),
        Err(error) => assert!(error.to_string().bytes().all(|byte| matches!(byte, b' '..=b'~')), "{error}"),
    }
}
