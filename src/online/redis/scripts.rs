//! The scripts that make a call atomic on the server, and how one is sent: by its hash, and with its source where the
//! server does not have it yet or lost it in a restart.
//!
//! Scripts rather than a library of functions: both take the same time (measured), and a script needs no right to
//! load anything, leaves nothing behind, and in a cluster goes to the node that lacks it and to no other.

use std::sync::LazyLock;

use redis::Cmd;

pub static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
pub static APPLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));
pub static COMPLETE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("complete.lua")));
pub static SWEEP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sweep.lua")));

pub struct Script {
    source: &'static str,
    hash: String,
}

/// The count of keys, the keys and the arguments of one call, each copied once: into the command.
#[derive(Clone, Copy)]
pub struct Fill<'a> {
    /// How many arguments there are, and how many bytes, roughly: a flush has thousands, and a command that grows is
    /// copied.
    pub size: (usize, usize),
    pub add: &'a (dyn Fn(&mut Cmd) + Sync),
}

impl<'a> Fill<'a> {
    pub fn short(add: &'a (dyn Fn(&mut Cmd) + Sync)) -> Fill<'a> {
        Fill { size: (0, 0), add }
    }
}

impl Script {
    fn new(source: &'static str) -> Script {
        Script { source, hash: redis::Script::new(source).get_hash().to_owned() }
    }

    pub fn by_hash(&self, fill: Fill) -> Cmd {
        command("EVALSHA", &self.hash, fill)
    }

    pub fn with_source(&self, fill: Fill) -> Cmd {
        command("EVAL", self.source, fill)
    }
}

fn command(name: &str, script: &str, fill: Fill) -> Cmd {
    let (arguments, bytes) = fill.size;
    let mut command = Cmd::with_capacity(2 + arguments, name.len() + script.len() + bytes);
    command.arg(name).arg(script);
    (fill.add)(&mut command);
    command
}
