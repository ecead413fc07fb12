-- What MariaDB's own test suite showed: tables that are not what their rows or their statements say.
CREATE DATABASE odd; USE odd;
CREATE TABLE kept (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO kept VALUES (1,'a'),(2,'b');
--# only mariadb
CREATE TABLE m1 (i INT, v VARCHAR(10)) ENGINE=MyISAM; CREATE TABLE m2 LIKE m1; INSERT INTO m1 VALUES (1,'one');
CREATE TABLE y2 (y YEAR(2)); INSERT INTO y2 VALUES (1),(70),('2069');
CREATE TABLE hashed (a INT, b BLOB, UNIQUE (b)); INSERT INTO hashed VALUES (1,'x'),(2,NULL);
--# stops odd.mm: MERGE
--# stops odd.mm2: MERGE
--# all
--# stream
USE odd;
--# only mariadb
CREATE TABLE mm (i INT, v VARCHAR(10)) ENGINE=MERGE UNION=(m1,m2) INSERT_METHOD=LAST; INSERT INTO mm VALUES (2,'through'); CREATE TABLE mm2 (i INT, v VARCHAR(10)) ENGINE=MRG_MyISAM UNION=(m1); UPDATE mm2 SET v='changed' WHERE i=1;
CREATE TABLE m3 (i INT, v VARCHAR(10)) ENGINE=MyISAM; INSERT INTO m3 VALUES (5,'five'); ALTER TABLE mm UNION=(m1,m2,m3); DELETE FROM mm WHERE i=5;
INSERT INTO y2 VALUES (99),(12); UPDATE y2 SET y=13 WHERE y=12;
INSERT INTO hashed VALUES (3,'y'),(4,NULL); UPDATE hashed SET b='z' WHERE a=1; DELETE FROM hashed WHERE a=2;
CREATE TABLE hashed2 (a VARCHAR(3000), b INT, UNIQUE (a) USING HASH, UNIQUE (b) USING HASH); INSERT INTO hashed2 VALUES ('q',1),('r',NULL); DELETE FROM hashed2 WHERE b=1;
SET sql_mode=''; CREATE TABLE cut (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO cut VALUES (1,'long enough'),(2,'x'),(3,'x'); SET sql_mode=DEFAULT;
ALTER IGNORE TABLE cut MODIFY v VARCHAR(4); ALTER IGNORE TABLE cut ADD UNIQUE (v);
CREATE OR REPLACE DATABASE odd_again; CREATE TABLE odd_again.gone (i INT); CREATE OR REPLACE DATABASE odd_again; CREATE TABLE odd_again.there (i INT); INSERT INTO odd_again.there VALUES (1);
CREATE TABLE odd.from_elsewhere LIKE mysql.help_topic; INSERT INTO odd.from_elsewhere VALUES (1,'n',1,'d','e','u');
CREATE TABLE periods (id INT, v INT, s DATE, e DATE, PERIOD FOR p (s,e), PRIMARY KEY (id, p WITHOUT OVERLAPS)); INSERT INTO periods VALUES (1,0,'2000-01-01','2000-01-09'); DELETE FROM periods FOR PORTION OF p FROM '2000-01-03' TO '2000-01-05'; UPDATE periods SET v=2;
--# all
UPDATE odd.kept SET v='c' WHERE id=2;
