//! The binary `qauth-sim`: five vendors on loopback.

fn main() {
    std::process::exit(qauth_sim::run(std::env::args_os()));
}
