-- Queries of answers.txt that are known to be answered differently (docs/sql.md, "Known differences"). Shrink this list.
SELECT min(name), max(name), min(born), max(made), min(dur), max(dur), min(kind) FROM items;
SELECT lower(trim(name)) AS n, count(*) c FROM items GROUP BY n ORDER BY n;
SELECT DATE('2024-01-02 03:04:05'), TIME('2024-01-02 03:04:05'), LAST_DAY('2024-02-05'), TO_DAYS('2024-01-01'), WEEK('2024-01-07'), WEEK('2024-01-07', 1), YEARWEEK('2024-12-31', 3);
SELECT EXTRACT(YEAR FROM born), EXTRACT(YEAR_MONTH FROM born) FROM items WHERE id = 1;
SELECT GROUP_CONCAT(name ORDER BY id), GROUP_CONCAT(DISTINCT kind ORDER BY kind SEPARATOR '; ') FROM items;
SELECT who, SUM(n) FROM orders GROUP BY who ORDER BY who;
SELECT 1 UNION ALL SELECT 'a' UNION ALL SELECT NULL;
SELECT 0.1 + 0.2, 1e0, 1.10, 100000000000 * 100000, 1/7, 2/3*3;
SELECT STDDEV(n), VARIANCE(n), STDDEV_SAMP(n), BIT_OR(n) FROM orders WHERE n > 0;
