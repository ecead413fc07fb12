-- Queries of answers.txt that are known to be answered differently: which of equal spellings stands for a group
-- (docs/sql.md, "What differs"). Shrink this list.
SELECT min(name), max(name), min(born), max(made), min(dur), max(dur), min(kind) FROM items;
SELECT lower(trim(name)) AS n, count(*) c FROM items GROUP BY n ORDER BY n;
SELECT who, SUM(n) FROM orders GROUP BY who ORDER BY who;
