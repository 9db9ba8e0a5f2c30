//! Which addresses a credential may be sent to (fault 4): https, or plain http to this machine only.

use std::net::IpAddr;

use url::{Host, Url};

/// Checks a base address and takes a trailing slash off.
pub(crate) fn base(text: &str) -> Result<String, String> {
    let url = parse(text)?;
    if url.query().is_some() {
        return Err("must not have a query".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Checks an address of the allow-list: scheme, host and port alone.
pub(crate) fn origin(text: &str) -> Result<Url, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = parse(&with_scheme)?;
    if url.path() != "/" || url.query().is_some() {
        return Err("expected a host such as \"api.example.com\" or \"https://api.example.com:8443\"".into());
    }
    Ok(url)
}

/// The rules that hold for every URL that carries a credential or token.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    if !text.is_ascii() {
        return Err("holds characters outside ASCII; write an international host name in its xn-- form".into());
    }
    // Here it ends the host, as browsers read it; other clients take what follows for the host.
    if text.contains('\\') {
        return Err("holds a backslash; percent-encode it".into());
    }
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    check(&url)?;
    Ok(url)
}

/// The same for a URL that is parsed already.
pub(crate) fn check(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(url) => {}
        "http" => {
            return Err("plain http is allowed to loopback only (127.0.0.0/8, [::1], localhost); use https".into());
        }
        _ => return Err("must begin with https://".into()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".into());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#)".into());
    }
    if url.port() == Some(0) {
        return Err("port 0 cannot be connected to".into());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has no host".into());
    }
    Ok(())
}

/// Whether it stays on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Scheme, host and port, for people and for comparing.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_to_https_or_to_this_machine_only() {
        // fault 4
        for fine in [
            "https://api.example.com/x/",
            "http://127.0.0.1:8080/vendor",
            "http://[::1]:1/",
            "http://localhost/",
            "https://10.0.0.1",
        ] {
            assert!(base(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "http://api.example.com",
            "http://127.0.0.1.evil.com",
            "ftp://x",
            "https://user:pw@x",
            "https://x\\@evil.com",
            "https://x/#f",
            "https://x:0",
            "https://ex\u{0430}mple.com",
            "https://x?y",
            "",
            "x",
            "https://",
            "http://localhost.evil.com",
        ] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
        assert_eq!(base("https://x.example/a/").unwrap(), "https://x.example/a");
    }

    #[test]
    fn international_names_are_taken_in_their_ascii_form_and_no_tables_are_linked_for_others() {
        // fault 4
        assert_eq!(base("https://xn--bcher-kva.example/").unwrap(), "https://xn--bcher-kva.example");
        assert!(base("https://bücher.example").is_err());
        // It would read them with the tables, which Cargo.lock leaves out: see docs/dependencies.md.
        assert!(Url::parse("https://bücher.example").is_err());
    }

    #[test]
    fn the_allow_list_takes_hosts_and_nothing_more() {
        assert!(origin("api.example.com").is_ok());
        assert!(origin("https://api.example.com:8443").is_ok());
        assert!(origin("https://api.example.com/path").is_err());
        assert!(origin("http://api.example.com").is_err());
    }
}
