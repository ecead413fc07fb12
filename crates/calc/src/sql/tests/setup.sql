-- The tables of the golden answers, on a real MariaDB. tests.rs builds the same rows.
DROP DATABASE IF EXISTS shop;
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE shop;
SET time_zone = '+00:00', sql_mode = '';
CREATE TABLE items (
  Id INT NOT NULL PRIMARY KEY, name VARCHAR(50) NOT NULL, price DECIMAL(10,2), qty INT UNSIGNED,
  kind ENUM('tool','book','food') NOT NULL, tags SET('new','sale','old'), born DATE NOT NULL, made DATETIME(3),
  seen TIMESTAMP NOT NULL DEFAULT '2000-01-01', dur TIME, yr YEAR NOT NULL, weight DOUBLE, bin VARCHAR(20) COLLATE utf8mb4_bin,
  flag TINYINT(1) NOT NULL, doc LONGTEXT);
INSERT INTO items VALUES
 (1,'Hammer',12.50,10,'tool','new','2024-02-29','2024-02-29 10:11:12.345','2024-01-01 00:00:00','10:00:00',2024,1.5,'a',1,'{"a": [1, 2], "b": "x"}'),
 (2,'hammer ',3.00,NULL,'book',NULL,'0000-00-00',NULL,'2024-06-30 23:59:59','-01:30:00',1999,NULL,'A',0,NULL),
 (3,'Äpfel',0.99,200,'food','new,sale','1999-12-31','1999-12-31 23:59:59.999','2024-01-02 03:04:05',NULL,2000,0.1,'b',1,'[]'),
 (4,'apfel',1.01,3,'food','','2024-03-01','2024-03-01 00:00:00.000','2024-01-01 12:00:00','100:00:01',2024,1e20,NULL,0,'7'),
 (5,'zange',NULL,0,'tool','old','2023-05-06','2023-05-06 07:08:09.010','2023-05-06 07:08:09','00:00:00',2023,-2.25,'a ',1,NULL);
CREATE TABLE orders (id BIGINT NOT NULL PRIMARY KEY, item_id INT NOT NULL, n INT NOT NULL, who VARCHAR(20) NOT NULL);
INSERT INTO orders VALUES (1,1,2,'ann'),(2,1,3,'Bob'),(3,3,-1,'ANN'),(4,9,5,'eve'),(5,4,7,'bob');
