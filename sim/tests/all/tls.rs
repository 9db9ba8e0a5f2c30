use crate::support::{Probe, client};
use qauth_sim::{Sim, SimOptions};
use reqwest::Certificate;

#[tokio::test]
async fn https_is_served_to_who_trusts_the_runs_own_authority() {
    let sim = Sim::start(SimOptions { tls: true, ..SimOptions::default() }).unwrap();
    let ca = Certificate::from_pem(sim.ca_pem().unwrap().as_bytes()).unwrap();
    let trusting = client().tls_certs_only([ca]).build().unwrap();
    assert!(sim.url().starts_with("https://127.0.0.1:"));
    let localhost = format!("https://localhost:{}/_sim/state", sim.addr().port());
    assert!(trusting.get(localhost).send().await.unwrap().status().is_success());
    let wary = client().tls_certs_only([]).build().unwrap();
    assert!(wary.get(sim.url()).send().await.is_err());
    let probe = Probe { sim, client: trusting };
    probe.quantaprice().await.is(200);
}

#[test]
fn a_dropped_simulator_frees_its_port() {
    let sim = Sim::start(SimOptions::default()).unwrap();
    let port = sim.addr().port();
    assert!(Sim::start(SimOptions { port, tls: false }).is_err());
    drop(sim);
    Sim::start(SimOptions { port, tls: false }).unwrap();
}
