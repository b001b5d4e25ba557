//! The commits of a partition, one after another: those that were compacted as the larger ones that stand for them, then
//! the others.
//!
//! Promises: whatever was compacted by then, the same records up to the same offset; without a gap, or an error says
//! where one is. What is listed and read grows with what was compacted, not with how often records were committed.

use std::ops::Range;

use crate::kernel::definition::Source;
use crate::offline::commit::{self, Commit};
use crate::offline::{Archive, Error};

impl Archive {
    /// Where the partition's last commit ends, after a look at those that are not compacted; `None` before the first.
    pub fn position(&self, source: &Source, partition: u32) -> Result<Option<u64>, Error> {
        let mut chain: Vec<Commit> = self.last_compacted(source, partition)?.into_iter().collect();
        let from = chain.last().map_or(0, |commit| commit.to);
        chain.extend(self.commits(&commit::chain(source, partition), from..u64::MAX)?);
        commit::verify(source, partition, &chain)?;
        Ok(chain.last().map(|commit| commit.to))
    }

    /// Where the last commit ends by now, if `from` was a commit's end: reads only what came since.
    pub fn position_since(&self, source: &Source, partition: u32, mut from: u64) -> Result<u64, Error> {
        let chain = commit::chain(source, partition);
        while let Some(commit) = self.commit_at(source, partition, &chain, from)? {
            from = commit.to;
        }
        Ok(from)
    }

    /// Where the partition's first commit starts; `None` before it.
    pub fn start(&self, source: &Source, partition: u32) -> Result<Option<u64>, Error> {
        for chain in commit::chains(source, partition) {
            if let Some(first) = self.starts(&chain, 0..u64::MAX)?.first().copied() {
                return Ok(self.commit_at(source, partition, &chain, first)?.map(|commit| commit.from));
            }
        }
        Ok(None)
    }

    /// Whether a commit of the partition starts at `from`.
    pub fn has_commit(&self, source: &Source, partition: u32, from: u64) -> Result<bool, Error> {
        Ok(self.commit_at(source, partition, &commit::chain(source, partition), from)?.is_some())
    }

    /// The commits that end at `end` or before.
    pub(super) fn chain(&self, source: &Source, partition: u32, end: u64) -> Result<Vec<Commit>, Error> {
        let [compacted, all] = commit::chains(source, partition);
        let mut chain = self.commits(&compacted, 0..end)?;
        // The end may be that of a commit which was compacted with later ones.
        chain.retain(|commit| commit.to <= end);
        let from = chain.last().map_or(0, |commit| commit.to);
        chain.extend(self.commits(&all, from..end)?);
        commit::verify(source, partition, &chain)?;
        Ok(chain)
    }

    /// The commit with `offset` among its records, which may also be a gap in the log: the largest there is.
    pub(in crate::offline) fn commit_holding(
        &self,
        source: &Source,
        partition: u32,
        offset: u64,
    ) -> Result<Option<Commit>, Error> {
        let chains = commit::chains(source, partition);
        // Whoever reads on from a commit's end finds the next one without a listing.
        for chain in &chains {
            if let Some(commit) = self.commit_at(source, partition, chain, offset)? {
                return Ok(Some(commit));
            }
        }
        for chain in &chains {
            let start = self.starts(chain, 0..offset)?.pop();
            let commit = start.map(|start| self.commit_at(source, partition, chain, start)).transpose()?.flatten();
            if let Some(commit) = commit.filter(|commit| offset < commit.to) {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    pub(super) fn last_compacted(&self, source: &Source, partition: u32) -> Result<Option<Commit>, Error> {
        let chain = commit::compacted_chain(source, partition);
        match self.starts(&chain, 0..u64::MAX)?.last() {
            Some(last) => self.commit_at(source, partition, &chain, *last),
            None => Ok(None),
        }
    }

    pub(super) fn commit_at(
        &self,
        source: &Source,
        partition: u32,
        chain: &str,
        from: u64,
    ) -> Result<Option<Commit>, Error> {
        let path = commit::path(chain, from);
        let commit = self.folder.get(&path)?.map(|json| Commit::decode(&path, &json)).transpose()?;
        commit.iter().try_for_each(|commit| commit::verify(source, partition, std::slice::from_ref(commit)))?;
        Ok(commit)
    }

    /// At most `count` of a chain, from the one on that starts at `from` or behind it.
    pub(super) fn first_commits(&self, chain: &str, from: u64, count: usize) -> Result<Vec<Commit>, Error> {
        let mut starts = self.starts(chain, from..u64::MAX)?;
        starts.truncate(count);
        self.read_commits(chain, &starts)
    }

    /// Those of a chain that start in a range.
    fn commits(&self, chain: &str, range: Range<u64>) -> Result<Vec<Commit>, Error> {
        self.read_commits(chain, &self.starts(chain, range)?)
    }

    fn read_commits(&self, chain: &str, starts: &[u64]) -> Result<Vec<Commit>, Error> {
        let paths: Vec<String> = starts.iter().map(|from| commit::path(chain, *from)).collect();
        let read = self.folder.read_all(&paths)?;
        paths.iter().zip(read).map(|(path, json)| Commit::decode(path, &json)).collect()
    }

    /// The offsets in a range at which commits of a chain start, in order.
    fn starts(&self, chain: &str, range: Range<u64>) -> Result<Vec<u64>, Error> {
        let start = |name: &String| {
            name.parse().map_err(|_| Error::damaged(chain, format!("`{name}` is not the offset of a commit")))
        };
        let before = range.start.checked_sub(1).map(commit::name);
        let names = self.folder.list_after(chain, before.as_deref())?;
        let starts: Result<Vec<u64>, Error> = names.iter().map(start).collect();
        Ok(starts?.into_iter().take_while(|start| *start < range.end).collect())
    }
}
