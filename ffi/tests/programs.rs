//! Compiles the programs of `tests/c` and `tests/cpp` and runs each against a simulator of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use qauth_sim::{Sim, SimOptions};
use tempfile::TempDir;

const C: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];
const CPP: [&str; 6] = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];
/// A program that hangs is a failure, too.
const LONGEST: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// A folder with the library as it is installed: under its name for the linker and the one for the dynamic linker.
fn library() -> TempDir {
    let test = std::env::current_exe().expect("this test's own path");
    let built = test.parent().expect("target/…/deps").join("libqauth.so");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["libqauth.so", "libqauth.so.1"] {
        symlink(&built, folder.path().join(name)).expect("a link");
    }
    folder
}

fn compiler(language: &str) -> Command {
    let (variable, usual) = if language == "c" { ("CC", "cc") } else { ("CXX", "c++") };
    Command::new(std::env::var_os(variable).unwrap_or_else(|| usual.into()))
}

fn show(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn expect_success(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", show(&output));
    output
}

/// Compiles `tests/{language}/{name}`, runs it and expects it to count no failed check.
fn run(language: &str, name: &str) {
    let folder = library();
    let program = folder.path().join("program");
    let source = root().join("tests").join(language).join(format!("{name}.{language}"));
    expect_success(
        compiler(language)
            .args(if language == "c" { C } else { CPP })
            .arg("-I")
            .arg(root().join("include"))
            .arg(source)
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(folder.path())
            // A program that loads the library by itself is not linked with it.
            .args(["-Wl,--as-needed", "-lqauth", "-lpthread", "-ldl"]),
    );
    let sim = Sim::start(SimOptions::default()).expect("the simulator");
    let mut running = Command::new(&program)
        .current_dir(folder.path())
        .env("QAUTH_SIM_URL", sim.url())
        .env("LD_LIBRARY_PATH", folder.path())
        .env_remove("QAUTH_CONFIG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let begin = Instant::now();
    while running.try_wait().expect("the program's status").is_none() {
        if begin.elapsed() > LONGEST {
            let _ = running.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = running.wait_with_output().expect("the program's output");
    let said = String::from_utf8_lossy(&output.stdout);
    let counted = said.lines().next_back().is_some_and(|line| line.ends_with(" passed, 0 failed"));
    assert!(output.status.success() && counted, "{}", show(&output));
    // Nothing is printed, by the library neither.
    assert!(output.stderr.is_empty() && said.lines().count() == 1, "{}", show(&output));
}

#[test]
fn a_c_program_gets_tokens_and_answers_of_all_five_vendors() {
    run("c", "vendors");
}

#[test]
fn what_a_c_program_does_wrong_is_refused() {
    // faults 76, 77, 78
    run("c", "misuse");
}

#[test]
fn many_c_threads_share_one_renewal_and_never_see_half_a_header() {
    // faults 53, 76
    run("c", "threads");
}

#[test]
fn a_child_of_fork_uses_what_its_parent_made() {
    // fault 73
    run("c", "fork");
}

#[test]
fn what_is_under_way_at_the_end_of_a_c_program_is_stored() {
    // fault 74
    run("c", "exit");
}

#[test]
fn the_library_outlives_dlclose_and_what_is_under_way_is_stored() {
    // fault 74
    run("c", "dlclose");
}

#[test]
fn c_callbacks_run_once_on_the_thread_that_runs_the_queue() {
    // fault 59
    run("c", "queue");
}

#[test]
fn a_c_program_saves_a_new_client_as_a_profile() {
    run("c", "saving");
}

#[test]
fn a_c_function_gives_tokens_where_its_program_waits_for_them() {
    // faults 53, 59, 73, 76
    run("c", "custom");
}

#[test]
fn c_callbacks_hear_of_events_until_they_or_their_queue_end() {
    // faults 53, 59, 73
    run("c", "events");
}

#[test]
fn a_c_program_sends_dpop_requests_with_a_client_of_its_own() {
    run("c", "dpop");
}

#[test]
fn cpp_objects_give_what_c_gives_and_throw_what_c_returns() {
    // fault 79
    run("cpp", "values");
}

#[test]
fn what_cpp_callbacks_throw_comes_out_of_run() {
    // fault 78
    run("cpp", "queue");
}

#[test]
fn what_a_cpp_token_function_throws_is_an_error_of_the_call() {
    // fault 78
    run("cpp", "custom");
}

#[test]
fn cpp_callbacks_hear_of_events_and_live_as_long_as_they_are_needed() {
    // faults 53, 59, 78
    run("cpp", "events");
}

/// Whether a text is a program without complaint.
fn compiles(language: &str, options: &[&str], text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source").with_extension(language);
    fs::write(&source, text).expect("the source is written");
    let warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-fsyntax-only", "-I"];
    let output = compiler(language)
        .args(options)
        .args(warnings)
        .arg(root().join("include"))
        .arg(&source)
        .output()
        .expect("a compiler");
    if output.status.success() { Ok(()) } else { Err(show(&output)) }
}

#[test]
fn the_headers_compile_alone_and_without_a_warning() {
    let c = "#include <qauth.h>\n#include <qauth.h>\nqauth_request request = QAUTH_REQUEST_INIT;\n\
             qauth_custom_token token = QAUTH_CUSTOM_TOKEN_INIT;\n";
    for standard in ["-std=c99", "-std=c11", "-std=c17"] {
        assert_eq!(compiles("c", &[standard], c), Ok(()));
    }
    for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
        assert_eq!(compiles("cpp", &[standard], c), Ok(()));
    }
    for standard in ["-std=c++17", "-std=c++20"] {
        assert_eq!(
            compiles("cpp", &[standard, "-Wconversion"], "#include <qauth.hpp>\n#include <qauth.hpp>\n"),
            Ok(())
        );
    }
}

#[test]
fn without_exceptions_or_cpp17_the_cpp_header_says_so() {
    // fault 79
    let program = "#include <qauth.hpp>\n";
    let complaint = compiles("cpp", &["-std=c++17", "-fno-exceptions"], program).unwrap_err();
    assert!(complaint.contains("reports failures as exceptions"), "{complaint}");
    let complaint = compiles("cpp", &["-std=c++14"], program).unwrap_err();
    assert!(complaint.contains("needs C++17"), "{complaint}");
}

#[test]
fn two_files_of_one_program_can_include_the_cpp_header() {
    let folder = library();
    let program = folder.path().join("program");
    let files =
        ["int one();\nint main() { return one(); }\n", "int one() { return qauth::providers_json().empty(); }\n"];
    let mut compile = compiler("cpp");
    compile.args(CPP).arg("-I").arg(root().join("include"));
    for (number, text) in files.iter().enumerate() {
        let path = folder.path().join(format!("{number}.cpp"));
        fs::write(&path, format!("#include <qauth.hpp>\n{text}")).expect("the source is written");
        compile.arg(path);
    }
    expect_success(compile.arg("-o").arg(&program).arg("-L").arg(folder.path()).arg("-lqauth"));
    expect_success(Command::new(program).env("LD_LIBRARY_PATH", folder.path()));
}

#[test]
fn what_make_installs_is_found_by_pkg_config() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prefix = folder.path().join("prefix");
    expect_success(
        Command::new("make")
            .arg("-C")
            .arg(root())
            .args(["install", "PROFILE=dev"])
            .arg(format!("PREFIX={}", prefix.display())),
    );
    let examples = std::fs::read_dir(prefix.join("share/qauth/providers")).expect("the example definitions");
    assert_eq!(examples.count(), 20);
    let flags = |options: &[&str]| -> Vec<String> {
        let mut ask = Command::new("pkg-config");
        let output =
            expect_success(ask.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(options).arg("qauth"));
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(flags(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let source = root().join("tests/c/app.c");

    let shared = folder.path().join("shared");
    expect_success(compiler("c").arg(&source).args(flags(&["--cflags", "--libs"])).arg("-o").arg(&shared));
    let said = expect_success(Command::new(shared).env("LD_LIBRARY_PATH", prefix.join("lib"))).stdout;
    assert_eq!(String::from_utf8_lossy(&said), format!("libqauth {}, ABI 1\n", env!("CARGO_PKG_VERSION")));

    let fixed = folder.path().join("static");
    let mut link = compiler("c");
    link.arg(&source).args(flags(&["--cflags"])).arg(prefix.join("lib/libqauth.a"));
    link.args(flags(&["--libs-only-l", "--static"]).iter().filter(|flag| *flag != "-lqauth")).arg("-o").arg(&fixed);
    expect_success(&mut link);
    expect_success(&mut Command::new(fixed));
}
