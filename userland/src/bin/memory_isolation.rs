//! After fork, each process has memory of its own, and shares exactly what it asked to share.

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::cpus;
use userland::memory::{Pages, READ_WRITE, WORDS};
use userland::program::own_path;
use userland::shared::Shared;
use userland::wait;

fn main() -> ExitCode {
    checks::run(
        "memory_isolation",
        &[
            ("a parent does not see what its child writes", parent_does_not_see_child),
            ("a child does not see what its parent writes after fork", child_does_not_see_parent),
            ("stack, heap and data are copied", stack_heap_and_data_are_copied),
            ("siblings get a copy each", siblings_get_a_copy_each),
            ("shared memory is seen in both directions", shared_memory_is_shared),
            ("private pages of a file are copied, and the file stays as it is", file_pages_are_private),
            ("a chain of forks keeps each generation's memory", chain_of_forks),
            ("what the kernel writes for a child is not seen by its parent", kernel_writes_are_private),
            ("protection is each process's own after fork", protection_is_private),
            ("a child sees one moment of a process whose threads write on", snapshot_of_running_threads),
        ],
    )
}

fn parent_does_not_see_child() -> Outcome {
    let pages = &Pages::private(3)?;
    pages.store(0, 1);
    Child::start(|| {
        // The last page is touched by nobody before fork.
        [0, WORDS, 2 * WORDS].iter().for_each(|word| pages.store(*word, 77));
        0
    })?
    .expect_exit(0)?;
    ensure!(
        [pages.load(0), pages.load(WORDS), pages.load(2 * WORDS)] == [1, 0, 0],
        "the child's writes show"
    );
    Ok(())
}

fn child_does_not_see_parent() -> Outcome {
    let pages = &Pages::private(1)?;
    let written = &Shared::<AtomicBool>::zeroed(1)?[0];
    pages.store(0, 1);
    let child = Child::start(|| {
        report((|| {
            wait::until("the parent writes", || written.load(SeqCst))?;
            ensure!(pages.load(0) == 1, "the parent's write shows");
            Ok(())
        })())
    })?;
    pages.store(0, 2);
    written.store(true, SeqCst);
    child.expect_exit(0)?;
    ensure!(pages.load(0) == 2, "the parent's own write is lost");
    Ok(())
}

fn stack_heap_and_data_are_copied() -> Outcome {
    static DATA: AtomicU64 = AtomicU64::new(10);
    let stack = AtomicU64::new(20);
    let heap = Box::new(AtomicU64::new(30));
    let all = || [DATA.load(SeqCst), stack.load(SeqCst), heap.load(SeqCst)];
    Child::start(|| {
        let inherited = all() == [10, 20, 30];
        [&DATA, &stack, &*heap].iter().for_each(|cell| cell.store(0, SeqCst));
        if inherited && all() == [0; 3] { 0 } else { 1 }
    })?
    .expect_exit(0)?;
    ensure!(all() == [10, 20, 30], "the child's writes show: {:?}", all());
    Ok(())
}

fn siblings_get_a_copy_each() -> Outcome {
    let page = &Pages::private(1)?;
    page.store(0, 100);
    let children = (0..20)
        .map(|index| {
            Child::start(move || {
                let before = page.load(0);
                page.store(0, index);
                thread::yield_now();
                if before == 100 && page.load(0) == index { 0 } else { 1 }
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    children.into_iter().try_for_each(|child| child.expect_exit(0))?;
    ensure!(page.load(0) == 100, "a child's write shows");
    Ok(())
}

fn shared_memory_is_shared() -> Outcome {
    let pages = &Pages::shared(2)?;
    let child = Child::start(|| {
        report((|| {
            wait::until("the parent writes", || pages.load(WORDS) == 5)?;
            pages.store(0, 6);
            Ok(())
        })())
    })?;
    pages.store(WORDS, 5);
    wait::until("the child answers", || pages.load(0) == 6)?;
    child.expect_exit(0)
}

fn file_pages_are_private() -> Outcome {
    let file = File::open(own_path()?).context("open this program's file")?;
    let (first, second) = (&Pages::of_file(&file, 2)?, &Pages::of_file(&file, 2)?);
    let original = first.load(0);
    ensure!(original.to_le_bytes().starts_with(b"\x7fELF"), "the mapping does not start as the file does");
    Child::start(|| {
        first.store(0, 1);
        if first.load(0) == 1 && second.load(0) == original { 0 } else { 1 }
    })?
    .expect_exit(0)?;
    ensure!(first.load(0) == original, "a child's write to a private page of a file shows");
    first.store(0, 2);
    let mut bytes = [0; 8];
    (&file).read_exact(&mut bytes)?;
    ensure!(
        u64::from_le_bytes(bytes) == original && second.load(0) == original,
        "the file itself has changed"
    );
    Ok(())
}

fn chain_of_forks() -> Outcome {
    fn descend(depth: u64, page: &Pages) -> Outcome {
        page.store(depth as usize, depth);
        if depth < 25 {
            Child::start(|| report(descend(depth + 1, page)))?.expect_exit(0)?;
        }
        for word in 0..WORDS as u64 {
            let expected = if word <= depth { word } else { 0 };
            ensure!(page.load(word as usize) == expected, "generation {depth} finds a wrong word {word}");
        }
        Ok(())
    }
    descend(0, &Pages::private(1)?)
}

fn kernel_writes_are_private() -> Outcome {
    let mut buffer = vec![1_u8; 20_000];
    let child = {
        let buffer = &mut buffer;
        Child::start(|| {
            let read = File::open("/dev/zero").and_then(|mut zero| zero.read_exact(buffer));
            if read.is_ok() && buffer.iter().all(|byte| *byte == 0) { 0 } else { 1 }
        })?
    };
    child.expect_exit(0)?;
    ensure!(buffer.iter().all(|byte| *byte == 1), "what read(2) wrote in the child shows");
    Ok(())
}

fn protection_is_private() -> Outcome {
    use nix::sys::mman::ProtFlags;
    let page = &Pages::private(1)?;
    page.store(0, 1);
    Child::start(|| report(page.protect(ProtFlags::PROT_READ)))?.expect_exit(0)?;
    page.store(0, 2);
    page.protect(ProtFlags::PROT_READ)?;
    Child::start(|| {
        page.store(0, 3);
        0
    })?
    .expect_killed(Signal::SIGSEGV)?;
    Child::start(|| {
        let writable = page.protect(READ_WRITE);
        page.store(0, 4);
        report(writable)
    })?
    .expect_exit(0)?;
    ensure!(page.load(0) == 2, "a child's write to a page that is read-only here shows");
    Ok(())
}

/// Each thread counts in two pages of its own, first in the one, then in the other, so that a moment's picture has equal
/// numbers, or the first one ahead by one. A processor that still could write to a page after fork has made it read-only
/// would change the picture that the child has.
fn snapshot_of_running_threads() -> Outcome {
    let cpus = cpus::allowed()?;
    let pages = &Pages::private(2 * cpus.len())?;
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let counting: Vec<_> = (0..cpus.len())
            .map(|index| {
                let cpu = cpus[index];
                scope.spawn(move || -> Outcome {
                    cpus::pin_to(cpu)?;
                    let (one, other) = (2 * index * WORDS, (2 * index + 1) * WORDS);
                    let mut count = 0;
                    while !stop.load(SeqCst) {
                        ensure!(pages.load(one) == count && pages.load(other) == count, "a write was lost");
                        count += 1;
                        pages.store(one, count);
                        pages.store(other, count);
                    }
                    Ok(())
                })
            })
            .collect();
        let outcome = (0..20).try_for_each(|_| {
            let threads = cpus.len();
            Child::start(move || report(check_snapshot(pages, threads)))?.expect_exit(0)
        });
        stop.store(true, SeqCst);
        let joined = counting.into_iter().try_for_each(|thread| thread.join().expect("no check panics"));
        outcome.and(joined)
    })
}

fn check_snapshot(pages: &Pages, threads: usize) -> Outcome {
    let picture = || (0..2 * threads).map(|page| pages.load(page * WORDS)).collect::<Vec<_>>();
    let first = picture();
    for pair in first.chunks(2) {
        ensure!(pair[0] == pair[1] || pair[0] == pair[1] + 1, "not a moment's picture: {pair:?}");
    }
    for _ in 0..10 {
        thread::yield_now();
        let now = picture();
        ensure!(now == first, "the parent's threads write to the child: {first:?} became {now:?}");
    }
    Ok(())
}
