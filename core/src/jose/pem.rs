//! PEM (RFC 7468), also in the states it reaches a program in: indented, on one line, with `\n` as two characters.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::der;
use super::material::{DAMAGED, Material};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const CERTIFICATE: &str = "CERTIFICATE";

const ENCRYPTED: &str = "is an encrypted PEM; decrypt it first: openssl pkey -in OLD.pem -out NEW.pem";

/// Whether somebody meant this to be PEM.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains(BEGIN)
}

/// The only private key in the text; certificates and parameters may stand beside it.
pub(super) fn private_key(text: &str) -> Result<Material, String> {
    let text = with_line_breaks(text);
    let sections = sections(&text)?;
    let mut keys = sections.iter().filter(|section| section.label.ends_with("PRIVATE KEY"));
    let Some(key) = keys.next() else {
        return Err(match sections.first().map(|section| section.label) {
            None => "is not PEM: it has no BEGIN line",
            Some("PUBLIC KEY" | "RSA PUBLIC KEY") => "is a public key, not a private one",
            Some(CERTIFICATE | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE") => "is a certificate, not a private key",
            Some(_) => "is PEM without a private key",
        }
        .to_owned());
    };
    if keys.next().is_some() {
        return Err("holds more than one private key".to_owned());
    }
    match key.label {
        "ENCRYPTED PRIVATE KEY" => Err(ENCRYPTED.to_owned()),
        // The older way says it in a line before the base64, `Proc-Type: 4,ENCRYPTED` (RFC 1421 4.6.1.1).
        _ if key.body.contains("4,ENCRYPTED") => Err(ENCRYPTED.to_owned()),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => der::private_key(&key.bytes().ok_or(DAMAGED)?),
        "OPENSSH PRIVATE KEY" => {
            Err("is a key in OpenSSH's own form; convert it: ssh-keygen -p -m PKCS8 -f FILE".to_owned())
        }
        _ => Err("is a private key of a kind that is not supported: RSA, EC (P-256, P-384) and Ed25519 are".to_owned()),
    }
}

/// The `x5t#S256` header (RFC 7515 4.1.8) of the first certificate in PEM text.
pub(crate) fn x5t_s256(certificate_pem: &str) -> Result<String, String> {
    let text = with_line_breaks(certificate_pem);
    let sections = sections(&text)?;
    let first = sections.iter().find(|section| section.label == CERTIFICATE);
    let der = first.ok_or("holds no certificate in PEM form")?.bytes().ok_or("holds a damaged certificate")?;
    Ok(URL_SAFE_NO_PAD.encode(digest(&SHA256, &der)))
}

struct Section<'a> {
    label: &'a str,
    body: &'a str,
}

impl Section<'_> {
    /// Read by rustls, whose base64 takes the same time for every key.
    fn bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Section { label, body } = self;
        let mut pem = Zeroizing::new(String::with_capacity(body.len() + 2 * label.len() + 40));
        for part in [BEGIN, label, "-----\n"].into_iter().chain(body.split_whitespace()) {
            pem.push_str(part);
        }
        for part in ["\n-----END ", label, "-----\n"] {
            pem.push_str(part);
        }
        let (_, bytes) = <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes()).ok()?;
        (!bytes.is_empty()).then(|| Zeroizing::new(bytes))
    }
}

fn sections(mut text: &str) -> Result<Vec<Section<'_>>, String> {
    const TRUNCATED: &str = "is PEM that was cut short: its END line is missing";
    let mut sections = Vec::new();
    while let Some((_, rest)) = text.split_once(BEGIN) {
        let (label, rest) = rest.split_once(DASHES).ok_or(TRUNCATED)?;
        let (body, rest) = rest.split_once("-----END ").ok_or(TRUNCATED)?;
        text = rest.strip_prefix(label).and_then(|rest| rest.strip_prefix(DASHES)).ok_or(TRUNCATED)?;
        sections.push(Section { label, body });
    }
    Ok(sections)
}

/// Environment variables and JSON often hold a line break as a backslash and an `n`; PEM itself has no backslash.
fn with_line_breaks(text: &str) -> Zeroizing<String> {
    let mut whole = Zeroizing::new(String::with_capacity(text.len()));
    for (index, part) in text.split('\\').enumerate() {
        if index == 0 {
            whole.push_str(part);
        } else {
            whole.push('\n');
            whole.push_str(part.strip_prefix(['n', 'r']).unwrap_or(part));
        }
    }
    whole
}
