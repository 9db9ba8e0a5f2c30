//! The command line's driver.

fn main() {}
