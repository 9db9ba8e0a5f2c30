//! The provider files of `providers/contrib` against their recordings.

use std::path::{Path, PathBuf};

use qauth_core::{Mistake, Provider};

fn files() -> (PathBuf, Vec<PathBuf>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers/contrib");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let toml = entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut files: Vec<PathBuf> = toml.filter(|path| !path.to_str().unwrap().ends_with(".test.toml")).collect();
    files.sort();
    assert!(!files.is_empty());
    (folder, files)
}

#[test]
fn every_contributed_file_is_correct_and_named_like_its_provider() {
    let (_, files) = files();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mistakes: Vec<String> = Provider::check_toml(&text).iter().map(Mistake::to_string).collect();
        assert_eq!(mistakes, [""; 0], "{}", path.display());
        let provider = Provider::from_toml(&text).unwrap();
        assert_eq!(Some(provider.name()), path.file_stem().and_then(|stem| stem.to_str()));
    }
}

#[test]
fn every_contributed_file_passes_its_recording_which_has_a_success_and_an_error() {
    let (folder, files) = files();
    let mut wrong = Vec::new();
    for path in files {
        let provider = Provider::from_toml(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let name = provider.name();
        let recording = std::fs::read_to_string(path.with_extension("test.toml"));
        let recording = recording.unwrap_or_else(|_| panic!("{name} has no recording"));
        let tests = provider.test_recorded(&recording, &folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (expects, what) in [(false, "a success"), (true, "an error")] {
            if !tests.iter().any(|test| test.expects.is_some() == expects) {
                wrong.push(format!("{name}: the recording has no test of {what}"));
            }
        }
        wrong.extend(tests.iter().filter_map(|test| {
            let why = test.outcome.as_ref().err()?;
            Some(format!("{name}: {}: {why}", test.name))
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
