//! The Data Buffer: a durable local log of whole transactions
