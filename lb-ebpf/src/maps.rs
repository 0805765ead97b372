//! One of the two unsafe doors: map memory.
