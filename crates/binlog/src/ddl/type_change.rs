//! Changes of a column's type: which of them keep every stored value as it is.

use tidelake_core::{TypeKind, UpstreamType};

use super::charset::contains;

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
    let declared_in_characters = matches!(ty.kind, TypeKind::Char | TypeKind::VarChar);
    capacity(ty).saturating_mul(if declared_in_characters { u64::from(super::charset::max_bytes(charset)) } else { 1 })
}

fn text_fits(old: &UpstreamType, new: &UpstreamType, strict: bool) -> bool {
    let to = new.charset.as_deref().unwrap_or("utf8mb4");
    let from = old.charset.as_deref().unwrap_or("utf8mb4");
    // CHAR does not keep trailing spaces that VARCHAR and TEXT keep.
    if new.kind == TypeKind::Char && old.kind != TypeKind::Char {
        return false;
    }
    if strict {
        return true;
    }
    let characters = |ty: &UpstreamType| matches!(ty.kind, TypeKind::Char | TypeKind::VarChar);
    let long_enough = match (characters(old), characters(new)) {
        (true, true) => new.length >= old.length,
        (_, false) => capacity(new) >= bytes_needed(old, to),
        (false, true) => false,
    };
    long_enough && contains(to, from)
}

fn bytes_fit(old: &UpstreamType, new: &UpstreamType, strict: bool) -> bool {
    // BINARY is padded to its length: another length is another value.
    if new.kind == TypeKind::Binary {
        return old.kind == TypeKind::Binary && old.length == new.length;
    }
    strict || capacity(new) >= capacity(old)
}
