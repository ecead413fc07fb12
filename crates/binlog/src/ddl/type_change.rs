//! Changes of a column's type: which of them keep every stored value as it is.

use tidelake_core::{TableDef, TypeKind, UpstreamType};

use super::charset::{contains, max_bytes};

/// `None` if rows written with `old` read the same with `new`; else what is lost or unknown.
///
/// `strict`: upstream refuses a change that does not fit a stored value, so lengths were checked there.
pub(super) fn loss(old: &UpstreamType, new: &UpstreamType, strict: bool) -> Option<String> {
    use TypeKind as K;
    let fits = match (old.kind, new.kind) {
        _ if old.is_integer() && new.is_integer() => integer_fits(old, new),
        (K::Decimal, K::Decimal) => decimal_fits(old, new),
        (K::Float, K::Float) | (K::Double, K::Double) => old.unsigned == new.unsigned && new.scale == old.scale,
        (K::Bit, K::Bit) => new.length >= old.length || strict,
        (K::Time, K::Time) | (K::DateTime, K::DateTime) | (K::Timestamp, K::Timestamp) => new.fsp >= old.fsp,
        (K::Enum, K::Enum) | (K::Set, K::Set) => new.labels.starts_with(&old.labels),
        (K::Geometry, K::Geometry) => new.subtype == old.subtype || new.subtype == "geometry",
        (K::Vector, K::Vector) => new.length == old.length,
        (K::Year, K::Year) => (new.length == 2) == (old.length == 2),
        _ if old.is_text() && new.is_text() => text_fits(old, new, strict),
        _ if is_bytes(old.kind) && is_bytes(new.kind) => bytes_fit(old, new, strict),
        (a, b) => a == b,
    };
    (!fits).then(|| format!("{:?} to {:?} changes stored values", old.kind, new.kind).to_lowercase())
}

/// Upstream computes columns anew when the type of one that they are computed from changes: `CONCAT(price)` of 1.5 becomes 1.500.
pub(super) fn computed_anew(old: &TableDef, new: &TableDef) -> Option<String> {
    let computed: Vec<String> = new
        .columns
        .iter()
        .map(|c| c.extra_sql.to_lowercase())
        .filter(|sql| sql.contains("generated always as"))
        .collect();
    let mut changed = new.columns.iter().filter_map(|column| {
        let before = &old.columns[old.index_of(column.id)?];
        (before.ty != column.ty).then_some((before, column))
    });
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let named = |name: &str| {
        let name = name.to_lowercase();
        let plain = name.chars().all(is_word);
        let has =
            |sql: &str| if plain { sql.split(|c| !is_word(c)).any(|word| word == name) } else { sql.contains(&name) };
        computed.iter().any(|sql| has(sql))
    };
    let (_, column) = changed.find(|(before, column)| named(&before.name) || named(&column.name))?;
    Some(format!("column {}, from which others are computed, gets another type", column.name))
}

fn integer_bits(kind: TypeKind) -> u32 {
    match kind {
        TypeKind::TinyInt => 8,
        TypeKind::SmallInt => 16,
        TypeKind::MediumInt => 24,
        TypeKind::Int => 32,
        _ => 64,
    }
}

/// Wider, or the same; unsigned into a wider signed one too.
fn integer_fits(old: &UpstreamType, new: &UpstreamType) -> bool {
    let (from, to) = (integer_bits(old.kind), integer_bits(new.kind));
    if old.unsigned == new.unsigned { to >= from } else { old.unsigned && to > from }
}

fn decimal_fits(old: &UpstreamType, new: &UpstreamType) -> bool {
    let (old_scale, new_scale) = (old.scale.unwrap_or(0), new.scale.unwrap_or(0));
    let whole = |ty: &UpstreamType, scale: u8| ty.precision.saturating_sub(scale);
    new_scale >= old_scale && whole(new, new_scale) >= whole(old, old_scale) && (old.unsigned || !new.unsigned)
}

fn is_bytes(kind: TypeKind) -> bool {
    use TypeKind::{Binary, Blob, LongBlob, MediumBlob, TinyBlob, VarBinary};
    matches!(kind, Binary | VarBinary | TinyBlob | Blob | MediumBlob | LongBlob)
}

/// Longest value: characters of CHAR and VARCHAR, bytes of the others.
fn capacity(ty: &UpstreamType) -> u64 {
    use TypeKind as K;
    match ty.kind {
        K::TinyText | K::TinyBlob => 255,
        K::Text | K::Blob => 65_535,
        K::MediumText | K::MediumBlob => 16_777_215,
        K::LongText | K::LongBlob => u64::from(u32::MAX),
        _ => u64::from(ty.length),
    }
}

/// Most bytes a value may take in the new type's charset.
fn bytes_needed(ty: &UpstreamType, charset: &str) -> u64 {
    let to = u64::from(max_bytes(charset));
    if matches!(ty.kind, TypeKind::Char | TypeKind::VarChar) {
        return capacity(ty).saturating_mul(to);
    }
    let charset_before = ty.charset.as_deref().unwrap_or("utf8mb4");
    let from = u64::from(max_bytes(charset_before));
    // a TEXT of single bytes takes up to four times as many in UTF-8
    let grows = to > from && (charset_before, charset) != ("utf8mb3", "utf8mb4");
    if grows { ((capacity(ty) / from) * to).min(u64::from(u32::MAX)) } else { capacity(ty) }
}

fn text_fits(old: &UpstreamType, new: &UpstreamType, strict: bool) -> bool {
    let to = new.charset.as_deref().unwrap_or("utf8mb4");
    let from = old.charset.as_deref().unwrap_or("utf8mb4");
    // CHAR does not keep trailing spaces that VARCHAR and TEXT keep.
    if new.kind == TypeKind::Char && old.kind != TypeKind::Char {
        return false;
    }
    let characters = |ty: &UpstreamType| matches!(ty.kind, TypeKind::Char | TypeKind::VarChar);
    let long_enough = match (characters(old), characters(new)) {
        (true, true) => strict || new.length >= old.length,
        // (ran) MariaDB and MySQL 5.6 cut spaces at the end of a TEXT without a word, however strict the session is
        (_, false) => capacity(new) >= bytes_needed(old, to),
        (false, true) => false,
    };
    long_enough && (strict || contains(to, from))
}

fn bytes_fit(old: &UpstreamType, new: &UpstreamType, strict: bool) -> bool {
    // BINARY is padded to its length: another length is another value.
    if new.kind == TypeKind::Binary {
        return old.kind == TypeKind::Binary && old.length == new.length;
    }
    strict || capacity(new) >= capacity(old)
}
