//! What a statement will give, before it runs: its columns, and what each `?` is best sent as. Nothing runs for it but the expressions of
//! `SET STATEMENT` and `AS OF TIMESTAMP`: queries are planned, and what SHOW and DESCRIBE show is made from the catalog.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::sql::sqlparser::tokenizer::Token;
use tidelake_core::CellValue;

use super::Session;
use super::kind::Kind;
use super::parameters::parameter_types;
use super::query::{Extra, explanation};
use super::set::statement_under;
use super::showing::Explained;
use crate::session::SqlError;
use crate::sql::lexing::{Lexed, lex};

/// What each `?` is best sent as, and the columns; none of statements without rows.
type Outlined = (Vec<DataType>, SchemaRef);

impl Session {
    /// The outline of a statement to prepare.
    ///
    /// # Errors
    /// Those of the statement, as far as they are known without values.
    pub(super) async fn outline(&mut self, sql: &str) -> Result<Outlined, SqlError> {
        let lexed = lex(sql)?;
        let texts = vec![DataType::Utf8; marks(&lexed)];
        match Kind::of(&lexed)? {
            Kind::Query => self.outline_query(&lexed).await,
            Kind::Show => Ok((texts, self.show_columns(&lexed).await?)),
            Kind::Explain => match Explained::of(&lexed)? {
                Explained::Query(query) => {
                    let (types, _) = self.outline_query(&query).await?;
                    Ok((types, explanation(&[]).schema()))
                }
                Explained::Table(at) => Ok((texts, self.describe_columns(&lexed, at).await?)),
            },
            Kind::SetStatement => self.outline_set_statement(&lexed).await,
            _ => Ok((texts, Arc::new(Schema::empty()))),
        }
    }

    async fn outline_query(&mut self, lexed: &Lexed) -> Result<Outlined, SqlError> {
        let (rest, snapshot) = self.travelled(lexed).await?;
        let types = parameter_types(lexed, &snapshot.catalog, self.database.as_deref());
        let query = rest.as_ref().unwrap_or(lexed);
        let columns = |values: Option<&[CellValue]>| self.columns_of(query, values, &snapshot, &Extra::new());
        let error = match columns(None) {
            Ok(columns) => return Ok((types, columns)),
            Err(e) => e,
        };
        // With NULL in the place of every `?` a plan may have no types yet: other values may give it some. Names must be right already.
        if matches!(error.code, 1105 | 1235) && !types.is_empty() {
            for unknown in [CellValue::Str("1".to_owned()), CellValue::Int(1)] {
                let values: Vec<CellValue> = types.iter().map(|ty| likely(ty, &unknown)).collect();
                if let Ok(columns) = columns(Some(&values)) {
                    return Ok((types, columns));
                }
            }
        }
        Err(error)
    }

    /// `SET STATEMENT ... FOR statement`: that of the statement, as the variables are then.
    async fn outline_set_statement(&mut self, lexed: &Lexed) -> Result<Outlined, SqlError> {
        let inner = statement_under(lexed)?;
        let before = self.variables.clone();
        let outlined = match self.set(lexed, 2, inner, None).await {
            Ok(_) => Box::pin(self.outline(lexed.text_from(inner + 1))).await,
            Err(e) => Err(e),
        };
        self.variables = before;
        outlined
    }
}

fn marks(lexed: &Lexed) -> usize {
    lexed.tokens.iter().filter(|t| matches!(t.token, Token::Placeholder(_))).count()
}

/// A value of the type that a `?` is best sent as; texts may be of another type, about which its place says nothing.
fn likely(ty: &DataType, unknown: &CellValue) -> CellValue {
    match ty {
        DataType::Int64 => CellValue::Int(1),
        DataType::UInt64 => CellValue::UInt(1),
        DataType::Float64 => CellValue::Float(1.0),
        DataType::Decimal128(..) => CellValue::Decimal("1".to_owned()),
        DataType::Date32 | DataType::Timestamp(..) => CellValue::Str("2000-01-01".to_owned()),
        DataType::Binary => CellValue::Bytes(Vec::new()),
        _ => unknown.clone(),
    }
}
