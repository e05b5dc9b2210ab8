//! Certificate authorities of the operator's own: believed beside the public ones when a bundle comes over https.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::store;

/// The certificates, PEM.
pub const FILE: &str = "/data/config/ca.pem";

/// Believes these and no others beside the public ones; what to tell.
///
/// # Errors
/// When they are no certificates of authorities, or cannot be kept. What was there before stays.
pub fn set(pem: &str) -> Result<String, String> {
    set_at(Path::new(FILE), pem)
}

/// Believes the public ones alone; what to tell.
///
/// # Errors
/// When the file cannot be removed.
pub fn clear() -> Result<String, String> {
    store::remove(Path::new(FILE)).map_err(|error| error.to_string())?;
    Ok("The public certificate authorities alone are believed.".to_owned())
}

/// Adds the authorities of a PEM text to `roots`; how many there are.
///
/// # Errors
/// At the first that cannot be used, or when there is none.
pub fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<usize, String> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let number = count + 1;
        let certificate = certificate.map_err(|error| format!("certificate {number}: {error}"))?;
        roots.add(certificate).map_err(|error| format!("certificate {number}: {error}"))?;
        count += 1;
    }
    if count == 0 { Err("it has no certificate in PEM (BEGIN CERTIFICATE)".to_owned()) } else { Ok(count) }
}

fn set_at(path: &Path, pem: &str) -> Result<String, String> {
    let count = add(&mut RootCertStore::empty(), pem.as_bytes())
        .map_err(|reason| format!("Nothing was changed: {reason}."))?;
    store::replace(path, pem.as_bytes()).map_err(|error| error.to_string())?;
    let own =
        if count == 1 { "1 authority of your own is".to_owned() } else { format!("{count} of your own are") };
    Ok(format!("{own} believed beside the public ones."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const GOOD: &str = include_str!("http/testdata/ca.pem");

    #[test]
    fn certificates_are_kept_and_what_is_none_leaves_them_as_they_are() {
        let dir = Scratch::new("authority");
        let path = dir.path().join("config/ca.pem");
        assert!(set_at(&path, GOOD).unwrap().starts_with("1 authority"));
        assert!(set_at(&path, &format!("{GOOD}{GOOD}")).unwrap().starts_with("2 of your own"));
        let kept = std::fs::read(&path).unwrap();
        for bad in
            ["", "no PEM", &GOOD.replace("MII", "AAA"), &format!("{GOOD}{}", GOOD.replace("MII", "AAA"))]
        {
            let reason = set_at(&path, bad).unwrap_err();
            assert!(reason.contains("Nothing was changed"), "{reason}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), kept);
    }
}
