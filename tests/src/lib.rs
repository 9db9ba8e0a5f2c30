//! qauth-tests
