//! What the tree was when it was built, and making it that again.
//!
//! The very same objects are put back, so that exactly as much memory is in use as before.

use super::names::{self, Map};
use super::{Body, Content, Inode, Metadata, Node};
use alloc::{sync::Arc, vec::Vec};
use spin::Once;

/// The nodes that were there at the start.
static ORIGINALS: Once<Vec<Arc<Node>>> = Once::new();

/// Set once, for a node that was there at the start.
#[derive(Default)]
pub struct Origin(Once<State>);

struct State {
    metadata: Metadata,
    /// Of a directory.
    names: Option<Arc<Map>>,
}

/// The tree below these directories is complete.
pub fn seal(roots: &[Arc<Node>]) {
    let mut nodes: Vec<Arc<Node>> = roots.to_vec();
    let mut at = 0;
    while let Some(node) = nodes.get(at).cloned() {
        let names = node.names().ok().map(names::Names::all);
        let below = names.iter().flat_map(|names| names.values());
        nodes.extend(below.filter_map(|inode| Node::of(inode)?.this.upgrade()));
        node.origin.0.call_once(|| State { metadata: Inode::metadata(&*node), names });
        at += 1;
    }
    nodes.shrink_to_fit();
    ORIGINALS.call_once(|| nodes);
}

fn originals() -> &'static [Arc<Node>] {
    ORIGINALS.get().map_or(&[], Vec::as_slice)
}

/// Undoes all that was done to the tree. No process may be left.
pub fn reset() {
    for node in originals() {
        let Some(state) = node.origin.0.get() else { continue };
        *node.metadata.lock() = state.metadata;
        if let (Body::Directory(directory), Some(map)) = (&node.body, &state.names) {
            directory.restore(map);
        }
        if let Some(content) = node.content() {
            content.reset();
        }
    }
}

/// Gives back the pages of files that nobody maps and that can be read from the archive again.
pub fn trim() {
    for content in originals().iter().filter_map(|node| node.content()) {
        Content::object(content).shrink();
    }
}
