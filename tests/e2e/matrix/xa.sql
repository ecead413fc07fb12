CREATE DATABASE xa; USE xa; CREATE TABLE x (id INT PRIMARY KEY, v VARCHAR(60)); CREATE TABLE y (id INT PRIMARY KEY, v INT); INSERT INTO y VALUES (1,1);
--# not mysql-old
XA START 'before'; UPDATE y SET v=2 WHERE id=1; INSERT INTO x VALUES (100,'prepared before the copy'); XA END 'before'; XA PREPARE 'before';
--# session
USE xa; XA START 'before2'; INSERT INTO y VALUES (100,1); XA END 'before2'; XA PREPARE 'before2';
--# all
--# stream
--# not mysql-old
XA COMMIT 'before';
--# session
XA ROLLBACK 'before2'; USE xa; INSERT INTO y VALUES (2,2);
--# compare
USE xa; XA START 'r1'; UPDATE y SET v=3 WHERE id=1; INSERT INTO x VALUES (101,'prepared before a kill'); XA END 'r1'; XA PREPARE 'r1';
--# server kill
--# compare
XA COMMIT 'r1';
--# compare
USE xa; XA START 'r2','b',3; UPDATE y SET v=4 WHERE id=2; XA END 'r2','b',3; XA PREPARE 'r2','b',3;
--# session
USE xa; XA START 'r2','c',3; INSERT INTO y VALUES (3,3); XA END 'r2','c',3; XA PREPARE 'r2','c',3;
--# server stop
--# kill
USE xa; INSERT INTO y VALUES (31,31); FLUSH LOGS; XA ROLLBACK 'r2','b',3; INSERT INTO y VALUES (32,32); XA COMMIT 'r2','c',3;
--# start
--# compare
USE xa; XA START 'ddl'; INSERT INTO y VALUES (50,50); XA END 'ddl'; XA PREPARE 'ddl';
--# session
USE xa; ALTER TABLE x ADD COLUMN z INT DEFAULT 4, ADD COLUMN zz INT DEFAULT 5; ALTER TABLE x DROP COLUMN z, DROP COLUMN zz; INSERT INTO x VALUES (60,'s'); XA COMMIT 'ddl'; XA START x'ff00',x'0a27'; INSERT INTO y VALUES (70,70); XA END x'ff00',x'0a27'; XA PREPARE x'ff00',x'0a27'; XA COMMIT x'ff00',x'0a27'; XA START 'empty'; XA END 'empty'; XA PREPARE 'empty'; XA COMMIT 'empty';
--# all
USE xa;
XA START 'x0'; INSERT INTO x VALUES (3,'one-phase'); XA END 'x0'; XA COMMIT 'x0' ONE PHASE;
--# only mariadb
-- nothing but a table that cannot roll back, and nothing at all
USE xa; CREATE TABLE plain (id INT PRIMARY KEY) ENGINE=MyISAM;
XA START 'xp'; INSERT INTO plain VALUES (1); XA END 'xp'; XA PREPARE 'xp'; XA ROLLBACK 'xp';
XA START 'xq'; INSERT INTO plain VALUES (2); XA END 'xq'; XA PREPARE 'xq'; XA COMMIT 'xq';
XA START 'xr'; SELECT * FROM plain; XA END 'xr'; XA PREPARE 'xr'; XA COMMIT 'xr';
--# not mysql-old
USE xa;
XA START 'x1'; INSERT INTO x VALUES (1,'xa-commit'); XA END 'x1'; XA PREPARE 'x1'; XA COMMIT 'x1';
XA START 'x2','bq',7; INSERT INTO x VALUES (2,'xa-rollback'); XA END 'x2','bq',7; XA PREPARE 'x2','bq',7; XA ROLLBACK 'x2','bq',7;
XA START 'x4'; INSERT INTO x VALUES (4,'prepared, later commit'); XA END 'x4'; XA PREPARE 'x4';
--# compare
USE xa; INSERT INTO x VALUES (5,'between'); INSERT INTO x VALUES (6,'between');
--# kill
XA COMMIT 'x4'; USE xa; XA START 'x5'; UPDATE x SET v='by x5' WHERE id=1; XA END 'x5'; XA PREPARE 'x5';
--# start
--# compare
XA COMMIT 'x5';
USE xa; XA START 'x6'; UPDATE x SET v='by x6' WHERE id=1; XA END 'x6'; XA PREPARE 'x6';
--# compare
--# kill
XA ROLLBACK 'x6';
--# start
--# only mysql-new
USE xa; SET binlog_transaction_compression=ON; XA START 'x7'; INSERT INTO x VALUES (7,'xa compressed'); XA END 'x7'; XA PREPARE 'x7'; XA COMMIT 'x7';
