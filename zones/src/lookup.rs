//! What a QNAME meets in a version: the name itself, a zone cut, a DNAME, a wildcard or nothing.

use crate::node::Node;
use crate::sought::Below;
use crate::version::Version;

/// What a QNAME meets.
#[derive(Clone, Copy, Debug)]
pub enum Found<'v> {
    /// The name exists; without RRsets it is an empty non-terminal.
    Node(Node<'v>),
    /// The highest zone cut at or above the QNAME, below the apex. A DS asked for at the cut
    /// itself is answered from this node: it stands on the parent's side.
    Cut(Node<'v>),
    /// A DNAME strictly above the QNAME.
    Dname(Node<'v>),
    /// The name does not exist, and this wildcard answers for it.
    Wildcard {
        /// The wildcard; without RRsets of the QTYPE the answer is NODATA.
        source: Node<'v>,
        /// The name right above it, the lowest one that exists above the QNAME.
        encloser: Node<'v>,
    },
    /// The name does not exist.
    NxDomain {
        /// The lowest name that exists above the QNAME.
        encloser: Node<'v>,
    },
}

impl Version {
    /// What `qname` meets, which is below the origin of this zone.
    #[must_use]
    pub fn find(&self, qname: Below<'_>) -> Found<'_> {
        let counts = self.counts();
        if counts.cuts == 0 && counts.dnames == 0 {
            // Nothing above can be in the way.
            if let Some(node) = self.node_here(qname, qname.label_count()) {
                return Found::Node(node);
            }
            let above = (1..qname.label_count()).rev();
            let mut enclosers =
                above.filter_map(|depth| Some((depth, self.node_below(qname, depth)?)));
            let (depth, encloser) = enclosers.next().unwrap_or_else(|| (0, self.apex()));
            return self.find_below(encloser, depth, qname);
        }
        let mut encloser = self.apex();
        if qname.label_count() == 0 {
            return Found::Node(encloser);
        }
        let mut depth = 0;
        loop {
            // RFC 6672 section 2.3: a DNAME redirects the names below it, not its own.
            if encloser.has_dname() {
                return Found::Dname(encloser);
            }
            let Some(node) = self.node_below(qname, depth + 1) else {
                break;
            };
            depth += 1;
            // RFC 1034 section 4.3.2 step 3b: on the way down the first cut ends the search.
            if node.is_cut() {
                return Found::Cut(node);
            }
            if depth == qname.label_count() {
                return Found::Node(node);
            }
            encloser = node;
        }
        self.find_below(encloser, depth, qname)
    }

    /// What a name meets that does not exist, below its closest encloser.
    fn find_below<'v>(&'v self, encloser: Node<'v>, depth: usize, qname: Below<'_>) -> Found<'v> {
        // RFC 4592 section 3.3.1: only the wildcard right below the closest encloser counts, and
        // empty non-terminals are enclosers like all names.
        if self.counts().wildcards > 0
            && let Some(source) = self.wildcard_below(qname, depth)
        {
            return Found::Wildcard { source, encloser };
        }
        Found::NxDomain { encloser }
    }
}
