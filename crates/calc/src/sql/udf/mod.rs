//! Functions and operators as MySQL defines them. One [`FnDef`] per function says which kinds of arguments it
//! reads, what it gives, and how: row by row ([`Body::Rows`]) or column by column ([`Body::Columns`]).

mod arithmetic;
mod control;
mod dates;
mod formats;
mod json;
mod more_strings;
mod numbers;
mod row;
mod strings;
mod times;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::error::through;
use super::types::{Ty, collation_of, ty_of};
use super::zone::Zone;
use crate::session::SqlError;

pub(crate) use control::{collation_key, fold_text, to_type};
pub(crate) use row::{Out, Row, Want};

/// What functions know of the session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EvalContext {
    /// The time zone.
    pub(crate) zone: Zone,
    /// What `SYSTEM` means as a time zone.
    pub(crate) system_zone: Zone,
    /// The collation of texts that are not columns.
    pub(crate) collation: String,
    /// The statement's time, microseconds since 1970 UTC.
    pub(crate) now_us: i64,
    /// `group_concat_max_len`, in bytes.
    pub(crate) concat_limit: usize,
}

/// What a function gives.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    /// Always this.
    Always(Ty),
    /// Depends on the arguments' fields and on those that are constants.
    By(fn(&[FieldRef], &[Option<&ScalarValue>]) -> Ty),
}

/// How a function computes.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// Row by row; arguments are converted to these kinds first, the last one repeats. NULL if any argument is.
    Rows(&'static [Want], fn(&Row) -> Result<Out>),
    /// The same, but the function sees NULLs.
    RowsWithNulls(&'static [Want], fn(&Row) -> Result<Out>),
    /// Whole columns.
    Columns(fn(&Call) -> Result<ArrayRef>),
    /// Replaced before the plan runs (`lower`): an operator whose meaning depends on its arguments' types.
    Lowered,
}

/// One function.
pub(crate) struct FnDef {
    /// Lower case; operators begin with `__`.
    pub(crate) name: &'static str,
    /// Fewest and most arguments.
    pub(crate) arity: (usize, usize),
    /// Its result.
    pub(crate) gives: Gives,
    /// Its work.
    pub(crate) body: Body,
}

/// A function of rows without NULLs in its arguments, with one result type.
const fn by_row(
    name: &'static str,
    arity: (usize, usize),
    gives: Ty,
    wants: &'static [Want],
    body: fn(&Row) -> Result<Out>,
) -> FnDef {
    FnDef { name, arity, gives: Gives::Always(gives), body: Body::Rows(wants, body) }
}

/// A function of columns, whose result type depends on its arguments.
const fn by_column(
    name: &'static str,
    arity: (usize, usize),
    gives: fn(&[FieldRef], &[Option<&ScalarValue>]) -> Ty,
    body: fn(&Call) -> Result<ArrayRef>,
) -> FnDef {
    FnDef { name, arity, gives: Gives::By(gives), body: Body::Columns(body) }
}

/// A call over whole columns; constants are columns of one row unless `array` is asked.
pub(crate) struct Call<'a> {
    pub(crate) args: &'a [ColumnarValue],
    pub(crate) fields: &'a [FieldRef],
    pub(crate) returns: Ty,
    pub(crate) rows: usize,
    pub(crate) context: &'a EvalContext,
}

impl Call<'_> {
    /// Argument `i` as a whole column in its own type.
    pub(crate) fn array(&self, i: usize) -> Result<ArrayRef> {
        self.args[i].to_array(self.rows)
    }

    /// Argument `i` as a whole column of type `to`.
    pub(crate) fn converted(&self, i: usize, to: Ty) -> Result<ArrayRef> {
        let array = self.array(i)?;
        if matches!((ty_of(&self.fields[i]), to), (Ty::Time(_), Ty::Date | Ty::DateTime(_) | Ty::Timestamp(_))) {
            let today = row::on_today(&array, self.context);
            let field = Ty::DateTime(6).field("today");
            return super::convert::convert(&today, &field, to, self.context.zone);
        }
        super::convert::convert(&array, &self.fields[i], to, self.context.zone)
    }
}

/// The unbounded number of arguments.
pub(crate) const MANY: usize = usize::MAX;

const TABLES: &[&[FnDef]] = &[
    arithmetic::FUNCTIONS,
    control::FUNCTIONS,
    dates::FUNCTIONS,
    formats::FUNCTIONS,
    json::FUNCTIONS,
    more_strings::FUNCTIONS,
    numbers::FUNCTIONS,
    strings::FUNCTIONS,
    times::FUNCTIONS,
];

/// Names that are only spelled differently.
const ALIASES: &[(&str, &str)] = &[
    ("adddate", "date_add"),
    ("subdate", "date_sub"),
    ("ceiling", "ceil"),
    ("character_length", "char_length"),
    ("day", "dayofmonth"),
    ("lcase", "lower"),
    ("mid", "substring"),
    ("octet_length", "length"),
    ("power", "pow"),
    ("sha", "sha1"),
    ("substr", "substring"),
    ("ucase", "upper"),
    ("format_decimal", "format"),
];

/// The function of a (lower case) name.
pub(crate) fn find(name: &str) -> Option<&'static FnDef> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, real)| real);
    TABLES.iter().flat_map(|t| t.iter()).find(|d| d.name == name)
}

/// The function as DataFusion calls it.
pub(crate) fn udf(def: &'static FnDef, context: &Arc<EvalContext>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Function::new(def, Arc::clone(context))))
}

/// An operator's function by name, for rewrites.
pub(crate) fn operator(name: &'static str, context: &Arc<EvalContext>) -> Arc<ScalarUDF> {
    udf(find(name).expect("operators named in the code are in the tables"), context)
}

struct Function {
    def: &'static FnDef,
    context: Arc<EvalContext>,
    signature: Signature,
}

impl Function {
    fn new(def: &'static FnDef, context: Arc<EvalContext>) -> Function {
        let signature = if def.arity.1 == 0 {
            Signature::nullary(Volatility::Immutable)
        } else {
            let any = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
            Signature::one_of(any, Volatility::Immutable)
        };
        Function { def, context, signature }
    }

    fn returns(&self, args: &ReturnFieldArgs) -> Result<Ty> {
        let n = args.arg_fields.len();
        if n < self.def.arity.0 || n > self.def.arity.1 {
            let message = format!("Incorrect parameter count in the call to native function '{}'", self.def.name);
            return Err(through(SqlError::new(1582, "42000", message)));
        }
        Ok(match self.def.gives {
            Gives::Always(ty) => ty,
            Gives::By(f) => f(args.arg_fields, args.scalar_arguments),
        })
    }

    /// A text result keeps the strongest collation of its text arguments.
    fn collation(&self, fields: &[FieldRef], scalars: &[Option<&ScalarValue>]) -> Option<String> {
        if self.def.name == "__collate"
            && let Some(Some(ScalarValue::Utf8(Some(name)))) = scalars.get(1)
        {
            return Some(name.clone());
        }
        if self.def.name == "__collkey" {
            return Some("binary".to_owned());
        }
        strongest(fields)
    }
}

/// The collation in which several texts compare: a `_bin` one before others, `None` if none of them has one.
pub(crate) fn strongest(fields: &[FieldRef]) -> Option<String> {
    if fields.iter().any(|f| ty_of(f) == Ty::Bytes) {
        return Some("binary".to_owned());
    }
    let all: Vec<String> = fields.iter().filter_map(|f| collation_of(f)).collect();
    all.iter().find(|c| c.ends_with("_bin") || *c == "binary").or(all.first()).cloned()
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Function({})", self.def.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.def.name == other.def.name && self.context == other.context
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.def.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.def.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(datafusion::common::DataFusionError::Internal(format!("{} needs its arguments' fields", self.def.name)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let ty = self.returns(&args)?;
        let mut field = ty.field(self.def.name);
        if let (Ty::Decimal(_, scale), Some(digits)) = (ty, arithmetic::declared(self.def.name, args.arg_fields))
            && digits < scale
        {
            field = field.with_metadata([(super::types::DIGITS_KEY.to_owned(), digits.to_string())].into());
        }
        if ty == Ty::Text
            && let Some(collation) = self.collation(args.arg_fields, args.scalar_arguments)
        {
            field = field.with_metadata([(super::types::COLLATION_KEY.to_owned(), collation)].into());
        }
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let returns = ty_of(&args.return_field);
        let call = Call { args: &args.args, fields: &args.arg_fields, returns, rows, context: &self.context };
        let array = match self.def.body {
            Body::Columns(f) => f(&call)?,
            Body::Rows(kinds, f) => row::run(&call, kinds, f, false)?,
            Body::RowsWithNulls(kinds, f) => row::run(&call, kinds, f, true)?,
            Body::Lowered => {
                let message = format!("operator {} was not resolved", self.def.name);
                return Err(datafusion::common::DataFusionError::Internal(message));
            }
        };
        if constant && array.len() == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// The field a text constant or a computed text has here.
pub(crate) fn text_collation(field: &Field, context: &EvalContext) -> String {
    collation_of(field).unwrap_or_else(|| context.collation.clone())
}
