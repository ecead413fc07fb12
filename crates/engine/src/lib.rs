//! The Magic Engine: columnar multi-version storage
