//! Collations by the numbers that events name them by. MySQL's and MariaDB's numbers do not collide.
//!
//! `collations.txt` is `information_schema.collation_character_set_applicability` of MariaDB 10.11, and the numbers of
//! MySQL's own `0900` and `gb18030` collations.

use std::collections::HashMap;
use std::sync::LazyLock;

static NAMES: LazyLock<HashMap<u16, &'static str>> = LazyLock::new(|| {
    let lines = include_str!("collations.txt").lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(id, name)| Some((id.parse().ok()?, name))).collect()
});

/// The name of a collation; `None` if it is not known.
#[must_use]
pub fn name(id: u16) -> Option<&'static str> {
    NAMES.get(&id).copied()
}

/// The name of a collation's charset; `None` if it is not known.
#[must_use]
pub fn charset(id: u16) -> Option<&'static str> {
    name(id).map(|n| n.split_once('_').map_or(n, |(charset, _)| charset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        assert_eq!(name(45), Some("utf8mb4_general_ci"));
        assert_eq!(name(255), Some("utf8mb4_0900_ai_ci"));
        assert_eq!(charset(8), Some("latin1"));
        assert_eq!(charset(63), Some("binary"));
        assert_eq!(charset(2304), Some("utf8mb4"));
        assert_eq!(name(60_000), None);
    }
}
