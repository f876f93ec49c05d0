//! Numbered parameters and lists of values, in either database's words.
//!
//! Never here: a statement.

use super::Backend;

/// The parameter of this number (from 1): `$3::uuid` on PostgreSQL, `?` on SQLite. An empty cast is none.
///
/// SQLite numbers by position, so values must be bound in the order in which their parameters stand in the text.
pub fn parameter(backend: Backend, number: usize, cast: &str) -> String {
    let mut sql = String::new();
    push_parameter(&mut sql, backend, number, cast);
    sql
}

/// `count` parameters from `first` on, for an `IN (...)`: `$1::uuid,$2::uuid` or `?,?`.
pub fn parameters(backend: Backend, first: usize, count: usize, cast: &str) -> String {
    let mut sql = String::with_capacity(count * (cast.len() + 8));
    for number in first..first + count {
        if number > first {
            sql.push(',');
        }
        push_parameter(&mut sql, backend, number, cast);
    }
    sql
}

/// The rows of a `VALUES`, their parameters numbered from `first` on, one column for each of `casts`:
/// `($1::uuid,$2::bigint),($3::uuid,$4::bigint)` or `(?,?),(?,?)`.
pub fn values_list(backend: Backend, first: usize, rows: usize, casts: &[&str]) -> String {
    let mut sql = String::with_capacity(rows * casts.len() * 16);
    let mut number = first;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ",(" });
        for (column, cast) in casts.iter().enumerate() {
            if column > 0 {
                sql.push(',');
            }
            push_parameter(&mut sql, backend, number, cast);
            number += 1;
        }
        sql.push(')');
    }
    sql
}

fn push_parameter(sql: &mut String, backend: Backend, number: usize, cast: &str) {
    match backend {
        Backend::Sqlite => sql.push('?'),
        Backend::Postgres => {
            sql.push('$');
            sql.push_str(&number.to_string());
            if !cast.is_empty() {
                sql.push_str("::");
                sql.push_str(cast);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_on_postgres_only() {
        let casts = ["uuid", "", "bigint"];
        assert_eq!(values_list(Backend::Postgres, 2, 2, &casts), "($2::uuid,$3,$4::bigint),($5::uuid,$6,$7::bigint)");
        assert_eq!(values_list(Backend::Sqlite, 2, 2, &casts), "(?,?,?),(?,?,?)");
        assert_eq!(parameters(Backend::Postgres, 3, 2, "uuid"), "$3::uuid,$4::uuid");
        assert_eq!(parameters(Backend::Sqlite, 3, 2, "uuid"), "?,?");
        assert_eq!(parameter(Backend::Postgres, 1, "text"), "$1::text");
    }
}
