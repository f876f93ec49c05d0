//! What clients see of rows: the only shapes in which state leaves the process.
//! Never a query: whoever has the rows builds the view.

mod auth;
mod changes;
mod contacts;
mod conversations;
mod devices;
mod leaving;
mod messages;
mod oauth;
mod password;
mod presence;
mod reports;
mod second_factor;
mod sessions;
mod settings;
mod users;

pub use auth::*;
pub use changes::*;
pub use contacts::*;
pub use conversations::*;
pub use devices::*;
pub use leaving::*;
pub use messages::*;
pub use oauth::*;
pub use password::*;
pub use presence::*;
pub use reports::*;
pub use second_factor::*;
pub use sessions::*;
pub use settings::*;
pub use users::*;

use serde::Serialize;
use utoipa::ToSchema;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Gives the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
