CREATE DATABASE images; USE images; CREATE TABLE m (id INT PRIMARY KEY, a INT, t TEXT, o VARCHAR(20)); INSERT INTO m VALUES (1,1,REPEAT('t',300),'o'),(2,NULL,NULL,NULL); CREATE TABLE st (id INT PRIMARY KEY, v INT); INSERT INTO st VALUES (1,1);
--# only mysql-new
CREATE TABLE images.pj (id INT PRIMARY KEY, j JSON, k JSON, other VARCHAR(20)); INSERT INTO images.pj VALUES (1,JSON_OBJECT('a',1,'b',JSON_ARRAY(1,2,3),'pad',REPEAT('p',500)),'{"x":1}','o'),(2,JSON_OBJECT('a',2,'pad',REPEAT('q',500)),NULL,'o');
--# all
--# stream
USE images; SET binlog_row_image=MINIMAL; UPDATE m SET o='min' WHERE id=1; INSERT INTO m (id) VALUES (3); DELETE FROM m WHERE id=2;
--# compare
USE images; SET binlog_row_image=NOBLOB; UPDATE m SET o='noblob' WHERE id=1; UPDATE m SET t='changed' WHERE id=3;
--# compare
USE images; SET binlog_format=STATEMENT; UPDATE st SET v=5 WHERE id=1; INSERT INTO st VALUES (2,2); SET binlog_format=ROW; INSERT INTO st VALUES (3,3);
--# compare
USE images; CREATE VIEW stv AS SELECT * FROM st; SET binlog_format=STATEMENT; UPDATE stv SET v=6 WHERE id=1; SET binlog_format=ROW; INSERT INTO st VALUES (4,4);
--# compare
--# only mariadb-new
USE images; SET binlog_row_image=FULL_NODUP; UPDATE m SET o='nodup' WHERE id=1; UPDATE m SET t='changed' WHERE id=3; INSERT INTO m (id) VALUES (4); DELETE FROM m WHERE id=3;
--# only mysql-new
USE images; SET binlog_row_value_options=PARTIAL_JSON; UPDATE pj SET j=JSON_SET(j,'$.a',42) WHERE id=1; UPDATE pj SET j=JSON_REPLACE(j,'$.b[1]','two') WHERE id=1; UPDATE pj SET j=JSON_REMOVE(j,'$.b[0]') WHERE id=1; UPDATE pj SET j=JSON_SET(j,'$.new',JSON_OBJECT('n',1)), k=JSON_SET(k,'$.x',2) WHERE id=1; SET binlog_row_image=MINIMAL; UPDATE pj SET j=JSON_SET(j,'$.a',43) WHERE id=1;
