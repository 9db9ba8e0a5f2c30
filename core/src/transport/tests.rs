//! What goes out, what may come back, and when nothing does, against small scripted servers on loopback.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use reqwest::header::AUTHORIZATION;
use tempfile::TempDir;

use super::*;

mod tls;

const MIB: usize = 1 << 20;
const SHORT: Duration = Duration::from_millis(200);

/// A server on loopback that plays `script` in a thread; `.done()` gives what the script returns.
struct Script<T> {
    port: u16,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Script<T> {
    fn play(script: impl FnOnce(TcpListener) -> T + Send + 'static) -> Script<T> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Script { port, thread: thread::spawn(move || script(listener)) }
    }

    fn done(self) -> T {
        self.thread.join().unwrap()
    }
}

/// One connection, one request, and then `answer` as it is; the connection closes.
fn answering(answer: impl Into<Vec<u8>>) -> Script<String> {
    let answer = answer.into();
    Script::play(move |listener| {
        let mut stream = listener.accept().unwrap().0;
        let request = read_request(&mut stream);
        let _ = stream.write_all(&answer);
        request
    })
}

/// Reads one request, head and body, as it came; empty at the end of the connection.
fn read_request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return String::new(),
        }
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length =
        head.split("content-length: ").nth(1).map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn options() -> TransportOptions {
    TransportOptions::default()
}

fn transport() -> Transport {
    Transport::new(options()).unwrap()
}

/// Path, query, header and body all hold the word that no message may show.
fn post(url: &str) -> HttpRequest {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer canary"));
    HttpRequest {
        method: Method::POST,
        url: Url::parse(url).unwrap().join("/canary?canary=1").unwrap(),
        headers,
        body: Some(b"canary=1".to_vec()),
        timeout: None,
        max_body: MIB,
        identity: None,
    }
}

fn get(url: &str) -> HttpRequest {
    HttpRequest { method: Method::GET, body: None, ..post(url) }
}

fn plain(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

fn tls(port: u16) -> String {
    format!("https://127.0.0.1:{port}/")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn send(transport: &Transport, request: HttpRequest) -> Result<HttpResponse, TransportFault> {
    runtime().block_on(transport.send(request))
}

fn answer(transport: &Transport, request: HttpRequest) -> HttpResponse {
    send(transport, request).unwrap_or_else(|fault| panic!("{fault:?}"))
}

/// The fault, after a look that its message names the host and nothing else of the request.
fn fault(transport: &Transport, request: HttpRequest) -> TransportFault {
    let host = request.url.host_str().unwrap().to_owned();
    let fault = send(transport, request).err().expect("a fault");
    assert!(fault.message.contains(&host), "{fault:?}");
    assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
    fault
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

// ---- What goes out

#[test]
fn a_request_says_what_it_was_given_and_who_we_are_and_nothing_more() {
    let server = answering(http("200 OK", "", "{}"));
    let response = answer(&transport(), post(&plain(server.port)));
    assert_eq!((response.status, response.body.as_slice()), (200, &b"{}"[..]));
    let port = server.port;
    let mut lines: Vec<String> = server.done().lines().map(str::to_owned).collect();
    lines.sort();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        lines,
        [
            String::new(),
            "accept-encoding: gzip".into(),
            "accept: */*".into(),
            "authorization: bearer canary".into(),
            "canary=1".into(),
            "content-length: 8".into(),
            format!("host: 127.0.0.1:{port}"),
            "post /canary?canary=1 http/1.1".into(),
            format!("user-agent: qauth/{version}"),
        ]
    );
}

#[test]
fn a_user_agent_of_the_request_wins_and_an_empty_body_has_a_length() {
    for body in [None, Some(Vec::new())] {
        let server = answering(http("200 OK", "", ""));
        let mut request = post(&plain(server.port));
        request.headers.insert(reqwest::header::USER_AGENT, HeaderValue::from_static("Mine/1"));
        request.body = body;
        answer(&transport(), request);
        let seen = server.done();
        assert!(seen.contains("user-agent: mine/1\r\n") && !seen.contains("qauth"), "{seen}");
        assert!(seen.contains("content-length: 0\r\n"), "{seen}");
    }
}

#[test]
fn connections_are_kept_and_cookies_are_not() {
    let server = Script::play(|listener| {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        stream.write_all(http("200 OK", "Set-Cookie: a=b; Path=/\r\n", "1").as_bytes()).unwrap();
        let second = read_request(&mut stream);
        stream.write_all(http("200 OK", "", "2").as_bytes()).unwrap();
        second
    });
    let transport = transport();
    runtime().block_on(async {
        assert_eq!(transport.send(post(&plain(server.port))).await.ok().unwrap().body, b"1");
        assert_eq!(transport.send(post(&plain(server.port))).await.ok().unwrap().body, b"2");
    });
    let second = server.done();
    assert!(!second.contains("cookie") && !second.contains("referer"), "{second}");
}

#[test]
fn redirects_are_returned_and_never_followed() {
    // fault 25
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let location = format!("Location: http://{}/\r\n", elsewhere.local_addr().unwrap());
        let server = answering(http(status, &location, ""));
        let response = answer(&transport(), post(&plain(server.port)));
        assert_eq!(response.status.to_string(), status[..3]);
        assert!(response.headers.contains_key("location"));
        assert!(elsewhere.accept().is_err(), "{status}");
    }
}

#[test]
fn a_url_with_user_info_or_a_foreign_scheme_is_refused_unsent() {
    for url in ["http://canary:canary@127.0.0.1:9/", "ftp://127.0.0.1/", "file:///etc/passwd"] {
        let request = HttpRequest { url: Url::parse(url).unwrap(), ..get("http://127.0.0.1/") };
        let fault = send(&transport(), request).err().unwrap();
        assert_eq!((fault.code, fault.sent), (ErrorCode::Config, false));
        assert!(!fault.message.contains("canary"));
    }
}

// ---- Connecting

#[test]
fn a_refused_connection_is_a_network_fault_with_nothing_sent() {
    // fault 15
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for request in [post(&plain(port)), get(&plain(port)), post(&tls(port))] {
        let fault = fault(&transport(), request);
        assert_eq!((fault.code, fault.sent), (ErrorCode::Network, false));
        assert_eq!(fault.message, format!("could not connect to 127.0.0.1:{port}: connection refused"));
    }
}

#[test]
fn an_unknown_host_name_is_named_with_nothing_sent() {
    // fault 14
    let fault = fault(&transport(), post("https://qauth-no-such-host.invalid/"));
    assert!(!fault.sent);
    // A resolver that is itself out of reach may take longer than we wait.
    assert!(matches!(fault.code, ErrorCode::Network | ErrorCode::Timeout), "{fault:?}");
}

#[test]
fn a_silent_handshake_ends_by_the_connect_timeout_with_nothing_sent() {
    // fault 15
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let transport = Transport::new(TransportOptions { connect_timeout: SHORT, ..options() }).unwrap();
    let fault = fault(&transport, get(&tls(listener.local_addr().unwrap().port())));
    assert_eq!((fault.code, fault.sent), (ErrorCode::Timeout, false));
    assert!(fault.message.starts_with("no connection to 127.0.0.1:") && fault.message.ends_with("200ms"), "{fault:?}");
}

#[test]
fn a_deadline_that_passes_before_the_handshake_is_over_knows_that_nothing_was_sent() {
    // fault 16
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let request = HttpRequest { timeout: Some(SHORT), ..post(&tls(listener.local_addr().unwrap().port())) };
    let fault = fault(&transport(), request);
    assert_eq!((fault.code, fault.sent), (ErrorCode::Timeout, false));
}

#[test]
fn a_connection_reset_within_the_handshake_is_a_network_fault_with_nothing_sent() {
    // fault 15
    let server = Script::play(|listener| {
        let mut stream = listener.accept().unwrap().0;
        // Closing with bytes unread resets the connection.
        stream.read_exact(&mut [0; 5]).unwrap();
    });
    let fault = fault(&transport(), post(&tls(server.port)));
    assert_eq!((fault.code, fault.sent), (ErrorCode::Network, false), "{fault:?}");
}

// ---- Answers that break

#[test]
fn a_connection_reset_after_the_request_was_read_leaves_the_outcome_unknown() {
    // fault 16
    let closes = Script::play(|listener| drop(read_request(&mut listener.accept().unwrap().0)));
    let resets = Script::play(|listener| listener.accept().unwrap().0.read_exact(&mut [0; 100]).unwrap());
    for port in [closes.port, resets.port] {
        let fault = fault(&transport(), post(&plain(port)));
        assert_eq!((fault.code, fault.sent), (ErrorCode::Network, true), "{fault:?}");
    }
}

#[test]
fn silence_after_the_request_leaves_the_outcome_unknown_at_the_deadline() {
    // fault 16
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for request in
        [post(&plain(listener.local_addr().unwrap().port())), get(&plain(listener.local_addr().unwrap().port()))]
    {
        let fault = fault(&transport(), HttpRequest { timeout: Some(SHORT), ..request });
        assert_eq!((fault.code, fault.sent), (ErrorCode::Timeout, true));
    }
}

#[test]
fn half_a_body_is_a_fault_and_never_an_answer() {
    // fault 32
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"canary\"",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ncana",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ncanary\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        let fault = fault(&transport(), post(&plain(answering(half).port)));
        assert_eq!((fault.code, fault.sent), (ErrorCode::Network, true), "{half}: {fault:?}");
    }
}

#[test]
fn what_is_not_http_is_a_protocol_fault_with_the_outcome_unknown() {
    // fault 32
    for noise in [
        "220 canary ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\ncanary",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
        "HTTP/1.1 200 OK\r\ncanary canary: 1\r\n\r\n",
    ] {
        let fault = fault(&transport(), post(&plain(answering(noise).port)));
        assert_eq!((fault.code, fault.sent), (ErrorCode::Protocol, true), "{noise}: {fault:?}");
    }
}

#[test]
fn bytes_beyond_the_content_length_are_not_part_of_the_answer_and_end_the_connection() {
    // fault 32
    let (end, ended) = mpsc::channel();
    let server = Script::play(move |listener| {
        for _ in 0..2 {
            let mut stream = listener.accept().unwrap().0;
            read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n").unwrap();
            assert_eq!(read_request(&mut stream), "", "the connection is not used again");
            end.send(()).unwrap();
        }
    });
    let transport = transport();
    runtime().block_on(async {
        for _ in 0..2 {
            assert_eq!(transport.send(post(&plain(server.port))).await.ok().unwrap().body, b"{}");
            // The server has seen the end of the connection.
            while ended.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        }
    });
    server.done();
}

#[test]
fn trailers_are_skipped() {
    // fault 32
    let server =
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n2\r\n{}\r\n0\r\nx: 1\r\n\r\n");
    assert_eq!(answer(&transport(), post(&plain(server.port))).body, b"{}");
}

// ---- Limits

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn gzip_is_decoded_and_a_damaged_one_is_a_protocol_fault() {
    let packed = gzip(b"{\"a\":1}");
    assert_eq!(answer(&transport(), post(&plain(answering(gzipped(&packed)).port))).body, b"{\"a\":1}");
    let mut flipped = packed.clone();
    flipped[12] ^= 0xff;
    for damaged in [&packed[..packed.len() - 6], &flipped, b"{\"canary\":1}"] {
        let fault = fault(&transport(), post(&plain(answering(gzipped(damaged)).port)));
        assert_eq!((fault.code, fault.sent), (ErrorCode::Protocol, true), "{fault:?}");
    }
}

#[test]
fn an_answer_without_a_body_may_still_say_gzip() {
    for (method, status, length) in
        [(Method::HEAD, "200 OK", 100), (Method::POST, "200 OK", 0), (Method::GET, "304 Not Modified", 9)]
    {
        let server =
            answering(format!("HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n"));
        let response = answer(&transport(), HttpRequest { method, ..get(&plain(server.port)) });
        assert_eq!((response.status.to_string().as_str(), response.body.len()), (&status[..3], 0));
    }
}

#[test]
fn a_gzip_bomb_is_cut_at_the_limit_of_decoded_bytes() {
    // fault 31
    let bomb = gzip(&vec![b'a'; 64 * MIB]);
    assert!(bomb.len() < MIB, "the bomb itself is small");
    let fault = fault(&transport(), post(&plain(answering(gzipped(&bomb)).port)));
    assert_eq!((fault.code, fault.sent), (ErrorCode::Protocol, true));
    assert!(fault.message.ends_with("is larger than the limit of 1048576 bytes"), "{fault:?}");
}

#[test]
fn a_body_of_exactly_the_limit_is_accepted() {
    for (limit, fits) in [(5, true), (4, false), (0, false)] {
        for answer in [http("200 OK", "", "12345"), "HTTP/1.1 200 OK\r\n\r\n12345".to_owned()] {
            let request = HttpRequest { max_body: limit, ..post(&plain(answering(answer).port)) };
            assert_eq!(send(&transport(), request).is_ok(), fits, "{limit}");
        }
    }
}

#[test]
fn an_endless_body_is_cut_and_its_connection_closed() {
    // fault 31
    let server = Script::play(|listener| {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let chunk = [b"1000\r\n", vec![b'a'; 0x1000].as_slice(), b"\r\n"].concat();
        let mut written = 0;
        while stream.write_all(&chunk).is_ok() {
            written += chunk.len();
        }
        written
    });
    let transport = transport();
    runtime().block_on(async {
        let fault = transport.send(post(&plain(server.port))).await.err().unwrap();
        assert_eq!((fault.code, fault.sent), (ErrorCode::Protocol, true));
        let closed = async {
            while !server.thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
        };
        tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the connection is closed");
    });
    assert!(server.done() < 64 * MIB);
}

#[test]
fn an_announced_length_beyond_the_limit_is_refused_at_once() {
    // fault 31
    let server = Script::play(|listener| {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n").unwrap();
        read_request(&mut stream) // until the other side closes
    });
    let fault = fault(&transport(), post(&plain(server.port)));
    assert_eq!((fault.code, fault.sent), (ErrorCode::Protocol, true));
}

#[test]
fn headers_without_end_are_refused() {
    // fault 31
    for header in [format!("x: {}\r\n", "canary".repeat(10 * MIB / 6)), "x: canary\r\n".repeat(1000)] {
        let fault = fault(&transport(), post(&plain(answering(format!("HTTP/1.1 200 OK\r\n{header}\r\n")).port)));
        assert_eq!((fault.code, fault.sent), (ErrorCode::Protocol, true), "{fault:?}");
        assert!(fault.message.ends_with("too many or too large"), "{fault:?}");
    }
}

#[test]
fn an_answer_byte_by_byte_ends_by_the_total_deadline() {
    // fault 17
    for head in ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 OK\r\n\r\n"] {
        let server = Script::play(move |listener| {
            let mut stream = listener.accept().unwrap().0;
            read_request(&mut stream);
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"c").is_ok() {
                thread::sleep(Duration::from_millis(25));
            }
        });
        let transport = Transport::new(TransportOptions { timeout: SHORT, ..options() }).unwrap();
        let begun = Instant::now();
        let longer = HttpRequest { timeout: Some(Duration::from_secs(60)), ..post(&plain(server.port)) };
        let fault = fault(&transport, longer);
        assert_eq!((fault.code, fault.sent), (ErrorCode::Timeout, true));
        assert!(begun.elapsed() >= SHORT && begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

// ---- The pool

#[test]
fn a_kept_connection_found_closed_is_replaced_once_without_the_caller_noticing() {
    // fault 18
    let (close, closing) = mpsc::channel::<()>();
    let server = Script::play(move |listener| {
        let mut first = listener.accept().unwrap().0;
        read_request(&mut first);
        first.write_all(http("200 OK", "", "1").as_bytes()).unwrap();
        closing.recv().unwrap();
        first.shutdown(std::net::Shutdown::Write).unwrap();
        let mut second = listener.accept().unwrap().0;
        let request = read_request(&mut second);
        second.write_all(http("200 OK", "", "2").as_bytes()).unwrap();
        (request, read_request(&mut first))
    });
    let transport = transport();
    runtime().block_on(async {
        assert_eq!(transport.send(post(&plain(server.port))).await.ok().unwrap().body, b"1");
        // The close and the end of this sleep reach the reactor together: the request is queued on a connection that
        // looks alive and is given back by it.
        let mut sleep = std::pin::pin!(tokio::time::sleep(Duration::from_millis(20)));
        std::future::poll_fn(|context| {
            assert!(sleep.as_mut().poll(context).is_pending());
            close.send(()).unwrap();
            thread::sleep(Duration::from_millis(60));
            Poll::Ready(())
        })
        .await;
        sleep.await;
        assert_eq!(transport.send(post(&plain(server.port))).await.ok().unwrap().body, b"2");
    });
    drop(transport);
    let (second, rest_of_first) = server.done();
    assert!(second.ends_with("canary=1"));
    assert_eq!(rest_of_first, "", "no byte went to the closed connection");
}

#[test]
fn a_kept_connection_that_breaks_after_the_request_is_not_tried_again() {
    // fault 18
    let (fail, failed) = mpsc::channel::<()>();
    let server = Script::play(move |listener| {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        stream.write_all(http("200 OK", "", "1").as_bytes()).unwrap();
        read_request(&mut stream);
        drop(stream);
        // The call has ended: whatever it tried is in the listener's queue by now.
        failed.recv().unwrap();
        listener.set_nonblocking(true).unwrap();
        listener.accept().is_err()
    });
    let transport = transport();
    runtime().block_on(async {
        assert!(transport.send(post(&plain(server.port))).await.is_ok());
        let fault = transport.send(post(&plain(server.port))).await.err().unwrap();
        assert_eq!((fault.code, fault.sent), (ErrorCode::Network, true));
        fail.send(()).unwrap();
    });
    assert!(server.done(), "no second connection");
}

// ---- Proxies and options

#[test]
fn a_proxy_sees_a_tunnel_and_neither_loopback_nor_plain_text() {
    // fault 8
    let proxy = answering("HTTP/1.1 403 Forbidden\r\n\r\n");
    let address = format!("http://user:pass@127.0.0.1:{}", proxy.port);
    let transport = Transport::new(TransportOptions { proxy: Some(address), ..options() }).unwrap();
    let server = answering(http("200 OK", "", "direct"));
    assert_eq!(answer(&transport, post(&plain(server.port))).body, b"direct");

    let fault = fault(&transport, post("https://api.example/"));
    assert_eq!((fault.code, fault.sent), (ErrorCode::Network, false), "{fault:?}");
    let seen = proxy.done();
    assert!(seen.starts_with("connect api.example:443 http/1.1\r\n"), "{seen}");
    assert!(seen.contains("proxy-authorization: basic ") && !seen.contains("canary"), "{seen}");
}

#[test]
fn wrong_options_are_named_by_their_field_and_not_by_their_value() {
    // fault 8
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        TransportOptions { ca_file: Some(path), ..options() }
    };
    let proxy = |proxy: &str| TransportOptions { proxy: Some(proxy.to_owned()), ..options() };
    let missing = TransportOptions { ca_file: Some(folder.path().join("canary")), ..options() };
    let directory = TransportOptions { ca_file: Some(folder.path().to_owned()), ..options() };
    for (options, field) in [
        (missing, "transport.ca_file cannot be read"),
        (directory, "transport.ca_file is not a file"),
        (file("canary1", ""), "transport.ca_file holds no certificate"),
        (
            file("canary2", "-----BEGIN CERTIFICATE-----\ncanary!\n-----END CERTIFICATE-----\n"),
            "transport.ca_file is not valid PEM",
        ),
        (
            file("canary3", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "transport.ca_file holds a broken",
        ),
        (proxy(""), "transport.proxy must be"),
        (proxy("canary"), "transport.proxy must be"),
        (proxy("canary:3128"), "transport.proxy must be"),
        (proxy("socks5://canary:1080"), "transport.proxy must be"),
        (proxy("http://user:canary@host/path"), "transport.proxy must be"),
        (TransportOptions { timeout: Duration::ZERO, ..options() }, "transport.timeout must be"),
        (TransportOptions { connect_timeout: Duration::ZERO, ..options() }, "transport.connect_timeout must be"),
    ] {
        let error = Transport::new(options).err().expect(field);
        assert_eq!(error.code(), ErrorCode::Config);
        assert!(error.message().starts_with(field), "{error}");
        assert!(!error.message().contains("canary"), "{error}");
    }
    for good in ["env", "http://proxy:3128", "https://user:pass@[::1]:3128/"] {
        assert!(Transport::new(proxy(good)).is_ok(), "{good}");
    }
    let endless = TransportOptions { timeout: Duration::MAX, connect_timeout: Duration::MAX, ..options() };
    let server = answering(http("200 OK", "", ""));
    assert_eq!(answer(&Transport::new(endless).unwrap(), post(&plain(server.port))).status, 200);
}

#[test]
fn debug_shows_where_the_proxy_is_and_not_its_password() {
    for (proxy, shown) in
        [("http://user:canary@proxy:3128", "proxy:3128"), ("http://user:canary@[", "…"), ("env", "env")]
    {
        let text = format!("{:?}", TransportOptions { proxy: Some(proxy.to_owned()), ..options() });
        assert!(text.contains(shown) && !text.contains("canary"), "{text}");
    }
}
