//! Tokens: what a client gets for logging in and carries in every later call. A token is `<user>\0<expiry><tag>`, the
//! tag an HMAC under a key that lives as long as the process. Knows nothing of passwords or of gRPC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Clients log in again when a call is refused as unauthenticated, so a token need not live long; this is a day's work.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const TAG_LEN: usize = 32;
const EXPIRY_LEN: usize = 8;

/// Issues tokens and recognises its own.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

/// Why a token is not good. Says nothing that would help to forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token was not issued by this process; log in again")]
    Foreign,
    #[error("the token has expired; log in again")]
    Expired,
}

impl TokenKey {
    /// A key that no other process has.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// A token for `user`, good for a day from now.
    pub fn issue(&self, user: &str) -> Vec<u8> {
        self.issue_until(user, SystemTime::now() + LIFETIME)
    }

    fn issue_until(&self, user: &str, expiry: SystemTime) -> Vec<u8> {
        let expiry_s = expiry.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut token = [user.as_bytes(), b"\0", &expiry_s.to_be_bytes()].concat();
        let tag = self.mac(&token).finalize().into_bytes();
        token.extend_from_slice(&tag);
        token
    }

    /// Succeeds when `token` is one of this key's and has not expired.
    pub fn check(&self, token: &[u8]) -> Result<(), TokenError> {
        let body_len = token.len().checked_sub(TAG_LEN).ok_or(TokenError::Foreign)?;
        let (body, tag) = token.split_at(body_len);
        // Takes the same time wherever the two differ.
        self.mac(body).verify_slice(tag).map_err(|_| TokenError::Foreign)?;

        let (_, expiry) = body.split_last_chunk::<EXPIRY_LEN>().ok_or(TokenError::Foreign)?;
        let expiry = UNIX_EPOCH + Duration::from_secs(u64::from_be_bytes(*expiry));
        if expiry < SystemTime::now() { Err(TokenError::Expired) } else { Ok(()) }
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        // A key of exactly the block's type can not have a wrong length.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::new(&block);
        mac.update(message);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_the_key_that_issued_it() {
        let key = TokenKey::random();
        let token = key.issue("root");
        assert_eq!(key.check(&token), Ok(()));
        assert_eq!(TokenKey::random().check(&token), Err(TokenError::Foreign));
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed() {
        let key = TokenKey::random();
        let token = key.issue("root");
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert_eq!(key.check(&changed), Err(TokenError::Foreign), "byte {at}");
        }
        for len in 0..token.len() {
            assert_eq!(key.check(&token[..len]), Err(TokenError::Foreign), "cut to {len}");
        }
    }

    #[test]
    fn a_token_expires() {
        let key = TokenKey::random();
        let token = key.issue_until("root", SystemTime::now() - Duration::from_secs(5));
        assert_eq!(key.check(&token), Err(TokenError::Expired));
    }
}
