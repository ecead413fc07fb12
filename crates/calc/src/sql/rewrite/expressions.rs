//! Operators, literals and special forms. A condition is an expression that the engine sees as boolean: comparisons,
//! AND/OR/NOT, IS, IN, LIKE, EXISTS. In a value's place it becomes 0 or 1; a value in a condition's place is
//! compared with 0.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, ExactNumberInfo, Expr, Ident,
    TrimWhereField, UnaryOperator, Value, ValueWithSpan,
};
use tidelake_core::CellValue;

use super::{Rewriter, call, literal, null, number, text};
use crate::session::SqlError;
use crate::sql::error::{syntax, unsupported};

const CONDITIONS: &[&str] =
    &["__eq", "__ne", "__lt", "__le", "__gt", "__ge", "__nseq", "__in", "__between", "__truth", "__like", "__regexp"];

/// True for an expression that gives a boolean.
pub(super) fn is_condition(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_condition(inner),
        Expr::BinaryOp { op, .. } => matches!(op, BinaryOperator::And | BinaryOperator::Or | BinaryOperator::NotEq),
        Expr::UnaryOp { op: UnaryOperator::Not, .. }
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::InSubquery { .. }
        | Expr::Exists { .. }
        | Expr::Value(ValueWithSpan { value: Value::Boolean(_), .. }) => true,
        Expr::Function(f) => CONDITIONS.contains(&f.name.to_string().as_str()),
        _ => false,
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

/// Makes an expression a condition.
pub(super) fn truth(expr: &mut Expr) {
    if is_condition(expr) {
        return;
    }
    *expr = match take(expr) {
        Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) => {
            literal(Value::Boolean(crate::sql::convert::leading_double(&n) != 0.0))
        }
        other => call("__truth", vec![other]),
    };
}

/// Makes an expression a value.
pub(super) fn value(expr: &mut Expr) {
    if !is_condition(expr) {
        return;
    }
    *expr = match take(expr) {
        Expr::Value(ValueWithSpan { value: Value::Boolean(b), .. }) => number(i32::from(b)),
        other => call("__int", vec![other]),
    };
}

fn valued(mut expr: Expr) -> Expr {
    value(&mut expr);
    expr
}

fn condition(mut expr: Expr) -> Expr {
    truth(&mut expr);
    expr
}

fn negate(expr: Expr, negated: bool) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(expr))) } } else { expr }
}

fn both(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let inner = Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) };
    Expr::Nested(Box::new(inner))
}

/// `case(cond, value, ..., else)`.
fn case(operand: Option<Box<Expr>>, conditions: Vec<CaseWhen>, otherwise: Option<Box<Expr>>) -> Expr {
    let mut args = Vec::new();
    for when in conditions {
        args.push(match &operand {
            Some(operand) => call("__eq", vec![valued((**operand).clone()), valued(when.condition)]),
            None => condition(when.condition),
        });
        args.push(valued(when.result));
    }
    args.push(otherwise.map_or_else(null, |e| valued(*e)));
    call("__case", args)
}

impl Rewriter<'_> {
    /// Before its children are visited: names and special forms whose children are no expressions.
    pub(super) fn before_expr(&mut self, expr: &mut Expr) -> Result<(), SqlError> {
        match expr {
            Expr::Function(f) => self.before_call(f),
            // TIMESTAMPDIFF and INTERVAL are handled after their values.
            _ => Ok(()),
        }
    }

    /// After its children were rewritten.
    pub(super) fn after_expr(&mut self, expr: &mut Expr) -> Result<(), SqlError> {
        *expr = self.rewritten(take(expr))?;
        Ok(())
    }

    fn rewritten(&mut self, expr: Expr) -> Result<Expr, SqlError> {
        Ok(match expr {
            Expr::Identifier(ident) => self.identifier(ident)?,
            Expr::CompoundIdentifier(parts) => self.compound(parts)?,
            Expr::Value(v) => self.literal_value(v)?,
            Expr::BinaryOp { left, op, right } => self.binary(*left, op, *right)?,
            Expr::UnaryOp { op, expr } => unary(op, *expr)?,
            Expr::Nested(inner) => Expr::Nested(inner),
            Expr::IsNull(e) => Expr::IsNull(Box::new(valued(*e))),
            Expr::IsNotNull(e) => Expr::IsNotNull(Box::new(valued(*e))),
            Expr::IsTrue(e) => Expr::IsTrue(Box::new(condition(*e))),
            Expr::IsNotTrue(e) => Expr::IsNotTrue(Box::new(condition(*e))),
            Expr::IsFalse(e) => Expr::IsFalse(Box::new(condition(*e))),
            Expr::IsNotFalse(e) => Expr::IsNotFalse(Box::new(condition(*e))),
            Expr::IsUnknown(e) => Expr::IsUnknown(Box::new(condition(*e))),
            Expr::IsNotUnknown(e) => Expr::IsNotUnknown(Box::new(condition(*e))),
            Expr::InList { expr, list, negated } => in_list(*expr, list, negated)?,
            Expr::InSubquery { expr, .. } if matches!(*expr, Expr::Tuple(_)) => {
                return Err(unsupported("IN of rows with a subquery; use EXISTS"));
            }
            Expr::InSubquery { expr, subquery, negated } => {
                Expr::InSubquery { expr: Box::new(valued(*expr)), subquery, negated }
            }
            Expr::Between { expr, negated, low, high } => {
                negate(call("__between", vec![valued(*expr), valued(*low), valued(*high)]), negated)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = match escape_char.map(|v| v.value) {
                    None => "\\".to_owned(),
                    Some(Value::SingleQuotedString(s) | Value::DoubleQuotedString(s)) => s,
                    Some(_) => return Err(syntax("ESCAPE needs a character")),
                };
                negate(call("__like", vec![valued(*expr), valued(*pattern), text(escape)]), negated)
            }
            Expr::RLike { negated, expr, pattern, .. } => {
                negate(call("__regexp", vec![valued(*expr), valued(*pattern)]), negated)
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => match *right {
                Expr::Subquery(subquery) => {
                    Expr::InSubquery { expr: Box::new(valued(*left)), subquery, negated: false }
                }
                _ => return Err(unsupported("ANY without a subquery")),
            },
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => match *right {
                Expr::Subquery(subquery) => Expr::InSubquery { expr: Box::new(valued(*left)), subquery, negated: true },
                _ => return Err(unsupported("ALL without a subquery")),
            },
            Expr::AnyOp { .. } | Expr::AllOp { .. } => return Err(unsupported("ANY or ALL with this comparison")),
            Expr::Case { operand, conditions, else_result, .. } => case(operand, conditions, else_result),
            Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, .. } => cast(valued(*expr), &data_type)?,
            Expr::Convert { expr, data_type: Some(data_type), .. } => cast(valued(*expr), &data_type)?,
            Expr::Convert { expr, data_type: None, .. } => call("__text", vec![valued(*expr)]),
            Expr::Collate { expr, collation } => {
                let name = collation.to_string().trim_matches('`').to_ascii_lowercase();
                call("__collate", vec![valued(*expr), text(name)])
            }
            Expr::Prefixed { value, .. } => *value,
            Expr::TypedString(typed) => {
                let value = typed.value.into_string().unwrap_or_default();
                typed_literal(&typed.data_type, value)?
            }
            Expr::Extract { field, expr, .. } => call("__extract", vec![text(unit(&field)), valued(*expr)]),
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                call("ceil", vec![valued(*expr)])
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                call("floor", vec![valued(*expr)])
            }
            Expr::Position { expr, r#in } => call("locate", vec![valued(*expr), valued(*r#in)]),
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let from = substring_from.map_or_else(|| number(1), |e| valued(*e));
                let length = substring_for.map(|e| valued(*e));
                call("substring", [valued(*expr), from].into_iter().chain(length).collect())
            }
            Expr::Trim { expr, trim_where, trim_what, .. } => {
                let side = match trim_where {
                    Some(TrimWhereField::Leading) => "leading",
                    Some(TrimWhereField::Trailing) => "trailing",
                    _ => "both",
                };
                let what = trim_what.map_or_else(|| text(" "), |e| valued(*e));
                call("__trim", vec![valued(*expr), what, text(side)])
            }
            Expr::Function(f) => self.call(f)?,
            e @ (Expr::Subquery(_)
            | Expr::Exists { .. }
            | Expr::Interval(_)
            | Expr::Tuple(_)
            | Expr::Rollup(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)) => e,
            other => return Err(unsupported(format!("the expression `{other}`"))),
        })
    }

    fn identifier(&self, mut ident: Ident) -> Result<Expr, SqlError> {
        if let Some(name) = ident.value.strip_prefix("@@") {
            return self.variable(name);
        }
        if let Some(name) = ident.value.strip_prefix('@')
            && ident.quote_style.is_none()
        {
            return Ok(self.scene.variables.user(name).map_or_else(null, constant));
        }
        ident.value = ident.value.to_lowercase();
        Ok(Expr::Identifier(ident))
    }

    fn compound(&self, mut parts: Vec<Ident>) -> Result<Expr, SqlError> {
        if parts[0].value.starts_with("@@") {
            let scope = parts[0].value[2..].to_ascii_lowercase();
            let known = matches!(scope.as_str(), "session" | "global" | "local");
            if let (true, Some(name)) = (known, parts.get(1)) {
                return self.variable(&name.value);
            }
        }
        if let Some(last) = parts.last_mut() {
            last.value = last.value.to_lowercase();
        }
        Ok(Expr::CompoundIdentifier(parts))
    }

    fn variable(&self, name: &str) -> Result<Expr, SqlError> {
        Ok(match self.scene.variables.get(name)? {
            Some(value) if value.parse::<i64>().is_ok() => number(value),
            Some("ON") => number(1),
            Some("OFF") => number(0),
            Some(value) => text(value),
            None => null(),
        })
    }

    fn literal_value(&mut self, v: ValueWithSpan) -> Result<Expr, SqlError> {
        Ok(match v.value {
            Value::Boolean(b) => number(i32::from(b)),
            Value::DoubleQuotedString(s)
            | Value::NationalStringLiteral(s)
            | Value::EscapedStringLiteral(s)
            | Value::UnicodeStringLiteral(s) => text(s),
            Value::Number(n, _) if n.contains(['e', 'E']) => call("__double", vec![text(n)]),
            Value::Number(n, _) => match n.strip_prefix("0x") {
                Some(hex) => literal(Value::HexStringLiteral(hex.to_owned())),
                None => number(n),
            },
            Value::Placeholder(_) => {
                let at = self.names.parameters;
                self.names.parameters += 1;
                match self.scene.parameters {
                    None => null(),
                    Some(all) => all.get(at).map(constant).ok_or_else(|| {
                        SqlError::new(1210, "HY000", "Incorrect arguments to EXECUTE: too few parameters")
                    })?,
                }
            }
            other => literal(other),
        })
    }

    fn binary(&mut self, left: Expr, op: BinaryOperator, right: Expr) -> Result<Expr, SqlError> {
        use BinaryOperator as B;
        if matches!(op, B::Plus | B::Minus)
            && let Some(e) = interval_sum(&left, &op, &right)
        {
            return Ok(e);
        }
        if let (Expr::Tuple(a), Expr::Tuple(b), B::Eq | B::NotEq) = (&left, &right, &op) {
            let equal = tuple_equal(a, b)?;
            return Ok(negate(equal, op == B::NotEq));
        }
        let name = match op {
            B::And | B::Or => return Ok(both(condition(left), op, condition(right))),
            B::Xor => return Ok(both(condition(left), B::NotEq, condition(right))),
            B::Eq => "__eq",
            B::NotEq => "__ne",
            B::Lt => "__lt",
            B::LtEq => "__le",
            B::Gt => "__gt",
            B::GtEq => "__ge",
            B::Spaceship => "__nseq",
            B::Plus => "__add",
            B::Minus => "__sub",
            B::Multiply => "__mul",
            B::Divide => "__div",
            B::Modulo => "mod",
            B::MyIntegerDivide | B::DuckIntegerDivide => "__intdiv",
            B::BitwiseAnd => "__bitand",
            B::BitwiseOr => "__bitor",
            B::BitwiseXor => "__bitxor",
            B::PGBitwiseShiftLeft => "__shl",
            B::PGBitwiseShiftRight => "__shr",
            B::Regexp => "__regexp",
            B::Arrow => "json_extract",
            B::LongArrow => {
                return Ok(call("json_unquote", vec![call("json_extract", vec![valued(left), valued(right)])]));
            }
            other => return Err(unsupported(format!("the operator {other}"))),
        };
        Ok(call(name, vec![valued(left), valued(right)]))
    }
}

fn tuple_equal(a: &[Expr], b: &[Expr]) -> Result<Expr, SqlError> {
    if a.len() != b.len() || a.is_empty() {
        return Err(SqlError::new(1241, "21000", format!("Operand should contain {} column(s)", a.len())));
    }
    let pairs = a.iter().zip(b).map(|(a, b)| call("__eq", vec![valued(a.clone()), valued(b.clone())]));
    Ok(pairs.reduce(|all, one| both(all, BinaryOperator::And, one)).unwrap_or_else(null))
}

fn in_list(expr: Expr, list: Vec<Expr>, negated: bool) -> Result<Expr, SqlError> {
    if let Expr::Tuple(left) = &expr {
        let mut any: Option<Expr> = None;
        for item in &list {
            let Expr::Tuple(right) = item else { return Err(syntax("IN of rows needs rows")) };
            let one = tuple_equal(left, right)?;
            any = Some(match any {
                Some(all) => both(all, BinaryOperator::Or, one),
                None => one,
            });
        }
        return Ok(negate(any.unwrap_or_else(null), negated));
    }
    let args = std::iter::once(expr).chain(list).map(valued).collect();
    Ok(negate(call("__in", args), negated))
}

fn unary(op: UnaryOperator, expr: Expr) -> Result<Expr, SqlError> {
    Ok(match op {
        UnaryOperator::Not | UnaryOperator::BangNot => {
            let inner = Expr::Nested(Box::new(condition(expr)));
            Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(inner) }
        }
        UnaryOperator::Minus if matches!(&expr, Expr::Value(ValueWithSpan { value: Value::Number(..), .. })) => {
            Expr::UnaryOp { op, expr: Box::new(expr) }
        }
        UnaryOperator::Minus => call("__neg", vec![valued(expr)]),
        UnaryOperator::Plus => valued(expr),
        UnaryOperator::BitwiseNot => call("__bitnot", vec![valued(expr)]),
        other => return Err(unsupported(format!("the operator {other}"))),
    })
}

/// `d + INTERVAL 1 DAY`, in either order.
fn interval_sum(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    let (date, interval) = match (left, right) {
        (date, Expr::Interval(i)) => (date, i),
        (Expr::Interval(i), date) if *op == BinaryOperator::Plus => (date, i),
        _ => return None,
    };
    Some(shifted(date.clone(), interval, *op == BinaryOperator::Minus))
}

/// `date_add` and `date_sub` in one.
pub(super) fn shifted(date: Expr, interval: &datafusion::sql::sqlparser::ast::Interval, backwards: bool) -> Expr {
    let unit = match (&interval.leading_field, &interval.last_field) {
        (Some(field), None) => unit(field),
        (Some(first), Some(last)) => format!("{}_{}", unit(first), unit(last)),
        _ => String::new(),
    };
    let mut amount = valued((*interval.value).clone());
    if backwards {
        amount = if unit.contains('_') { call("concat", vec![text("-"), amount]) } else { call("__neg", vec![amount]) };
    }
    call("__date_add", vec![valued(date), amount, text(unit)])
}

fn unit(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(ident) => ident.value.to_ascii_uppercase(),
        // See `lexing`: the parser has no word for this unit.
        DateTimeField::TimezoneMinute => "SECOND_MICROSECOND".to_owned(),
        other => other.to_string().to_ascii_uppercase(),
    }
}

fn cast(expr: Expr, to: &DataType) -> Result<Expr, SqlError> {
    let digits = |n: &Option<u64>| number(n.unwrap_or(0));
    Ok(match to {
        DataType::Signed | DataType::SignedInteger | DataType::Int(_) | DataType::Integer(_) | DataType::BigInt(_) => {
            call("__signed", vec![expr])
        }
        DataType::Unsigned | DataType::UnsignedInteger | DataType::BigIntUnsigned(_) => call("__unsigned", vec![expr]),
        DataType::Char(n) | DataType::Character(n) | DataType::Varchar(n) | DataType::Nvarchar(n) => match n {
            Some(datafusion::sql::sqlparser::ast::CharacterLength::IntegerLength { length, .. }) => {
                call("__char", vec![expr, number(length)])
            }
            _ => call("__text", vec![expr]),
        },
        DataType::Text | DataType::JSON => call("__text", vec![expr]),
        DataType::Binary(_) | DataType::Varbinary(_) => call("__bytes", vec![expr]),
        DataType::Date => call("__date", vec![expr]),
        DataType::Datetime(n) | DataType::Timestamp(n, _) => call("__datetime", vec![expr, digits(n)]),
        DataType::Time(n, _) => call("__time", vec![expr, digits(n)]),
        DataType::Double(_) | DataType::Float(_) | DataType::Real | DataType::DoublePrecision => {
            call("__double", vec![expr])
        }
        DataType::Decimal(info) | DataType::Dec(info) | DataType::Numeric(info) => {
            let (p, s) = match info {
                ExactNumberInfo::None => (10, 0),
                ExactNumberInfo::Precision(p) => (*p, 0),
                ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
            };
            call("__decimal", vec![expr, number(p), number(s)])
        }
        other => return Err(unsupported(format!("CAST to {other}"))),
    })
}

fn typed_literal(ty: &DataType, value: String) -> Result<Expr, SqlError> {
    let digits = value.split('.').nth(1).map_or(0, |f| f.len().min(6));
    Ok(match ty {
        DataType::Date => call("__date", vec![text(value)]),
        DataType::Datetime(_) | DataType::Timestamp(..) => call("__datetime", vec![text(value), number(digits)]),
        DataType::Time(..) => call("__time", vec![text(value), number(digits)]),
        other => return Err(unsupported(format!("a literal of type {other}"))),
    })
}

/// A parameter or variable as a literal.
pub(super) fn constant(value: &CellValue) -> Expr {
    match value {
        CellValue::Null => null(),
        CellValue::Int(n) if *n < 0 => {
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(n.unsigned_abs())) }
        }
        CellValue::Int(n) => number(n),
        CellValue::UInt(n) => number(n),
        CellValue::Float(v) => call("__double", vec![text(crate::sql::convert::double_text(*v))]),
        CellValue::Decimal(digits) => match digits.strip_prefix('-') {
            Some(digits) => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(digits)) },
            None => number(digits),
        },
        CellValue::Str(s) => text(s.clone()),
        CellValue::Bytes(b) => match std::str::from_utf8(b) {
            // Clients send texts as bytes when their charset is binary.
            Ok(s) => text(s),
            Err(_) => literal(Value::HexStringLiteral(b.iter().map(|b| format!("{b:02X}")).collect())),
        },
    }
}
