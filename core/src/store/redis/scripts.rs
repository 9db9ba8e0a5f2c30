//! What the server does in one step: Lua, loaded when it is not known there.
//!
//! Each script may be run twice with the same arguments and does no more than once, for the connection may break after it
//! was sent. Nothing of unknown length is transferred, and nothing that is not ours is overwritten. The first word of each
//! answer says how it went:
//!
//! | word | means |
//! | --- | --- |
//! | `none` | there is no record |
//! | `record` | one stands there: its generation, its age in milliseconds by the server's clock, its bytes |
//! | `stored` | it was written |
//! | `leased`, `held` | the lease is the owner's, or somebody else's |
//! | `named` | the naming key that stands there now |
//! | `renamed` | another naming key stands there than the one that the names were made with |
//! | `foreign`, `large` | what stands there is not ours, or longer than a record may be |

use redis::{Cmd, Value, cmd};
use ring::digest;

use super::super::MAX_RECORD;
use super::connection::Connection;
use super::fault::{Fault, Then};
use crate::error::Result;

/// KEYS[2] is the naming key, ARGV[1] the bytes that this process took it from. Where it is gone, it is written again: others
/// go on under the same names.
const SAME_NAMES: &str = "
local known = redis.call('TYPE', KEYS[2]).ok
if known == 'none' then
    redis.call('SET', KEYS[2], ARGV[1])
elseif known ~= 'string' or redis.call('GETRANGE', KEYS[2], 0, 512) ~= ARGV[1] then
    return {'renamed'}
end
";

/// KEYS[1] is a record, `longest` the limit of its length. `standing` becomes what is told of it.
const STANDING: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local standing, generation, bytes = {'none'}, '0', ''
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'hash' then
    local function length(field) return redis.call('HSTRLEN', KEYS[1], field) end
    if length('g') > 20 or length('t') > 20 then return {'foreign'} end
    if length('r') > longest then return {'large'} end
    local fields = redis.call('HMGET', KEYS[1], 'g', 'r', 't')
    local written = tonumber(fields[3] or '')
    if not fields[1] or not fields[2] or not written then return {'foreign'} end
    generation, bytes = fields[1], fields[2]
    local age = math.min(math.max(now - written, 0), now)
    standing = {'record', generation, string.format('%.0f', age), bytes}
elseif kind ~= 'none' then
    return {'foreign'}
end
";

/// ARGV: naming key.
const LOAD: &str = "return standing";

/// ARGV: naming key, the generation that is expected, the bytes that are expected or nothing, the new
/// generation, the new bytes, how many milliseconds they are of use (0: for ever), channel or nothing, outer name.
///
/// The announcement is a hint, so that a user who may not make it can use the store all the same.
const SWAP: &str = "
if bytes == ARGV[5] then return {'stored'} end
if generation ~= ARGV[2] or (ARGV[3] ~= '' and bytes ~= ARGV[3]) then return standing end
redis.call('HSET', KEYS[1], 'g', ARGV[4], 'r', ARGV[5], 't', string.format('%.0f', now))
if ARGV[6] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
if ARGV[7] ~= '' then redis.pcall('PUBLISH', ARGV[7], ARGV[8]) end
return {'stored'}
";

/// KEYS[1] is a lease. ARGV: naming key, owner, milliseconds.
const LEASE: &str = "
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' then
    if kind ~= 'string' then return {'foreign'} end
    if redis.call('GETRANGE', KEYS[1], 0, 512) ~= ARGV[2] then return {'held'} end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {'leased'}
";

/// ARGV: owner, channel, outer name.
const RELEASE: &str = "
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GETRANGE', KEYS[1], 0, 512) == ARGV[1] then
    redis.call('DEL', KEYS[1])
    redis.pcall('PUBLISH', ARGV[2], ARGV[3])
end
return {'released'}
";

/// KEYS[1] is the naming key. ARGV: the one to write where none stands, or where exactly the second one does. Whoever is
/// first wins.
const NAME: &str = "
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'string' then return {'foreign'} end
if redis.call('STRLEN', KEYS[1]) > 512 then return {'foreign'} end
local standing = redis.call('GET', KEYS[1]) or ''
if standing == '' or standing == ARGV[2] then
    redis.call('SET', KEYS[1], ARGV[1])
    standing = ARGV[1]
end
return {'named', standing}
";

pub(super) struct Scripts {
    pub(super) load: Script,
    pub(super) swap: Script,
    pub(super) lease: Script,
    pub(super) release: Script,
    pub(super) name: Script,
}

pub(super) struct Script {
    text: String,
    /// The name that the server gives it.
    sha1: String,
}

/// The first word of an answer, and the rest.
pub(super) struct Reply {
    pub(super) word: String,
    pub(super) rest: Vec<Vec<u8>>,
}

impl Scripts {
    pub(super) fn new() -> Scripts {
        let longest = format!("local longest = {MAX_RECORD}");
        Scripts {
            load: Script::new(&[&longest, SAME_NAMES, STANDING, LOAD]),
            swap: Script::new(&[&longest, SAME_NAMES, STANDING, SWAP]),
            lease: Script::new(&[SAME_NAMES, LEASE]),
            release: Script::new(&[RELEASE]),
            name: Script::new(&[NAME]),
        }
    }
}

impl Script {
    fn new(parts: &[&str]) -> Script {
        let text = parts.concat();
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha1 = sha1.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Script { text, sha1 }
    }

    pub(super) async fn run(&self, connection: &Connection, keys: &[&str], args: &[&[u8]]) -> Result<Reply> {
        let answer = match connection.run(&command("EVALSHA", &self.sha1, keys, args)).await {
            Err(Fault { then: Then::SendScript, .. }) => connection.run(&command("EVAL", &self.text, keys, args)).await,
            answer => answer,
        };
        let answer = answer.map_err(|fault| fault.error)?;
        Reply::read(answer).ok_or_else(|| connection.dialer.unreachable("its answer makes no sense").error)
    }
}

impl Reply {
    fn read(answer: Value) -> Option<Reply> {
        let Value::Array(parts) = answer else { return None };
        let text = |part| match part {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        };
        let mut parts = parts.into_iter().map(text);
        let word = String::from_utf8(parts.next()??).ok()?;
        Some(Reply { word, rest: parts.collect::<Option<_>>()? })
    }
}

fn command(name: &str, script: &str, keys: &[&str], args: &[&[u8]]) -> Cmd {
    cmd(name).arg(script).arg(keys.len()).arg(keys).arg(args).take()
}
