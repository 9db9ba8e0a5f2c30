use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_qauth-sim"))
}

#[test]
fn it_prints_one_line_writes_its_files_and_ends_with_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let (port_file, ca) = (folder.path().join("url"), folder.path().join("ca.pem"));
    let mut child = binary()
        .args(["--tls", "--until-stdin-closes", "--port-file"])
        .arg(&port_file)
        .arg("--ca-out")
        .arg(&ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let url = line.strip_prefix("qauth-sim listening on ").unwrap().trim_end().to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    assert_eq!(std::fs::read_to_string(&port_file).unwrap(), url);
    assert!(std::fs::read_to_string(&ca).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn a_wrong_command_line_and_a_taken_port_have_exit_codes_of_their_own() {
    assert_eq!(binary().arg("--ports=1").output().unwrap().status.code(), Some(2));
    assert_eq!(binary().args(["--ca-out", "ca.pem"]).output().unwrap().status.code(), Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = binary().args(["--port", &taken.local_addr().unwrap().port().to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("qauth-sim: cannot listen on port "));
    let help = binary().arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("--until-stdin-closes"));
}
