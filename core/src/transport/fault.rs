//! From a library's error chain to a fault that is true and can be acted on: which stage, which code, which host.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use url::Url;

use crate::error::ErrorCode;

/// An exchange that brought no whole answer.
#[derive(Clone, Debug)]
pub(crate) struct TransportFault {
    /// False: surely no byte of the request was sent. True: the server may have acted on it.
    pub(crate) sent: bool,
    /// `Network`, `Timeout`, `Tls`, `Protocol`, `Config` or `Internal`.
    pub(crate) code: ErrorCode,
    /// Names host and port; never a path, query, header or body.
    pub(crate) message: String,
}

impl TransportFault {
    pub(super) fn unsent(code: ErrorCode, message: impl Into<String>) -> TransportFault {
        TransportFault { sent: false, code, message: message.into() }
    }
}

/// The only part of a URL that messages show.
pub(super) fn host_and_port(url: &Url) -> String {
    match (url.host(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_string(),
        (None, _) => "(no host)".to_owned(),
    }
}

/// The fault of a request that got no answer at all. `surely_unsent`: its body was never taken.
pub(super) fn from_request(
    error: &reqwest::Error,
    host: &str,
    connect_timeout: Duration,
    surely_unsent: bool,
) -> TransportFault {
    if error.is_builder() {
        return TransportFault::unsent(ErrorCode::Config, format!("the request to {host} cannot be expressed in HTTP"));
    }
    let connecting = error.is_connect();
    // hyper says "canceled" exactly where it hands the request back untouched.
    let handed_back = find::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled);
    let sent = !(connecting || handed_back || surely_unsent);
    let fault = |code, message| TransportFault { sent, code, message };

    if let Some(error) = find::<rustls::Error>(error) {
        return fault(ErrorCode::Tls, format!("TLS with {host} failed: {}", tls_reason(error)));
    }
    if error.is_timeout() {
        let message = match connecting {
            true => format!("no connection to {host} within {connect_timeout:?}"),
            false => format!("the connection to {host} timed out"),
        };
        return fault(ErrorCode::Timeout, message);
    }
    if error.is_dns() {
        return fault(ErrorCode::Network, format!("the name of {host} (or of its proxy) could not be resolved"));
    }
    let why = io_reason(error);
    if connecting {
        return fault(ErrorCode::Network, format!("could not connect to {host}{why}"));
    }
    match find::<hyper::Error>(error) {
        Some(error) if error.is_parse() => fault(
            ErrorCode::Protocol,
            format!("the answer of {host} is not HTTP/1.1, or its headers are too many or too large"),
        ),
        _ => fault(ErrorCode::Network, format!("the connection to {host} broke before an answer came{why}")),
    }
}

/// The fault of an answer that began and did not end well.
pub(super) fn from_body(error: &reqwest::Error, host: &str) -> TransportFault {
    let fault = |code, message| TransportFault { sent: true, code, message };
    if let Some(error) = find::<rustls::Error>(error) {
        return fault(ErrorCode::Tls, format!("TLS with {host} failed within the answer: {}", tls_reason(error)));
    }
    if error.is_timeout() {
        return fault(ErrorCode::Timeout, format!("the connection to {host} timed out within the answer"));
    }
    let malformed = find::<io::Error>(error)
        .is_some_and(|error| matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
    if find::<hyper::Error>(error).is_none() {
        fault(ErrorCode::Protocol, format!("the answer of {host} is not valid gzip, or not whole"))
    } else if malformed {
        fault(ErrorCode::Protocol, format!("the answer of {host} has a malformed chunk"))
    } else {
        fault(ErrorCode::Network, format!("the connection to {host} broke within the answer{}", io_reason(error)))
    }
}

/// The first `T` in the chain of causes; looks inside `io::Error`, whose `source` skips what it wraps.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// The operating system's reason as a fixed phrase, where there is one.
fn io_reason(error: &reqwest::Error) -> String {
    match find::<io::Error>(error).map(io::Error::kind) {
        None | Some(io::ErrorKind::Other) => String::new(),
        Some(kind) => format!(": {kind}"),
    }
}

/// What a person can do about it. rustls' own words hold only what the handshake showed in public.
pub(crate) fn tls_reason(error: &rustls::Error) -> String {
    use CertificateError as C;
    let reason = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            C::NotValidYet | C::NotValidYetContext { .. } => {
                "certificate not yet valid: check the clock of this machine"
            }
            C::Expired | C::ExpiredContext { .. } => {
                "certificate expired: the server needs a new one (or the clock of this machine is ahead)"
            }
            C::UnknownIssuer => "certificate of an unknown issuer: if it is your own, name its CA in transport.ca_file",
            C::NotValidForName | C::NotValidForNameContext { .. } => "certificate for another host name",
            C::Revoked => "certificate revoked",
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => "certificate not meant for servers",
            C::BadSignature
            | C::UnsupportedSignatureAlgorithmContext { .. }
            | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                "certificate with a wrong signature, or a key or algorithm too weak to be accepted"
            }
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "certificate of a CA used as the server's own: let that CA issue one for the server"
            }
            _ => return bounded(error),
        },
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => "the answer is not TLS; perhaps a plain HTTP server listens on this port",
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server offers neither TLS 1.2 nor TLS 1.3"
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "the server accepts none of our algorithms, or wants a client certificate"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => "the server wants a client certificate",
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => "the server does not know this host name",
        rustls::Error::General(text) => text,
        _ => return bounded(error),
    };
    reason.to_owned()
}

fn bounded(error: &rustls::Error) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
