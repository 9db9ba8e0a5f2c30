//! Texts on their way in and out.

use std::ffi::{CStr, CString, c_char};

use qauth_core::{Error, ErrorCode};
use serde_json::{Map, Value};

use crate::guard::Result;

/// A text that must be there.
pub(crate) fn required<'a>(text: *const c_char, parameter: &str) -> Result<&'a str> {
    match optional(text, parameter)? {
        Some(text) => Ok(text),
        None => Err(invalid(format!("{parameter}: must not be NULL")).into()),
    }
}

/// A text, or NULL for none.
pub(crate) fn optional<'a>(text: *const c_char, parameter: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not null; the header demands that a NUL ends it and that nobody changes it during the call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| invalid(format!("{parameter}: is not UTF-8")).into())
}

/// A JSON object; NULL for an empty one.
pub(crate) fn object(json: *const c_char, parameter: &str) -> Result<Map<String, Value>> {
    let Some(json) = optional(json, parameter)? else { return Ok(Map::new()) };
    // Parsed before it is judged: the parser's complaint about a wrong type would quote the value.
    match serde_json::from_str(json) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(invalid(format!("{parameter}: expected a JSON object")).into()),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(invalid(format!("{parameter}: is not JSON at line {line}, column {column}")).into())
        }
    }
}

/// For C; a NUL inside, which no text of ours holds, is left out.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| CString::new(text.replace('\0', "")).unwrap_or_default())
}

/// A pointer that lives as long as the text, NULL for none.
pub(crate) fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorCode::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Failure;

    fn complaint<T>(result: Result<T>) -> String {
        match result {
            Err(Failure::Core(error)) => error.to_string(),
            _ => String::new(),
        }
    }

    #[test]
    fn refusals_name_the_parameter_and_quote_nothing() {
        // fault 76
        assert!(complaint(required(std::ptr::null(), "name")).contains("name: must not be NULL"));
        assert!(complaint(required(c"\xff".as_ptr(), "name")).contains("name: is not UTF-8"));
        for json in [c"\"canary\"", c"canary", c"{\"canary\"", c"[\"canary\"]"] {
            let complaint = complaint(object(json.as_ptr(), "changes_json"));
            assert!(complaint.contains("changes_json: ") && !complaint.contains("canary"), "{complaint}");
        }
    }

    #[test]
    fn a_nul_inside_is_left_out() {
        assert_eq!(c_string("a\0b").as_c_str(), c"ab");
    }
}
