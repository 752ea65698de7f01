//! Certificates, from `/certs`: since when and until when each is valid. `/stats` has the whole days
//! until the first of them expires; when each one does, only newer versions have, and only of some.
//!
//! Envoy lists a certificate once for each place that uses it; here it stands once.

use hashbrown::HashSet;

use super::{Asking, Error, Finding};
use crate::decode;
use crate::transport::Query;

/// Room for the names of a certificate in a label's value. What does not fit is left out, and said to
/// be by three dots.
const NAMES: usize = 256;

pub(super) async fn run(mut asking: Asking<'_>, finding: &mut Finding<'_>) -> Result<(), Error> {
    let certificates = asking.document(Query::Certs, decode::certificates).await?;
    let mut seen = HashSet::new();
    for certificate in &certificates {
        let names = names(&certificate.names);
        let tags = [
            ("envoy.certificate_kind", certificate.kind.as_str()),
            ("envoy.certificate_path", &certificate.path),
            ("envoy.certificate_serial", &certificate.serial),
            ("envoy.certificate_names", &names),
        ];
        let key = (certificate.kind, &certificate.path, &certificate.serial);
        if !seen.insert(key) {
            continue;
        }
        finding.subject("certificate", tags);
        finding.double("valid_from_unix_time_seconds", certificate.valid_from);
        finding.double("expiration_unix_time_seconds", certificate.expires);
    }
    let ends = certificates.iter().map(|certificate| certificate.expires);
    if let Some(first) = ends.min_by(f64::total_cmp) {
        finding.subject("certificate", []);
        finding.double("first_expiration_unix_time_seconds", first);
    }
    Ok(())
}

fn names(all: &[String]) -> String {
    let mut text = String::new();
    for name in all {
        let comma = if text.is_empty() { "" } else { "," };
        if text.len() + comma.len() + name.len() > NAMES {
            text.push_str(comma);
            text.push_str("...");
            break;
        }
        text.push_str(comma);
        text.push_str(name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_have_a_bound() {
        let many: Vec<String> = (0..100).map(|at| format!("{at}.example.com")).collect();
        let text = names(&many);
        assert!(text.len() <= super::NAMES + 4, "{text}");
        assert!(text.starts_with("0.example.com,1.example.com,"));
        assert!(text.ends_with(".example.com,..."));
        assert_eq!(names(&["a".repeat(257)]), "...");
        assert_eq!(names(&["a".to_owned(), "b".to_owned()]), "a,b");
        assert_eq!(names(&[]), "");
    }
}
