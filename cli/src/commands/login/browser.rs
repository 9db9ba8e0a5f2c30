//! The person's browser.

use std::process::{Command, Stdio};

/// Opens it, if there is one; says whether it was asked to.
pub(super) fn open(url: &str) -> bool {
    let program = match () {
        () if cfg!(target_os = "macos") => "open",
        // Without a display xdg-open may start a browser of the terminal, over what is printed here.
        () if ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some()) => "xdg-open",
        () => return false,
    };
    let started =
        Command::new(program).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return false };
    // Nobody waits for it, but somebody takes note of its end.
    let _ = std::thread::Builder::new().name("qauth-browser".into()).spawn(move || child.wait());
    true
}
