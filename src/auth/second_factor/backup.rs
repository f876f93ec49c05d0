//! Backup codes: how they are made, written and recognised.
//! Never a code at rest: rows hold keyed hashes.

use actors::clock::Clock;
use aws_lc_rs::hmac;
use entities::{UserId, backup_code};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, Set};

/// Codes that somebody gets at a time.
pub const COUNT: usize = 10;
/// Characters of a code: with five bits each, more than can be guessed through a node.
pub const LENGTH: usize = 10;
/// Crockford's base32: no letter that looks like a digit, nor `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What codes are hashed with.
pub struct Hasher(hmac::Key);

impl Hasher {
    /// With this key.
    pub fn new(key: &[u8]) -> Hasher {
        Hasher(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The hash of a user's code, which is no other user's.
    pub fn hash(&self, user: UserId, code: &str) -> Vec<u8> {
        hmac::sign(&self.0, &[user.uuid().as_bytes(), code.as_bytes()].concat()).as_ref().to_vec()
    }
}

/// A code as it is shown: in two halves.
pub fn shown(code: &str) -> String {
    let (one, other) = code.split_at(LENGTH / 2);
    format!("{one}-{other}")
}

/// A new one.
pub fn make(clock: &dyn Clock) -> String {
    let random: [u8; LENGTH] = clock.random();
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// The code that a text writes, if it is one by its form; `o`, `i` and `l` are read as the digits that they look like.
pub fn read(text: &str) -> Option<String> {
    let code: Option<String> = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(plain).collect();
    code.filter(|code| code.len() == LENGTH)
}

fn plain(letter: char) -> Option<char> {
    let plain = match letter.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    u8::try_from(plain).ok().filter(|byte| ALPHABET.contains(byte)).map(char::from)
}

/// Gives a user new codes in place of those before.
///
/// # Errors
/// Those of the database.
pub async fn replace(
    transaction: &impl ConnectionTrait,
    hasher: &Hasher,
    user: UserId,
    codes: &[String],
) -> Result<(), DbErr> {
    forget(transaction, user).await?;
    let rows = codes.iter().map(|code| backup_code::ActiveModel {
        user_id: Set(user),
        code_hash: Set(hasher.hash(user, code)),
        used_at: Set(None),
    });
    backup_code::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}

/// Takes all codes from a user.
///
/// # Errors
/// Those of the database.
pub async fn forget(transaction: &impl ConnectionTrait, user: UserId) -> Result<(), DbErr> {
    backup_code::Entity::delete_many().filter(backup_code::COLUMN.user_id.eq(user)).exec(transaction).await?;
    Ok(())
}

/// Uses a code up; tells whether it was still unused.
///
/// # Errors
/// Those of the database.
pub async fn spend(
    transaction: &impl ConnectionTrait,
    clock: &dyn Clock,
    user: UserId,
    hash: &[u8],
) -> Result<bool, DbErr> {
    let used = backup_code::ActiveModel { used_at: Set(Some(clock.now())), ..backup_code::ActiveModel::default() };
    let columns = &backup_code::COLUMN;
    let unused = columns.user_id.eq(user).and(columns.code_hash.eq(hash.to_vec())).and(columns.used_at.is_null());
    Ok(backup_code::Entity::update_many().set(used).filter(unused).exec(transaction).await?.rows_affected == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::FakeClock;
    use std::collections::HashSet;

    #[test]
    fn codes_are_read_as_people_write_them() {
        let clock = FakeClock::new();
        let codes: HashSet<String> = (0..1000).map(|_| make(&*clock)).collect();
        assert_eq!(codes.len(), 1000);
        for code in &codes {
            let shown = shown(code);
            assert_eq!((shown.len(), shown.find('-')), (LENGTH + 1, Some(LENGTH / 2)));
            for written in [code.clone(), shown.clone(), shown.to_uppercase(), shown.replace('-', " ")] {
                assert_eq!(read(&written).as_ref(), Some(code));
            }
        }
        assert_eq!(read("OIL00-ABCDE").as_deref(), Some("01100abcde"));
        for wrong in ["", "123456", "00000-0000", "00000-000000", "0000u-00000", "0000ä-00000", "0000\0-00000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_hash_is_of_one_user_and_one_key() {
        let clock: &dyn Clock = &*FakeClock::new();
        let (ann, bob) = (clock.user_id(), clock.user_id());
        let hasher = Hasher::new(&[1; 32]);
        let hash = hasher.hash(ann, "0123456789");
        assert_eq!(hash, hasher.hash(ann, "0123456789"));
        assert_ne!(hash, hasher.hash(bob, "0123456789"));
        assert_ne!(hash, Hasher::new(&[2; 32]).hash(ann, "0123456789"));
    }
}
