//! qauth-benches
