//! The number that the program, the pinned maps and the daemon compare before they share memory.

/// Raised whenever a key, a value, a map's kind or the meaning of a field changes. A daemon that finds pinned maps of
/// another number brings the dialogs in them over into new ones if it can read that layout; else it touches nothing and says so.
pub const ABI: u32 = 4;
