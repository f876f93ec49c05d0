//! A QuckChat node: the doors, the slices behind them, the providers, and how they are wired.
//! Never what is alive: rooms, sessions and the words that they speak are in `actors`.

pub mod admin;
pub mod app;
pub mod auth;
pub mod config;
pub mod conversations;
pub mod database;
pub mod gateway;
pub mod health;
pub mod jobs;
pub mod messages;
pub mod metrics;
pub mod network;
pub mod node;
pub mod nodes;
pub mod presence;
pub mod providers;
pub mod users;
