//! The bytes that the upstream's text protocol prints for a value.

/// Which server's habits to print like, where servers differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerFlavor {
    /// MariaDB.
    #[default]
    MariaDb,
    /// MySQL.
    MySql,
    /// TiDB.
    TiDb,
}

/// What printing depends on besides the value and its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextContext {
    /// Seconds east of UTC for TIMESTAMP columns.
    pub utc_offset_seconds: i32,
    /// Whose habits.
    pub flavor: ServerFlavor,
}
