//! The certificates that `/certs` lists.

use serde::{Deserialize, Deserializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::documents::document;

/// For what a certificate is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateKind {
    /// It is shown to peers.
    Chain,
    /// Those of peers are checked by it.
    Authority,
}

impl CertificateKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Authority => "ca",
        }
    }
}

/// A certificate, in one of the places that use it.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// For what it is there.
    pub kind: CertificateKind,
    /// Its file, or `<inline>`.
    pub path: String,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// The names, addresses and URIs that it is for.
    pub names: Vec<String>,
    /// Since when it is valid, in seconds since 1970.
    pub valid_from: f64,
    /// Until when.
    pub expires: f64,
}

#[derive(Deserialize)]
struct Certs {
    #[serde(default)]
    certificates: Vec<Context>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    ca_cert: Vec<Details>,
    #[serde(default)]
    cert_chain: Vec<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    path: String,
    #[serde(default)]
    serial_number: String,
    #[serde(default)]
    subject_alt_names: Vec<AlternativeName>,
    valid_from: Time,
    expiration_time: Time,
}

#[derive(Deserialize)]
struct AlternativeName {
    dns: Option<String>,
    uri: Option<String>,
    ip_address: Option<String>,
}

/// A point in time, in seconds since 1970.
struct Time(f64);

impl<'de> Deserialize<'de> for Time {
    #[expect(clippy::cast_precision_loss, reason = "years have four digits")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339);
        let time = time.map_err(|_| {
            de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"a time like 2026-11-30T01:02:03Z",
            )
        })?;
        Ok(Self(time.unix_timestamp() as f64))
    }
}

/// The certificates that `/certs` lists, each as often as it is used.
pub fn certificates(body: &[u8]) -> Result<Vec<Certificate>, super::Error> {
    let certs: Certs = document(body)?;
    let mut found = Vec::new();
    for context in certs.certificates {
        let authorities = context.ca_cert.into_iter();
        let chain = context.cert_chain.into_iter();
        found.extend(authorities.map(|details| details.certificate(CertificateKind::Authority)));
        found.extend(chain.map(|details| details.certificate(CertificateKind::Chain)));
    }
    Ok(found)
}

impl Details {
    fn certificate(self, kind: CertificateKind) -> Certificate {
        let names = self.subject_alt_names.into_iter();
        Certificate {
            kind,
            path: self.path,
            serial: self.serial_number,
            names: names
                .filter_map(|name| name.dns.or(name.uri).or(name.ip_address))
                .collect(),
            valid_from: self.valid_from.0,
            expires: self.expiration_time.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_time(time: &str) -> Result<Vec<Certificate>, super::super::Error> {
        let details = format!(
            r#"{{"path":"a.pem","serial_number":"0f","days_until_expiration":"1","valid_from":"1970-01-01T00:00:00Z",
            "expiration_time":"{time}","subject_alt_names":[{{"dns":"x"}},{{"uri":"y"}},{{"ip_address":"z"}}]}}"#
        );
        certificates(
            format!(r#"{{"certificates":[{{"ca_cert":[],"cert_chain":[{details}]}}]}}"#).as_bytes(),
        )
    }

    #[test]
    fn times_are_read_strictly() {
        for (time, want) in [
            ("2026-11-23T03:02:01Z", Some(1_795_402_921.0)),
            ("2026-11-23T03:02:01.750Z", Some(1_795_402_921.0)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799.0)),
            ("1950-01-01T00:00:00Z", Some(-631_152_000.0)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800.0)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-23T03:02:01", None),
            ("2026-11-23", None),
            ("1795402921", None),
            ("", None),
        ] {
            let got = of_time(time).ok().map(|found| found[0].expires);
            assert_eq!(got, want, "{time}");
        }
    }

    #[test]
    fn what_is_said_of_a_certificate() {
        let found = of_time("2026-11-23T03:02:01Z").unwrap();
        let want = Certificate {
            kind: CertificateKind::Chain,
            path: "a.pem".to_owned(),
            serial: "0f".to_owned(),
            names: ["x", "y", "z"].map(str::to_owned).to_vec(),
            valid_from: 0.0,
            expires: 1_795_402_921.0,
        };
        assert_eq!(found, [want]);
        assert_eq!(certificates(b"{\"certificates\":[{}]}").unwrap(), []);
        assert_eq!(certificates(b"{}").unwrap(), []);
    }
}
