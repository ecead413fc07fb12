CREATE DATABASE xa; USE xa; CREATE TABLE x (id INT PRIMARY KEY, v VARCHAR(60));
--# stream
USE xa;
XA START 'x0'; INSERT INTO x VALUES (3,'one-phase'); XA END 'x0'; XA COMMIT 'x0' ONE PHASE;
--# not mysql-old
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
