//! Random statements, each with what is known about the order of its rows.

use rand::Rng;
use rand::rngs::StdRng;

use super::expressions::Maker;

/// A statement.
pub struct Query {
    /// Its text.
    pub sql: String,
    /// Its rows have one right order.
    pub ordered: bool,
}

const AGGREGATES: &[&str] = &[
    "COUNT(*)",
    "COUNT({x})",
    "SUM({c})",
    "SUM({i})",
    "SUM({fsum})",
    "AVG({c})",
    "AVG({i})",
    "MIN({n})",
    "MAX({n})",
    "MIN({D})",
    "MAX({T})",
    "MIN({M})",
    "MAX({M})",
    "COUNT(DISTINCT {i})",
    "COUNT(DISTINCT {s})",
    "COUNT(DISTINCT {i}, {D})",
    "SUM(DISTINCT {i})",
    "AVG(DISTINCT {c})",
    "BIT_AND({i})",
    "BIT_OR({k})",
    "BIT_XOR({i})",
    "STDDEV({k})",
    "VARIANCE({k})",
    "STDDEV_SAMP({k})",
    "VAR_SAMP({k})",
    "STD({k})",
    "MAX({e})",
    "MIN({y})",
    "SUM({b})",
    "SUM({i}) / COUNT(*)",
    "MAX({c}) - MIN({c})",
    "ROUND(AVG({i}), 2)",
    "SUM({s})",
    "AVG({f0})",
    "MAX(vb)",
    "MIN(vb)",
    "SUM(IF({b}, {c}, 0))",
    "SUM({y})",
    "AVG({M})",
    "SUM({e})",
    "COUNT({s})",
    "GROUP_CONCAT(id ORDER BY id)",
    "GROUP_CONCAT({x} ORDER BY id SEPARATOR '; ')",
    "GROUP_CONCAT({i}, '-', {k} ORDER BY id DESC)",
    "GROUP_CONCAT(DISTINCT {i} ORDER BY 1)",
    "GROUP_CONCAT(DISTINCT vb ORDER BY vb DESC)",
    "GROUP_CONCAT(DISTINCT LOWER(c) ORDER BY LOWER(c))",
    "JSON_ARRAYAGG(i ORDER BY id)",
    "VAR_POP({i0})",
];
const GROUPS: &[&str] = &[
    "ti",
    "flag",
    "y",
    "e",
    "LOWER(c)",
    "YEAR({D})",
    "{b}",
    "MONTH(dt)",
    "iu % 3",
    "s",
    "d1",
    "d",
    "vb",
    "t",
    "ti DIV 2",
    "fl",
    "dt3",
];
const WINDOWS: &[&str] = &[
    "ROW_NUMBER() OVER (ORDER BY {n}, id)",
    "RANK() OVER (PARTITION BY {g} ORDER BY {n})",
    "DENSE_RANK() OVER (ORDER BY {g})",
    "PERCENT_RANK() OVER (ORDER BY {n})",
    "CUME_DIST() OVER (PARTITION BY {g} ORDER BY {n})",
    "NTILE(4) OVER (ORDER BY {n}, id)",
    "LAG({x}) OVER (ORDER BY id)",
    "LEAD({x}, 2) OVER (PARTITION BY {g} ORDER BY id)",
    "FIRST_VALUE({x}) OVER (PARTITION BY {g} ORDER BY id)",
    "LAST_VALUE({x}) OVER (ORDER BY id)",
    "NTH_VALUE({x}, 2) OVER (ORDER BY id)",
    "SUM({c}) OVER (PARTITION BY {g})",
    "SUM({i}) OVER (ORDER BY id)",
    "AVG(i) OVER (PARTITION BY {g} ORDER BY id)",
    "COUNT(*) OVER (PARTITION BY {g})",
    "COUNT({x}) OVER (ORDER BY id)",
    "MIN({n}) OVER (PARTITION BY {g})",
    "MAX({M}) OVER (ORDER BY id)",
    "MIN({T}) OVER (PARTITION BY {g})",
    "MAX(vb) OVER (PARTITION BY {g})",
    "SUM({i}) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
    "AVG(d1) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
    "MAX({D}) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING)",
    "SUM({i}) OVER w",
];

/// Makes statements.
pub struct Writer<'a> {
    /// The dice.
    pub rng: &'a mut StdRng,
}

impl Writer<'_> {
    fn fill(&mut self, scope: &[(&'static str, bool)], pattern: &str, depth: usize) -> String {
        let mut maker = Maker { rng: self.rng, scope: scope.to_vec() };
        let group = maker.pick(GROUPS);
        // Sums of doubles depend on the order of rows unless all of them are small multiples of powers of two.
        let pattern =
            pattern.replace("{g}", group).replace("{fsum}", "fl * 4").replace("{f0}", "id / 4e0").replace("{i0}", "ti");
        maker.fill(&pattern, depth)
    }

    fn one<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.rng.random_range(0..from.len())]
    }

    fn on_a(&mut self, pattern: &str) -> String {
        let depth = self.rng.random_range(1..3);
        self.fill(&[("", true)], pattern, depth)
    }

    fn aggregates(&mut self) -> String {
        let n = self.rng.random_range(1..4);
        (0..n)
            .map(|_| {
                let p = self.one(AGGREGATES);
                self.on_a(p)
            })
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// One more statement.
    pub fn next(&mut self) -> Query {
        let ordered = |sql| Query { sql, ordered: true };
        let any = |sql| Query { sql, ordered: false };
        match self.rng.random_range(0..26) {
            0..=7 => ordered(self.on_a("SELECT id, {x}, {x} FROM a ORDER BY id")),
            8 => ordered(self.on_a("SELECT id FROM a WHERE {b} ORDER BY id")),
            9 => ordered(self.on_a("SELECT id, {x} AS out_put FROM a WHERE {b} ORDER BY {x}, id LIMIT 7 OFFSET 2")),
            10 => ordered(self.on_a("SELECT id, {s} FROM a ORDER BY {n} DESC, {s}, id DESC LIMIT 9")),
            11 | 12 => {
                let aggregates = self.aggregates();
                any(format!(
                    "SELECT {aggregates} FROM a{}",
                    if self.rng.random_bool(0.5) { self.on_a(" WHERE {b}") } else { String::new() }
                ))
            }
            13 | 14 => {
                let group = self.one(GROUPS);
                let (group, aggregates) = (self.on_a(group), self.aggregates());
                let tail = self.one(&[
                    "",
                    " HAVING COUNT(*) > 1",
                    " HAVING MAX(id) % 2",
                    " ORDER BY COUNT(*), MIN(id)",
                    " ORDER BY MAX(id) LIMIT 3",
                ]);
                Query {
                    sql: format!("SELECT {group} AS g, {aggregates} FROM a GROUP BY {group}{tail}"),
                    ordered: tail.contains("ORDER"),
                }
            }
            15 => {
                let group = self.one(&["e", "y", "flag, e", "y, flag", "ti"]);
                let rollup = format!("SELECT {group}, COUNT(*), SUM(iu) FROM a GROUP BY {group} WITH ROLLUP");
                any(rollup)
            }
            16 => {
                let (g, h) = (self.one(GROUPS), self.one(GROUPS));
                any(self.on_a(&format!("SELECT DISTINCT {g} AS g, {h} AS h FROM a")))
            }
            17 | 18 => self.join(),
            19 | 20 => self.subquery(),
            21 => self.set_operation(),
            22 => self.cte(),
            _ => {
                let (one, two) = (self.one(WINDOWS), self.one(WINDOWS));
                let named = if format!("{one}{two}").contains("OVER w") {
                    " WINDOW w AS (PARTITION BY flag ORDER BY id)"
                } else {
                    ""
                };
                ordered(self.on_a(&format!("SELECT id, {one}, {two} AS w2 FROM a{named} ORDER BY id")))
            }
        }
    }

    fn join(&mut self) -> Query {
        let both = [("x.", true), ("y.", false)];
        let depth = self.rng.random_range(0..2);
        let pattern = self.one(&[
            "SELECT x.id, y.id, {x} FROM a x JOIN b y ON y.a_id = x.id ORDER BY x.id, y.id",
            "SELECT x.id, y.id, {x} FROM a x LEFT JOIN b y ON y.a_id = x.id AND {b} ORDER BY x.id, y.id",
            "SELECT x.id, y.id, {x} FROM a x RIGHT JOIN b y ON y.a_id = x.id ORDER BY x.id, y.id",
            "SELECT x.id, y.id FROM a x JOIN b y ON {s} = {s} ORDER BY x.id, y.id",
            "SELECT x.id, y.id FROM a x JOIN b y ON {n} = {n} AND {b} ORDER BY x.id, y.id",
            "SELECT COUNT(*), SUM(y.n) FROM a x CROSS JOIN b y WHERE {b}",
            "SELECT COUNT(*) FROM a x, b y WHERE x.id = y.a_id AND {b}",
            "SELECT id, x.v, y.k, {x} FROM a x JOIN b y USING (id) ORDER BY id",
            "SELECT id, y.note, {x} FROM a x LEFT JOIN b y USING (id) WHERE {b} ORDER BY id",
            "SELECT id, n, y.k FROM b y NATURAL JOIN (SELECT id, n FROM b) z ORDER BY id",
            "SELECT * FROM b NATURAL LEFT JOIN (SELECT id, v FROM a WHERE id < 9) z ORDER BY id",
            "SELECT x.id, y.id FROM a x JOIN b y ON x.c = y.k ORDER BY x.id, y.id",
            "SELECT x.flag, COUNT(y.id), SUM(y.amount) FROM a x LEFT JOIN b y ON y.a_id = x.id GROUP BY x.flag ORDER BY x.flag",
            "SELECT y.id, x.id, z.id FROM b y LEFT JOIN a x ON x.id = y.a_id LEFT JOIN b z ON z.n = x.id AND z.id > y.id ORDER BY y.id, z.id",
        ]);
        Query { sql: self.fill(&both, pattern, depth), ordered: true }
    }

    fn subquery(&mut self) -> Query {
        let depth = self.rng.random_range(0..2);
        let pattern = self.one(&[
            "SELECT id, (SELECT COUNT(*) FROM b y WHERE y.a_id = a.id) AS n FROM a ORDER BY id",
            "SELECT id, (SELECT SUM(y.amount) FROM b y WHERE y.a_id = a.id) FROM a ORDER BY id",
            "SELECT id, (SELECT MAX(y.k) FROM b y WHERE y.a_id = a.id AND y.n > 1) FROM a ORDER BY id",
            "SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b y WHERE y.a_id = a.id AND y.n > 1) ORDER BY id",
            "SELECT id FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.a_id = a.id) AND {b} ORDER BY id",
            "SELECT id FROM a WHERE id IN (SELECT a_id FROM b) ORDER BY id",
            "SELECT id FROM a WHERE id NOT IN (SELECT a_id FROM b WHERE a_id IS NOT NULL) ORDER BY id",
            "SELECT id FROM a WHERE id NOT IN (SELECT a_id FROM b) ORDER BY id",
            "SELECT id FROM a WHERE c IN (SELECT k FROM b WHERE n > 0) ORDER BY id",
            "SELECT id FROM a WHERE {n} > (SELECT AVG(n) FROM b) ORDER BY id",
            "SELECT id, {x} FROM a WHERE {i} = (SELECT MAX(n) FROM b) ORDER BY id",
            "SELECT id FROM a WHERE {n} > ALL (SELECT n FROM b WHERE n IS NOT NULL) ORDER BY id",
            "SELECT id FROM a WHERE {n} <= ANY (SELECT amount FROM b) ORDER BY id",
            "SELECT id FROM a WHERE id = SOME (SELECT n FROM b) ORDER BY id",
            "SELECT t.g, COUNT(*) FROM (SELECT flag AS g, {x} AS q FROM a) t GROUP BY t.g ORDER BY t.g",
            "SELECT z.id, z.q FROM (SELECT id, {x} AS q FROM a) z WHERE z.id < 12 ORDER BY z.id",
            "SELECT COUNT(*) FROM (SELECT DISTINCT {i} AS p, {D} AS q FROM a) z",
            "SELECT id, EXISTS (SELECT 1 FROM b WHERE b.n = a.id) AS e, id IN (SELECT n FROM b WHERE n IS NOT NULL) AS i FROM a ORDER BY id",
            "SELECT (SELECT {x} FROM a WHERE id = 5), (SELECT COUNT(*) FROM b WHERE FALSE)",
            "SELECT id FROM b WHERE (a_id, n) IN (SELECT a_id, n FROM b WHERE id < 9) ORDER BY id",
        ]);
        Query { sql: self.fill(&[("", true)], pattern, depth), ordered: true }
    }

    fn set_operation(&mut self) -> Query {
        let operator = self.one(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "UNION DISTINCT"]);
        let kind = self.one(&["{i}", "{c}", "{D}", "{n}", "{T}", "{u}", "vb", "{M}", "e", "{y}"]);
        let other = self.one(&["{i}", "NULL", kind]);
        let pattern = match self.rng.random_range(0..4) {
            0 => format!("SELECT {kind} AS p FROM a {operator} SELECT {kind} FROM a WHERE flag"),
            1 => format!("SELECT {kind} AS p, 'l' AS q FROM a WHERE {{b}} UNION ALL SELECT {other}, 'right' FROM a"),
            2 => format!(
                "(SELECT id, {kind} AS p FROM a) {operator} (SELECT id, {kind} FROM a WHERE {{b}}) ORDER BY id, 2 LIMIT 6"
            ),
            _ => format!("SELECT id FROM a {operator} SELECT a_id FROM b {operator} SELECT n FROM b"),
        };
        Query { sql: self.on_a(&pattern), ordered: false }
    }

    fn cte(&mut self) -> Query {
        let pattern = self.one(&[
            "WITH t AS (SELECT id, {x} AS p FROM a WHERE {b}) SELECT * FROM t ORDER BY id",
            "WITH t AS (SELECT flag, COUNT(*) AS n FROM a GROUP BY flag), u AS (SELECT * FROM t WHERE n > 1) SELECT * FROM u ORDER BY flag",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 8) SELECT n, n * 2 FROM r ORDER BY n",
            "WITH RECURSIVE r (n, f) AS (SELECT 1, 1 UNION ALL SELECT n + 1, f * (n + 1) FROM r WHERE n < 8) SELECT * FROM r ORDER BY n",
            "WITH RECURSIVE r AS (SELECT id, a_id, 0 AS depth FROM b WHERE id = 3 UNION ALL SELECT b.id, b.a_id, r.depth + 1 FROM b JOIN r ON b.id = r.a_id WHERE r.depth < 4) SELECT * FROM r ORDER BY depth, id",
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION SELECT (n * 2) % 7 FROM r) SELECT COUNT(*), SUM(n) FROM r",
            "WITH t AS (SELECT id, n FROM b) SELECT x.id, y.id FROM t x JOIN t y ON x.n = y.n AND x.id < y.id ORDER BY x.id, y.id",
        ]);
        Query { sql: self.on_a(pattern), ordered: true }
    }
}
