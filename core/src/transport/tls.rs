//! Whom we trust: the system's roots, read at the first certificate to verify, and those of `transport.ca_file`.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::identity::Identity;
use crate::error::Error;

/// Far above any bundle (the public roots are 250 kB), far below what would hurt.
const CA_FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// What rustls says when no root at all could be loaded; the fault's reason is this text.
pub(super) const NO_ROOTS: &str = "no trusted certificates found: install ca-certificates or set transport.ca_file";

/// TLS 1.2 and 1.3 with ring, given by hand: the process-wide provider belongs to the host.
pub(super) fn client_config(
    verifier: Arc<LazyVerifier>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS for what is not HTTP: the same roots, and those of a file, which `field` names.
pub(crate) fn bare_config(ca_file: Option<&Path>, field: &str) -> Result<ClientConfig, Error> {
    let extra = ca_file.map_or_else(|| Ok(Vec::new()), |path| read_ca_file(path, field))?;
    let config = client_config(Arc::new(LazyVerifier::new(extra)), None);
    let mut config = config.map_err(|error| Error::config(format!("TLS cannot be used: {error}")))?;
    config.alpn_protocols = Vec::new();
    Ok(config)
}

/// rustls' own verification, whose roots are loaded when the first certificate arrives: reading them takes milliseconds
/// that a process with a cached token, or one that speaks to loopback only, never pays.
#[derive(Debug)]
pub(super) struct LazyVerifier {
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    inner: OnceLock<Arc<WebPkiServerVerifier>>,
}

impl LazyVerifier {
    pub(super) fn new(extra: Vec<CertificateDer<'static>>) -> LazyVerifier {
        LazyVerifier { extra, provider: Arc::new(ring::default_provider()), inner: OnceLock::new() }
    }

    #[cfg(test)]
    pub(super) fn is_loaded(&self) -> bool {
        self.inner.get().is_some()
    }

    /// The loaded verifier. A failure is not kept: the certificates may be installed later.
    fn inner(&self) -> Result<&Arc<WebPkiServerVerifier>, rustls::Error> {
        if let Some(inner) = self.inner.get() {
            return Ok(inner);
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system_roots());
        roots.add_parsable_certificates(self.extra.iter().cloned());
        if roots.is_empty() {
            return Err(rustls::Error::General(NO_ROOTS.to_owned()));
        }
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(self.inner.get_or_init(|| built))
    }
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificates of a file, which `field` names; each must be usable as a root.
pub(super) fn read_ca_file(path: &Path, field: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let refused = |why: String| Error::config(format!("{field} {why}"));
    let unreadable = |error: std::io::Error| refused(format!("cannot be read: {}", error.kind()));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    // A pipe would block here for ever.
    if !metadata.is_file() {
        return Err(refused("is not a file".to_owned()));
    }
    if metadata.len() > CA_FILE_LIMIT {
        return Err(refused(format!("is larger than {CA_FILE_LIMIT} bytes")));
    }
    let text = fs::read(path).map_err(unreadable)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| refused("is not valid PEM".to_owned()))?;
    if certificates.is_empty() {
        return Err(refused("holds no certificate in PEM form".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|_| refused(format!("holds a broken certificate (number {})", index + 1)))?;
    }
    Ok(certificates)
}

/// The bundle and the folder where this system keeps its roots, as OpenSSL and Go look for them.
///
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` are not read: a library does not let its host's environment change whom it
/// trusts.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn system_roots() -> Vec<CertificateDer<'static>> {
    const BUNDLES: [&str; 7] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/tls/cacert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/usr/local/share/certs/ca-root-nss.crt",
    ];
    const FOLDERS: [&str; 3] = ["/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/local/share/certs"];
    let first = |places: &'static [&'static str]| places.iter().map(Path::new).find(|place| place.exists());
    rustls_native_certs::load_certs_from_paths(first(&BUNDLES), first(&FOLDERS)).certs
}

/// The system's own store.
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn system_roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}
