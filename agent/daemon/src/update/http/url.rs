//! Addresses of bundles: `http://HOST[:PORT]/PATH` and `https://...` (RFC 3986, as much of it as a download needs).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use thiserror::Error;

/// Longest address in bytes; object stores sign theirs with many parameters.
const LONGEST: usize = 4_096;

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// Name or address of the server, without brackets.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Path and query, as the request has it.
    pub target: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// It does not begin so.
    #[error("{0} is no address: write http://HOST/PATH or https://HOST/PATH")]
    Scheme(String),
    /// The server is missing or no name.
    #[error("{0} names no server: write http://HOST[:PORT]/PATH, an IPv6 address in brackets")]
    Host(String),
    /// Secrets would be kept in logs.
    #[error("an address with a user and a password is not accepted: it would be kept in the audit log")]
    User,
    /// Blanks, control characters, beyond ASCII, too long.
    #[error("the address has characters that must be written as %XX, or is longer than {LONGEST} bytes")]
    Characters,
}

impl Url {
    const fn default_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }

    /// Host and port as the `Host` line and the address have them.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == Self::default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }

    /// Where a `Location` line leads.
    ///
    /// # Errors
    /// When that is no address.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        let scheme = if self.secure { "https:" } else { "http:" };
        if location.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '?', '#'])) {
            return location.parse();
        }
        if location.starts_with("//") {
            return format!("{scheme}{location}").parse();
        }
        let base = format!("{scheme}//{}", self.authority());
        if location.starts_with('/') {
            return format!("{base}{location}").parse();
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{base}{directory}/{location}").parse()
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Characters);
        }
        let scheme = || UrlError::Scheme(text.to_owned());
        let (word, rest) = text.split_once("://").ok_or_else(scheme)?;
        let secure = match word.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(scheme()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let (host, port) =
            server(authority, Self::default_port(secure)).ok_or_else(|| UrlError::Host(text.to_owned()))?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { secure, host, port, target })
    }
}

fn server(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || !(authority.starts_with('[') || host.bytes().all(name)) {
        return None;
    }
    let port = if port.is_empty() { default } else { port.parse().ok().filter(|port| *port != 0)? };
    Some((host.to_owned(), port))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_has_a_server_a_port_and_a_target() {
        let all = [
            ("http://h/x.bundle", false, "h", 80, "/x.bundle"),
            ("HTTPS://h.example:8443/a/b?c=d#e", true, "h.example", 8443, "/a/b?c=d"),
            ("http://[fd00::1]:8080/x", false, "fd00::1", 8080, "/x"),
            ("http://10.0.0.1", false, "10.0.0.1", 80, "/"),
            ("https://h?x", true, "h", 443, "/?x"),
        ];
        for (text, secure, host, port, target) in all {
            let wanted = Url { secure, host: host.into(), port, target: target.into() };
            assert_eq!(url(text), wanted, "{text}");
            assert_eq!(url(&wanted.to_string()), wanted);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for text in ["ftp://h/x", "h/x", "http:/h", ""] {
            assert!(matches!(text.parse::<Url>(), Err(UrlError::Scheme(_))), "{text}");
        }
        for text in ["http://", "http:///x", "http://h:0/", "http://h:99999/", "http://[h]/", "http://a,b/"] {
            assert!(matches!(text.parse::<Url>(), Err(UrlError::Host(_))), "{text}");
        }
        assert_eq!("http://u:p@h/".parse::<Url>(), Err(UrlError::User));
        for text in ["http://h/a b", "http://h/\r\nX: y", "http://h/\u{e4}"] {
            assert_eq!(text.parse::<Url>(), Err(UrlError::Characters), "{text}");
        }
        assert_eq!(format!("http://h/{}", "x".repeat(5_000)).parse::<Url>(), Err(UrlError::Characters));
    }

    #[test]
    fn a_redirection_leads_from_where_it_was_found() {
        let base = url("http://h:8080/a/b.bundle?x=1");
        for (location, wanted) in [
            ("https://other/c", "https://other/c"),
            ("//other/c", "http://other/c"),
            ("/c?d", "http://h:8080/c?d"),
            ("c", "http://h:8080/a/c"),
            ("c?at=1:2", "http://h:8080/a/c?at=1:2"),
        ] {
            assert_eq!(base.join(location).unwrap(), url(wanted), "{location}");
        }
        assert!(base.join("file:///etc/passwd").is_err());
    }
}
