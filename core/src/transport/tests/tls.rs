//! Who is trusted, and how a handshake that fails is explained.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

/// A certificate authority of our own, with its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "qauth test authority");
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn trusted(&self) -> Transport {
        Transport::new(TransportOptions { ca_file: Some(self.file()), ..options() }).unwrap()
    }

    /// A server for 127.0.0.1 whose certificate `change` may spoil; it answers one request, if one comes.
    fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Script<String> {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        serve_tls(params.signed_by(&key, &self.issuer).unwrap().der().clone(), &key)
    }
}

fn serve_tls(certificate: CertificateDer<'static>, key: &KeyPair) -> Script<String> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Script::play(move |listener| {
        let mut stream = listener.accept().unwrap().0;
        let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        let request = read_request(&mut tls);
        let _ = tls.write_all(http("200 OK", "", "safe").as_bytes());
        request
    })
}

fn refused_by_tls(transport: &Transport, server: Script<String>, reason: &str) {
    let fault = fault(transport, post(&tls(server.port)));
    assert_eq!((fault.code, fault.sent), (ErrorCode::Tls, false), "{fault:?}");
    assert!(fault.message.contains(reason), "{fault:?}");
    assert_eq!(server.done(), "", "no request came through");
}

#[test]
fn an_unknown_authority_is_refused_and_accepted_once_it_is_in_ca_file() {
    // fault 21
    let authority = Authority::new();
    refused_by_tls(&transport(), authority.server(|_| {}), "certificate of an unknown issuer");
    let server = authority.server(|_| {});
    assert_eq!(answer(&authority.trusted(), post(&tls(server.port))).body, b"safe");
    assert!(server.done().ends_with("canary=1"));
}

#[test]
fn a_self_signed_certificate_is_refused_unless_it_is_the_one_in_ca_file() {
    // fault 21
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    refused_by_tls(&transport(), serve_tls(certificate.der().clone(), &key), "certificate of an unknown issuer");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("own.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let trusting = Transport::new(TransportOptions { ca_file: Some(path), ..options() }).unwrap();
    let server = serve_tls(certificate.der().clone(), &key);
    assert_eq!(answer(&trusting, post(&tls(server.port))).body, b"safe");
}

#[test]
fn a_certificate_of_a_ca_as_the_servers_own_is_explained() {
    // fault 21
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    refused_by_tls(&transport(), serve_tls(certificate.der().clone(), &key), "a CA used as the server's own");
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    // fault 21
    let authority = Authority::new();
    let other =
        |params: &mut CertificateParams| *params = CertificateParams::new(["other.example".to_owned()]).unwrap();
    refused_by_tls(&authority.trusted(), authority.server(other), "certificate for another host name");
}

#[test]
fn an_expired_certificate_is_refused() {
    // fault 21
    let authority = Authority::new();
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    refused_by_tls(&authority.trusted(), authority.server(expired), "certificate expired");
}

#[test]
fn a_certificate_not_yet_valid_points_to_the_clock() {
    // fault 23
    let authority = Authority::new();
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2999, 1, 1);
    refused_by_tls(&authority.trusted(), authority.server(early), "certificate not yet valid: check the clock");
}

#[test]
fn plain_http_on_a_tls_port_and_an_old_tls_are_refused_readably() {
    // fault 22
    let old_tls = Script::play(|listener| {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4096]);
        // A fatal alert, protocol_version, in a TLS 1.0 record.
        stream.write_all(&[21, 3, 1, 0, 2, 2, 70]).unwrap();
        let _ = stream.read(&mut [0; 1]);
        String::new()
    });
    refused_by_tls(&transport(), old_tls, "neither TLS 1.2 nor TLS 1.3");
    for greeting in [http("400 Bad Request", "", "canary"), "SSH-2.0-canary\r\n".to_owned()] {
        let plain = Script::play(move |listener| {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(greeting.as_bytes()).unwrap();
            let _ = stream.read(&mut [0; 1]);
            String::new()
        });
        refused_by_tls(&transport(), plain, "the answer is not TLS");
    }
}

#[test]
fn the_systems_roots_are_read_at_the_first_certificate_and_not_before() {
    let transport = transport();
    let server = answering(http("200 OK", "", ""));
    assert_eq!(answer(&transport, post(&plain(server.port))).status, 200);
    assert!(!transport.verifier.is_loaded(), "plain http needs no roots");
    let server = Authority::new().server(|_| {});
    assert_eq!(fault(&transport, post(&tls(server.port))).code, ErrorCode::Tls);
    // Without any root on the system there is nothing to load, and the fault says so.
    assert_eq!(transport.verifier.is_loaded(), cfg!(not(unix)) || std::path::Path::new("/etc/ssl/certs").exists());
}

#[test]
fn no_process_wide_crypto_provider_is_installed() {
    let server = Authority::new().server(|_| {});
    let _ = send(&transport(), post(&tls(server.port)));
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}

#[test]
fn proxy_variables_and_ssl_cert_file_of_the_environment_are_not_heard() {
    // fault 8
    const CHILD: &str = "QAUTH_TEST_PORT";
    if let Ok(port) = std::env::var(CHILD) {
        let fault = fault(&transport(), post(&tls(port.parse().unwrap())));
        assert_eq!(fault.code, ErrorCode::Tls, "SSL_CERT_FILE is not trusted: {fault:?}");
        assert!(fault.message.contains("unknown issuer"), "{fault:?}");
        return;
    }
    let authority = Authority::new();
    let server = authority.server(|_| {});
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let test = format!("{}::proxy_variables_and_ssl_cert_file_of_the_environment_are_not_heard", module_path!());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.arg(test.split_once("::").unwrap().1).arg("--exact").env(CHILD, server.port.to_string());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        child.env(name, &address);
    }
    for name in ["NO_PROXY", "no_proxy"] {
        child.env_remove(name);
    }
    let output = child.env("SSL_CERT_FILE", authority.file()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(proxy.accept().is_err(), "the proxy was asked");
}
