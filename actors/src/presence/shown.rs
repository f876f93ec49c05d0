//! What is told of somebody's presence: the event, and what one that was told says.
//! Never whether it is so.

use crate::cluster::{Content, Delivery, EphemeralKey, Topic};
use crate::protocol::event::{Event, UserUpdated};
use crate::protocol::view::{Presence, Status};
use entities::UserId;
use serde::Deserialize;
use std::sync::Arc;

/// What the watchers of somebody are told.
pub(crate) fn told(presence: &Presence) -> Arc<Delivery> {
    let user = presence.user_id;
    let bytes = Event::new("presence.changed", presence).frame();
    let content = Content::Ephemeral { bytes, key: Some(EphemeralKey::Presence(user)) };
    Arc::new(Delivery { topic: Topic::Presence(user), numbers: None, content })
}

/// What somebody is told of one whom they may see no more: the same, whatever the reason.
pub(crate) fn hidden(user: UserId) -> Arc<Delivery> {
    told(&Presence { user_id: user, status: Status::Offline, last_seen_at: None })
}

/// What the watchers of somebody are told when their profile has changed: that, and nothing of what it says now, which
/// is not the same to all.
pub(crate) fn profile_changed(user: UserId) -> Arc<Delivery> {
    let bytes = Event::new("user.updated", &UserUpdated { user_id: user }).frame();
    let content = Content::Ephemeral { bytes, key: Some(EphemeralKey::Profile(user)) };
    Arc::new(Delivery { topic: Topic::Presence(user), numbers: None, content })
}

/// How somebody is shown by what is told of them, which may come from another node.
pub(crate) fn shown(content: &Content) -> Option<Status> {
    #[derive(Deserialize)]
    struct Told {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        status: Status,
    }
    let Content::Ephemeral { bytes, key: Some(EphemeralKey::Presence(_)) } = content else { return None };
    let body = bytes.iter().position(|byte| *byte == b'{')?;
    serde_json::from_slice::<Told>(&bytes[body..]).ok().map(|told| told.data.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use entities::Timestamp;
    use uuid::Uuid;

    #[test]
    fn what_is_told_is_read_as_it_was_meant() {
        for status in [Status::Online, Status::Away, Status::Busy, Status::Offline] {
            for last_seen_at in [None, Some(Timestamp::EPOCH)] {
                let user_id = UserId::from_uuid(Uuid::from_u128(u128::from_be_bytes([b'{'; 16])));
                assert_eq!(shown(&told(&Presence { user_id, status, last_seen_at }).content), Some(status));
            }
        }
        assert_eq!(shown(&Content::Changed), None);
    }
}
