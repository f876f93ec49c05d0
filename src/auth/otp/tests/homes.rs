//! The share of a contact's codes that its owner has where they have been, whatever strangers ask for elsewhere.

use super::*;
use crate::auth::sessions::{self, Beginning, Origin};
use entities::{SessionId, user};
use sea_orm::IntoActiveModel;

const HOME: &str = "198.51.100.7";
const OFFICE: &str = "2001:db8:1:2::1";

impl Setting {
    /// Somebody who has this number and this address.
    async fn somebody(&self, number: &str, email: &str) -> UserId {
        let clock: &dyn Clock = &*self.clock;
        let row = user::Model {
            phone: Some(number.to_owned()),
            email: Some(email.to_owned()),
            email_key: Some(email.to_owned()),
            ..user::Model::new(clock.user_id(), clock.now())
        };
        let id = row.id;
        user::Entity::insert(row.into_active_model()).exec_without_returning(self.scratch.db.write()).await.unwrap();
        id
    }

    async fn signs_in_at(&self, user: UserId, address: &str) -> SessionId {
        let session = (&*self.clock as &dyn Clock).session_id();
        let origin = Origin { address: address.parse().ok(), ..Origin::default() };
        let beginning = Beginning { session, user, origin, at: self.clock.now() };
        sessions::begin(self.scratch.db.write(), beginning).await.unwrap();
        session
    }

    async fn ask_from(&self, address: &str, contact: &Contact) -> Result<view::OtpSent, ErrorCode> {
        let asking = Asking { address: address.parse().ok(), ..Asking::to_sign_in(contact) };
        self.otp.send(asking).await.map_err(|error| error.code())
    }

    /// How many of so many codes are sent that are asked for at once, each from the address that is made for it.
    async fn sent_of(&self, count: usize, address: impl Fn(usize) -> String, contact: &Contact) -> usize {
        let asked = (0..count).map(|at| {
            let address = address(at);
            async move { self.ask_from(&address, contact).await }
        });
        join_all(asked).await.iter().filter(|sent| sent.is_ok()).count()
    }
}

fn stranger(n: usize) -> String {
    format!("203.0.113.{n}")
}

#[actix_web::test]
async fn strangers_leave_each_home_a_share_of_its_own_even_at_once() {
    for setting in each().await {
        let ann = setting.somebody("+4915112345678", "ann@example.org").await;
        setting.signs_in_at(ann, HOME).await;
        setting.signs_in_at(ann, OFFICE).await;
        let (number, email) = (Contact::phone(NUMBER).unwrap(), Contact::email("Ann@example.org").unwrap());
        for contact in [&number, &email] {
            assert_eq!(setting.sent_of(12, stranger, contact).await, 5);
            for unknown in ["", "198.51.100.8", "2001:db8:1:3::1"] {
                assert_eq!(setting.ask_from(unknown, contact).await.unwrap_err(), ErrorCode::AuthOtpBudget);
            }
            assert_eq!(setting.sent_of(8, |_| HOME.to_owned(), contact).await, 5);
            // All of a /64 is one place.
            assert_eq!(setting.sent_of(8, |at| format!("2001:db8:1:2:ffff::{at}"), contact).await, 5);
        }
        setting.clock.advance(60 * MINUTE);
        assert_eq!(setting.sent_of(8, |_| HOME.to_owned(), &number).await, 5);
        setting.clock.advance(60 * MINUTE);
        // That was the day's share there; elsewhere it is not.
        assert_eq!(setting.sent_of(8, |_| HOME.to_owned(), &number).await, 0);
        assert_eq!(setting.sent_of(8, |_| OFFICE.to_owned(), &number).await, 5);
        // Whoever asks elsewhere shares with all.
        assert_eq!(setting.sent_of(8, stranger, &number).await, 0);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_place_is_the_owners_alone_and_none_where_there_is_no_account() {
    for setting in each().await {
        let ann = setting.somebody("+4915112345678", "ann@example.org").await;
        let bob = setting.somebody("+4915112345679", "bob@example.org").await;
        setting.signs_in_at(ann, HOME).await;
        setting.signs_in_at(bob, OFFICE).await;
        for unknown in ["+4915112345679", "+4915112345680"] {
            let contact = Contact::phone(unknown).unwrap();
            assert_eq!(setting.sent_of(8, stranger, &contact).await, 5);
            assert_eq!(setting.ask_from(HOME, &contact).await.unwrap_err(), ErrorCode::AuthOtpBudget);
        }
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_session_that_may_have_been_a_strangers_makes_no_home() {
    for setting in each().await {
        let ann = setting.somebody("+4915112345678", "ann@example.org").await;
        let session = setting.signs_in_at(ann, HOME).await;
        let (db, now) = (setting.scratch.db.write(), setting.clock.now());
        sessions::revoke(db, session, "refresh_reused", now).await.unwrap();
        let number = Contact::phone(NUMBER).unwrap();
        assert_eq!(setting.sent_of(8, stranger, &number).await, 5);
        assert_eq!(setting.ask_from(HOME, &number).await.unwrap_err(), ErrorCode::AuthOtpBudget);
        setting.scratch.drop().await;
    }
}
