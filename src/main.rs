//! Tidelake: one binary, every part.

fn main() {}
