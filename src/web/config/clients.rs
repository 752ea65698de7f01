//! Which certificates of clients are let in.
//!
//! The five policies are those of Go's crypto/tls. Chains are verified by webpki; beyond that a
//! certificate that is itself one of the configured authorities is let in, as Go does, since that
//! is how self-signed certificates are used. Allowed names are compared as text, whole.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Nothing.
    NoClientCert,
    /// A certificate, of whom it may be; or none.
    Request,
    /// A certificate, of whom it may be.
    RequireAny,
    /// A certificate of an authority; or none.
    VerifyIfGiven,
    /// A certificate of an authority.
    RequireAndVerify,
}

impl Policy {
    /// How many of [`Self::NAMES`] are to be written today.
    pub(super) const CURRENT: usize = 5;

    /// The names that may be written.
    pub(super) const NAMES: [(&str, Self); 6] = [
        ("NoClientCert", Self::NoClientCert),
        ("RequestClientCert", Self::Request),
        ("RequireAnyClientCert", Self::RequireAny),
        ("VerifyClientCertIfGiven", Self::VerifyIfGiven),
        ("RequireAndVerifyClientCert", Self::RequireAndVerify),
        // The toolkit takes this too, from its early days.
        ("RequireClientCert", Self::RequireAny),
    ];

    pub(super) const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    pub(super) const fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// Looks at certificates of clients.
#[derive(Debug)]
pub(super) struct Clients {
    policy: Policy,
    chains: Option<Arc<dyn ClientCertVerifier>>,
    authorities: Vec<CertificateDer<'static>>,
    /// One of these names must be in a certificate; none: no name is asked for.
    names: Option<BTreeSet<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    /// Sets a policy up, or says what is wrong with the authorities.
    pub(super) fn new(
        policy: Policy,
        authorities: Vec<CertificateDer<'static>>,
        names: Option<BTreeSet<String>>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let chains = if policy.verifies() {
            let mut roots = RootCertStore::empty();
            for (number, authority) in (1..).zip(&authorities) {
                roots
                    .add(authority.clone())
                    .map_err(|error| format!("certificate {number} cannot be read: {error}"))?;
            }
            let provider = Arc::new(provider.clone());
            let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            Some(builder.build().map_err(|error| error.to_string())?)
        } else {
            None
        };
        Ok(Self {
            policy,
            chains,
            authorities,
            names,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn verify_chain(
        &self,
        chains: &dyn ClientCertVerifier,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let is_authority = self
            .authorities
            .iter()
            .any(|have| have.as_ref() == certificate.as_ref());
        if is_authority {
            return is_valid_at(&parse(certificate)?, now);
        }
        chains
            .verify_client_cert(certificate, intermediates, now)
            .map(drop)
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.policy != Policy::NoClientCert
    }

    fn client_auth_mandatory(&self) -> bool {
        self.policy.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let chains = self.chains.as_ref();
        chains.map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chains) = &self.chains {
            self.verify_chain(&**chains, certificate, intermediates, now)?;
        }
        if let Some(allowed) = &self.names {
            let found = names(&parse(certificate)?);
            if found.is_disjoint(allowed) {
                tracing::debug!(?found, "a client's certificate has no allowed name");
                let refused = CertificateError::ApplicationVerificationFailure;
                return Err(refused.into());
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, Error> {
    let parsed = X509Certificate::from_der(certificate.as_ref());
    let (_, certificate) = parsed.map_err(|_| CertificateError::BadEncoding)?;
    Ok(certificate)
}

fn is_valid_at(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let now = ASN1Time::from_timestamp(seconds).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    if now < validity.not_before {
        Err(CertificateError::NotValidYet.into())
    } else if now > validity.not_after {
        Err(CertificateError::Expired.into())
    } else {
        Ok(())
    }
}

/// The subject alternative names of a certificate as text.
fn names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension
        .iter()
        .flat_map(|found| &found.value.general_names);
    names.filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = |bytes: [u8; 4]| IpAddr::from(Ipv4Addr::from(bytes));
            let v6 = |bytes: [u8; 16]| IpAddr::from(Ipv6Addr::from(bytes)).to_canonical();
            let v4 = <[u8; 4]>::try_from(*bytes).map(v4);
            let v6 = <[u8; 16]>::try_from(*bytes).map(v6);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
