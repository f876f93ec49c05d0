//! A Redis that no node can use: refused at the start, in a sentence that says what to do.

use super::modes::speaks_tls;
use crate::support::certificate::Pair;
use crate::support::process::runs;
use crate::support::redis::has_redis_server;
use crate::support::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

/// Whatever is asked, it says this.
fn says_always(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut asked = [0; 4096];
                while stream.read(&mut asked).is_ok_and(|read| read > 0) && stream.write_all(answer).is_ok() {}
            });
        }
    });
    format!("redis://{address}")
}

/// Whoever greets it, it ends the connection.
fn hangs_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    format!("redis://{address}")
}

/// A stage whose database does not answer: Redis is asked before.
fn nowhere() -> Stage {
    Stage::at("postgres://127.0.0.1:1/none")
}

/// Starts the program with these settings of the cluster, which it must refuse with these words.
async fn refuses(stage: &Stage, settings: &[(&str, &str)], words: &[&str]) {
    let variables: Vec<(String, &str)> =
        settings.iter().map(|(key, value)| (format!("QUCKCHAT__CLUSTER__{}", key.to_uppercase()), *value)).collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(key, value)| (&key[..], *value)).collect();
    let began = Instant::now();
    // An address of nobody's (RFC 5737): a node that did not mind its Redis would end too, with other words.
    let ended = runs(stage, &["--listen", "192.0.2.1:9", "serve"], &variables).await;
    assert!(began.elapsed() < secs(8), "{settings:?}: {:?}", began.elapsed());
    assert_eq!(ended.status.code(), Some(1), "{settings:?}: {}", ended.log);
    let line = ended.log.lines().last().unwrap_or_default();
    for word in words {
        assert!(line.contains(word), "{settings:?}: no {word:?} in: {line}");
    }
    assert!(line.starts_with("quckchat: cluster."), "{line}");
    assert!(!ended.log.contains("sesame") && !ended.out.contains("sesame"), "{}", ended.log);
}

#[actix_web::test]
async fn what_is_no_redis_is_refused() {
    let stage = nowhere();
    let hello = b"%2\r\n$7\r\nversion\r\n$5\r\n6.2.7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n+OK\r\n+OK\r\n+OK\r\n";
    for (url, words) in [
        (says_always(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), ["cluster.url", "no Redis"]),
        (says_always(b"\x16\x03\x03 what is this?\r\n"), ["cluster.url", "no Redis"]),
        (hangs_up(), ["cluster.url", "no Redis"]),
        (says_always(hello), ["cluster.url", "7.0 or later"]),
        ("redis://default:sesame@nowhere.invalid:6379".to_owned(), ["cluster.url", "no such host"]),
        ("redis://default:sesame@127.0.0.1:port".to_owned(), ["cluster.url", "redis://user:password@host"]),
        ("redis://127.0.0.1:1/sesame".to_owned(), ["cluster.url", "redis://user:password@host"]),
        ("redis://127.0.0.1:1,redis://127.0.0.1:2".to_owned(), ["cluster.url", "cluster.kind"]),
    ] {
        refuses(&stage, &[("url", &url)], &words).await;
    }
    refuses(&stage, &[("url", "redis://127.0.0.1:1"), ("ca", "/nowhere/ca.pem")], &["cluster.ca", "/nowhere/ca.pem"])
        .await;
    stage.clear().await;
}

#[actix_web::test]
async fn a_redis_that_lets_nobody_in_is_refused() {
    if !has_redis_server() {
        return;
    }
    let stage = nowhere();
    let redis = RedisServer::start(&["--requirepass", "open sesame"]).await;
    let at = format!("127.0.0.1:{}", redis.port);
    let less = RedisServer::start(&["--user", "less", "on", ">sesame", "~*", "&*", "+@all", "-publish"]).await;
    let user = |name: &str, rights: &str| {
        less.asked(&["ACL", "SETUSER", name, "on", ">sesame", "&*", "~*"]);
        less.asked(&[&["ACL", "SETUSER", name][..], &rights.split(' ').collect::<Vec<_>>()[..]].concat());
        format!("redis://{name}:sesame@127.0.0.1:{}", less.port)
    };
    let not_hset = user("not_hset", "+@all -hset");
    let not_multi = user("not_multi", "+@all -multi");
    let other_keys = user("other_keys", "+@all resetkeys ~other:*");
    for url in [not_hset, not_multi, other_keys] {
        refuses(&stage, &[("url", &url)], &["cluster.url", "may not do what a node does", " permissions to "]).await;
    }
    for (url, word) in [
        (format!("redis://{at}"), "it asks for a password"),
        (format!("redis://:sesame@{at}"), "the user or the password in it is wrong"),
        (format!("redis://nobody:sesame@{at}"), "the user or the password in it is wrong"),
        (format!("redis://less:sesame@127.0.0.1:{}", less.port), "may not do what a node does"),
        (format!("redis://127.0.0.1:{}/99", less.port), "it refuses this node"),
    ] {
        refuses(&stage, &[("url", &url)], &["cluster.url", word]).await;
    }
    refuses(&stage, &[("url", &less.url()), ("kind", "cluster")], &["cluster.url", "cluster.kind"]).await;
    refuses(&stage, &[("url", &less.url()), ("kind", "sentinel")], &["cluster.url", "cluster.kind"]).await;
    refuses(&stage, &[("url", &less.url().replace("redis:", "rediss:"))], &["cluster.url", "TLS"]).await;
    stage.clear().await;
}

#[actix_web::test]
async fn a_sentinel_that_knows_another_master_is_refused() {
    if !has_redis_server() {
        return;
    }
    let stage = nowhere();
    let master = RedisServer::start(&[]).await;
    let sentinel = super::modes::sentinel(&master).await;
    let one = [("url", &sentinel.url()[..]), ("kind", "sentinel"), ("sentinel_master", "another")];
    refuses(&stage, &one, &["cluster.url", "cluster.sentinel_master"]).await;
    refuses(&stage, &one[..1], &["cluster.url", "it is a Sentinel", "cluster.kind"]).await;
    stage.clear().await;
}

#[actix_web::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    if !has_redis_server() {
        return;
    }
    let stage = nowhere();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [own, other] = folders.each_ref().map(|folder| Pair::new().is_put(folder.path()));
    let (_redis, url) = speaks_tls(&own).await;
    refuses(&stage, &[("url", &url)], &["cluster.url", "certificate", "cluster.ca"]).await;
    let ca = other.certificate.to_str().unwrap();
    refuses(&stage, &[("url", &url), ("ca", ca)], &["certificate", "cluster.ca"]).await;
    stage.clear().await;
}
