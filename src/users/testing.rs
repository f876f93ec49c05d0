//! People for this slice's tests.
//! Never part of the node.

use actors::protocol::command::{UpdateProfile, UserRef};
use entities::{Db, Timestamp, UserId, user};
use sea_orm::{EntityTrait, IntoActiveModel};

/// Somebody of this name, with a phone number.
pub async fn a_user(db: &Db, name: &str) -> UserId {
    let clock = crate::auth::testing::FakeClock::new();
    let clock: &dyn actors::clock::Clock = &*clock;
    let id = clock.user_id();
    let phone = Some(format!("+4915{}", id.uuid().simple()));
    let row = user::Model {
        display_name: name.to_owned(),
        name_key: name.to_lowercase(),
        phone,
        ..user::Model::new(id, Timestamp::EPOCH)
    };
    user::Entity::insert(row.into_active_model()).exec_without_returning(db.write()).await.unwrap();
    id
}

/// A change of nothing yet.
pub fn update_of(user_id: UserRef) -> UpdateProfile {
    UpdateProfile { user_id, display_name: None, username: None, bio: None, avatar_id: None }
}
