//! Tables in plain memory.
