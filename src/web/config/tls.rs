//! `tls_server_config`: from what is written to what rustls serves with.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;

use super::clients::{Clients, Policy};
use super::names::{self, Named};
use super::{Notes, Secret};
use crate::yaml::{self, Attempt, Placed};

/// What is spoken inside.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// The section as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileTls {
    cert: Text,
    key: Attempt<Option<Placed<Secret>>>,
    client_ca: Text,
    cert_file: Text,
    key_file: Text,
    client_auth_type: Text,
    client_ca_file: Text,
    cipher_suites: List,
    curve_preferences: List,
    min_version: Text,
    max_version: Text,
    prefer_server_cipher_suites: Attempt<Option<bool>>,
    client_allowed_sans: List,
}

type Text = Attempt<Option<Placed<String>>>;
type List = Attempt<Option<Vec<Attempt<Placed<String>>>>>;

/// What one key or its twin says: a file, or the text itself.
struct Source {
    /// The key that is used, and its place; none: neither is there.
    named: Option<(&'static str, Placed<()>)>,
    /// What was read.
    pem: Option<Vec<u8>>,
}

/// Makes of the section what connections are accepted with; nothing when it names no certificate,
/// key, or policy for clients.
pub(super) fn resolve(
    section: Placed<FileTls>,
    directory: &Path,
    notes: &mut Notes,
) -> Option<Arc<ServerConfig>> {
    let at = Placed {
        place: section.place,
        value: (),
    };
    let written = section.value;
    let before = notes.problems.len();
    let versions = versions(written.min_version, written.max_version, notes);
    let provider = provider(written.cipher_suites, notes);
    let provider = with_curves(provider, written.curve_preferences, notes);
    let prefers = notes.take(written.prefer_server_cipher_suites).flatten();
    let names = notes.take(written.client_allowed_sans).flatten();
    let names = names.map(|names| yaml::take_all(names, &mut notes.problems));
    let secret = |secret: Placed<Secret>| Placed {
        place: secret.place,
        value: secret.value.expose().to_owned(),
    };
    let key = notes.take(written.key).flatten().map(secret);
    let cert = notes.take(written.cert).flatten();
    let client_ca = notes.take(written.client_ca).flatten();
    let mut source = |file: Text, inline, names| {
        let file = notes.take(file).flatten();
        Source::read(file, inline, names, directory, notes)
    };
    let chain = source(written.cert_file, cert, ["cert_file", "cert"]);
    let key = source(written.key_file, key, ["key_file", "key"]);
    let authorities = source(
        written.client_ca_file,
        client_ca,
        ["client_ca_file", "client_ca"],
    );
    let policy = notes.take(written.client_auth_type).flatten();
    let policy = policy.filter(|policy| !policy.value.is_empty());
    let is_on = [&chain, &key, &authorities]
        .iter()
        .any(|source| source.named.is_some());
    if !is_on && policy.is_none() {
        notes.warn("tls_server_config names no certificate: TLS is off");
        return None;
    }
    for (source, what) in [(&chain, "cert_file or cert"), (&key, "key_file or key")] {
        if source.named.is_none() {
            notes.problem(&at, format!("tls_server_config: {what} is missing"));
        }
    }
    let policy = policy.map_or(Some(Policy::NoClientCert), |policy| {
        policy_named(&policy, notes)
    });
    if let Some(names) = &names
        && policy.is_some_and(|policy| !policy.requires())
    {
        let first = names.first().map(|name| name.place);
        let at = Placed {
            place: first.unwrap_or(at.place),
            value: (),
        };
        let reason = "client_allowed_sans: it needs a client_auth_type that requires a certificate: \
                      RequireAnyClientCert or RequireAndVerifyClientCert";
        notes.problem(&at, reason);
    }
    let names = names.map(|names| names.into_iter().map(|name| name.value).collect());
    let certified = certified(&chain, &key, &provider, notes);
    let clients = policy
        .and_then(|policy| trusted(policy, &authorities, &at, notes).map(|found| (policy, found)))
        .and_then(|(policy, found)| {
            let at = authorities.named.as_ref().map_or(&at, |(_, at)| at);
            let clients = Clients::new(policy, found, names, &provider);
            clients
                .map_err(|reason| notes.problem(at, format!("client_ca: {reason}")))
                .ok()
        });
    let is_usable = |version: &&SupportedProtocolVersion| {
        let mut suites = provider.cipher_suites.iter();
        suites.any(|suite| suite.version().version == version.version)
    };
    if !versions.is_empty() && !versions.iter().any(is_usable) {
        let reason = "cipher_suites: none of these is supported, and max_version leaves out TLS13";
        notes.problem(&at, reason);
    }
    if notes.problems.len() > before {
        return None;
    }
    serve_with(certified?, clients?, provider, &versions, prefers)
        .map_err(|error| notes.problem(&at, format!("tls_server_config: {error}")))
        .ok()
}

fn serve_with(
    certified: CertifiedKey,
    clients: Clients,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    prefers: Option<bool>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(clients))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.ignore_client_order = prefers.unwrap_or(true);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

impl Source {
    /// Reads the file, or takes the text; what is blank is not there.
    fn read(
        file: Option<Placed<String>>,
        inline: Option<Placed<String>>,
        keys: [&'static str; 2],
        directory: &Path,
        notes: &mut Notes,
    ) -> Self {
        let is_set = |text: &Placed<String>| !text.value.is_empty();
        let [file_name, inline_name] = keys;
        let (file, inline) = (file.filter(is_set), inline.filter(is_set));
        if file.is_some() && inline.is_some() {
            notes.warn(format!("{file_name} is used, and {inline_name} is not"));
        }
        let named = |name, text: &Placed<String>| {
            let at = Placed {
                place: text.place,
                value: (),
            };
            Some((name, at))
        };
        if let Some(file) = file {
            let path = directory.join(&file.value);
            let pem = notes.files.read(&path);
            let pem = pem.map_err(|error| {
                notes.problem(&file, format!("{file_name}: {}: {error}", path.display()));
            });
            return Self {
                named: named(file_name, &file),
                pem: pem.ok(),
            };
        }
        Self {
            named: inline.as_ref().and_then(|text| named(inline_name, text)),
            pem: inline.map(|text| text.value.into_bytes()),
        }
    }

    fn problem(&self, reason: &str, notes: &mut Notes) {
        if let Some((name, at)) = &self.named {
            notes.problem(at, format!("{name}: {reason}"));
        }
    }

    /// The certificates in it, at least one.
    fn certificates(&self, notes: &mut Notes) -> Option<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_slice_iter(self.pem.as_ref()?);
        match read.collect::<Result<Vec<_>, _>>() {
            Ok(found) if !found.is_empty() => return Some(found),
            Ok(_) => self.problem("there is no certificate in PEM form in it", notes),
            Err(_) => self.problem("it is not in PEM form", notes),
        }
        None
    }

    fn private_key(&self, notes: &mut Notes) -> Option<PrivateKeyDer<'static>> {
        let read = PrivateKeyDer::from_pem_slice(self.pem.as_ref()?);
        let reason = match read {
            Ok(key) => return Some(key),
            Err(pem::Error::NoItemsFound) => {
                "there is no private key in PEM form in it, or it is encrypted"
            }
            Err(_) => "it is not in PEM form",
        };
        self.problem(reason, notes);
        None
    }
}

/// The certificate that is served with its key.
fn certified(
    chain: &Source,
    key: &Source,
    provider: &CryptoProvider,
    notes: &mut Notes,
) -> Option<CertifiedKey> {
    let certificates = chain.certificates(notes);
    let private = key.private_key(notes);
    match CertifiedKey::from_der(certificates?, private?, provider) {
        Ok(certified) => return Some(certified),
        Err(Error::InconsistentKeys(_)) => {
            key.problem("the key is not that of the certificate", notes);
        }
        Err(Error::InvalidCertificate(_)) => {
            chain.problem("the certificate cannot be read", notes);
        }
        Err(_) => key.problem(
            "the key cannot be used; RSA from 2048 bits on, P-256, P-384 and Ed25519 can",
            notes,
        ),
    }
    None
}

/// The authorities of clients' certificates, as far as the policy asks for them.
fn trusted(
    policy: Policy,
    authorities: &Source,
    at: &Placed<()>,
    notes: &mut Notes,
) -> Option<Vec<CertificateDer<'static>>> {
    let is_named = authorities.named.is_some();
    if is_named && policy == Policy::NoClientCert {
        let reason = "it is of no use without a client_auth_type that asks for certificates";
        authorities.problem(reason, notes);
        return None;
    }
    if is_named {
        return authorities.certificates(notes);
    }
    if !policy.verifies() {
        return Some(Vec::new());
    }
    // As Go does where no authority is named.
    notes.warn(
        "client_ca_file is missing: certificates of every authority that the system trusts are \
         let in",
    );
    let mut found = rustls_native_certs::load_native_certs().certs;
    // Among so many some are too odd to be read, which is nobody's mistake here.
    found.retain(|certificate| {
        rustls::RootCertStore::empty()
            .add(certificate.clone())
            .is_ok()
    });
    if found.is_empty() {
        let reason = "tls_server_config: client_ca_file is missing, and the system trusts nobody";
        notes.problem(at, reason);
        return None;
    }
    Some(found)
}

fn policy_named(written: &Placed<String>, notes: &mut Notes) -> Option<Policy> {
    let found = Policy::NAMES
        .iter()
        .find(|(name, _)| *name == written.value);
    if found.is_none() {
        let known = Policy::NAMES.iter().take(Policy::CURRENT);
        let known: Vec<_> = known.map(|(name, _)| *name).collect();
        let known = known.join(", ");
        let reason = format!("client_auth_type: '{}' is none of {known}", written.value);
        notes.problem(written, reason);
    }
    found.map(|(_, policy)| *policy)
}

/// The versions from the least to the greatest that is allowed.
fn versions(min: Text, max: Text, notes: &mut Notes) -> Vec<&'static SupportedProtocolVersion> {
    let mut end = |key: &str, written: Text, default: usize| {
        let Some(written) = notes.take(written).flatten() else {
            return Some((default, Placed::default()));
        };
        let name = &written.value;
        let found = names::VERSIONS.iter().position(|(have, _)| have == name);
        let reason = match found.and_then(|at| names::VERSIONS.get(at)) {
            Some((_, Some(_))) => return found.map(|at| (at, written)),
            Some((_, None)) => format!("{key}: {name} is not supported; TLS12 and TLS13 are"),
            None => format!("{key}: unknown TLS version '{name}'; there are TLS12 and TLS13"),
        };
        notes.problem(&written, reason);
        None
    };
    let min = end("min_version", min, 2);
    let max = end("max_version", max, 3);
    let (Some((min, at)), Some((max, _))) = (min, max) else {
        return Vec::new();
    };
    if min > max {
        notes.problem(&at, "min_version is above max_version: no version is left");
    }
    let chosen = names::VERSIONS.iter().take(max + 1).skip(min);
    chosen.filter_map(|(_, version)| *version).collect()
}

/// What encrypts, with the suites that are listed; those of TLS 1.3 are not for choice, as in Go.
fn provider(suites: List, notes: &mut Notes) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let listed = listed("cipher_suites", "cipher", suites, names::suite, notes);
    let Some(listed) = listed.filter(|listed| !listed.names.is_empty()) else {
        return provider;
    };
    provider
        .cipher_suites
        .retain(|suite| suite.tls13().is_some());
    let older = listed.found.iter().filter(|suite| suite.tls13().is_none());
    provider.cipher_suites.extend(older);
    listed.warn_of_missing("cipher_suites", notes);
    provider
}

fn with_curves(mut provider: CryptoProvider, curves: List, notes: &mut Notes) -> CryptoProvider {
    let listed = listed("curve_preferences", "curve", curves, names::curve, notes);
    let Some(listed) = listed.filter(|listed| !listed.names.is_empty()) else {
        return provider;
    };
    listed.warn_of_missing("curve_preferences", notes);
    if listed.is_left_empty()
        && let Some(first) = listed.names.first()
    {
        let reason = "curve_preferences: none of these is supported; CurveP256, CurveP384 and \
                      X25519 are";
        notes.problem(first, reason);
    }
    provider.kx_groups = listed.found;
    provider
}

/// A list of names, and what stands behind them.
struct Listed<T> {
    names: Vec<Placed<String>>,
    found: Vec<T>,
    missing: Vec<String>,
}

impl<T> Listed<T> {
    /// Whether nothing can be had of what there is.
    const fn is_left_empty(&self) -> bool {
        self.found.is_empty() && !self.missing.is_empty()
    }

    fn warn_of_missing(&self, key: &str, notes: &mut Notes) {
        if !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            notes.warn(format!("{key}: not supported and left out: {missing}"));
        }
    }
}

fn listed<T>(
    key: &str,
    kind: &str,
    written: List,
    look_up: impl Fn(&str) -> Named<T>,
    notes: &mut Notes,
) -> Option<Listed<T>> {
    let names = notes.take(written).flatten()?;
    let mut listed = Listed {
        names: yaml::take_all(names, &mut notes.problems),
        found: Vec::new(),
        missing: Vec::new(),
    };
    for name in &listed.names {
        match look_up(&name.value) {
            Named::Known(found) => listed.found.push(found),
            Named::Missing => listed.missing.push(name.value.clone()),
            Named::Unknown => {
                notes.problem(name, format!("{key}: unknown {kind} '{}'", name.value));
            }
        }
    }
    Some(listed)
}
