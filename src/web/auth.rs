//! Basic authentication against bcrypt hashes.
//!
//! A hash takes tens of milliseconds by design. So it runs on a thread of its own, a few at a time;
//! who waits too long, or finds too many waiting, is told to come again. A password that was right
//! is remembered as a keyed digest, which says nothing of it outside this process. For a user that
//! there is not, the hash of one that there is is computed, so that the time tells neither.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{hmac, rand};
use tokio::sync::{Semaphore, oneshot};
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

use crate::secret::Secret;

/// Hashes computed at the same time: scrapes come before strangers, on one core too.
const HASHES: usize = 2;

/// Requests that wait for that.
const WAITING: usize = 32;

/// How long they do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pairs of user and password that are remembered.
const REMEMBERED: usize = 100;

/// What bcrypt takes for a cost: twice the work with each step.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// The characters of bcrypt's own base64, by value.
const ALPHABET: &str = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Who may ask.
#[derive(Debug, Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, Arc<Hash>>,
}

#[derive(Debug)]
struct Hash(Secret);

impl Users {
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Adds a user, or says what is wrong with the hash.
    pub(super) fn add(&mut self, name: String, hash: &Secret) -> Result<(), String> {
        let text = canonical(hash.expose());
        let parts: bcrypt::HashParts = text.parse().map_err(|_| {
            "the password is not a bcrypt hash, as `htpasswd -nBC 10 \"\"` prints one".to_owned()
        })?;
        let cost = parts.get_cost();
        if !COSTS.contains(&cost) {
            return Err(format!(
                "the cost {cost} of the hash is not within 4 and 31"
            ));
        }
        self.hashes.insert(name, Arc::new(Hash(Secret::new(text))));
        Ok(())
    }
}

/// A hash whose last characters have no bits that mean nothing: some tools leave them set, and most
/// readers pass over them.
fn canonical(hash: &str) -> String {
    let clear = |at: usize, character: char| {
        let mask = match at {
            28 => !0b1111,
            59 => !0b11,
            _ => return character,
        };
        let value = ALPHABET.find(character).map(|value| value & mask);
        let cleared = value.and_then(|value| ALPHABET.as_bytes().get(value));
        cleared.map_or(character, |byte| char::from(*byte))
    };
    let characters = hash.chars().enumerate();
    characters.map(|(at, c)| clear(at, c)).collect()
}

/// What became of a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are right.
    Allowed,
    /// They are wrong, or there are none.
    Refused,
    /// Too many are being looked at.
    Busy,
}

/// Looks at credentials.
#[derive(Debug)]
pub(super) struct Gate {
    key: hmac::Key,
    /// Digests of credentials that were right, last used last.
    known: Mutex<VecDeque<Vec<u8>>>,
    hashes: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Gate {
    /// None when the system has no random numbers.
    pub(super) fn new() -> Option<Self> {
        let random = rand::SystemRandom::new();
        Some(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random).ok()?,
            known: Mutex::default(),
            hashes: Arc::new(Semaphore::new(HASHES)),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// Judges the credentials of a request.
    pub(super) async fn judge(&self, users: &Users, headers: &HeaderMap) -> Verdict {
        let Some((name, password)) = credentials(headers) else {
            return Verdict::Refused;
        };
        let own = str::from_utf8(&name)
            .ok()
            .and_then(|name| users.hashes.get(name));
        let Some(hash) = own.or_else(|| self.substitute(users, &name)) else {
            return Verdict::Refused;
        };
        let digest = self.digest(&[&name, hash.0.expose().as_bytes(), &password]);
        if own.is_some() && self.knows(&digest) {
            return Verdict::Allowed;
        }
        let Ok(waits) = self.waiting.try_acquire() else {
            return Verdict::Busy;
        };
        let turn = Arc::clone(&self.hashes).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turn).await else {
            return Verdict::Busy;
        };
        drop(waits);
        // Somebody before may have asked with the same.
        if own.is_some() && self.knows(&digest) {
            return Verdict::Allowed;
        }
        let (tell, told) = oneshot::channel();
        let hash = Arc::clone(hash);
        // A thread of its own, not one of the runtime's: that would wait for it at the end, and a
        // hash of a high cost takes minutes.
        let spawned = std::thread::Builder::new()
            .name("bcrypt".to_owned())
            .spawn(move || {
                let right = bcrypt::verify(&password, hash.0.expose()).unwrap_or(false);
                // Also when nobody waits any more: the turn lasts as long as the work.
                drop(turn);
                let _ = tell.send(right);
            });
        if spawned.is_err() {
            return Verdict::Busy;
        }
        if told.await.unwrap_or(false) && own.is_some() {
            self.remember(digest);
            Verdict::Allowed
        } else {
            Verdict::Refused
        }
    }

    /// The hash to compute for a user that there is not: always the same for a name, so that names
    /// are alike also where costs differ.
    fn substitute<'u>(&self, users: &'u Users, name: &[u8]) -> Option<&'u Arc<Hash>> {
        let digest = self.digest(&[name]);
        let number = digest.iter().fold(0_usize, |number, byte| {
            number.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        let at = number.checked_rem(users.hashes.len())?;
        users.hashes.values().nth(at)
    }

    fn digest(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // With its length, so that no two lists run together to the same bytes.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    fn knows(&self, digest: &[u8]) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = known.iter().position(|have| have == digest) else {
            return false;
        };
        let found = known.remove(at);
        known.extend(found);
        true
    }

    fn remember(&self, digest: Vec<u8>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.pop_front();
        }
        known.push_back(digest);
    }
}

/// The name and password of a request.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut name = STANDARD.decode(encoded).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.pop();
    Some((name, password))
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    /// `pencil`, with the least cost that there is.
    fn hash() -> Secret {
        Secret::new(bcrypt::hash("pencil", 4).unwrap())
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn basic(name: &str, password: &str) -> HeaderMap {
        headers(&format!(
            "Basic {}",
            STANDARD.encode(format!("{name}:{password}"))
        ))
    }

    #[test]
    fn credentials_of_a_request() {
        for (value, want) in [
            ("Basic YTpi", Some(("a", "b"))),
            ("bAsIc YTpi", Some(("a", "b"))),
            ("Basic YTpiOmM=", Some(("a", "b:c"))),
            ("Basic Og==", Some(("", ""))),
            ("Basic YQ==", None),
            ("Basic", None),
            ("Basic ", None),
            ("Basic !!", None),
            ("Bearer YTpi", None),
            ("", None),
        ] {
            let have = credentials(&headers(value));
            let want = want.map(|(name, password)| (name.into(), password.into()));
            assert_eq!(have, want, "{value:?}");
        }
    }

    #[tokio::test]
    async fn right_and_wrong() {
        let mut users = Users::default();
        users.add("amy".to_owned(), &hash()).unwrap();
        let gate = Gate::new().unwrap();
        for _ in 0..2 {
            for (name, password, want) in [
                ("amy", "pencil", Verdict::Allowed),
                ("amy", "pencil2", Verdict::Refused),
                ("amy", "", Verdict::Refused),
                ("bob", "pencil", Verdict::Refused),
                ("", "pencil", Verdict::Refused),
                ("Amy", "pencil", Verdict::Refused),
            ] {
                let verdict = gate.judge(&users, &basic(name, password)).await;
                assert_eq!(verdict, want, "{name}:{password}");
            }
        }
        assert_eq!(
            gate.known.lock().unwrap().len(),
            1,
            "only what was right is remembered"
        );
        // Another hash for the same name is another password.
        let mut others = Users::default();
        let other = Secret::new(bcrypt::hash("brush", 4).unwrap());
        others.add("amy".to_owned(), &other).unwrap();
        let verdict = gate.judge(&others, &basic("amy", "pencil")).await;
        assert_eq!(verdict, Verdict::Refused);
        let verdict = gate.judge(&users, &HeaderMap::new()).await;
        assert_eq!(verdict, Verdict::Refused);
    }

    #[tokio::test]
    async fn what_is_remembered_has_a_bound() {
        let gate = Gate::new().unwrap();
        for number in 0..=REMEMBERED {
            gate.remember(gate.digest(&[&number.to_be_bytes()]));
        }
        assert_eq!(gate.known.lock().unwrap().len(), REMEMBERED);
        assert!(!gate.knows(&gate.digest(&[&0_usize.to_be_bytes()])));
        assert!(gate.knows(&gate.digest(&[&1_usize.to_be_bytes()])));
    }

    #[tokio::test]
    async fn too_many_are_told_to_come_again() {
        let mut users = Users::default();
        users.add("amy".to_owned(), &hash()).unwrap();
        let gate = Gate::new().unwrap();
        assert_eq!(
            gate.judge(&users, &basic("amy", "pencil")).await,
            Verdict::Allowed
        );
        let _full = gate
            .waiting
            .try_acquire_many(u32::try_from(WAITING).unwrap());
        assert_eq!(gate.judge(&users, &basic("bob", "x")).await, Verdict::Busy);
        // Who is known does not wait.
        assert_eq!(
            gate.judge(&users, &basic("amy", "pencil")).await,
            Verdict::Allowed
        );
    }

    #[test]
    fn hashes() {
        let good = hash();
        let good = good.expose();
        let mut sloppy = good.as_bytes().to_vec();
        let value = ALPHABET.find(char::from(sloppy[28])).unwrap();
        sloppy[28] = ALPHABET.as_bytes()[value + 1];
        let sloppy = String::from_utf8(sloppy).unwrap();
        for (what, hash, want) in [
            ("as made", good.to_owned(), true),
            ("PHP's prefix", good.replace("$2b$", "$2y$"), true),
            ("bits that mean nothing", sloppy, true),
            ("a password", "pencil".to_owned(), false),
            ("nothing", String::new(), false),
            ("cut", good.chars().take(59).collect(), false),
            ("another cost", good.replace("$04$", "$32$"), false),
            ("MD5", "$apr1$x$y".to_owned(), false),
        ] {
            let added = Users::default().add("amy".to_owned(), &Secret::new(hash));
            assert_eq!(added.is_ok(), want, "{what}: {added:?}");
        }
    }

    /// As libxcrypt makes it of `pencil`.
    #[tokio::test]
    async fn a_hash_of_another_program() {
        let hash = "$2y$05$aaaaaaaaaaaaaaaaaaaaauycvAZ6NbFznthGArKnEmkEy.manR1FW";
        let mut users = Users::default();
        users
            .add("amy".to_owned(), &Secret::new(hash.to_owned()))
            .unwrap();
        let gate = Gate::new().unwrap();
        for (password, want) in [("pencil", Verdict::Allowed), ("brush", Verdict::Refused)] {
            let verdict = gate.judge(&users, &basic("amy", password)).await;
            assert_eq!(verdict, want, "{password}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut users = Users::default();
        users.add("amy".to_owned(), &hash()).unwrap();
        assert!(!format!("{users:?}").contains("$2"));
    }
}
