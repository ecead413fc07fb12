-- Revenue per month and main category, with the running total (last four months)
WITH monthly AS (
  SELECT DATE_FORMAT(o.ordered_at, '%Y-%m') AS month,
         COALESCE(parent.name, c.name) AS category,
         COUNT(DISTINCT o.id) AS orders,
         SUM(i.quantity * i.unit_price) AS revenue
    FROM shop.orders o
    JOIN shop.order_items i ON i.order_id = o.id
    JOIN shop.products p ON p.id = i.product_id
    JOIN shop.categories c ON c.id = p.category_id
    LEFT JOIN shop.categories parent ON parent.id = c.parent_id
   GROUP BY DATE_FORMAT(o.ordered_at, '%Y-%m'), COALESCE(parent.name, c.name)
), running AS (
  SELECT month, category, orders, revenue,
         SUM(revenue) OVER (PARTITION BY category ORDER BY month) AS running_total,
         RANK() OVER (PARTITION BY month ORDER BY revenue DESC) AS place
    FROM monthly
)
SELECT month, category, orders, revenue, running_total, place
  FROM running
 WHERE month >= '2025-01'
 ORDER BY month, place;

-- The ten customers who spent most, and how they order
WITH spent AS (
  SELECT o.customer_id,
         COUNT(*) AS orders,
         SUM(o.total) AS spent,
         ROUND(AVG(o.total), 2) AS average_order,
         SUM(CASE WHEN o.channel = 'app' THEN 1 ELSE 0 END) AS by_app,
         MAX(o.ordered_at) AS last_order
    FROM shop.orders o
   GROUP BY o.customer_id
)
SELECT c.id, c.name, c.country, c.segment, c.loyalty_points, s.orders, s.spent, s.average_order, s.by_app, s.last_order
  FROM spent s
  JOIN shop.customers c ON c.id = s.customer_id
 ORDER BY s.spent DESC, c.id
 LIMIT 10;

-- Whole transactions: what must hold between the tables at every moment
SELECT 'order total = sum of its items' AS rule, COUNT(*) AS checked,
       SUM(CASE WHEN o.total = i.amount THEN 0 ELSE 1 END) AS broken
  FROM shop.orders o
  LEFT JOIN (SELECT order_id, SUM(quantity * unit_price) AS amount FROM shop.order_items GROUP BY order_id) i
    ON i.order_id = o.id
UNION ALL
SELECT 'order total = sum of its payments', COUNT(*),
       SUM(CASE WHEN o.total = p.amount THEN 0 ELSE 1 END)
  FROM shop.orders o
  LEFT JOIN (SELECT order_id, SUM(amount) AS amount FROM shop.payments GROUP BY order_id) p
    ON p.order_id = o.id
UNION ALL
SELECT 'stock sold = items sold', COUNT(*),
       SUM(CASE WHEN s.sold = COALESCE(i.quantity, 0) THEN 0 ELSE 1 END)
  FROM shop.stock s
  LEFT JOIN (SELECT warehouse_id, product_id, SUM(quantity) AS quantity FROM shop.order_items GROUP BY warehouse_id, product_id) i
    ON i.warehouse_id = s.warehouse_id AND i.product_id = s.product_id
 ORDER BY rule;
