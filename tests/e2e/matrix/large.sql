CREATE DATABASE large; USE large; CREATE TABLE big (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT); INSERT INTO big VALUES (1,'small','x');
--# stream
--# not mysql-old
USE large; INSERT INTO big VALUES (2,REPEAT('x',9000000),'t'); UPDATE big SET t='an event with both images, larger than max_allowed_packet' WHERE id=2;
--# kill
SET GLOBAL max_allowed_packet=67108864;
--# session
USE large; INSERT INTO big VALUES (3,REPEAT('y',16777215),REPEAT('é',100)),(4,REPEAT('z',16777216),NULL); UPDATE big SET t='changed' WHERE id>2;
--# start
--# compare
USE large; DELETE FROM big WHERE id=3; UPDATE big SET b=RIGHT(b,20) WHERE id>1;
