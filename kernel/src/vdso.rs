//! The vDSO in programs: the shared object of `kernel/vdso` and the page that it reads, mapped into every program.
//!
//! The page tells how the time-stamp counter becomes the kernel's clocks. It changes only when a clock is set; then a reader
//! in user mode sees by a sequence number that it has to start over.

#[path = "../vdso/data.rs"]
mod data;

use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::{clock, cpus};
use alloc::sync::Arc;
use arch::cpu::NumberedBy;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use data::{ASK, CPU_BITS, Data, RDPID, RDTSCP};
use formats::CpuId;
use mm::{AddressSpace, Frame, MapRequest, Object, PAGE, Pager, Place, Prot, VirtAddr};
use spin::Once;

/// The object as a file.
static IMAGE: &[u8] = include_bytes!(env!("TINE_VDSO"));

struct Vdso {
    code: Arc<Object>,
    data: Arc<Object>,
    /// The page that `data` consists of. Held while it is written to.
    page: Lock<Frame, { rank::FILE }>,
    sequence: core::sync::atomic::AtomicU32,
}

static VDSO: Once<Vdso> = Once::new();

struct Image;

impl Pager for Image {
    fn fill(&self, index: u64, page: &mut [u8; PAGE]) {
        let from = IMAGE.get(index as usize * PAGE..).unwrap_or_default();
        let len = from.len().min(PAGE);
        page[..len].copy_from_slice(&from[..len]);
    }
}

/// Makes what programs get. Called once, when the clock runs and before the first program.
///
/// # Errors
/// A sentence, when there is no memory.
pub fn init() -> Result<(), &'static str> {
    const NO_MEMORY: &str = "there is no memory for the vDSO";
    let code = Arc::new(Object::file("[vdso]".into(), IMAGE.len() as u64, Arc::new(Image)));
    let data = Arc::new(Object::anonymous("[vvar]".into(), PAGE as u64));
    // All pages stay, so that who touches them first is not taken for a leak.
    for index in 0..code.pages() {
        drop(code.page(index).map_err(|_| NO_MEMORY)?);
    }
    let page = data.page(0).map_err(|_| NO_MEMORY)?;
    let how = match arch::cpu::numbered_by() {
        Some(NumberedBy::Rdpid) => RDPID,
        Some(NumberedBy::Rdtscp) => RDTSCP,
        None => ASK,
    };
    page.write(offset_of!(Data, cpu_number), &how.to_ne_bytes());
    VDSO.call_once(|| Vdso {
        code,
        data,
        page: Lock::new(page),
        sequence: core::sync::atomic::AtomicU32::new(0),
    });
    update_clocks();
    Ok(())
}

/// Tells this CPU its number in the way in which programs ask for it.
pub fn init_this_cpu(cpu: CpuId) {
    let node = cpus::topology().place(cpu).node;
    arch::cpu::set_number(node << CPU_BITS | cpu.0);
}

/// Makes programs see what the kernel's clocks show. To be called whenever one has been set.
pub fn update_clocks() {
    let Some(vdso) = VDSO.get() else { return };
    let (start, scale) = arch::time::parameters();
    let epoch_ns = clock::epoch_ns();
    let page = vdso.page.lock();
    let next = || (vdso.sequence.fetch_add(1, Ordering::Relaxed) + 1).to_ne_bytes();
    page.write(offset_of!(Data, sequence), &next());
    fence(Ordering::SeqCst);
    page.write(offset_of!(Data, start), &start.to_ne_bytes());
    page.write(offset_of!(Data, scale), &scale.to_ne_bytes());
    page.write(offset_of!(Data, epoch_ns), &epoch_ns.to_ne_bytes());
    fence(Ordering::SeqCst);
    page.write(offset_of!(Data, sequence), &next());
}

/// Maps it into a new program. Returns where the object starts, for `AT_SYSINFO_EHDR`.
///
/// # Errors
/// `ENOMEM`.
pub fn map(space: &AddressSpace) -> Result<VirtAddr, Errno> {
    let vdso = VDSO.get().expect("vdso::init runs before the first program");
    let page = PAGE as u64;
    let bytes = vdso.code.pages() * page;
    let code = |place| MapRequest::object(place, bytes, Prot::READ | Prot::EXEC, vdso.code.clone(), 0);
    // The place is for both; the code then goes over the upper part.
    let data = MapRequest {
        shared: true,
        may_write: false,
        ..MapRequest::object(Place::Anywhere, page + bytes, Prot::READ, vdso.data.clone(), 0)
    };
    let start = space.map(data)? + page;
    space.map(code(Place::Fixed(start)))?;
    Ok(start)
}
