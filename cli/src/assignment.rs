//! `name=value`, `name:=JSON`, and texts that are read from a file.

use std::io::Read;
use std::path::Path;

use qauth_core::{Error, ErrorCode};
use serde_json::{Map, Value};

/// Whether `@FILE` is read, or is a text like any other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    Read,
    Text,
}

/// Reads assignments into an object; `what` names their kind. A value never appears in an error.
pub(crate) fn parse(
    words: &[String],
    what: &str,
    files: Files,
    stdin: &mut dyn Read,
) -> Result<Map<String, Value>, Error> {
    let mut values = Map::new();
    for (index, word) in words.iter().enumerate() {
        let split = word.split_once('=').filter(|(name, _)| !name.is_empty() && *name != ":");
        let Some((name, text)) = split else {
            return Err(wrong(format!("{what} {}: expected name=value or name:=JSON", index + 1)));
        };
        let (name, json) = name.strip_suffix(':').map_or((name, false), |name| (name, true));
        let text = match text.strip_prefix('@').filter(|_| files == Files::Read) {
            Some(from) => text_from(from, &format!("{what} {name}"), stdin)?,
            None => text.to_owned(),
        };
        let value = match json {
            true => serde_json::from_str(&text).map_err(|error| {
                let place = format!("line {}, column {}", error.line(), error.column());
                wrong(format!("{what} {name}: is not JSON ({place}); for text write {name}=TEXT"))
            })?,
            false => Value::from(text),
        };
        if values.insert(name.to_owned(), value).is_some() {
            return Err(wrong(format!("{what} {name}: is given twice")));
        }
    }
    Ok(values)
}

/// `name=value` pairs that may repeat, such as those of a query.
pub(crate) fn pairs(words: &[String], what: &str) -> Result<Vec<(String, String)>, Error> {
    split_all(words, what, '=', "name=value")
}

/// `Name: value` lines.
pub(crate) fn headers(words: &[String], what: &str) -> Result<Vec<(String, String)>, Error> {
    let lines = split_all(words, what, ':', "\"Name: value\"")?;
    Ok(lines.into_iter().map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
}

fn split_all(words: &[String], what: &str, at: char, form: &str) -> Result<Vec<(String, String)>, Error> {
    let split = |(index, word): (usize, &String)| match word.split_once(at) {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(wrong(format!("{what} {}: expected {form}", index + 1))),
    };
    words.iter().enumerate().map(split).collect()
}

/// A request's body: `@FILE`, `-` (or `@-`) for standard input, or the text itself.
pub(crate) fn body(data: &str, stdin: &mut dyn Read) -> Result<Vec<u8>, Error> {
    match (data, data.strip_prefix('@')) {
        ("-", _) => bytes_from("-", "--data", stdin),
        (_, Some(from)) => bytes_from(from, "--data", stdin),
        _ => Ok(data.as_bytes().to_vec()),
    }
}

/// A file's text without the one line break that editors add; `-` is standard input.
fn text_from(from: &str, what: &str, stdin: &mut dyn Read) -> Result<String, Error> {
    let bytes = bytes_from(from, what, stdin)?;
    let mut text = String::from_utf8(bytes).map_err(|_| wrong(format!("{what}: {} is not UTF-8", shown(from))))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn bytes_from(from: &str, what: &str, stdin: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = match from {
        "-" => stdin.read_to_end(&mut bytes).map(drop),
        path => std::fs::read(Path::new(path)).map(|read| bytes = read),
    };
    match read {
        Ok(()) => Ok(bytes),
        Err(error) => Err(wrong(format!("{what}: {}: {}", shown(from), error.kind()))),
    }
}

fn shown(from: &str) -> String {
    if from == "-" { "standard input".to_owned() } else { format!("the file {from}") }
}

pub(crate) fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parsed = parse(&words, "parameter", Files::Read, &mut "from stdin\r\n".as_bytes());
        parsed.map(Value::Object).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn text_and_json_are_told_apart_by_the_colon() {
        let parsed = read(&["a=1", "b:=1", "c=", "d=x=y:=z", "e:=[\"i\"]", "f=http://h"]);
        assert_eq!(parsed, Ok(json!({"a": "1", "b": 1, "c": "", "d": "x=y:=z", "e": ["i"], "f": "http://h"})));
    }

    #[test]
    fn a_file_loses_one_line_break_and_a_dash_is_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        std::fs::write(&path, "two\n\n").unwrap();
        assert_eq!(read(&[&format!("a=@{}", path.display()), "b=@-"]), Ok(json!({"a": "two\n", "b": "from stdin"})));
        std::fs::write(&path, "{\"n\": 1}").unwrap();
        assert_eq!(read(&[&format!("a:=@{}", path.display())]), Ok(json!({"a": {"n": 1}})));
        assert!(read(&["a=@/nonexistent/file"]).unwrap_err().contains("parameter a: the file /nonexistent/file"));
    }

    #[test]
    fn an_error_names_the_parameter_and_never_the_value() {
        for (word, named) in [
            ("canary", "parameter 1"),
            ("=canary", "parameter 1"),
            (":=canary", "parameter 1"),
            ("a:=canary", "parameter a"),
        ] {
            let said = read(&[word]).unwrap_err();
            assert!(said.contains(named) && !said.contains("canary"), "{said}");
        }
        assert!(read(&["a=1", "a:=2"]).unwrap_err().contains("given twice"));
    }

    #[test]
    fn headers_and_pairs_keep_what_follows_the_first_separator() {
        let words = |word: &str| vec![word.to_owned()];
        assert_eq!(
            headers(&words("X-Url:  http://h:1 "), "--header").unwrap(),
            [("X-Url".into(), "http://h:1".into())]
        );
        assert_eq!(pairs(&words("q=a=b"), "--query").unwrap(), [("q".into(), "a=b".into())]);
        assert!(headers(&words("canary"), "--header").unwrap_err().message().ends_with("expected \"Name: value\""));
    }

    #[test]
    fn a_body_is_a_file_standard_input_or_the_text() {
        assert_eq!(body("{}", &mut "".as_bytes()).unwrap(), b"{}");
        assert_eq!(body("-", &mut "in\n".as_bytes()).unwrap(), b"in\n");
        assert_eq!(body("@-", &mut "in\n".as_bytes()).unwrap(), b"in\n");
    }
}
