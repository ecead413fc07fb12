//! Random expressions. A pattern is SQL with holes: `{i}` an integer, `{u}` an unsigned one, `{c}` a DECIMAL, `{f}` a
//! DOUBLE, `{n}` any number, `{s}` a text, `{B}` bytes, `{D}` a DATE, `{T}` a DATETIME, `{M}` a TIME, `{b}` a condition,
//! `{e}` an ENUM or SET, `{j}` a JSON text, `{y}` a YEAR, `{x}` anything, `{k}` a small constant.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::tables::{A, B};

const INTEGERS: &[&str] = &[
    "{i} + {k}",
    "{i} - {k}",
    "{i} * {k}",
    "{n} DIV {n}",
    "{i} % {k}",
    "MOD({i}, {i})",
    "-{k}",
    "ABS({k} - {k})",
    "SIGN({n})",
    "LENGTH({s})",
    "CHAR_LENGTH({s})",
    "ORD({s})",
    "LOCATE({s}, {s})",
    "INSTR({s}, {s})",
    "FIELD({s}, {s}, {s})",
    "FIND_IN_SET({s}, {s})",
    "STRCMP({s}, {s})",
    "YEAR({D})",
    "MONTH({T})",
    "DAY({D})",
    "DAYOFWEEK({T})",
    "WEEKDAY({D})",
    "DAYOFYEAR({D})",
    "QUARTER({T})",
    "WEEK({D}, {k})",
    "HOUR({M})",
    "MINUTE({T})",
    "SECOND({M})",
    "MICROSECOND({T})",
    "TO_DAYS({D})",
    "TO_SECONDS({T})",
    "DATEDIFF({T}, {D})",
    "TIMESTAMPDIFF({unit}, {T}, {T})",
    "TIME_TO_SEC({M})",
    "EXTRACT({xunit} FROM {T})",
    "EXTRACT({munit} FROM {M})",
    "IF({b}, {i}, {i})",
    "IFNULL({i}, {k})",
    "NULLIF({i}, {k})",
    "COALESCE({i}, {i})",
    "CASE WHEN {b} THEN {i} WHEN {b} THEN {k} ELSE {i} END",
    "CASE {i} WHEN {k} THEN {k} END",
    "CAST({x} AS SIGNED)",
    "ROUND({i}, -1)",
    "FLOOR({c})",
    "CEIL({c})",
    "GREATEST({i}, {i})",
    "LEAST({i}, {k})",
    "BIT_COUNT({k})",
    "{b}",
    "UNIX_TIMESTAMP({T})",
    "ISNULL({x})",
    "INTERVAL({k}, 1, 5, 10)",
    "LENGTH({B})",
    "JSON_LENGTH({j})",
    "JSON_VALID({s})",
    "JSON_DEPTH({j})",
    "PERIOD_ADD(202401, {k})",
    "PERIOD_DIFF(202405, 202301)",
    "CHARSET({s}) = 'utf8mb4'",
    "JSON_CONTAINS({j}, '1')",
    "REGEXP_INSTR({s}, '[a-e]')",
    "TRUNCATE({i}, -1)",
    "{y}",
    "{y} + {k}",
];
const UNSIGNED: &[&str] = &[
    "{k} & {i}",
    "{k} | {k}",
    "{u} ^ {k}",
    "{u} << 2",
    "{u} >> 1",
    "~{k}",
    "CAST({k} AS UNSIGNED)",
    "CRC32({s})",
    "{u} + {k}",
    "{u} DIV {k}",
    "{u} % {k}",
    "IFNULL({u}, {k})",
    "COALESCE({u}, {i})",
];
const DECIMALS: &[&str] = &[
    "{c} + {c}",
    "{c} - {i}",
    "{c} * {c}",
    "{c} / {k}",
    "{i} / {i}",
    "{c} % {c}",
    "-{c}",
    "ABS({c})",
    "ROUND({c}, {k})",
    "TRUNCATE({c}, {k})",
    "ROUND({c})",
    "IF({b}, {c}, {i})",
    "COALESCE({c}, {i})",
    "GREATEST({c}, {i})",
    "LEAST({c}, {c})",
    "CAST({n} AS DECIMAL(15,3))",
    "NULLIF({c}, {c})",
    "{c} * {i}",
    "CASE {i} WHEN 1 THEN {c} ELSE {i} END",
    "UNIX_TIMESTAMP({T}) + 0.5",
    "IFNULL({c}, {c})",
    "({c} + {c}) / {c}",
    "MOD({c}, {k})",
    "{T} + 0",
    "{M} + 0",
    "CEIL({c})",
];
const DOUBLES: &[&str] = &[
    "{f} + {n}",
    "{f} * {k}",
    "{f} / {n}",
    "{s} + {k}",
    "{s} * {c}",
    "-{f}",
    "ABS({f})",
    "SQRT({k})",
    "POW({k}, 2)",
    "EXP({k})",
    "LN({n})",
    "LOG2({k})",
    "LOG10({n})",
    "LOG({k}, {k})",
    "SIN({k})",
    "COS({k})",
    "ATAN({k})",
    "ATAN2({k}, {k})",
    "DEGREES({k})",
    "RADIANS({k})",
    "PI()",
    "ROUND({f} / 1e9, {k})",
    "TRUNCATE({f}, {k})",
    "FLOOR({f})",
    "CEIL({f})",
    "IF({b}, {f}, {n})",
    "COALESCE({f}, {c})",
    "CAST({n} AS DOUBLE)",
    "GREATEST({f}, {i})",
    "{f} % {k}",
    "COT(1)",
    "ROUND({s}, 1)",
    "CAST({s} AS DOUBLE)",
    "{f} - {c}",
];
const TEXTS: &[&str] = &[
    "CONCAT({s}, {x})",
    "CONCAT({n}, {s})",
    "CONCAT_WS('-', {x}, {x}, {s})",
    "UPPER({s})",
    "LOWER({s})",
    "LEFT({s}, {k})",
    "RIGHT({s}, {k})",
    "SUBSTRING({s}, {k})",
    "SUBSTRING({s}, {k}, {k})",
    "SUBSTRING_INDEX({s}, 'a', {k})",
    "TRIM({s})",
    "LTRIM({s})",
    "RTRIM({s})",
    "TRIM(LEADING 'h' FROM {s})",
    "REPLACE({s}, 'a', 'xy')",
    "REPEAT({s}, 2)",
    "REVERSE({s})",
    "LPAD({s}, {k}, 'xy')",
    "RPAD({s}, {k}, '*')",
    "LPAD({i}, 8, '0')",
    "HEX({s})",
    "HEX({i})",
    "HEX({B})",
    "MD5({s})",
    "SHA1({s})",
    "SHA2({s}, 256)",
    "ELT({k}, {s}, {s})",
    "QUOTE({s})",
    "DATE_FORMAT({T}, '{fmt}')",
    "TIME_FORMAT({M}, '%H:%i:%s %k')",
    "DATE_FORMAT({D}, '%Y/%m %W')",
    "MONTHNAME({D})",
    "DAYNAME({D})",
    "IF({b}, {s}, {x})",
    "IFNULL({s}, {s})",
    "NULLIF({s}, {s})",
    "COALESCE({s}, {n})",
    "CASE WHEN {b} THEN {s} ELSE {n} END",
    "CAST({x} AS CHAR)",
    "CAST({s} AS CHAR(3))",
    "FORMAT({n}, {k})",
    "BIN({k})",
    "OCT({k})",
    "CONV({k}, 10, 16)",
    "CONCAT(GREATEST({s}, {s}))",
    "CONCAT(LEAST({s}, {s}))",
    "JSON_EXTRACT({j}, '$.a')",
    "JSON_UNQUOTE(JSON_EXTRACT({j}, '$.b'))",
    "JSON_VALUE({j}, '$.a[1]')",
    "JSON_TYPE({j})",
    "REGEXP_REPLACE({s}, '[a-e]', '_')",
    "REGEXP_SUBSTR({s}, '[a-z]+')",
    "SPACE({k})",
    "INSERT({s}, 2, 1, 'Q')",
    "MAKE_SET({k}, 'p', 'q', 'r')",
    "EXPORT_SET(5, 'Y', 'N', ',', 4)",
    "TO_BASE64({s})",
    "SOUNDEX({s})",
    "JSON_OBJECT('k', {i})",
    "JSON_ARRAY({i}, {s})",
    "JSON_QUOTE({s})",
    "{e}",
    "CONCAT({e}, '')",
    "{j}",
    "STR_TO_DATE('05/06/2024', '%d/%m/%Y')",
    "CHAR({k} + 64)",
    "LCASE({s})",
    "CONVERT({s} USING utf8mb4)",
    "JSON_SEARCH({j}, 'one', 'x')",
    "JSON_SET({j}, '$.z', 1)",
    "CONCAT({D}, ' ', {M})",
    "IF({b}, {D}, {T})",
    "DATE_ADD({s}, INTERVAL 1 DAY)",
];
const DATES: &[&str] = &[
    "DATE({T})",
    "LAST_DAY({D})",
    "DATE_ADD({D}, INTERVAL {k} {dunit})",
    "{D} + INTERVAL 1 MONTH",
    "{D} - INTERVAL {k} DAY",
    "DATE_SUB({D}, INTERVAL 1 YEAR)",
    "CAST({T} AS DATE)",
    "COALESCE({D}, {D})",
    "IF({b}, {D}, {D})",
    "MAKEDATE(2024, {k})",
    "FROM_DAYS(738000 + {k})",
    "STR_TO_DATE('{day}', '%Y-%m-%d')",
    "GREATEST({D}, {D})",
    "CAST('2024-02-29' AS DATE)",
    "NULLIF({D}, {D})",
];
const DATETIMES: &[&str] = &[
    "DATE_ADD({T}, INTERVAL {k} {unit})",
    "{T} + INTERVAL {k} MINUTE",
    "{T} - INTERVAL '1:30' HOUR_MINUTE",
    "DATE_ADD({T}, INTERVAL '1 02:03:04' DAY_SECOND)",
    "DATE_SUB({D}, INTERVAL {k} HOUR)",
    "TIMESTAMP({D})",
    "CAST({D} AS DATETIME)",
    "COALESCE({T}, {D})",
    "FROM_UNIXTIME(1700000000 + {k})",
    "IF({b}, {T}, {T})",
    "GREATEST({T}, {T})",
    "TIMESTAMP({D}, '10:00:00')",
    "CAST({T} AS DATETIME(3))",
    "CONVERT_TZ({T}, '+00:00', '+05:30')",
    "ADDTIME({T}, '01:00:01')",
    "SUBTIME({T}, {M})",
    "TIMESTAMPADD({unit}, {k}, {T})",
    "IFNULL({T}, {T})",
    "CAST('2024-02-29 10:11:12' AS DATETIME)",
];
const TIMES: &[&str] = &[
    "TIME({T})",
    "TIMEDIFF({T}, {T})",
    "TIMEDIFF({M}, {M})",
    "SEC_TO_TIME({k} * 1000)",
    "MAKETIME({k}, 30, 15)",
    "CAST({T} AS TIME)",
    "ADDTIME({M}, '00:10:00')",
    "SUBTIME({M}, {M})",
    "COALESCE({M}, {M})",
    "IF({b}, {M}, {M})",
    "GREATEST({M}, {M})",
    "CAST('10:11:12.5' AS TIME)",
];
const CONDITIONS: &[&str] = &[
    "{n} {cmp} {n}",
    "{s} {cmp} {s}",
    "{D} {cmp} {T}",
    "{T} {cmp} {T}",
    "{M} {cmp} {M}",
    "{s} {cmp} {n}",
    "{D} {cmp} '{day}'",
    "{T} {cmp} '{day} 10:11:12'",
    "{M} {cmp} '10:00:00'",
    "{b} AND {b}",
    "{b} OR {b}",
    "NOT {b}",
    "{b} XOR {b}",
    "{x} IS NULL",
    "{x} IS NOT NULL",
    "{s} LIKE '%a%'",
    "{s} LIKE 'H_mm%'",
    "{s} NOT LIKE {s}",
    "{s} REGEXP '^[a-m]'",
    "{s} RLIKE 'e$'",
    "{i} IN ({k}, {k}, {i})",
    "{s} IN ('Hammer', 'TWO', {s})",
    "{n} BETWEEN {n} AND {n}",
    "{s} BETWEEN 'a' AND {s}",
    "{D} BETWEEN '2000-01-01' AND '{day}'",
    "{i} NOT IN ({k}, 5)",
    "{s} NOT IN ('x', 'two')",
    "{b} IS TRUE",
    "{b} IS NOT FALSE",
    "{b} IS UNKNOWN",
    "{i} <=> {i}",
    "{s} <=> {s}",
    "{i}",
    "{e} = 'tool'",
    "{e} > 'b'",
    "{B} = 'abc'",
    "{B} < {s}",
    "({i}, {s}) = ({i}, {s})",
    "{c} = {s}",
    "({i}, {k}) IN ((1, 2), ({k}, {k}))",
    "{y} > 2000",
    "{f} = {c}",
    "{u} > {i}",
    "{s} = BINARY {s}",
    "{s} COLLATE utf8mb4_bin = {s}",
    "{s} LIKE BINARY 'h%'",
    "{D} = {i}",
    "{T} > 20200101000000",
    "{s} SOUNDS LIKE {s}",
    "{c} IN (1.5, '12.50', {k})",
];

const ANY: &[&str] = &["{i}", "{u}", "{c}", "{f}", "{s}", "{D}", "{T}", "{M}", "{e}", "{b}", "{B}", "{y}"];
const NUMBERS: &[&str] = &["{i}", "{u}", "{c}", "{f}", "{i}", "{c}"];

fn patterns(kind: &str) -> &'static [&'static str] {
    match kind {
        "i" => INTEGERS,
        "u" => UNSIGNED,
        "c" => DECIMALS,
        "f" => DOUBLES,
        "n" => NUMBERS,
        "s" => TEXTS,
        "D" => DATES,
        "T" => DATETIMES,
        "M" => TIMES,
        "b" => CONDITIONS,
        "x" => ANY,
        _ => &[],
    }
}

/// Words of patterns that are no expressions, and constants.
fn constants(kind: &str) -> &'static [&'static str] {
    match kind {
        "k" => &["0", "1", "2", "3", "5", "7", "-1", "-2", "10", "4"],
        "i" => &["0", "1", "-1", "7", "100", "NULL", "12345678"],
        "u" => &["0", "3", "18446744073709551614"],
        "c" => &["0.5", "1.10", "-2.345", "100.00", "0.001", "1.0"],
        "f" => &["1e0", "2.5e-3", "-1.5e2", "0e0"],
        "s" => &[
            "'abc'",
            "'ABC'",
            "' x '",
            "'12'",
            "'1.5e2x'",
            "''",
            "'Äpfel'",
            "'hammer'",
            "'a'",
            "NULL",
            "'two'",
            "'2024-02-29'",
        ],
        "B" => &["x'616263'", "'abc'"],
        "D" => &["DATE'2024-02-29'", "DATE'1999-12-31'"],
        "T" => &["TIMESTAMP'2024-02-29 10:11:12'", "TIMESTAMP'2000-01-01 00:00:00.250'"],
        "M" => &["TIME'10:11:12'", "TIME'-01:00:00'", "TIME'00:00:00.5'"],
        "y" => &["2024"],
        "e" => &["'tool'"],
        "j" => &["'{\"a\": [1, 2], \"b\": \"x\"}'"],
        "b" => &["TRUE", "FALSE"],
        "cmp" => &["=", "<>", "<", "<=", ">", ">="],
        "unit" => &["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MICROSECOND"],
        "dunit" => &["YEAR", "QUARTER", "MONTH", "WEEK", "DAY"],
        "xunit" => &[
            "YEAR",
            "QUARTER",
            "MONTH",
            "WEEK",
            "DAY",
            "HOUR",
            "MINUTE",
            "SECOND",
            "MICROSECOND",
            "YEAR_MONTH",
            "DAY_HOUR",
            "DAY_MINUTE",
            "DAY_SECOND",
            "HOUR_MINUTE",
            "HOUR_SECOND",
            "MINUTE_SECOND",
            "DAY_MICROSECOND",
            "SECOND_MICROSECOND",
        ],
        "munit" => &[
            "HOUR",
            "MINUTE",
            "SECOND",
            "MICROSECOND",
            "HOUR_MINUTE",
            "HOUR_SECOND",
            "MINUTE_SECOND",
            "HOUR_MICROSECOND",
        ],
        "day" => &["2024-02-29", "2024-01-01", "1999-12-31"],
        "fmt" => &[
            "%Y-%m-%d %H:%i:%s",
            "%W %M %e %Y",
            "%j %U %u %V %v %X %x",
            "%b %c %D %y",
            "%f %p %r %T %l %I",
            "%a %w %h %k %% %q",
        ],
        _ => &[],
    }
}

/// Makes expressions over the columns in scope.
pub struct Maker<'a> {
    /// The dice.
    pub rng: &'a mut StdRng,
    /// Names before columns (`x.`, or nothing) and whether the table is `a`.
    pub scope: Vec<(&'static str, bool)>,
}

impl Maker<'_> {
    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(self.rng).expect("the lists are not empty")
    }

    /// An expression of a kind.
    pub fn expression(&mut self, kind: &str, depth: usize) -> String {
        let all = patterns(kind);
        let composite = matches!(kind, "x" | "n") || (!all.is_empty() && depth > 0 && self.rng.random_bool(0.75));
        if composite {
            let pattern = self.pick(all);
            let inner = self.fill(pattern, depth.saturating_sub(usize::from(!matches!(kind, "x" | "n"))));
            let simple = matches!(kind, "x" | "n") || (pattern.ends_with(')') && !pattern.starts_with('('));
            return if simple { inner } else { format!("({inner})") };
        }
        self.leaf(kind)
    }

    fn leaf(&mut self, kind: &str) -> String {
        let (prefix, is_a) = if self.scope.is_empty() { ("", false) } else { self.pick(&self.scope.clone()) };
        let columns = if is_a { A } else { B };
        let fitting: Vec<&str> =
            columns.iter().filter(|c| kind.starts_with(c.0) && kind.len() == 1).map(|c| c.1).collect();
        if fitting.is_empty() || self.scope.is_empty() || self.rng.random_bool(0.15) {
            let all = constants(kind);
            assert!(!all.is_empty(), "no constant of kind {kind}");
            return self.pick(all).to_owned();
        }
        format!("{prefix}{}", self.pick(&fitting))
    }

    /// A pattern with its holes filled.
    pub fn fill(&mut self, pattern: &str, depth: usize) -> String {
        let mut out = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('{') {
            let (kind, tail) = after.split_once('}').expect("holes are closed");
            out += before;
            out += &self.expression(kind, depth);
            rest = tail;
        }
        out + rest
    }
}
