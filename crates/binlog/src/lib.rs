//! Sources: MySQL and MariaDB binlogs as files and as a service
