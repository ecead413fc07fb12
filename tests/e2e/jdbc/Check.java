import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.Properties;

/**
 * What users of the JDBC driver of Flight SQL do; prints what it sees, line by line. Arguments: URL, user, password; with statements behind
 * them, each is run as it is and prepared, and nothing else is done.
 */
public class Check {
    private static String url;

    public static void main(String[] args) throws Exception {
        url = args[0];
        if (args.length > 3) {
            try (Connection connection = connect(args[1], args[2])) {
                for (int at = 3; at < args.length; at++) {
                    both(connection, args[at]);
                }
            }
            return;
        }
        try (Connection connection = connect(args[1], args[2]); Connection second = connect(args[1], args[2])) {
            kinds(connection);
            values(connection);
            browse(connection.getMetaData());
            errors(connection);
            twoAtATime(connection, second);
        }
        refused(args[1], "wrong");
        refused(null, null);
    }

    private static Connection connect(String user, String password) throws SQLException {
        Properties login = new Properties();
        if (user != null) {
            login.put("user", user);
            login.put("password", password);
        }
        return DriverManager.getConnection(url, login);
    }

    private static void print(ResultSet result, String... columns) throws SQLException {
        try (ResultSet rows = result) {
            while (rows.next()) {
                StringBuilder line = new StringBuilder();
                int count = columns.length > 0 ? columns.length : rows.getMetaData().getColumnCount();
                for (int at = 0; at < count; at++) {
                    String text = columns.length > 0 ? rows.getString(columns[at]) : rows.getString(at + 1);
                    line.append(at == 0 ? "" : "\t").append(text == null ? "NULL" : text.replace("\n", "\\n"));
                }
                System.out.println(line);
            }
        }
    }

    /** A statement as it is, then prepared. What is wrong with it must be said before it runs. */
    private static void both(Connection connection, String sql) {
        try (Statement statement = connection.createStatement()) {
            print(statement.executeQuery(sql));
        } catch (SQLException error) {
            System.out.println("error: " + first(error));
        }
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            try {
                print(statement.executeQuery());
            } catch (SQLException error) {
                System.out.println("error only when it ran: " + first(error));
            }
        } catch (SQLException error) {
            System.out.println("error: " + first(error));
        }
    }

    /** Rows as texts, and some by their own getters. */
    private static void kinds(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            print(statement.executeQuery(
                "SELECT id, big, price, ratio, small, name, doc, born, met, CAST(kind AS CHAR), CAST(marks AS CHAR), year, HEX(raw)"
                    + " FROM shop.kinds ORDER BY id"));
            ResultSet row = statement.executeQuery("SELECT big, price, ratio, born, met, raw FROM shop.kinds WHERE id = 1");
            row.next();
            System.out.println(row.getBigDecimal(1) + " " + row.getBigDecimal(2) + " " + row.getDouble(3) + " " + row.getDate(4)
                + " " + row.getTimestamp(5).toLocalDateTime() + " " + row.getBytes(6).length + " " + row.next());
        }
    }

    /** The same statement with one value after the other, of every kind that can be bound. */
    private static void values(Connection connection) throws SQLException {
        String sql = "SELECT id, name FROM shop.kinds WHERE id > ? AND name <> ? ORDER BY id LIMIT ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int least = 0; least < 3; least++) {
                statement.setInt(1, least);
                statement.setString(2, "it's");
                statement.setLong(3, 2);
                print(statement.executeQuery());
            }
        }
        String one = "SELECT id FROM shop.kinds WHERE price = ? AND born = ? AND met = ? AND ratio >= ? AND big = ? AND raw = ?";
        try (PreparedStatement statement = connection.prepareStatement(one)) {
            statement.setBigDecimal(1, new BigDecimal("-12.50"));
            statement.setDate(2, Date.valueOf("2024-02-29"));
            statement.setTimestamp(3, Timestamp.valueOf("2024-02-29 12:34:56.5"));
            statement.setDouble(4, 0.25);
            statement.setLong(5, Long.MAX_VALUE);
            statement.setBytes(6, new byte[] {(byte) 0xff, 0, 1});
            print(statement.executeQuery());
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT COUNT(*) FROM shop.kinds WHERE doc = ?")) {
            statement.setNull(1, java.sql.Types.VARCHAR);
            print(statement.executeQuery());
        }
    }

    private static void browse(DatabaseMetaData about) throws SQLException {
        System.out.println(about.getDatabaseProductName() + " " + about.isReadOnly() + " " + about.getIdentifierQuoteString());
        print(about.getSchemas(), "TABLE_SCHEM");
        print(about.getTables(null, "shop", "%", null), "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE");
        print(about.getTables(null, "shop", "k%", new String[] {"VIEW"}), "TABLE_NAME");
        print(about.getColumns(null, "shop", "kinds", "%"), "TABLE_NAME", "COLUMN_NAME", "ORDINAL_POSITION", "IS_NULLABLE");
        print(about.getPrimaryKeys(null, "shop", "pairs"), "TABLE_NAME", "COLUMN_NAME", "KEY_SEQ", "PK_NAME");
        print(about.getImportedKeys(null, "shop", "pairs"), "PKTABLE_NAME");
        print(about.getExportedKeys(null, "shop", "pairs"), "PKTABLE_NAME");
        print(about.getCrossReference(null, "shop", "pairs", null, "shop", "kinds"), "PKTABLE_NAME");
        print(about.getTableTypes(), "TABLE_TYPE");
    }

    private static void errors(Connection connection) {
        String[] wrong = {
            "SELECT * FROM shop.nothing", "SELECT * FROM hr.pay", "SELECT a FROM shop.pairs WHERE", "DELETE FROM shop.pairs",
            "CREATE TABLE shop.t (a INT)", "SET time_zone = '+01:00'",
        };
        for (String sql : wrong) {
            try (Statement statement = connection.createStatement()) {
                statement.execute(sql);
                System.out.println("done: " + sql);
            } catch (SQLException error) {
                System.out.println("error: " + first(error));
            }
        }
            String insert = "INSERT INTO shop.pairs VALUES (?, ?, ?)";
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            for (int at = 1; at <= 3; at++) {
                statement.setString(at, "1");
            }
            System.out.println("done: " + statement.executeUpdate());
        } catch (SQLException error) {
            System.out.println("error: " + first(error));
        }
    }

    /** Two at a time, each in the middle of its rows. */
    private static void twoAtATime(Connection first, Connection second) throws SQLException {
        try (Statement one = first.createStatement(); Statement two = second.createStatement()) {
            ResultSet left = one.executeQuery("SELECT a FROM shop.pairs ORDER BY a, b");
            ResultSet right = two.executeQuery("SELECT a FROM shop.pairs ORDER BY a DESC, b DESC");
            int sum = 0;
            int rows = 0;
            while (left.next() && right.next()) {
                sum += left.getInt(1) + right.getInt("a");
                rows++;
            }
            System.out.println(rows + " " + sum);
        }
    }

    private static void refused(String user, String password) {
        try (Connection connection = connect(user, password)) {
            connection.createStatement().executeQuery("SELECT 1");
            System.out.println("let in");
        } catch (SQLException error) {
            System.out.println("refused: " + first(error));
        }
    }

    private static String first(Throwable error) {
        StringBuilder all = new StringBuilder();
        for (Throwable at = error; at != null; at = at.getCause()) {
            all.append(at.getMessage()).append(' ');
        }
        return all.toString().replaceAll("\\s+", " ");
    }
}
