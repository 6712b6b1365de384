//! From a name that a client asks for to a seat at an export, or to words why not.

use std::sync::Arc;
use std::time::SystemTime;

use nbd::server::RefusalKind;
use security::{Access, Grant, Identity};

use super::catalogue::{Catalogue, CatalogueError, Holding, cost};
use super::entry::{Busy, Entry, Seat, Source};
use super::link::Link;
use super::policy::{Pattern, Policy};
use super::view::{Refused, Shown};
use crate::config::{ExportSpec, sized_name};

/// How often a seat is tried for against others that come at the same time.
const ATTEMPTS: usize = 16;

/// Whoever is at the other end of a connection, before it has chosen an export.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) identity: Identity,
    /// Where it came from, for logs.
    pub(crate) peer: String,
}

impl Refused {
    fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The export is not there, or not for this client to know.
    fn unknown(text: impl Into<String>) -> Self {
        Self::new(RefusalKind::Unknown, text)
    }

    fn policy(text: impl Into<String>) -> Self {
        Self::new(RefusalKind::Policy, text)
    }
}

impl From<CatalogueError> for Refused {
    fn from(error: CatalogueError) -> Self {
        // What is wrong with a store may name paths and addresses, which are none of a client's business.
        tracing::error!("{error}");
        Self::policy("the export cannot be made; the server's log says why")
    }
}

/// What a name stands for.
enum Meant<'p> {
    Existing(Arc<Entry>),
    /// Nothing yet, but the pattern would let it be made.
    New(&'p Pattern, ExportSpec),
}

impl Catalogue {
    /// What a client may know of an export, which need not have been made yet. Changes nothing.
    pub(super) fn look(&self, visitor: &Visitor, name: &str) -> Result<Shown, Refused> {
        let policy = self.policy();
        let (meant, grant) = self.meant(&policy, visitor, name)?;
        Ok(match meant {
            Meant::Existing(entry) => shown(&entry, &grant),
            Meant::New(_, spec) => {
                let may_write = grant.access.may_write();
                let is_exclusive = spec.exclusive || grant.access == Access::Exclusive;
                let description = format!("{}, made when it is entered", spec.size);
                Shown { info: super::entry::info(&spec, is_exclusive, may_write), name: spec.name, description, is_exclusive }
            }
        })
    }

    /// The names a client may see.
    pub(super) fn visible(&self, visitor: &Visitor) -> Vec<String> {
        let policy = self.policy();
        let names = self.entries().into_iter().map(|entry| entry.name().to_owned());
        names.filter(|name| policy.acl.may_see(&visitor.identity, name)).collect()
    }

    fn meant<'p>(&self, policy: &'p Policy, visitor: &Visitor, name: &str) -> Result<(Meant<'p>, Grant), Refused> {
        // In the client's own words, whatever is the case: what it may not know of and what is not there sound the same.
        let no_such = || Refused::unknown(security::no_such_export(name));
        let allowed = |export: &str| {
            policy.acl.decide(&visitor.identity, export).map_err(|denial| {
                tracing::info!(peer = visitor.peer, export, "refused: {}", denial.why);
                no_such()
            })
        };
        if let Some(entry) = self.resolve(name) {
            let grant = allowed(entry.name())?;
            return Ok((Meant::Existing(entry), grant));
        }
        let (base, size) = sized_name(name).map_err(|error| Refused::policy(format!("export `{name}`: {error}")))?;
        if let Some(entry) = self.get(base) {
            // A client comes back to what it had made, with the same words.
            let grant = allowed(base)?;
            let wanted = size.unwrap_or(entry.spec.size);
            return match wanted == entry.spec.size {
                true => Ok((Meant::Existing(entry), grant)),
                false => Err(Refused::policy(format!("export `{base}` is there, and has {}, not {wanted}", entry.spec.size))),
            };
        }
        let pattern = policy.pattern(base).ok_or_else(no_such)?;
        let grant = allowed(base)?;
        if !grant.may_create {
            return Err(no_such());
        }
        let spec = pattern.spec.export(base, size).map_err(Refused::policy)?;
        Ok((Meant::New(pattern, spec), grant))
    }

    /// Lets a client use an export, which is made if it may be. Older connections of the same client are fenced off.
    pub(super) async fn admit(self: &Arc<Self>, visitor: &Visitor, name: &str) -> Result<(Shown, Seat), Refused> {
        for _ in 0..ATTEMPTS {
            let policy = self.policy();
            let (meant, grant) = self.meant(&policy, visitor, name)?;
            let label = visitor.identity.label();
            let entry = match meant {
                Meant::Existing(entry) => entry,
                Meant::New(pattern, spec) => self.make_for(&label, pattern, &spec, &grant).await?,
            };
            // Whoever is fenced off may be the last to leave; the export must not go with it.
            let Ok(_expected) = entry.expect(self) else {
                tokio::task::yield_now().await;
                continue;
            };
            let is_exclusive = entry.spec.exclusive || grant.access == Access::Exclusive;
            let (link, cord) = Link::new(visitor.identity.clone(), grant, is_exclusive);
            entry.fence(&link, policy.limits.fence).await.map_err(Refused::policy)?;
            // Counted only now: those just fenced are no longer there.
            self.check_connections(&policy, &link)?;
            let shown = shown(&entry, &link.grant);
            match entry.seat(link, cord, self) {
                Ok(seat) => return Ok((shown, seat)),
                // Gone, or taken, since we looked: look again.
                Err(Busy::Closed | Busy::Exclusive) => tokio::task::yield_now().await,
            }
        }
        Err(Refused::policy("the export is taken over by others again and again; try again later"))
    }

    fn check_connections(&self, policy: &Policy, link: &Link) -> Result<(), Refused> {
        let open = self.connections_of(&link.label);
        if let Some(limit) = policy.limits.connections_per_identity.filter(|&limit| open >= limit) {
            return Err(Refused::policy(format!("{} has {open} connections, and may have {limit}", link.label)));
        }
        link.grant.check_connections(open).map_err(|refusal| Refused::policy(refusal.to_string()))
    }

    async fn make_for(self: &Arc<Self>, owner: &str, pattern: &Pattern, spec: &ExportSpec, grant: &Grant) -> Result<Arc<Entry>, Refused> {
        let source = Source::Made { owner: owner.into(), lifetime: pattern.spec.lifetime, since: SystemTime::now() };
        let allowed = |holding: Holding| {
            if let Some(max) = pattern.spec.max_per_identity.filter(|&max| holding.exports >= max) {
                return Err(Refused::policy(format!("{owner} has {} exports made on demand, and may have {max}", holding.exports)));
            }
            let created = grant.check_create(&spec.name, cost(spec), holding.bytes);
            created.map_err(|refusal| Refused::policy(refusal.to_string()))
        };
        self.find_or_make(spec, &source, allowed).await
    }
}

fn shown(entry: &Entry, grant: &Grant) -> Shown {
    let is_exclusive = entry.spec.exclusive || grant.access == Access::Exclusive;
    let info = entry.info(is_exclusive, grant.access.may_write());
    Shown { name: entry.name().into(), description: entry.describe(), info, is_exclusive }
}
