CREATE DATABASE gen; USE gen;
--# not mysql-old
CREATE TABLE g (id INT PRIMARY KEY, a INT, b INT, vsum INT AS (a + b) VIRTUAL, ssum INT AS (a * b) STORED, txt VARCHAR(40) AS (CONCAT('<', a, '|', IFNULL(b, 'null'), '>')) VIRTUAL, stxt VARCHAR(40) AS (UPPER(CONCAT('x', a))) STORED, behind INT);
CREATE TABLE price (id INT PRIMARY KEY, net DECIMAL(12,2), rate DECIMAL(5,4), gross DECIMAL(14,4) AS (net * (1 + rate)) STORED, label VARCHAR(20), low VARCHAR(20) AS (LOWER(label)) VIRTUAL, KEY (low));
CREATE TABLE dates (id INT PRIMARY KEY, d DATETIME, y INT AS (YEAR(d)) STORED, dd DATE AS (DATE(d)) VIRTUAL);
CREATE TABLE gkey (a INT, b INT AS (a + 1) STORED, v INT, PRIMARY KEY (a));
CREATE TABLE gnokey (a INT, b INT AS (a + 1) STORED, c INT AS (a - 1) VIRTUAL);
CREATE TABLE js (id INT PRIMARY KEY, j JSON, name VARCHAR(30) AS (JSON_UNQUOTE(JSON_EXTRACT(j, '$.name'))) STORED);
INSERT INTO g (id,a,b,behind) VALUES (1,1,2,3),(2,NULL,2,3),(3,-5,NULL,NULL); INSERT INTO price (id,net,rate,label) VALUES (1,10.50,0.19,'ABC'),(2,NULL,0,'Ä'); INSERT INTO dates (id,d) VALUES (1,'2024-05-06 07:08:09'),(2,NULL); INSERT INTO gkey (a,v) VALUES (1,1),(2,2); INSERT INTO gnokey (a) VALUES (1),(1),(NULL); INSERT INTO js (id,j) VALUES (1,'{"name":"x"}'),(2,NULL);
--# stream
--# not mysql-old
USE gen;
INSERT INTO g (id,a,b,behind) VALUES (4,4,4,4),(5,NULL,NULL,5); INSERT INTO price (id,net,rate,label) VALUES (3,99.99,0.07,'xY'); INSERT INTO dates (id,d) VALUES (3,'1999-12-31 23:59:59'); INSERT INTO gkey (a,v) VALUES (3,3); INSERT INTO gnokey (a) VALUES (7); INSERT INTO js (id,j) VALUES (3,'{"name":"why"}');
UPDATE g SET a=10 WHERE id=1; UPDATE g SET b=NULL WHERE id=4; UPDATE g SET behind=9; UPDATE price SET net=1.01, label='CHANGED' WHERE id=1; UPDATE price SET rate=0.5; UPDATE dates SET d='2025-01-02 03:04:05' WHERE id=1; UPDATE gkey SET a=a+10 ORDER BY a DESC; UPDATE gnokey SET a=5 WHERE a=1 LIMIT 1; UPDATE js SET j='{"name":"z"}' WHERE id=2;
DELETE FROM g WHERE id=2; DELETE FROM price WHERE id=2; DELETE FROM dates WHERE id=2; DELETE FROM gkey WHERE a=12; DELETE FROM gnokey WHERE a=7; DELETE FROM js WHERE id=1;
--# compare
--# not mysql-old
USE gen; REPLACE INTO g (id,a,b) VALUES (1,7,7); INSERT INTO g (id,a,b) VALUES (3,0,0) ON DUPLICATE KEY UPDATE a=a+1; CREATE TABLE g2 (id INT PRIMARY KEY, a INT, s INT AS (a * 2) STORED, v INT AS (a * 3) VIRTUAL, z INT); INSERT INTO g2 (id,a,z) VALUES (1,1,1),(2,2,2); UPDATE g2 SET a=a+1; UPDATE g2 SET z=5 WHERE id=2; DELETE FROM g2 WHERE id=1;
ALTER TABLE g2 ADD COLUMN v2 INT AS (a + z) VIRTUAL; UPDATE g2 SET a=100; ALTER TABLE g2 ADD COLUMN s2 INT AS (a - z) STORED; INSERT INTO g2 (id,a,z) VALUES (9,9,9); UPDATE g2 SET z=1; ALTER TABLE g2 DROP COLUMN v; UPDATE g2 SET a=3 WHERE id=2;
--# only mysql-new
USE gen; CREATE TABLE mvi (id INT PRIMARY KEY, j JSON, KEY z ((CAST(j->'$.z' AS UNSIGNED ARRAY)))); INSERT INTO mvi VALUES (1,'{"z":[1,2]}'); UPDATE mvi SET j='{"z":[3]}';
--# not mysql-old
USE gen; CREATE TABLE bases (id INT PRIMARY KEY, t VARCHAR(10) CHARACTER SET latin1, bytes INT AS (LENGTH(t)) STORED, hex VARCHAR(60) AS (HEX(t)) VIRTUAL, price DECIMAL(6,1), told VARCHAR(20) AS (CONCAT(price, '!')) STORED, plain INT); INSERT INTO bases (id,t,price,plain) VALUES (1,'é',1.5,1),(2,'ab',2,2);
ALTER TABLE bases MODIFY price DECIMAL(9,3); INSERT INTO bases (id,t,price) VALUES (3,'ö',3.25); ALTER TABLE bases CONVERT TO CHARACTER SET utf8mb4; UPDATE bases SET plain=7; ALTER TABLE bases MODIFY plain BIGINT; INSERT INTO bases (id,t) VALUES (4,'ü');
