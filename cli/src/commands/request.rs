//! `qauth request`: any API call with the token attached.

use qauth_core::Request;
use serde_json::Value;

use super::Session;
use crate::args::RequestArgs;
use crate::assignment;
use crate::console::Console;
use crate::failure::Failure;

pub(super) fn run(session: &Session, args: &RequestArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let source = session.source(&args.profile)?;
    let request = request(args, console)?;
    let response = source.request_blocking(&request)?;
    if args.include {
        // The transport speaks no other version.
        console.line(&format!("HTTP/1.1 {}", response.status))?;
        for (name, value) in &response.headers {
            console.line(&format!("{name}: {value}"))?;
        }
        console.line("")?;
    }
    console.write(&response.body)?;
    if args.fail
        && let Some(error) = response.error()
    {
        console.flush()?;
        return Err(error.clone().into());
    }
    Ok(())
}

fn request(args: &RequestArgs, console: &mut Console<'_, '_>) -> Result<Request, Failure> {
    let method = match &args.method {
        Some(method) => method.to_ascii_uppercase(),
        None => if args.data.is_some() { "POST" } else { "GET" }.to_owned(),
    };
    let mut headers = assignment::headers(&args.header, "--header")?;
    let body = args.data.as_deref().map(|data| assignment::body(data, console.stdin())).transpose()?;
    let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !typed && body.as_deref().is_some_and(is_json) {
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
    }
    let query = assignment::pairs(&args.query, "--query")?;
    Ok(Request { query, headers, body, timeout: args.timeout, ..Request::new(method, &args.target) })
}

/// A number or a lone word could be anything; an object or a list is JSON.
fn is_json(body: &[u8]) -> bool {
    matches!(serde_json::from_slice(body), Ok(Value::Object(_) | Value::Array(_)))
}
