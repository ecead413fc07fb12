//! Embedded calculator: SQL session, MySQL wire server, Flight SQL
