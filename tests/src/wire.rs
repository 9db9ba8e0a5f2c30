//! The line protocol between the harness and a driver: fields separated by tabs, each percent-encoded.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a field cannot hold as it is. Everything beyond ASCII is encoded too.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A line from its fields.
pub fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let encoded: Vec<String> =
        fields.into_iter().map(|field| utf8_percent_encode(field, ENCODED).to_string()).collect();
    encoded.join("\t")
}

/// The fields of a line.
pub fn fields(line: &str) -> Vec<String> {
    line.split('\t').map(|field| percent_decode_str(field).decode_utf8_lossy().into_owned()).collect()
}

/// What a driver answered to one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// `ok`, `error` or `unsupported`.
    pub kind: String,
    /// In the order they came.
    pub values: Vec<(String, String)>,
}

impl Reply {
    /// An empty success.
    pub fn ok() -> Reply {
        Reply { kind: "ok".into(), values: Vec::new() }
    }

    /// An empty error.
    pub fn error() -> Reply {
        Reply { kind: "error".into(), values: Vec::new() }
    }

    /// This face cannot do what the command asks for.
    pub fn unsupported() -> Reply {
        Reply { kind: "unsupported".into(), values: Vec::new() }
    }

    /// The same with one value more.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Reply {
        self.values.push((key.into(), value.into()));
        self
    }

    /// The same with a value more, where there is one.
    pub fn with_some(self, key: &str, value: Option<impl Into<String>>) -> Reply {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The line that carries it.
    pub fn to_line(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        line(std::iter::once(self.kind.as_str()).chain(values.iter().map(String::as_str)))
    }

    /// Reads a line. Names of headers are taken in lower case, since they mean the same in any.
    ///
    /// # Errors
    /// A description of what is wrong with the line.
    pub fn from_line(text: &str) -> Result<Reply, String> {
        let mut fields = fields(text).into_iter();
        let kind = fields.next().unwrap_or_default();
        if !["ok", "error", "unsupported"].contains(&kind.as_str()) {
            return Err(format!("the driver's line begins with neither ok, error nor unsupported: {text}"));
        }
        let values = fields.map(|field| match field.split_once('=') {
            Some((key, value)) if key.starts_with("header.") => Ok((key.to_ascii_lowercase(), value.to_owned())),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(format!("the driver's line holds a field without \"=\": {text}")),
        });
        Ok(Reply { kind, values: values.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_carries_comes_back_unchanged() {
        let reply = Reply::ok().with("body", "a=b\tc\n%41 é").with("header.X-A", "1");
        let line = reply.to_line();
        assert!(!line.contains('\n') && line.matches('\t').count() == 2, "{line}");
        let back = Reply::from_line(&line).unwrap();
        assert_eq!(back.get("body"), Some("a=b\tc\n%41 é"));
        assert_eq!(back.get("header.x-a"), Some("1"));
        assert!(Reply::from_line("maybe").is_err());
    }

    #[test]
    fn an_empty_argument_keeps_its_place() {
        assert_eq!(fields(&line(["token", "", "0"])), ["token", "", "0"]);
    }
}
