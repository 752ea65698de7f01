//! Go's names of versions, cipher suites and curves, which the web configuration uses, and what
//! rustls with ring has of them.

use rustls::crypto::{SupportedKxGroup, ring};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// What stands behind a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named<T> {
    /// It can be had.
    Known(T),
    /// Go has it, and rustls does not.
    Missing,
    /// Nobody has it.
    Unknown,
}

/// The versions, least first.
pub(super) const VERSIONS: [(&str, Option<&SupportedProtocolVersion>); 4] = [
    ("TLS10", None),
    ("TLS11", None),
    ("TLS12", Some(&version::TLS12)),
    ("TLS13", Some(&version::TLS13)),
];

/// Suites that Go has and rustls leaves out, since their mode of encryption is broken.
const LEFT_OUT: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// The curves, with those that ring lacks.
const CURVES: [(&str, Option<usize>); 4] = [
    ("CurveP256", Some(1)),
    ("CurveP384", Some(2)),
    ("CurveP521", None),
    ("X25519", Some(0)),
];

/// A suite by Go's name.
pub(super) fn suite(name: &str) -> Named<SupportedCipherSuite> {
    let known = ring::ALL_CIPHER_SUITES.iter();
    match known.copied().find(|suite| suite_name(*suite) == name) {
        Some(suite) => Named::Known(suite),
        None if LEFT_OUT.contains(&name) => Named::Missing,
        None => Named::Unknown,
    }
}

/// Go's name of a suite: that of rustls, but for those of TLS 1.3.
fn suite_name(suite: SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}

/// A curve by Go's name.
pub(super) fn curve(name: &str) -> Named<&'static dyn SupportedKxGroup> {
    let found = CURVES.iter().find(|(have, _)| *have == name);
    let groups = [
        ring::kx_group::X25519,
        ring::kx_group::SECP256R1,
        ring::kx_group::SECP384R1,
    ];
    match found {
        Some((_, at)) => match at.and_then(|at| groups.get(at)) {
            Some(group) => Named::Known(*group),
            None => Named::Missing,
        },
        None => Named::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites() {
        for (name, want) in [
            ("TLS_AES_128_GCM_SHA256", "known"),
            ("TLS_AES_256_GCM_SHA384", "known"),
            ("TLS_CHACHA20_POLY1305_SHA256", "known"),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "known"),
            ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "known"),
            ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "known"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "known"),
            ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "known"),
            ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "known"),
            ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "missing"),
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", "unknown"),
            ("TLS13_AES_128_GCM_SHA256", "unknown"),
            ("", "unknown"),
        ] {
            let have = match suite(name) {
                Named::Known(_) => "known",
                Named::Missing => "missing",
                Named::Unknown => "unknown",
            };
            assert_eq!(have, want, "{name}");
        }
    }

    #[test]
    fn curves() {
        for (name, want) in [
            ("CurveP256", "secp256r1"),
            ("CurveP384", "secp384r1"),
            ("X25519", "X25519"),
            ("CurveP521", "missing"),
            ("P256", "unknown"),
        ] {
            let have = match curve(name) {
                Named::Known(group) => format!("{:?}", group.name()),
                Named::Missing => "missing".to_owned(),
                Named::Unknown => "unknown".to_owned(),
            };
            assert_eq!(have, want, "{name}");
        }
    }
}
