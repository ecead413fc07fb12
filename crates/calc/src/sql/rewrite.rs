//! The first rewrite, on the parser's tree: MySQL's operators and functions become calls of our own functions
//! (`udf`), conditions and values are told apart, names of columns become lower case, and what depends on the
//! session (`NOW()`, `@@version`, `?`) becomes a constant.

pub(crate) mod calls;
mod expressions;
mod having;
mod invisible;
mod queries;

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Select, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use tidelake_core::{Catalog, CellValue};

use super::lexing::Lexed;
use super::variables::Variables;
use crate::session::SqlError;

/// What the rewrite needs to know of the session.
pub(crate) struct Scene<'a> {
    /// Variables.
    pub(crate) variables: &'a Variables,
    /// The tables at the statement's snapshot.
    pub(crate) catalog: &'a Catalog,
    /// The current database.
    pub(crate) database: Option<&'a str>,
    /// `user@host`.
    pub(crate) user: &'a str,
    /// CONNECTION_ID().
    pub(crate) connection_id: u32,
    /// VERSION().
    pub(crate) version: &'a str,
    /// The statement's time in microseconds since 1970, local.
    pub(crate) now_local_us: i64,
    /// The same in UTC.
    pub(crate) now_us: i64,
    /// Values of `?`, in order; `None` while preparing (all NULL then).
    pub(crate) parameters: Option<&'a [CellValue]>,
}

/// What is known of the result's names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Names of the top select's items in order; `None` if there is a `*` among them.
    pub(crate) display: Option<Vec<String>>,
    /// Spelling of aliases by their lower case.
    pub(crate) spelled: HashMap<String, String>,
    /// Number of `?`.
    pub(crate) parameters: usize,
}

/// Marks the second of two equal column names inside plans; cut off from results.
pub(crate) const MARK: char = '\u{1}';

/// Rewrites a query in place.
///
/// # Errors
/// What the replica does not do, by MySQL's numbers.
pub(crate) fn rewrite(query: &mut Query, lexed: &Lexed, scene: &Scene) -> Result<Names, SqlError> {
    let top = queries::leftmost(query).map(queries::place);
    let mut rewriter = Rewriter { scene, items: lexed.select_items(), top, ctes: Vec::new(), names: Names::default() };
    match query.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(rewriter.names),
        ControlFlow::Break(e) => Err(e),
    }
}

struct Rewriter<'a> {
    scene: &'a Scene<'a>,
    items: HashMap<(u64, u64), Vec<String>>,
    top: Option<(u64, u64)>,
    ctes: Vec<String>,
    names: Names,
}

fn flow(result: Result<(), SqlError>) -> ControlFlow<SqlError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => ControlFlow::Break(e),
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        flow(self.before_query(query))
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        flow(self.after_query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        flow(self.before_select(select))
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        flow(self.after_select(select))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        flow(self.before_expr(expr))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        flow(self.after_expr(expr))
    }
}

/// A call of one of our functions.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] };
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn literal(value: Value) -> Expr {
    Expr::Value(ValueWithSpan::from(value))
}

fn text(value: impl Into<String>) -> Expr {
    literal(Value::SingleQuotedString(value.into()))
}

fn number(value: impl std::fmt::Display) -> Expr {
    literal(Value::Number(value.to_string(), false))
}

fn null() -> Expr {
    literal(Value::Null)
}
