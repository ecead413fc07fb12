//! Function calls: session functions become constants, aggregates get arguments of the type MySQL sums in, MySQL's
//! special argument forms (INTERVAL, units, SEPARATOR) become plain arguments.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, OrderByExpr, Value, ValueWithSpan, WindowType,
};

use super::expressions::{shifted, truth, value};
use super::queries::order_values;
use super::{Rewriter, call, null, number, text};
use crate::session::SqlError;
use crate::sql::datetime::{date_text, datetime_text, time_text};
use crate::sql::error::unsupported;
use crate::sql::udf;
use tidelake_core::types::temporal::split_micros;

/// Aggregates by MySQL's name, as the engine's name and the operator that prepares the argument.
const AGGREGATES: &[(&str, &str, &str)] = &[
    ("sum", "sum", "__sumarg"),
    ("std", "stddev_pop", "__statarg"),
    ("stddev", "stddev_pop", "__statarg"),
    ("stddev_pop", "stddev_pop", "__statarg"),
    ("stddev_samp", "stddev", "__statarg"),
    ("variance", "var_pop", "__statarg"),
    ("var_pop", "var_pop", "__statarg"),
    ("var_samp", "var", "__statarg"),
    ("bit_and", "bit_and", "__argbits"),
    ("bit_or", "bit_or", "__argbits"),
    ("bit_xor", "bit_xor", "__argbits"),
    ("count", "count", ""),
    ("min", "min", ""),
    ("max", "max", ""),
    ("any_value", "first_value", ""),
];

/// Window functions that the engine calls the same.
const WINDOWS: &[&str] = &[
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

struct Parts {
    args: Vec<Expr>,
    star: bool,
    distinct: Option<DuplicateTreatment>,
    order: Vec<OrderByExpr>,
    separator: Option<String>,
}

fn unknown(name: &str, database: Option<&str>) -> SqlError {
    let place = database.map(|d| format!("{d}.")).unwrap_or_default();
    SqlError::new(1305, "42000", format!("FUNCTION {place}{name} does not exist"))
}

fn parts(f: &Function) -> Result<Parts, SqlError> {
    let mut parts = Parts { args: vec![], star: false, distinct: None, order: vec![], separator: None };
    let FunctionArguments::List(list) = &f.args else { return Ok(parts) };
    parts.distinct = list.duplicate_treatment;
    for arg in &list.args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => {
                let mut e = e.clone();
                value(&mut e);
                parts.args.push(e);
            }
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => parts.star = true,
            _ => return Err(unsupported("named arguments")),
        }
    }
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OrderBy(order) => {
                parts.order = order.clone();
                order_values(&mut parts.order);
            }
            FunctionArgumentClause::Separator(ValueWithSpan { value, .. }) => match value {
                Value::SingleQuotedString(s) | Value::DoubleQuotedString(s) => parts.separator = Some(s.clone()),
                _ => return Err(unsupported("a SEPARATOR that is no text")),
            },
            other => return Err(unsupported(format!("`{other}` in a function call"))),
        }
    }
    Ok(parts)
}

fn renamed(mut f: Function, name: &str, args: Vec<Expr>) -> Function {
    f.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
    if let FunctionArguments::List(list) = &mut f.args {
        let plain = |e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e));
        if !list.args.iter().any(|a| matches!(a, FunctionArg::Unnamed(FunctionArgExpr::Wildcard))) {
            list.args = args.into_iter().map(plain).collect();
        }
    }
    f
}

fn window_values(f: &mut Function) {
    if let Some(WindowType::WindowSpec(spec)) = &mut f.over {
        spec.partition_by.iter_mut().for_each(value);
        order_values(&mut spec.order_by);
    }
}

impl Rewriter<'_> {
    pub(super) fn before_call(&mut self, f: &mut Function) -> Result<(), SqlError> {
        if f.name.0.len() != 1 {
            return Err(unsupported(format!("the function {}", f.name)));
        }
        let name = f.name.to_string().trim_matches('`').to_ascii_lowercase();
        if name.starts_with("__") {
            return Err(unknown(&name, self.scene.database));
        }
        f.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
        Ok(())
    }

    pub(super) fn call(&mut self, mut f: Function) -> Result<Expr, SqlError> {
        let name = f.name.to_string();
        let mut parts = parts(&f)?;
        window_values(&mut f);
        if let Some(e) = self.session_function(&name, &parts.args)? {
            return Ok(e);
        }
        if let Some(e) = special(&name, &mut parts)? {
            return Ok(e);
        }
        if name == "avg" {
            return Ok(average(&f, parts));
        }
        if matches!(name.as_str(), "group_concat" | "json_arrayagg" | "json_objectagg") {
            return group_concat(f, parts, &name);
        }
        if let Some((_, real, prepare)) = AGGREGATES.iter().find(|(n, ..)| *n == name) {
            return aggregate(f, parts, real, prepare);
        }
        if WINDOWS.contains(&name.as_str()) {
            if f.over.is_none() {
                return Err(SqlError::new(4016, "HY000", format!("Window function {name} needs OVER")));
            }
            return Ok(Expr::Function(renamed(f, &name, parts.args)));
        }
        if NOT_BUILT.contains(&name.as_str()) {
            return Err(unsupported(format!("the function {name}")));
        }
        if udf::find(&name).is_none() {
            return Err(unknown(&name, self.scene.database));
        }
        if f.over.is_some() {
            return Err(unsupported(format!("OVER after {name}")));
        }
        Ok(call(&name, parts.args))
    }

    fn session_function(&self, name: &str, args: &[Expr]) -> Result<Option<Expr>, SqlError> {
        let scene = self.scene;
        let fsp = match args {
            [Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. })] => n.parse::<u8>().unwrap_or(0).min(6),
            _ => 0,
        };
        let now = scene.now_local_us;
        Ok(Some(match name {
            "now" | "current_timestamp" | "localtime" | "localtimestamp" | "sysdate" => {
                call("__datetime", vec![text(datetime_text(now, fsp)), number(fsp)])
            }
            "utc_timestamp" => call("__datetime", vec![text(datetime_text(scene.now_us, fsp)), number(fsp)]),
            "curdate" | "current_date" => call("__date", vec![text(date_text(split_micros(now).0))]),
            "utc_date" => call("__date", vec![text(date_text(split_micros(scene.now_us).0))]),
            "curtime" | "current_time" => call("__time", vec![text(time_text(split_micros(now).1, fsp)), number(fsp)]),
            "unix_timestamp" if args.is_empty() => number(scene.now_us.div_euclid(1_000_000)),
            "database" | "schema" => scene.database.map_or_else(null, text),
            "user" | "current_user" | "session_user" | "system_user" => text(scene.user),
            "current_role" => null(),
            "version" => text(scene.version),
            "connection_id" => number(scene.connection_id),
            "last_insert_id" => number(0),
            "row_count" => number(-1),
            "found_rows" => number(0),
            "rand" | "uuid" | "sleep" | "benchmark" | "get_lock" | "release_lock" => {
                return Err(unsupported(format!("the function {name}")));
            }
            _ => return Ok(None),
        }))
    }
}

fn special(name: &str, parts: &mut Parts) -> Result<Option<Expr>, SqlError> {
    let wrong =
        || SqlError::new(1582, "42000", format!("Incorrect parameter count in the call to native function '{name}'"));
    let args = &mut parts.args;
    let count = args.len();
    let mut next = || if args.is_empty() { Err(wrong()) } else { Ok(args.remove(0)) };
    Ok(Some(match name {
        "if" => {
            let (mut condition, a, b) = (next()?, next()?, next()?);
            un_int(&mut condition);
            call("__case", vec![condition, a, b])
        }
        "ifnull" | "nvl" => call("coalesce", vec![next()?, next()?]),
        "nullif" => {
            let (a, b) = (next()?, next()?);
            call("__case", vec![call("__eq", vec![a.clone(), b]), null(), a])
        }
        "isnull" => {
            let mut e = Expr::IsNull(Box::new(next()?));
            value(&mut e);
            e
        }
        "date_add" | "adddate" | "date_sub" | "subdate" => {
            let (date, by) = (next()?, next()?);
            let backwards = name.ends_with("sub") || name.starts_with("sub");
            match by {
                Expr::Interval(interval) => shifted(date, &interval, backwards),
                days => {
                    let days = if backwards { call("__neg", vec![days]) } else { days };
                    call("__date_add", vec![date, days, text("DAY")])
                }
            }
        }
        "timestampdiff" | "timestampadd" => {
            let Expr::Identifier(unit) = next()? else { return Err(unsupported(format!("{name} without a unit"))) };
            let unit = text(unit.value.to_ascii_uppercase().trim_start_matches("SQL_TSI_"));
            let (a, b) = (next()?, next()?);
            if name == "timestampdiff" {
                call("__timestampdiff", vec![unit, a, b])
            } else {
                call("__date_add", vec![b, a, unit])
            }
        }
        "lpad" | "rpad" if count == 2 => {
            let both = vec![next()?, next()?, text(" ")];
            call(name, both)
        }
        "trim" => call("__trim", vec![next()?, text(" "), text("both")]),
        _ => return Ok(None),
    }))
}

/// A condition that was made 0 or 1 as an argument becomes a condition again.
fn un_int(expr: &mut Expr) {
    if let Expr::Function(f) = expr
        && f.name.to_string() == "__int"
        && let FunctionArguments::List(list) = &f.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] = list.args.as_slice()
    {
        *expr = inner.clone();
        return;
    }
    truth(expr);
}

fn aggregate(f: Function, parts: Parts, real: &str, prepare: &str) -> Result<Expr, SqlError> {
    if parts.args.len() > 1 {
        return distinct_rows(f, parts, real);
    }
    let args = parts.args.into_iter();
    let args = if prepare.is_empty() { args.collect() } else { args.map(|a| call(prepare, vec![a])).collect() };
    let done = Expr::Function(renamed(f, real, args));
    // Of no values, BIT_AND has all bits set and the others none.
    Ok(match real {
        "bit_and" => call("coalesce", vec![done, call("__unsigned", vec![number("18446744073709551615")])]),
        "bit_or" | "bit_xor" => call("coalesce", vec![done, call("__unsigned", vec![number(0)])]),
        _ => done,
    })
}

/// COUNT(DISTINCT a, b) counts rows without NULLs.
fn distinct_rows(f: Function, parts: Parts, real: &str) -> Result<Expr, SqlError> {
    if real != "count" || parts.distinct != Some(DuplicateTreatment::Distinct) {
        return Err(unsupported(format!("{real} with several arguments")));
    }
    let mut pieces = Vec::new();
    for arg in parts.args {
        // Lengths keep ('a','bc') and ('ab','c') apart.
        pieces.extend([call("char_length", vec![arg.clone()]), text(":"), arg]);
    }
    Ok(Expr::Function(renamed(f, real, vec![call("concat", pieces)])))
}

/// AVG is SUM / COUNT, with the division's own digits.
fn average(f: &Function, parts: Parts) -> Expr {
    let sum = renamed(f.clone(), "sum", parts.args.iter().map(|a| call("__sumarg", vec![a.clone()])).collect());
    let count = renamed(f.clone(), "count", parts.args);
    call("__div", vec![Expr::Function(sum), Expr::Function(count)])
}

/// GROUP_CONCAT and the JSON aggregates; `lower` makes them from the engine's own concatenation.
fn group_concat(mut f: Function, parts: Parts, name: &str) -> Result<Expr, SqlError> {
    if f.over.is_some() {
        return Err(unsupported(format!("{name} ... OVER")));
    }
    let mut order = parts.order;
    for by in &mut order {
        // A number is the place of an argument.
        if let Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) = &by.expr
            && let Some(argument) = n.parse::<usize>().ok().and_then(|n| parts.args.get(n.wrapping_sub(1)))
        {
            by.expr = argument.clone();
        }
    }
    order.retain(|by| !matches!(by.expr, Expr::Value(_)));
    let count = parts.args.len();
    let mut args = parts.args.into_iter();
    let mut next = || args.next().unwrap_or_else(null);
    let (joined, separator) = match name {
        "json_arrayagg" if count == 1 => (call("__json_item", vec![next()]), ARRAY.to_owned()),
        "json_objectagg" if count == 2 => {
            let pair = vec![
                call("json_quote", vec![call("__text", vec![next()])]),
                text(":"),
                call("__json_item", vec![next()]),
            ];
            (call("concat", pair), OBJECT.to_owned())
        }
        "group_concat" if count > 0 => {
            let separator = parts.separator.unwrap_or_else(|| ",".to_owned());
            if count == 1 {
                (call("__text", vec![next()]), separator)
            } else {
                (call("concat", args.collect()), separator)
            }
        }
        _ => {
            return Err(SqlError::new(
                1582,
                "42000",
                format!("Incorrect parameter count in the call to native function '{name}'"),
            ));
        }
    };
    if let FunctionArguments::List(list) = &mut f.args {
        list.clauses = if order.is_empty() { vec![] } else { vec![FunctionArgumentClause::OrderBy(order)] };
    }
    // The engine allows DISTINCT only with its own orders; ours knows both.
    let separator =
        if parts.distinct == Some(DuplicateTreatment::Distinct) { format!("{DISTINCT}{separator}") } else { separator };
    if let FunctionArguments::List(list) = &mut f.args {
        list.duplicate_treatment = None;
    }
    Ok(Expr::Function(renamed(f, "string_agg", vec![joined, text(separator)])))
}

/// Separators that say which aggregate is meant; no text of a client has them.
pub(crate) const ARRAY: &str = "\u{1}[";
/// JSON_OBJECTAGG.
pub(crate) const OBJECT: &str = "\u{1}{";
/// Before the separator of a DISTINCT one.
pub(crate) const DISTINCT: &str = "\u{2}";

/// Functions of the upstream that are not built.
const NOT_BUILT: &[&str] = &[
    "aes_decrypt",
    "aes_encrypt",
    "coercibility",
    "column_create",
    "column_get",
    "compress",
    "decode",
    "des_decrypt",
    "encode",
    "encrypt",
    "extractvalue",
    "format_pico_time",
    "get_format",
    "inet6_aton",
    "inet6_ntoa",
    "inet_aton",
    "inet_ntoa",
    "is_free_lock",
    "is_ipv4",
    "is_ipv6",
    "is_used_lock",
    "json_array_append",
    "json_array_insert",
    "json_contains_path",
    "json_detailed",
    "json_equals",
    "json_insert",
    "json_merge",
    "json_merge_patch",
    "json_merge_preserve",
    "json_normalize",
    "json_overlaps",
    "json_remove",
    "json_replace",
    "json_schema_valid",
    "json_search",
    "json_set",
    "json_table",
    "lastval",
    "load_file",
    "master_pos_wait",
    "median",
    "name_const",
    "natural_sort_key",
    "nextval",
    "old_password",
    "password",
    "percentile_cont",
    "percentile_disc",
    "random_bytes",
    "regexp_like",
    "release_all_locks",
    "sformat",
    "st_astext",
    "st_distance",
    "sys_guid",
    "to_char",
    "uncompress",
    "uncompressed_length",
    "updatexml",
    "uuid_short",
    "uuid_to_bin",
    "bin_to_uuid",
    "weight_string",
];
