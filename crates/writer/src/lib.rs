//! The Magic Writer: polls, decodes, stages and publishes
