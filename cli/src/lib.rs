//! qauth-cli
