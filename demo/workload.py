#!/usr/bin/env python3
"""Prints the shop's life as SQL, the same for the same seed: `workload.py [SEED]`.

One line of business: customers browse, order, pay and review; goods leave the stock of three
warehouses. Every checkout wave is ONE transaction over orders, order_items, stock, payments and
customers, so these hold after every transaction and between none of its statements:

  * an order's total is the sum of its items,
  * what the stock says was sold is what the items say,
  * a paid order's payments sum up to its total.

The recording has to fit in the repository, which is why waves carry several orders (every binlog
event costs an incompressible checksum) and why columns that repeat together stand together.
"""

import random
import sys

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 20240101
START = 1704067200  # 2024-01-01 00:00:00 UTC
DAYS = 486
WAVES_PER_DAY = 7

COUNTRIES = ["DE", "FR", "NL", "SE", "PL", "JP", "GR", "US"]
FIRST = ["Anna", "Zoë", "Łukasz", "Søren", "José", "Νίκος", "Иван", "陽子", "Müge", "Björn", "Chloé", "Tom"]
LAST = ["Müller", "O'Neil", "Kowalczyk", "Ångström", "García", "Παπαδάκης", "Соколов", "田中", "Yıldız", "van Dijk", "Lefèvre", "Smith"]
CATEGORIES = [
    (1, None, "Outdoor"), (2, 1, "Tents"), (3, 1, "Boots"), (4, None, "Kitchen"), (5, 4, "Knives"),
    (6, 4, "Café & tea"), (7, None, "Books"), (8, 7, "Maps"), (9, None, "Games"), (10, None, "Garden 🌱"),
]
ADJECTIVES = ["Light", "Classic", "Alpine", "Nordic", "Tiny", "Grand"]
TAGS = ["new", "sale", "eco", "gift"]
BODIES = ["Exactly as described.", "Très bien ! 👍", "Came late, works well.", "Не подошло.", "とても良い", None]
NOTES = ["leave at the door", "gift wrap, s'il vous plaît", "call before delivery"]

SCHEMA = """
CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE shop;

CREATE TABLE categories (
  id SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
  parent_id SMALLINT UNSIGNED NULL,
  name VARCHAR(40) NOT NULL
) ENGINE=InnoDB COMMENT='two levels';

CREATE TABLE products (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  sku CHAR(8) CHARACTER SET ascii NOT NULL UNIQUE,
  category_id SMALLINT UNSIGNED NOT NULL,
  name VARCHAR(80) NOT NULL,
  price DECIMAL(10,2) NOT NULL,
  weight_kg DOUBLE NULL,
  tags SET('new','sale','eco','gift') NOT NULL DEFAULT '',
  attributes JSON NULL,
  description TEXT NULL,
  released DATE NOT NULL,
  active TINYINT(1) NOT NULL DEFAULT 1,
  KEY by_category (category_id)
) ENGINE=InnoDB;

CREATE TABLE warehouses (
  id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  city VARCHAR(40) NOT NULL,
  opens TIME NOT NULL
) ENGINE=InnoDB;

CREATE TABLE stock (
  warehouse_id TINYINT UNSIGNED NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  on_hand INT NOT NULL,
  sold BIGINT UNSIGNED NOT NULL DEFAULT 0,
  PRIMARY KEY (warehouse_id, product_id)
) ENGINE=InnoDB;

CREATE TABLE customers (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(80) NOT NULL,
  country CHAR(2) NOT NULL,
  segment ENUM('private','business','vip') NOT NULL DEFAULT 'private',
  newsletter TINYINT(1) NOT NULL DEFAULT 0,
  preferences JSON NULL,
  joined_at DATETIME NOT NULL,
  last_order_at TIMESTAMP NULL DEFAULT NULL,
  orders INT UNSIGNED NOT NULL DEFAULT 0
) ENGINE=InnoDB;

CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id BIGINT UNSIGNED NOT NULL,
  status ENUM('paid','shipped','returned') NOT NULL DEFAULT 'paid',
  total DECIMAL(12,2) NOT NULL,
  ordered_at DATETIME(3) NOT NULL,
  shipped_at TIMESTAMP NULL DEFAULT NULL,
  note VARCHAR(100) NULL,
  KEY by_customer (customer_id),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE=InnoDB;

CREATE TABLE order_items (
  order_id BIGINT UNSIGNED NOT NULL,
  line_no TINYINT UNSIGNED NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  unit_price DECIMAL(10,2) NOT NULL,
  warehouse_id TINYINT UNSIGNED NOT NULL,
  quantity SMALLINT UNSIGNED NOT NULL,
  PRIMARY KEY (order_id, line_no)
) ENGINE=InnoDB;

CREATE TABLE payments (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  order_id BIGINT UNSIGNED NOT NULL,
  amount DECIMAL(12,2) NOT NULL,
  method ENUM('card','invoice','transfer','voucher') NOT NULL,
  paid_at TIMESTAMP(6) NOT NULL,
  KEY by_order (order_id)
) ENGINE=InnoDB;

CREATE TABLE reviews_2024 (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  product_id INT UNSIGNED NOT NULL,
  customer_id BIGINT UNSIGNED NOT NULL,
  stars TINYINT NOT NULL,
  body TEXT NULL,
  written_at DATETIME NOT NULL
) ENGINE=InnoDB;

CREATE TABLE page_views (
  day DATE NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  country CHAR(2) NULL,
  seconds SMALLINT NULL
) ENGINE=InnoDB COMMENT='no key: equal rows are different views';

CREATE TABLE carts (
  customer_id BIGINT UNSIGNED NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  quantity SMALLINT UNSIGNED NOT NULL DEFAULT 1,
  PRIMARY KEY (customer_id, product_id)
) ENGINE=InnoDB COMMENT='emptied every night';
"""


def quoted(value):
    """A SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, (int, float)):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def rows(values):
    return ",".join("(" + ",".join(quoted(v) for v in row) + ")" for row in values)


def money(cents):
    return f"{cents // 100}.{cents % 100:02d}"


class Shop:
    """Prints statements; remembers only what the next statement needs."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.now = START
        self.customers = 0
        self.next_order = 1
        self.prices = {}
        self.waves = []  # (first, last) order id, not yet shipped
        self.shipped = []
        self.has_channel = False
        self.reviews = "reviews_2024"

    def skewed(self, count):
        """1..count, small numbers far more often: bestsellers and regulars."""
        return int(count * self.rng.random() ** 2.5) + 1

    def transaction(self, *statements):
        print(f"SET timestamp={self.now};")
        print("BEGIN;")
        for statement in statements:
            print(statement + ";")
        print("COMMIT;")

    def ddl(self, statement):
        print(f"SET timestamp={self.now};")
        print(statement + ";")

    def stamp(self, fraction=""):
        return f"FROM_UNIXTIME({self.now}{fraction})"

    def open_doors(self):
        print(SCHEMA)
        products, stock = [], []
        for id in range(1, 361):
            category = self.rng.choice(CATEGORIES)
            cents = self.rng.choice([499, 999, 1299, 1999, 2499, 4950, 9900, 24900])
            self.prices[id] = cents
            weight = self.rng.choice([None, 0.25, 0.5, 1.2, 3.75])
            attributes = self.rng.choice([None, '{"colour": "red"}', '{"colour": "grün", "sizes": [38, 40]}'])
            tags = ",".join(t for t in TAGS if self.rng.random() < 0.25)
            name = f"{self.rng.choice(ADJECTIVES)} {category[2].lower()} No. {id}"
            text = None if self.rng.random() < 0.5 else f"{name}: made to last."
            released = f"20{self.rng.randint(19, 23)}-{self.rng.randint(1, 12):02d}-01"
            products.append((id, f"SKU{id:05d}", category[0], name, money(cents), weight, tags, attributes, text, released, 1))
            stock += [(warehouse, id, 10000, 0) for warehouse in (1, 2, 3)]
        self.transaction(
            "INSERT INTO categories VALUES " + rows(CATEGORIES),
            "INSERT INTO warehouses VALUES (1,'Köln','06:00:00'),(2,'Łódź','05:30:00'),(3,'大阪','22:15:00')",
        )
        self.transaction("INSERT INTO products VALUES " + rows(products), "INSERT INTO stock VALUES " + rows(stock))
        self.welcome(400)

    def welcome(self, count):
        """New customers."""
        fresh = []
        for _ in range(count):
            name = f"{self.rng.choice(FIRST)} {self.rng.choice(LAST)}"
            preferences = self.rng.choice([None, None, '{"lang": "de"}', '{"lang": "fr", "dark": true}'])
            segment = self.rng.choices(["private", "business", "vip"], [8, 2, 1])[0]
            fresh.append((name, self.rng.choice(COUNTRIES), segment, self.rng.randint(0, 1), preferences))
        values = ",".join(f"({','.join(quoted(v) for v in row)},{self.stamp()})" for row in fresh)
        self.transaction(f"INSERT INTO customers (name,country,segment,newsletter,preferences,joined_at) VALUES {values}")
        self.customers += count

    def checkout(self, count):
        """One wave of orders: the transaction the whole demo is about."""
        orders, items, payments = [], [], []
        first = self.next_order
        buyers = sorted({self.skewed(self.customers) for _ in range(count)})
        for customer in buyers:
            order, self.next_order, total = self.next_order, self.next_order + 1, 0
            for line in range(1, self.rng.choice([1, 1, 2, 2, 3, 4, 6]) + 1):
                product = self.skewed(len(self.prices))
                quantity = self.rng.choice([1, 1, 1, 1, 2, 3])
                items.append((order, line, product, money(self.prices[product]), self.rng.choice([1, 1, 1, 2, 3]), quantity))
                total += quantity * self.prices[product]
            note = self.rng.choice(NOTES) if self.rng.random() < 0.02 else None
            channel = ""
            if self.has_channel:
                channel = "," + quoted(self.rng.choice(["web", "web", "app", "store"]))
            orders.append(f"({order},{customer},{money(total)},{self.stamp()},{quoted(note)}{channel})")
            method = self.rng.choices(["card", "invoice", "transfer", "voucher"], [8, 2, 1, 1])[0]
            payments.append(f"({order},{money(total)},{quoted(method)},{self.stamp()})")
        last = self.next_order - 1
        columns = "id,customer_id,total,ordered_at,note" + (",channel" if self.has_channel else "")
        points = ", loyalty_points = loyalty_points + 10" if self.has_channel else ""
        self.transaction(
            f"INSERT INTO orders ({columns}) VALUES {','.join(orders)}",
            f"INSERT INTO order_items VALUES {rows(items)}",
            self.take_from_stock(first, last, 1),
            f"INSERT INTO payments (order_id,amount,method,paid_at) VALUES {','.join(payments)}",
            f"UPDATE customers SET orders = orders + 1, last_order_at = {self.stamp()}{points}"
            f" WHERE id IN ({','.join(map(str, buyers))})",
        )
        self.waves.append((first, last))

    def take_from_stock(self, first, last, sign):
        return (
            "UPDATE stock s JOIN (SELECT warehouse_id, product_id, SUM(quantity) AS quantity FROM order_items"
            f" WHERE order_id BETWEEN {first} AND {last} GROUP BY warehouse_id, product_id) i"
            " USING (warehouse_id, product_id)"
            f" SET s.on_hand = s.on_hand - {sign} * i.quantity, s.sold = s.sold + {sign} * i.quantity"
        )

    def ship(self):
        first, last = self.waves.pop(0)
        self.transaction(
            f"UPDATE orders SET status = 'shipped', shipped_at = {self.stamp()} WHERE id BETWEEN {first} AND {last}"
        )
        self.shipped.append((first, last))

    def cancel(self):
        """Undoes a part of a wave not yet shipped, in all its tables."""
        first, last = self.waves.pop(0)
        last = min(last, first + 2)
        self.transaction(
            f"DELETE FROM payments WHERE order_id BETWEEN {first} AND {last}",
            self.take_from_stock(first, last, -1),
            f"DELETE FROM order_items WHERE order_id BETWEEN {first} AND {last}",
            f"DELETE FROM orders WHERE id BETWEEN {first} AND {last}",
        )

    def browse(self, day):
        views = [
            (day, self.skewed(len(self.prices)), self.rng.choice(COUNTRIES + [None]), self.rng.choice([None, 5, 30, 60]))
            for _ in range(50)
        ]
        views += views[:6]
        carts = {(self.skewed(self.customers), self.skewed(len(self.prices))) for _ in range(10)}
        self.transaction(
            "INSERT INTO page_views VALUES " + rows(views),
            "INSERT INTO carts (customer_id, product_id) VALUES " + rows(sorted(carts)),
        )

    def review(self, count):
        fresh = ",".join(
            f"({self.skewed(len(self.prices))},{self.skewed(self.customers)},{self.rng.choice([1, 3, 4, 4, 5, 5, 5])},"
            f"{quoted(self.rng.choice(BODIES))},{self.stamp()})"
            for _ in range(count)
        )
        self.transaction(f"INSERT INTO {self.reviews} (product_id,customer_id,stars,body,written_at) VALUES {fresh}")

    def refill(self):
        self.transaction("UPDATE stock SET on_hand = on_hand + 2000 WHERE on_hand < 6000")

    def reprice(self):
        """A tenth of the catalogue changes its price; one product is withdrawn."""
        chosen = sorted(self.rng.sample(sorted(self.prices), 36))
        for product in chosen:
            self.prices[product] += 100
        ids = ",".join(map(str, chosen))
        self.transaction(
            f"UPDATE products SET price = price + 1.00, tags = CONCAT_WS(',', NULLIF(tags, ''), 'sale') WHERE id IN ({ids})",
            f"UPDATE products SET active = 0 WHERE id = {chosen[0]}",
        )

    def change_schema(self):
        """New columns in the middle of the stream, one of them in the middle of its table."""
        self.ddl("ALTER TABLE orders ADD COLUMN channel ENUM('web','app','store') NOT NULL DEFAULT 'web' AFTER status")
        self.ddl("ALTER TABLE customers ADD COLUMN loyalty_points INT NOT NULL DEFAULT 5")
        self.has_channel = True
        self.ddl(f"RENAME TABLE {self.reviews} TO reviews")
        self.reviews = "reviews"

    def live(self, day_number):
        midnight = START + day_number * 86400
        self.now = midnight + 3600
        day = f"DATE '1970-01-01' + INTERVAL {midnight // 86400} DAY"
        self.browse_day(day)
        for wave in range(WAVES_PER_DAY):
            self.now = midnight + (8 + 2 * wave) * 3600 + self.rng.randint(0, 59) * 60
            self.checkout(1 if self.rng.random() < 0.1 else self.rng.randint(8, 12))
            if len(self.waves) > 20:
                self.ship()
        if day_number % 4 == 3:
            self.cancel()
        if day_number % 5 == 0:
            self.review(8)
        if day_number % 10 == 0:
            self.welcome(25)
        self.now = midnight + 86000
        if day_number % 30 == 29:
            self.reprice()
            self.refill()
            self.transaction(f"DELETE FROM page_views WHERE day < {day} - INTERVAL 90 DAY")
        self.ddl("TRUNCATE TABLE carts")

    def browse_day(self, day):
        print(f"SET @day = {day};")
        self.browse(Expression("@day"))


class Expression(int):
    """SQL that goes into a statement as it is."""

    def __new__(cls, text):
        made = super().__new__(cls, 0)
        made.text = text
        return made

    def __str__(self):
        return self.text


def main():
    shop = Shop(SEED)
    print("SET NAMES utf8mb4; SET time_zone = '+00:00';")
    shop.open_doors()
    for day in range(DAYS):
        if day == DAYS // 2:
            shop.change_schema()
        shop.live(day)
    shop.now = START + DAYS * 86400
    print(f"SET @day = DATE '1970-01-01' + INTERVAL {shop.now // 86400} DAY;")
    shop.browse(Expression("@day"))


main()
