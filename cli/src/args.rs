//! What can be typed.

mod login;
mod store;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use qauth_core::ErrorCode;

pub(crate) use self::login::{LoginArgs, LogoutArgs};
pub(crate) use self::store::{ClearArgs, StatusArgs};

use crate::failure::{OUTPUT_NAME, OUTPUT_STATUS};

/// Valid access tokens for APIs, and calls with them
///
/// A PROFILE is a section [profiles.NAME] of the configuration, or simply a provider's name if its
/// credentials are in the environment: `qauth providers NAME` tells which variables are read.
///
/// The configuration is the file that --config names, else the one in QAUTH_CONFIG, else ./qauth.toml
/// (your own, that nobody else can write), else qauth/qauth.toml in the XDG folder (~/.config); none
/// is needed.
#[derive(Debug, Parser)]
#[command(name = "qauth", bin_name = "qauth", version = qauth_core::VERSION, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, verbatim_doc_comment)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of every command.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The configuration, as QAUTH_CONFIG names it
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Replace a key of the profile, for instance environment=staging or base_url=…
    ///
    /// KEY:=JSON gives a value that is no text. May be repeated. A secret is refused here, because
    /// other users can see the command line: say where it is instead (KEY=env:NAME, KEY=file:PATH).
    #[arg(long, global = true, value_name = "KEY=VALUE", verbatim_doc_comment)]
    pub(crate) set: Vec<String>,

    /// Machine-readable output; errors become one JSON object on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    #[arg(help = "When to use colours: auto (on a terminal, unless NO_COLOR is set), always, never")]
    pub(crate) color: ColorWhen,

    /// No hints and notes on stderr, only errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Token(TokenArgs),
    Request(RequestArgs),
    Call(CallArgs),
    Login(LoginArgs),
    Logout(LogoutArgs),
    Status(StatusArgs),
    Clear(ClearArgs),
    Providers(ProvidersArgs),
    Sim(SimArgs),
}

/// Print a valid access token
///
/// The token alone, for $(qauth token PROFILE). With --json an object with access_token, token_type,
/// expires_in (seconds), scope (as in RFC 6749 5.1), expires_at (Unix seconds), generation, extras,
/// profile and provider; what is not known, and the end of a token that has none, is null.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  qauth token pricing
  qauth token pricing --min-remaining 300 --json
  qauth token reports --header | curl -H @- https://api.example.com/reports"
)]
pub(crate) struct TokenArgs {
    /// A profile, or a provider with its credentials in the environment
    pub(crate) profile: String,

    /// Print every header that a request must carry, as lines "Name: value"
    #[arg(long)]
    pub(crate) header: bool,

    /// The token must live at least this long from now on
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) min_remaining: Option<Duration>,

    #[command(flatten)]
    pub(crate) narrowing: NarrowingArgs,

    /// How long to wait at most; otherwise the profile's own limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// Which of a profile's tokens is meant.
#[derive(Debug, Args)]
pub(crate) struct NarrowingArgs {
    /// Narrow the token to these scopes (RFC 6749 3.3)
    #[arg(long)]
    pub(crate) scope: Option<String>,

    /// Narrow it to this audience
    #[arg(long)]
    pub(crate) audience: Option<String>,

    /// Narrow it to this resource (RFC 8707)
    #[arg(long)]
    pub(crate) resource: Option<String>,
}

/// Call the API with the token attached
///
/// Prints the body as it is. A 401 leads to one new token and one more try; redirects are shown,
/// never followed. The token goes to the profile's own hosts only.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
With --fail, a status of 400 or more ends with the exit status of: access_denied (401, 403), rate_limited (429),
server_error (5xx), invalid_argument (any other 4xx). The body is printed all the same.

Examples:
  qauth request pricing /prices --query sku=A-1
  qauth request orders POST /orders --data @order.json --fail
  qauth request orders DELETE /orders/17 --include"
)]
pub(crate) struct RequestArgs {
    /// A profile, or a provider with its credentials in the environment
    pub(crate) profile: String,

    /// GET if left out, or POST with --data
    pub(crate) method: Option<String>,

    /// A path below the API's address, or a whole URL on one of the profile's hosts
    pub(crate) target: String,

    /// Add to the target's query; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) query: Vec<String>,

    /// Add a header; may be repeated
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,

    /// The body: a file (@FILE), standard input (-) or the text itself
    ///
    /// A JSON object or list is sent with Content-Type: application/json, unless --header gives one.
    #[arg(long, short, verbatim_doc_comment, value_name = "@FILE|-|TEXT")]
    pub(crate) data: Option<String>,

    /// Print the status and the headers first
    #[arg(long, short)]
    pub(crate) include: bool,

    /// A status of 400 or more is an error
    #[arg(long, short)]
    pub(crate) fail: bool,

    /// For token and call together; otherwise the profile's own limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// Run an operation that the provider declares
///
/// Prints the answer as JSON: indented on a terminal, on one line elsewhere. `qauth providers NAME`
/// lists the operations.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Parameters:
  name=TEXT      text
  name:=JSON     a number, list or other JSON
  name=@FILE     text from a file, without its last line break (- is standard input): for secrets
  name:=@FILE    JSON from a file

Examples:
  qauth call pricing prices sku=A-1
  qauth call console create_client tenant_id=issuer-001 name=batch roles:='[\"issuer\"]' --save-as batch"
)]
pub(crate) struct CallArgs {
    /// A profile, or a provider with its credentials in the environment
    pub(crate) profile: String,

    /// The operation's name
    pub(crate) operation: String,

    /// What the operation takes
    #[arg(value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,

    /// Save the new client that it makes as a profile of this name
    ///
    /// The file is profiles.d/NAME.toml beside the configuration, for its owner alone. Where it cannot be
    /// written after all, the answer is printed all the same, and the error follows.
    #[arg(long, verbatim_doc_comment, value_name = "NAME")]
    pub(crate) save_as: Option<String>,

    /// For token and call together; otherwise the profile's own limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// List the providers, show everything about one, or check a provider file of your own
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "COMMAND")]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  qauth providers
  qauth providers oauth2
  qauth providers oauth2 --toml > my-vendor.toml
  qauth providers check my-vendor.toml
  qauth providers test my-vendor.toml"
)]
pub(crate) struct ProvidersArgs {
    /// A provider, or a provider file (a path with / or .toml), which is checked
    pub(crate) name: Option<String>,

    /// Print the provider's file word for word: to read, or to begin your own from; with --json as the member "toml"
    #[arg(long, requires = "name")]
    pub(crate) toml: bool,

    #[command(subcommand)]
    pub(crate) work: Option<ProviderWork>,
}

/// For people who write a provider file.
#[derive(Debug, Subcommand)]
pub(crate) enum ProviderWork {
    /// Name every mistake in a provider file, each with its line and column
    Check {
        /// The provider file, or - for standard input
        file: PathBuf,
    },
    /// Run a provider file against recorded answers, without any network
    #[command(after_long_help = "The recording of NAME.toml is NAME.test.toml beside it. \
                                 The exit status is 1 if a test fails.")]
    Test {
        /// The provider file
        file: PathBuf,

        /// Another recording
        #[arg(long, value_name = "FILE")]
        recording: Option<PathBuf>,
    },
}

/// Simulate the vendors on 127.0.0.1, for demos and tests
///
/// `qauth sim --help` shows its own options.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct SimArgs {
    /// The simulator's own options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    pub(crate) arguments: Vec<OsString>,
}

/// What there is instead of a command: help, the version, or a mistake.
pub(crate) struct Unparsed {
    pub(crate) kind: ErrorKind,
    pub(crate) text: StyledStr,
    /// As far as it can be told.
    pub(crate) global: Global,
}

impl Unparsed {
    /// Help and version are results; everything else is a mistake.
    pub(crate) fn is_result(&self) -> bool {
        matches!(self.kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
    }
}

pub(crate) fn parse(argv: &[OsString]) -> Result<Cli, Unparsed> {
    let parsed = command().try_get_matches_from(argv).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let error = without_values(error);
        Unparsed { kind: error.kind(), text: error.render(), global: guess(argv) }
    })
}

/// The whole grammar; the exit statuses in its help come from the core's table.
pub(crate) fn command() -> clap::Command {
    let mut statuses = String::from("Exit status:\n   0  success");
    for code in ErrorCode::ALL {
        statuses.push_str(&format!("\n  {:2}  {}", code.exit_status(), code.name()));
    }
    statuses.push_str(&format!("\n  {OUTPUT_STATUS:2}  {OUTPUT_NAME}: the result could not be written"));
    Cli::command().after_long_help(statuses)
}

/// A mistyped `client_secret=…` must not be repeated where logs see it: of `name=value` only the name is shown.
fn without_values(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let name = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.split_once('=').map(|(name, _)| format!("{name}=…")),
        _ => None,
    };
    if let Some(name) = name {
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
        error.remove(ContextKind::Suggested);
    }
    error
}

/// How to show a mistake, from a command line that could not be parsed.
fn guess(argv: &[OsString]) -> Global {
    let mut global = Global::default();
    let mut words = argv.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let when = match word.to_str() {
            Some("--json") => {
                global.json = true;
                continue;
            }
            Some("--color") => words.next().map(OsString::as_os_str),
            Some(text) => text.strip_prefix("--color=").map(OsStr::new),
            None => None,
        };
        let named = when.and_then(OsStr::to_str).and_then(|when| ColorWhen::from_str(when, false).ok());
        global.color = named.unwrap_or(global.color);
    }
    global
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
    number.ok_or_else(|| "expected a number of seconds, such as 30 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn seconds_may_have_fractions_but_no_sign_and_no_nonsense() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        for wrong in ["-1", "NaN", "inf", "1e300", "", "1s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_typed_in_the_wrong_place_is_not_repeated() {
        for words in [
            &["qauth", "token", "pricing", "client_secret=canary"][..],
            &["qauth", "token", "pricing", "--client-secret=canary"],
            &["qauth", "providers", "x", "--password=canary"],
        ] {
            let unparsed = parse(&os(words)).expect_err("this is a mistake");
            let text = unparsed.text.to_string();
            assert!(!text.contains("canary") && text.contains("Usage"), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_shown_the_way_that_was_asked_for() {
        let shown = |words: &[&str]| {
            let global = parse(&os(words)).expect_err("this is a mistake").global;
            (global.json, global.color)
        };
        assert_eq!(shown(&["qauth", "token", "--json"]), (true, ColorWhen::Auto));
        assert_eq!(shown(&["qauth", "--color=never", "token"]), (false, ColorWhen::Never));
        assert_eq!(shown(&["qauth", "tokn", "--color", "always"]), (false, ColorWhen::Always));
        assert_eq!(shown(&["qauth", "token", "--", "a", "--json"]), (false, ColorWhen::Auto));
    }

    #[test]
    fn the_simulator_gets_its_options_untouched() {
        let cli = parse(&os(&["qauth", "sim", "--port", "0", "--help"])).ok().expect("the simulator judges these");
        let Command::Sim(sim) = cli.command else { panic!("expected sim") };
        assert_eq!(sim.arguments, os(&["--port", "0", "--help"]));
    }
}
