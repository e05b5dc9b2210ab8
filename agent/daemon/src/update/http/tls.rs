//! TLS to the server: rustls with the public certificate authorities, and those of the operator.
//!
//! It keeps what is downloaded secret. What makes it trustworthy is the bundle's own signature, so a box whose clock or
//! certificates are wrong is still updated: over `http://` or from a stick.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use thiserror::Error;

use super::super::authority;
use crate::sys;

/// A clock before this was never set: the sources are younger (2025-01-01).
const SENSIBLE: u64 = 1_735_689_600;

/// Why there is no encrypted connection.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate is not believed.
    #[error(
        "{host} cannot prove who it is: {error}.{} If its authority is your own: \"update authority set\". \
         The bundle is signed in any case: http:// or usb:NAME will do",
        clock(*.now)
    )]
    Certificate {
        /// The server.
        host: String,
        /// What is wrong.
        error: String,
        /// The clock, seconds since 1970.
        now: u64,
    },
    /// The certificates of the operator cannot be read.
    #[error("the authorities of your own cannot be used: {0}. \"update authority set\" replaces them")]
    Authorities(String),
    /// Nothing in common, or not TLS at all.
    #[error(
        "{host} does not speak TLS as this box does: {error}. The bundle is signed in any case: try http://"
    )]
    Protocol {
        /// The server.
        host: String,
        /// What is wrong.
        error: String,
    },
    /// The line broke.
    #[error("the greeting with {host} broke: {error}")]
    Io {
        /// The server.
        host: String,
        /// How.
        error: io::Error,
    },
}

fn clock(now: u64) -> String {
    if now >= SENSIBLE {
        return String::new();
    }
    format!(
        " The clock of this box is at {} UTC: set it, or use a time server.",
        bascule_core::time::utc(now)
    )
}

impl TlsError {
    /// Whether another try may go better.
    pub const fn passing(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// Greets the server. `authorities` are trusted beside the public ones, where the file exists.
///
/// # Errors
/// When the server cannot prove that it is `host`, or speaks something else.
pub fn greet(
    mut socket: TcpStream,
    host: &str,
    authorities: &Path,
) -> Result<StreamOwned<ClientConnection, TcpStream>, TlsError> {
    let protocol =
        |error: rustls::Error| TlsError::Protocol { host: host.to_owned(), error: error.to_string() };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(protocol)?
        .with_root_certificates(roots(authorities)?)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| TlsError::Protocol { host: host.to_owned(), error: error.to_string() })?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(protocol)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(|error| trouble(host, error))?;
    }
    Ok(StreamOwned::new(connection, socket))
}

fn roots(authorities: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if !authorities.exists() {
        return Ok(roots);
    }
    let pem = std::fs::read(authorities).map_err(|error| TlsError::Authorities(error.to_string()))?;
    authority::add(&mut roots, &pem).map_err(TlsError::Authorities)?;
    Ok(roots)
}

/// What went wrong in a greeting.
fn trouble(host: &str, error: io::Error) -> TlsError {
    let host = host.to_owned();
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return TlsError::Io { host, error };
    };
    let certificate =
        |what: &str| TlsError::Certificate { host: host.clone(), error: what.to_owned(), now: sys::wall() };
    match tls {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                certificate("its certificate has expired by the clock of this box")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                certificate("its certificate is not valid yet by the clock of this box")
            }
            CertificateError::UnknownIssuer => {
                certificate("no authority that this box knows has signed its certificate")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                certificate("its certificate is for another name")
            }
            other => certificate(&other.to_string()),
        },
        other => TlsError::Protocol { host, error: other.to_string() },
    }
}
