//! Certificates made for one test, and a client that speaks TLS with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A folder that goes with the test.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("envoy-exporter-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file as a careful program does: beside it, and moved over it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let aside = self.0.join(format!("{name}.new"));
        fs::write(&aside, text).unwrap();
        fs::rename(&aside, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate of this authority, for servers and clients, with these names.
    pub fn sign(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names).signed_by(&key, &self.issuer).unwrap().pem();
        Pair {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

/// A certificate that is its own authority.
pub fn self_signed(names: &[&str], is_authority: bool, is_expired: bool) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = params(names);
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    if is_expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let name = |name: &&str| match name.split_once('=') {
        Some(("uri", uri)) => SanType::URI(uri.try_into().unwrap()),
        Some(("mail", mail)) => SanType::Rfc822Name(mail.try_into().unwrap()),
        Some(("ip", address)) => SanType::IpAddress(address.parse().unwrap()),
        _ => SanType::DnsName((*name).try_into().unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

/// The files that configurations of tests refer to: `ca.pem`, `server.pem`, `server.key` and
/// `other.key`.
pub fn certificates(folder: &Folder) -> Authority {
    let authority = Authority::new();
    let server = authority.sign(&["localhost", "ip=127.0.0.1"]);
    folder.write("ca.pem", &authority.pem);
    folder.write("server.pem", &server.certificate);
    folder.write("server.key", &server.key);
    folder.write("other.key", &authority.sign(&[]).key);
    authority
}

/// How a client speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct Speech {
    /// The certificate that it shows.
    pub shows: Option<Pair>,
    /// The one version that it knows.
    pub version: Option<&'static SupportedProtocolVersion>,
    /// The protocols that it offers.
    pub protocols: Vec<&'static str>,
}

impl Speech {
    /// Speaks with servers of an authority.
    pub fn config(&self, authority: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let versions = self
            .version
            .map_or(rustls::DEFAULT_VERSIONS.to_vec(), |v| vec![v]);
        let builder = builder.with_protocol_versions(&versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                let chain = chain.collect::<Result<_, _>>().unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let protocols = self.protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// The name that clients ask servers for.
pub fn server_name() -> ServerName<'static> {
    "localhost".try_into().unwrap()
}

/// Copies a configuration of `testdata/web` beside the certificates.
pub fn copied(folder: &Folder, from: &Path) -> PathBuf {
    let name = from.file_name().unwrap().to_str().unwrap();
    folder.write(name, &fs::read_to_string(from).unwrap())
}
