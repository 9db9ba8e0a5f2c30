//! The certificate of a client (RFC 8705): read once, used for every connection that asks for one.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Clients;
use crate::forkcell::ForkCell;

/// A certificate with its chain and key, and the connections that are made with it: another certificate has others.
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
    clients: ForkCell<Clients>,
}

impl Identity {
    /// Reads both from PEM. The error says whether it is the key's, and what is wrong.
    pub(crate) fn from_pem(certificate: &str, key: &str) -> Result<Identity, (bool, String)> {
        let (certificate, key) = (unescaped(certificate), unescaped(key));
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| (false, "is not valid PEM".to_owned()))?;
        if chain.is_empty() {
            return Err((false, "holds no certificate (BEGIN CERTIFICATE)".to_owned()));
        }
        if key.contains("ENCRYPTED") {
            return Err((true, "is an encrypted key; decrypt it first (openssl pkey)".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| (true, "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)".to_owned()))?;
        let key = ring::sign::any_supported_type(&key).map_err(|_| {
            (true, "is of a kind that TLS cannot use: RSA from 2048 bits, P-256, P-384 or Ed25519".to_owned())
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err((true, "is not the key of the certificate".to_owned()));
            }
            Err(_) => return Err((false, "is not a certificate that can be read".to_owned())),
        }
        Ok(Identity { certified: Arc::new(certified), clients: ForkCell::new() })
    }

    /// The connections of this process.
    pub(super) fn clients(&self) -> &Clients {
        self.clients.get_or_init(Clients::default)
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(Always(self.certified.clone()))
    }
}

/// Whatever the server asks for, this certificate is the one: it refuses what it does not like.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Line breaks written as two characters, as environment variables and JSON often have them.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
}
