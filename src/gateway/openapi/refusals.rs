//! Which codes each command may be refused with.
//! Never how a refusal is written: see `gateway::error`.

use crate::gateway::dispatch::Served;
use actors::protocol::ErrorCode;
use actors::protocol::command::Access;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, ParameterIn};

/// What every command may be refused with that takes a code from a text or a letter.
const CODE: &[ErrorCode] =
    &[ErrorCode::AuthOtpInvalid, ErrorCode::AuthOtpExpired, ErrorCode::AuthOtpExhausted, ErrorCode::AuthTooManyTries];

/// What a command may be refused with, beyond what its access, path, query and body bring along. Several lines of one
/// command add up.
const REFUSALS: &[(&str, &[ErrorCode])] = {
    use ErrorCode::*;
    &[
        (
            "auth.sendOtp",
            &[
                AuthOtpBudget,
                AuthOtpCountry,
                AuthUnauthenticated,
                AuthTokenExpired,
                AuthSessionRevoked,
                AuthReauthenticationRequired,
            ],
        ),
        ("auth.changeEmail", &[AuthOtpBudget]),
        ("auth.verifyEmail", CODE),
        ("auth.verifyEmail", &[AuthEmailTaken]),
        ("users.changePhone", CODE),
        ("users.changePhone", &[AuthPhoneTaken]),
        ("auth.verifyOtp", CODE),
        ("auth.verifyOtp", &[UserNotFound]),
        ("auth.register", CODE),
        ("auth.register", &[AuthPasswordWeak, AuthAccountExists, UserUsernameTaken, AuthBusy]),
        ("auth.login", CODE),
        ("auth.login", &[AuthCredentialsInvalid, AuthBusy, UserNotFound]),
        ("auth.changePassword", &[AuthPasswordWeak, AuthTooManyTries, AuthBusy]),
        ("auth.forgotPassword", &[AuthOtpBudget, AuthOtpCountry]),
        ("auth.resetPassword", CODE),
        ("auth.resetPassword", &[AuthPasswordWeak, AuthBusy]),
        ("auth.reauthenticate", CODE),
        ("auth.reauthenticate", &[AuthCredentialsInvalid, AuthBusy, AuthSecondFactorInvalid, AuthSecondFactorLimited]),
        (
            "auth.reauthenticate",
            &[AuthChallengeExpired, AuthChallengeExhausted, AuthProviderUnknown, AuthProviderUnavailable],
        ),
        ("auth.reauthenticate", &[AuthIdentityInvalid, AuthIdentityTaken, AuthIdentityNotFound]),
        ("auth.refreshToken", &[AuthRefreshInvalid, AuthRefreshReused, RequestForbiddenOrigin]),
        ("auth.logout", &[AuthRefreshInvalid, RequestForbiddenOrigin]),
        ("auth.setup2fa", &[AuthSecondFactorEnabled]),
        (
            "auth.enable2fa",
            &[AuthSecondFactorInvalid, AuthSecondFactorLimited, AuthSecondFactorMissing, AuthSecondFactorEnabled],
        ),
        ("auth.disable2fa", &[AuthSecondFactorInvalid, AuthSecondFactorLimited, AuthSecondFactorMissing]),
        ("auth.regenerateBackupCodes", &[AuthSecondFactorInvalid, AuthSecondFactorLimited, AuthSecondFactorMissing]),
        (
            "auth.verify2fa",
            &[
                AuthChallengeExpired,
                AuthChallengeExhausted,
                AuthSecondFactorInvalid,
                AuthSecondFactorLimited,
                AuthSecondFactorMissing,
                UserNotFound,
            ],
        ),
        ("auth.revokeSession", &[AuthSessionNotFound]),
        ("auth.listEvents", &[AuthForbidden]),
        ("auth.oauthStart", &[AuthProviderUnknown]),
        ("auth.oauthCallback", &[AuthProviderUnknown, AuthChallengeExpired, AuthChallengeExhausted]),
        (
            "auth.oauthExchange",
            &[AuthChallengeExpired, AuthChallengeExhausted, AuthIdentityInvalid, AuthProviderUnknown, UserNotFound],
        ),
        (
            "auth.oauthMobile",
            &[AuthProviderUnknown, AuthProviderUnavailable, AuthIdentityInvalid, AuthChallengeExpired, UserNotFound],
        ),
        ("auth.linkAccount", &[AuthChallengeExpired, AuthChallengeExhausted, AuthIdentityTaken, AuthProviderUnknown]),
        ("auth.unlinkAccount", &[AuthIdentityNotFound, AuthLastWayIn]),
        ("users.getProfile", &[UserNotFound]),
        ("users.updateProfile", &[UserNotFound, UserUsernameTaken, AuthForbidden]),
        ("users.search", &[ContactsBudget]),
        ("users.addContact", &[UserNotFound, ContactsFull, ContactsBudget]),
        ("users.syncContacts", &[ContactsFull, ContactsBudget]),
        ("users.renameContact", &[ContactNotFound]),
        ("users.registerDevice", &[DeviceTooMany]),
        ("users.renameDevice", &[DeviceNotFound]),
        ("users.updatePushToken", &[DeviceNotFound]),
        ("users.removeDevice", &[DeviceNotFound]),
        ("users.report", &[UserNotFound, MessageNotFound, ReportTooMany]),
        ("users.block", &[UserNotFound, RequestInvalid, ContactsFull]),
        (
            "conversations.create",
            &[
                UserNotFound,
                UserNotAddable,
                ConversationFull,
                ConversationClientIdConflict,
                ConversationBlocked,
                ConversationBusy,
            ],
        ),
        ("users.exportData", &[UserExportPending, UserExportBudget]),
        ("users.cancelExport", &[UserExportNotFound]),
        ("users.deleteAccount", &[UserNotFound]),
        ("users.cancelDeletion", &[UserNotFound]),
        (
            "conversations.addParticipant",
            &[UserNotFound, UserNotAddable, ConversationForbidden, ConversationNotAGroup, ConversationFull],
        ),
        ("conversations.removeParticipant", &[ConversationForbidden, ConversationNotAGroup, ConversationLastOwner]),
        ("conversations.accept", &[ConversationBusy]),
        ("conversations.decline", &[ConversationNotARequest, ConversationBusy]),
        ("conversations.leave", &[ConversationNotAGroup, ConversationLastOwner, ConversationBusy]),
        ("conversations.setRole", &[ConversationForbidden, ConversationNotAGroup, ConversationLastOwner]),
        ("conversations.transferOwnership", &[ParticipantNotFound, ConversationForbidden, ConversationNotAGroup]),
        ("conversations.update", &[ConversationForbidden, ConversationNotAGroup, ConversationBusy]),
        (
            "messages.send",
            &[MessageNotFound, UserNotFound, MessageClientIdConflict, ConversationBlocked, ConversationBusy],
        ),
        ("messages.edit", &[ConversationForbidden, MessageDeleted, ConversationBlocked, ConversationBusy]),
        ("messages.delete", &[ConversationForbidden, ConversationBusy]),
        ("messages.addReaction", &[MessageDeleted, MessageTooManyReactions, ConversationBlocked, ConversationBusy]),
        ("messages.removeReaction", &[MessageDeleted, ConversationBlocked, ConversationBusy]),
    ]
};

/// Every code that the operation may answer with.
pub(super) fn of(operation: &Operation, served: &Served) -> Vec<ErrorCode> {
    use ErrorCode::*;
    let mut codes = vec![RequestRateLimited, ServerUnavailable];
    if served.access != Access::Public {
        codes.extend([AuthUnauthenticated, AuthTokenExpired, AuthSessionRevoked]);
    }
    match served.access {
        Access::Fresh => codes.push(AuthReauthenticationRequired),
        Access::Operator => codes.push(AuthForbidden),
        Access::Public | Access::User => {}
    }
    if operation.request_body.is_some() {
        codes.extend([RequestMalformed, RequestInvalid, RequestTooLarge, RequestUnsupportedMediaType]);
    }
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        match (&parameter.parameter_in, parameter.name.as_str()) {
            (ParameterIn::Path, "conversationId") => codes.push(ConversationNotFound),
            (ParameterIn::Path, "messageId") => codes.push(MessageNotFound),
            (ParameterIn::Path, "userId") if served.name.starts_with("conversations.") => {
                codes.push(ParticipantNotFound)
            }
            (ParameterIn::Path, "emoji") | (ParameterIn::Query, _) => codes.push(RequestInvalid),
            _ => {}
        }
    }
    codes.extend(REFUSALS.iter().filter(|(name, _)| *name == served.name).flat_map(|(_, codes)| *codes));
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::dispatch::COMMANDS;

    #[test]
    fn refusals_are_of_commands_that_exist() {
        for (name, _) in REFUSALS {
            assert!(COMMANDS.iter().any(|served| served.name == *name), "{name}");
        }
    }
}
