//! Jobs of one lane that wait here, in turns by tenant: whoever brings many waits behind his own.

use std::collections::VecDeque;

use posthaste_mail::Tenant;

use super::trunk::Work;

/// See the module.
#[derive(Default)]
pub(super) struct Fair {
    /// The tenant whose turn it is comes first; none is empty.
    tenants: VecDeque<(Tenant, VecDeque<Work>)>,
    len: usize,
}

impl Fair {
    pub fn push(&mut self, work: Work) {
        self.len += 1;
        match self.tenants.iter_mut().find(|(tenant, _)| *tenant == work.job.tenant) {
            Some((_, works)) => works.push_back(work),
            None => self.tenants.push_back((work.job.tenant.clone(), VecDeque::from([work]))),
        }
    }

    /// Puts back what was taken: it is next.
    pub fn put_back(&mut self, work: Work) {
        self.len += 1;
        let at = self.tenants.iter().position(|(tenant, _)| *tenant == work.job.tenant);
        let (tenant, mut works) = match at.and_then(|at| self.tenants.remove(at)) {
            Some(there) => there,
            None => (work.job.tenant.clone(), VecDeque::new()),
        };
        works.push_front(work);
        self.tenants.push_front((tenant, works));
    }

    pub fn pop(&mut self) -> Option<Work> {
        let (tenant, mut works) = self.tenants.pop_front()?;
        let work = works.pop_front();
        if !works.is_empty() {
            self.tenants.push_back((tenant, works));
        }
        self.len -= usize::from(work.is_some());
        work
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// How many are served before the next job of a tenant.
    pub fn ahead_of(&self, tenant: &Tenant) -> usize {
        let own = self.tenants.iter().find(|(of, _)| of == tenant).map_or(0, |(_, works)| works.len());
        let others = self.tenants.iter().filter(|(of, _)| of != tenant);
        own + others.map(|(_, works)| works.len().min(own + 1)).sum::<usize>()
    }

    pub fn drain(&mut self) -> Vec<Work> {
        self.len = 0;
        self.tenants.drain(..).flat_map(|(_, works)| works).collect()
    }
}
