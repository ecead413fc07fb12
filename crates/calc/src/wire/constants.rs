//! Numbers of the protocol.

/// Capability flags.
pub(super) mod capability {
    pub const LONG_PASSWORD: u32 = 1;
    pub const FOUND_ROWS: u32 = 1 << 1;
    pub const LONG_FLAG: u32 = 1 << 2;
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    pub const IGNORE_SPACE: u32 = 1 << 8;
    pub const PROTOCOL_41: u32 = 1 << 9;
    pub const INTERACTIVE: u32 = 1 << 10;
    pub const SSL: u32 = 1 << 11;
    pub const TRANSACTIONS: u32 = 1 << 13;
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    pub const MULTI_STATEMENTS: u32 = 1 << 16;
    pub const MULTI_RESULTS: u32 = 1 << 17;
    pub const PS_MULTI_RESULTS: u32 = 1 << 18;
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    pub const CONNECT_ATTRS: u32 = 1 << 20;
    pub const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    pub const DEPRECATE_EOF: u32 = 1 << 24;

    /// What this server offers.
    pub const OFFERED: u32 = LONG_PASSWORD
        | FOUND_ROWS
        | LONG_FLAG
        | CONNECT_WITH_DB
        | IGNORE_SPACE
        | PROTOCOL_41
        | INTERACTIVE
        | TRANSACTIONS
        | SECURE_CONNECTION
        | MULTI_STATEMENTS
        | MULTI_RESULTS
        | PS_MULTI_RESULTS
        | PLUGIN_AUTH
        | CONNECT_ATTRS
        | PLUGIN_AUTH_LENENC
        | DEPRECATE_EOF;
}

/// Status flags.
pub(super) mod status {
    pub const IN_TRANSACTION: u16 = 1;
    pub const AUTOCOMMIT: u16 = 1 << 1;
    pub const MORE_RESULTS: u16 = 1 << 3;
}

/// First bytes of commands.
pub(super) mod command {
    pub const QUIT: u8 = 1;
    pub const INIT_DB: u8 = 2;
    pub const QUERY: u8 = 3;
    pub const FIELD_LIST: u8 = 4;
    pub const STATISTICS: u8 = 9;
    pub const PROCESS_KILL: u8 = 12;
    pub const PING: u8 = 14;
    pub const CHANGE_USER: u8 = 17;
    pub const STMT_PREPARE: u8 = 22;
    pub const STMT_EXECUTE: u8 = 23;
    pub const STMT_SEND_LONG_DATA: u8 = 24;
    pub const STMT_CLOSE: u8 = 25;
    pub const STMT_RESET: u8 = 26;
    pub const SET_OPTION: u8 = 27;
    pub const RESET_CONNECTION: u8 = 31;
}

/// Error numbers and states that the wire itself gives.
pub(super) mod error {
    pub const TOO_MANY_CONNECTIONS: (u16, &str) = (1040, "08004");
    pub const BAD_HANDSHAKE: (u16, &str) = (1043, "08S01");
    pub const ACCESS_DENIED: (u16, &str) = (1045, "28000");
    pub const UNKNOWN_COMMAND: (u16, &str) = (1047, "08S01");
    pub const SERVER_SHUTDOWN: (u16, &str) = (1053, "08S01");
    pub const UNKNOWN: (u16, &str) = (1105, "HY000");
    pub const PACKET_TOO_LARGE: (u16, &str) = (1153, "08S01");
    pub const OUT_OF_ORDER: (u16, &str) = (1156, "08S01");
    pub const WRONG_ARGUMENTS: (u16, &str) = (1210, "HY000");
    pub const NOT_SUPPORTED: (u16, &str) = (1235, "42000");
    pub const CONNECTION_KILLED: (u16, &str) = (1927, "70100");
    pub const UNKNOWN_STATEMENT: (u16, &str) = (1243, "HY000");
    pub const INVALID_STRING: (u16, &str) = (1300, "HY000");
    pub const TOO_MANY_PARAMETERS: (u16, &str) = (1390, "HY000");
    pub const TOO_MANY_STATEMENTS: (u16, &str) = (1461, "42000");
    pub const SECURE_TRANSPORT_REQUIRED: (u16, &str) = (3159, "HY000");
    pub const MALFORMED_PACKET: (u16, &str) = (1835, "HY000");
}
