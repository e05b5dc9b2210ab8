//! The manifest of a bundle: any bytes, as if they had been signed.

use bascule_core::bundle::{Header, Manifest, Payload, PayloadInfo};

/// Checks what must hold of any bytes that are given as a manifest.
pub fn bundle_manifest(bytes: &[u8]) {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            assert!(bytes.len() <= Header::MAX_MANIFEST);
            assert!((1..=PayloadInfo::MAX).contains(&manifest.payload.length));
            let text = manifest.render();
            assert!(text.is_ascii(), "{text:?}");
            assert_eq!(Manifest::parse(text.as_bytes()).as_ref(), Ok(&manifest), "{text}");
            let mut payload = Payload::new(&manifest);
            let length = usize::try_from(manifest.payload.length).unwrap_or(usize::MAX);
            let taken = payload.feed(bytes).is_ok();
            assert_eq!(taken, bytes.len() <= length);
            assert_eq!(payload.taken() + payload.left(), manifest.payload.length);
            assert!(payload.finish().is_err(), "nobody guesses a hash");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 400 && text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
        }
    }
}
