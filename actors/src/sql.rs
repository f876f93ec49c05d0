//! Sets in SQL: lists and tables of values whose sizes repeat, so that statements are prepared once.
//! Never a query of its own.

use entities::Backend;
use entities::db::{parameters, values_list};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};

/// The most rows of one statement; more go in several.
pub const CHUNK: usize = 1024;

/// How often a statement of `rows` rows is written: once for each power of two.
fn padded(rows: usize) -> usize {
    rows.next_power_of_two()
}

/// Runs `before IN (keys) after` for any number of keys and gathers the rows.
///
/// # Errors
/// Those of the database.
pub async fn select_in<K: Into<Value> + Copy>(
    connection: &impl ConnectionTrait,
    keys: &[K],
    cast: &str,
    sql: impl Fn(&str) -> String,
) -> Result<Vec<QueryResult>, DbErr> {
    let backend = Backend::of(connection);
    let mut found = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        let size = padded(chunk.len());
        let values = (0..size).map(|at| chunk[at.min(chunk.len() - 1)].into());
        let statement = backend.statement(sql(&parameters(backend, 1, size, cast)), values);
        found.append(&mut connection.query_all_raw(statement).await?);
    }
    Ok(found)
}

/// A table of values: rows of the same width.
#[derive(Clone)]
pub struct Table {
    width: usize,
    values: Vec<Value>,
}

impl Table {
    /// An empty one.
    pub fn new(width: usize) -> Table {
        Table { width, values: Vec::new() }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [Value; N]) {
        debug_assert_eq!(N, self.width);
        self.values.extend(row);
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Selects with the table, whose columns are `column1`, `column2`, ... in both databases; rows may come twice.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn select(
        self,
        connection: &impl ConnectionTrait,
        casts: &[&str],
        sql: impl Fn(&str) -> String,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let backend = Backend::of(connection);
        let mut found = Vec::new();
        for (rows, values) in self.repeated() {
            let statement = backend.statement(sql(&values_list(backend, 1, rows, casts)), values);
            found.append(&mut connection.query_all_raw(statement).await?);
        }
        Ok(found)
    }

    /// Updates by the table; the last row may stand there several times, which changes nothing.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn update(
        self,
        connection: &impl ConnectionTrait,
        casts: &[&str],
        sql: impl Fn(&str) -> String,
    ) -> Result<(), DbErr> {
        let backend = Backend::of(connection);
        for (rows, values) in self.repeated() {
            connection.execute_raw(backend.statement(sql(&values_list(backend, 1, rows, casts)), values)).await?;
        }
        Ok(())
    }

    /// Inserts each row once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn insert(
        self,
        connection: &impl ConnectionTrait,
        casts: &[&str],
        sql: impl Fn(&str) -> String,
    ) -> Result<(), DbErr> {
        let backend = Backend::of(connection);
        let mut values = self.values.into_iter();
        let mut left = values.len() / self.width;
        // SQLite takes 32,766 values a statement, PostgreSQL 65,535.
        let most = (30_000 / self.width).min(CHUNK);
        while left > 0 {
            let fits = left.min(most);
            let rows = if fits.is_power_of_two() { fits } else { fits.next_power_of_two() / 2 };
            let statement =
                backend.statement(sql(&values_list(backend, 1, rows, casts)), values.by_ref().take(rows * self.width));
            connection.execute_raw(statement).await?;
            left -= rows;
        }
        Ok(())
    }

    /// The rows in chunks, each filled up to a power of two with its last row.
    fn repeated(self) -> Vec<(usize, Vec<Value>)> {
        let width = self.width;
        let chunk = |chunk: &[Value]| {
            let size = padded(chunk.len() / width);
            let mut values = chunk.to_vec();
            while values.len() < size * width {
                values.extend_from_within(values.len() - width..);
            }
            (size, values)
        };
        self.values.chunks(CHUNK * width).map(chunk).collect()
    }
}
