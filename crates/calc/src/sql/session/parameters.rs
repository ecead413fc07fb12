//! What a client may send for each `?`: the type of the column that it stands beside in the text. A hint for drivers that must know it before they
//! bind anything (JDBC); whatever comes is compared as MySQL compares.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::sql::sqlparser::tokenizer::Token;
use tidelake_core::types::{TypeKind, UpstreamType, arrow as stored};
use tidelake_core::{Catalog, TableDef};

use crate::sql::lexing::Lexed;

/// Words between an operand and what it is compared with.
const COMPARISONS: &[&str] = &["LIKE", "RLIKE", "REGEXP", "IN", "BETWEEN", "NOT"];

/// A type for each `?`; text where the place says nothing.
pub(super) fn parameter_types(lexed: &Lexed, catalog: &Catalog, database: Option<&str>) -> Vec<DataType> {
    let tokens: Vec<&Token> = lexed.tokens.iter().map(|t| &t.token).collect();
    let tables = named_tables(&tokens, catalog, database);
    let marks = (0..tokens.len()).filter(|&at| matches!(tokens[at], Token::Placeholder(_)));
    marks.map(|at| type_at(&tokens, at, &tables)).collect()
}

/// Tables whose names stand in the text.
fn named_tables<'a>(tokens: &[&Token], catalog: &'a Catalog, database: Option<&str>) -> Vec<&'a TableDef> {
    let has = |name: &str| tokens.iter().any(|t| matches!(t, Token::Word(w) if w.value.eq_ignore_ascii_case(name)));
    let defs = catalog.tables.values().map(|entry| &*entry.def);
    defs.filter(|def| has(&def.name.table) && (database == Some(&def.name.database) || has(&def.name.database)))
        .collect()
}

fn type_at(tokens: &[&Token], at: usize, tables: &[&TableDef]) -> DataType {
    if is_limit(tokens, at) {
        return DataType::Int64;
    }
    let before = operand_before(tokens, at).and_then(|end| word(tokens, end));
    let behind = || {
        tokens.get(at + 1).filter(|token| is_operator(token))?;
        // the last part of a name: `table.column`
        let mut last = at + 2;
        while matches!(tokens.get(last + 1), Some(Token::Period)) {
            last += 2;
        }
        word(tokens, last)
    };
    before.or_else(behind).and_then(|name| type_of(name, tables)).unwrap_or(DataType::Utf8)
}

/// `LIMIT ?`, `LIMIT n, ?`, `OFFSET ?`.
fn is_limit(tokens: &[&Token], at: usize) -> bool {
    let is = |back: usize, words: &[&str]| at.checked_sub(back).is_some_and(|at| is_word(tokens[at], words));
    let comma = at.checked_sub(1).is_some_and(|at| *tokens[at] == Token::Comma);
    is(1, &["LIMIT", "OFFSET"]) || comma && is(3, &["LIMIT"])
}

/// Where the operand ends that this one is compared with, if that is before it.
fn operand_before(tokens: &[&Token], at: usize) -> Option<usize> {
    let mut end = at.checked_sub(1)?;
    if is_operator(tokens[end]) {
        return end.checked_sub(1);
    }
    if is_word(tokens[end], &["AND"]) {
        // `x BETWEEN a AND ?`
        end = end.checked_sub(2)?;
        if !is_word(tokens[end], &["BETWEEN"]) {
            return None;
        }
    }
    // back over a list
    while matches!(tokens[end], Token::Comma | Token::Placeholder(_) | Token::Number(..) | Token::SingleQuotedString(_))
    {
        end = end.checked_sub(1)?;
    }
    if *tokens[end] == Token::LParen {
        end = end.checked_sub(1)?;
        if !is_word(tokens[end], &["IN"]) {
            return None;
        }
    }
    let begun = end;
    while is_word(tokens[end], COMPARISONS) {
        end = end.checked_sub(1)?;
    }
    (end != begun).then_some(end)
}

fn is_operator(token: &Token) -> bool {
    matches!(
        token,
        Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq | Token::Spaceship | Token::DoubleEq
    )
}

fn is_word(token: &Token, words: &[&str]) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && words.iter().any(|word| w.value.eq_ignore_ascii_case(word)))
}

fn word<'a>(tokens: &[&'a Token], at: usize) -> Option<&'a str> {
    match tokens.get(at) {
        Some(Token::Word(w)) => Some(&w.value),
        _ => None,
    }
}

/// The type of the columns of this name; `None` if there is none, or they differ.
fn type_of(column: &str, tables: &[&TableDef]) -> Option<DataType> {
    let columns = tables.iter().flat_map(|def| &def.columns);
    let mut types = columns.filter(|c| c.name.eq_ignore_ascii_case(column)).map(|c| bound(&c.ty));
    let first = types.next()?;
    types.all(|other| other == first).then_some(first)
}

/// As what a value of this type is best sent.
fn bound(ty: &UpstreamType) -> DataType {
    use TypeKind as T;
    match ty.kind {
        T::BigInt if ty.unsigned => DataType::UInt64,
        T::TinyInt | T::SmallInt | T::MediumInt | T::Int | T::BigInt | T::Year => DataType::Int64,
        T::Bit => DataType::UInt64,
        T::Float | T::Double => DataType::Float64,
        T::Decimal => match stored::data_type(ty) {
            decimal @ DataType::Decimal128(..) => decimal,
            _ => DataType::Utf8,
        },
        T::Date => DataType::Date32,
        // The JDBC driver puts milliseconds into whatever unit it is told.
        T::DateTime | T::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
        T::Binary | T::VarBinary | T::TinyBlob | T::Blob | T::MediumBlob | T::LongBlob => DataType::Binary,
        _ => DataType::Utf8,
    }
}
