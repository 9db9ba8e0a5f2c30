use std::time::Instant;
fn main() {
    let url = std::env::args().nth(1).unwrap();
    let e = qauth_core::Engine::from_toml(&format!("[profiles.p]\nprovider=\"quantaprice\"\nbase_url=\"{url}/quantaprice\"\nclient_id=\"a1b2c3d4e5f6a1b2c3d4e5f6\"\nclient_secret=\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n")).unwrap();
    let s = e.source("p").unwrap();
    s.header().unwrap();
    let best = |mut f: Box<dyn FnMut()>| {
        let mut b = f64::MAX;
        for _ in 0..20 {
            let t = Instant::now();
            for _ in 0..1_000_000 {
                f()
            }
            b = b.min(t.elapsed().as_nanos() as f64 / 1e6);
        }
        b
    };
    let s2 = s.clone();
    println!(
        "with_token len: {:.1}",
        best(Box::new(move || {
            std::hint::black_box(s2.with_token(|t| t.header_value().len()).unwrap());
        }))
    );
    let s2 = s.clone();
    let mut buf = vec![0u8; 4096];
    println!(
        "with_token memcpy: {:.1}",
        best(Box::new(move || {
            s2.with_token(|t| {
                let h = t.header_value();
                buf[..h.len()].copy_from_slice(h.as_bytes());
                buf[h.len()] = 0;
            })
            .unwrap();
            std::hint::black_box(&mut buf);
        }))
    );
    let s2 = s.clone();
    let mut buf = vec![0u8; 4096];
    println!(
        "with_cached_header memcpy: {:.1}",
        best(Box::new(move || {
            s2.with_cached_header(|h| {
                buf[..h.len()].copy_from_slice(h.as_bytes());
                buf[h.len()] = 0;
            })
            .unwrap();
            std::hint::black_box(&mut buf);
        }))
    );
}
