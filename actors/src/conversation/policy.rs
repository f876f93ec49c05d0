//! Who may do what in a conversation: values in, verdict out.
//! Never looks anything up, and knows no message, only roles.

use crate::protocol::ErrorCode;
use entities::{ConversationKind, Role};

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Send, react, type: what every member may.
    Take,
    /// Mark how far one has read.
    Mark,
    /// Change one's own message.
    Edit {
        /// Whether it is one's own.
        own: bool,
    },
    /// Delete a message for everyone.
    Delete {
        /// Whether it is one's own.
        own: bool,
    },
    /// Add members.
    Add,
    /// Remove a member of this role.
    Remove(Option<Role>),
    /// Leave; whether one is the only owner while others stay.
    Leave {
        /// Others would stay without an owner.
        orphans: bool,
    },
    /// Give a member another role.
    SetRole {
        /// The member's role.
        of: Option<Role>,
        /// The new one.
        to: Role,
        /// Nobody would be owner afterwards.
        orphans: bool,
    },
    /// Give the ownership away.
    Transfer(Option<Role>),
    /// Change the name or the description.
    Update,
}

/// Whether a member of role `actor` may do it; `None` is no member, to whom nothing exists.
pub fn may(kind: ConversationKind, actor: Option<Role>, act: Act) -> Result<(), ErrorCode> {
    let Some(role) = actor else { return Err(ErrorCode::ConversationNotFound) };
    let allowed = |yes: bool| if yes { Ok(()) } else { Err(ErrorCode::ConversationForbidden) };
    let group = || if kind == ConversationKind::Group { Ok(()) } else { Err(ErrorCode::ConversationNotAGroup) };
    let staff = role != Role::Member;
    match act {
        Act::Take | Act::Mark => Ok(()),
        Act::Edit { own } => allowed(own),
        Act::Delete { own } => allowed(own || (kind == ConversationKind::Group && staff)),
        Act::Add | Act::Update => {
            group()?;
            allowed(staff)
        }
        Act::Remove(target) => {
            group()?;
            allowed(staff)?;
            let target = target.ok_or(ErrorCode::ParticipantNotFound)?;
            allowed(outranks(role, target))
        }
        Act::Leave { orphans } => {
            group()?;
            if orphans { Err(ErrorCode::ConversationLastOwner) } else { Ok(()) }
        }
        Act::SetRole { of, to: _, orphans } => {
            group()?;
            allowed(role == Role::Owner)?;
            of.ok_or(ErrorCode::ParticipantNotFound)?;
            if orphans { Err(ErrorCode::ConversationLastOwner) } else { Ok(()) }
        }
        Act::Transfer(target) => {
            group()?;
            allowed(role == Role::Owner)?;
            target.map(drop).ok_or(ErrorCode::ParticipantNotFound)
        }
    }
}

/// Whether it may be done where one of a pair blocks the other: nothing is said any more, but what one has said may be
/// taken back, and what one reads is one's own.
pub fn may_while_blocked(act: Act) -> Result<(), ErrorCode> {
    match act {
        Act::Delete { .. } | Act::Mark => Ok(()),
        _ => Err(ErrorCode::ConversationBlocked),
    }
}

fn outranks(one: Role, other: Role) -> bool {
    let rank = |role: Role| match role {
        Role::Owner => 2,
        Role::Admin => 1,
        Role::Member => 0,
    };
    rank(one) > rank(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConversationKind::{Group, Private};
    use ErrorCode::*;
    use Role::{Admin, Member, Owner};

    #[test]
    fn every_cell() {
        let no = Err(ConversationForbidden);
        let gone = Err(ConversationNotFound);
        let single = Err(ConversationNotAGroup);
        let nobody = Err(ParticipantNotFound);
        // Act, then: owner, admin, member, stranger of a group; member, stranger of a pair.
        let table = [
            (Act::Take, [Ok(()), Ok(()), Ok(()), gone, Ok(()), gone]),
            (Act::Mark, [Ok(()), Ok(()), Ok(()), gone, Ok(()), gone]),
            (Act::Edit { own: true }, [Ok(()), Ok(()), Ok(()), gone, Ok(()), gone]),
            (Act::Edit { own: false }, [no, no, no, gone, no, gone]),
            (Act::Delete { own: true }, [Ok(()), Ok(()), Ok(()), gone, Ok(()), gone]),
            (Act::Delete { own: false }, [Ok(()), Ok(()), no, gone, no, gone]),
            (Act::Add, [Ok(()), Ok(()), no, gone, single, gone]),
            (Act::Update, [Ok(()), Ok(()), no, gone, single, gone]),
            (Act::Remove(Some(Owner)), [no, no, no, gone, single, gone]),
            (Act::Remove(Some(Admin)), [Ok(()), no, no, gone, single, gone]),
            (Act::Remove(Some(Member)), [Ok(()), Ok(()), no, gone, single, gone]),
            (Act::Remove(None), [nobody, nobody, no, gone, single, gone]),
            (Act::Leave { orphans: false }, [Ok(()), Ok(()), Ok(()), gone, single, gone]),
            (Act::Leave { orphans: true }, [Err(ConversationLastOwner); 3].into_six(gone, single)),
            (Act::SetRole { of: Some(Member), to: Admin, orphans: false }, [Ok(()), no, no, gone, single, gone]),
            (
                Act::SetRole { of: Some(Owner), to: Member, orphans: true },
                [Err(ConversationLastOwner), no, no, gone, single, gone],
            ),
            (Act::SetRole { of: None, to: Admin, orphans: false }, [nobody, no, no, gone, single, gone]),
            (Act::Transfer(Some(Member)), [Ok(()), no, no, gone, single, gone]),
            (Act::Transfer(None), [nobody, no, no, gone, single, gone]),
        ];
        for (act, verdicts) in table {
            let who = [
                (Group, Some(Owner)),
                (Group, Some(Admin)),
                (Group, Some(Member)),
                (Group, None),
                (Private, Some(Member)),
                (Private, None),
            ];
            for ((kind, role), verdict) in who.into_iter().zip(verdicts) {
                assert_eq!(may(kind, role, act), verdict, "{act:?} by {role:?} in {kind:?}");
            }
        }
    }

    #[test]
    fn nothing_is_said_while_one_blocks_the_other() {
        let blocked = Err(ConversationBlocked);
        for (act, verdict) in [
            (Act::Take, blocked),
            (Act::Edit { own: true }, blocked),
            (Act::Delete { own: true }, Ok(())),
            (Act::Mark, Ok(())),
        ] {
            assert_eq!(may_while_blocked(act), verdict, "{act:?}");
        }
    }

    trait IntoSix {
        fn into_six(self, gone: Result<(), ErrorCode>, single: Result<(), ErrorCode>) -> [Result<(), ErrorCode>; 6];
    }

    impl IntoSix for [Result<(), ErrorCode>; 3] {
        fn into_six(self, gone: Result<(), ErrorCode>, single: Result<(), ErrorCode>) -> [Result<(), ErrorCode>; 6] {
            [self[0], self[1], self[2], gone, single, gone]
        }
    }
}
