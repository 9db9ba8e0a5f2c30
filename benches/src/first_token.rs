//! Loads libqauth.so and prints the milliseconds until the first token is there: `first-token LIBRARY URL CA-FILE`.

mod library;

use std::path::PathBuf;
use std::time::Instant;

use library::LoadedSource;
use qauth_sim::known;

#[allow(clippy::print_stdout)]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, url, ca] = arguments.as_slice() else { panic!("usage: first-token LIBRARY URL CA-FILE") };
    let config = serde_json::json!({
        "transport": {"ca_file": ca},
        "profiles": {"pricing": {
            "provider": "quantaprice",
            "base_url": format!("{url}/quantaprice"),
            "client_id": known::QUANTAPRICE_CLIENT_ID,
            "client_secret": known::QUANTAPRICE_CLIENT_SECRET,
        }},
    })
    .to_string();
    let mut buffer = vec![0u8; 4096];
    let start = Instant::now();
    let source = LoadedSource::open(&PathBuf::from(library), &config, "pricing");
    source.header(&mut buffer);
    println!("{:.3}", start.elapsed().as_secs_f64() * 1000.0);
}
