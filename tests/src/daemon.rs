//! The `sipsteer` under test.
