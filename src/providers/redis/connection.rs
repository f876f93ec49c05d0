//! A connection to Redis, to one server or to all of a Redis Cluster, and what each of them calls listening and telling.
//! Never where it leads, nor what is said on it.

use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value, cmd};

/// A connection; a clone shares it.
#[derive(Clone)]
pub enum Connection {
    /// To one server.
    Single(MultiplexedConnection),
    /// To all of a Redis Cluster, where one command may name the channels of one shard only.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Listens to channels; ends when what is published from then on arrives.
    pub async fn subscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => connection.subscribe(channels).await,
            Connection::Cluster(connection) => {
                let each = channels.iter().map(|channel| {
                    let mut connection = connection.clone();
                    async move { connection.ssubscribe(channel).await }
                });
                try_join_all(each).await.map(drop)
            }
        }
    }

    /// Listens to channels no more.
    pub async fn unsubscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => connection.unsubscribe(channels).await,
            Connection::Cluster(connection) => {
                let each = channels.iter().map(|channel| {
                    let mut connection = connection.clone();
                    async move { connection.sunsubscribe(channel).await }
                });
                try_join_all(each).await.map(drop)
            }
        }
    }

    /// Publishes, in this order for each channel: each a channel and what is said there.
    pub async fn publish(&mut self, hints: Vec<(String, Vec<u8>)>) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => {
                let mut pipeline = Pipeline::with_capacity(hints.len());
                for (channel, hint) in hints {
                    pipeline.cmd("PUBLISH").arg(channel).arg(hint).ignore();
                }
                pipeline.exec_async(connection).await
            }
            Connection::Cluster(connection) => {
                let each = hints.into_iter().map(|(channel, hint)| {
                    let mut connection = connection.clone();
                    async move { cmd("SPUBLISH").arg(channel).arg(hint).exec_async(&mut connection).await }
                });
                try_join_all(each).await.map(drop)
            }
        }
    }

    /// Whether it answers: in a Redis Cluster, whether every shard does.
    pub async fn ping(&mut self) -> RedisResult<()> {
        cmd("PING").exec_async(self).await
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Single(connection) => connection.req_packed_command(cmd),
            Connection::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
