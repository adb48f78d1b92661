//! System calls: from number and registers to a function and back.
//!
//! Each call is a function of the current thread and its arguments in one of the modules here, named as in section 2 of
//! the manual. A call that Tine does not have is `ENOSYS`, and counted.

mod credentials;
mod exec;
mod files;
mod identity;
mod ipc;
mod limits;
mod membarrier;
mod memory;
mod policy;
mod process;
mod process_memory;
mod scheduling;
mod sessions;
mod sharing;
mod signals;
mod system;
pub mod time;
mod timers;
mod unknown;
mod usage;

pub use unknown::counts as unknown_counts;

use self::credentials::Which::{Group, User};
use self::files::AttributeOf;
use crate::errno::Errno;
use crate::futex;
use crate::rseq;
use crate::task::Current;
use crate::trace;
use formats::trace::Event;
use linux_raw_sys::general::*;

/// Runs the system call that the thread's registers ask for and stores its result.
pub fn dispatch(current: &Current) {
    if trace::is_on(trace::Level::All) { traced(current) } else { run(current) }
}

#[cold]
fn traced(current: &Current) {
    let (thread, number) = (current.task.id, current.user.borrow().regs.orig_rax as u32);
    trace::all(|| Event::SyscallEnter { thread, number });
    run(current);
    trace::all(|| Event::SyscallExit { thread, number });
}

#[inline(always)]
fn run(current: &Current) {
    let (number, args) = {
        let user = current.user.borrow();
        let regs = &user.regs;
        (regs.orig_rax, [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9])
    };
    let result = call(current, number, args);
    let value = match result {
        Ok(value) => value,
        // `rt_sigreturn` and `execve` have set all registers themselves.
        Err(Errno::KEEP_REGISTERS) => return,
        Err(error) => error.to_register(),
    };
    current.user.borrow_mut().regs.rax = value;
}

/// The table. Arguments are truncated to the type that the call takes, as on Linux.
#[expect(non_upper_case_globals, reason = "the numbers have the names that Linux gives them")]
#[inline(always)]
fn call(current: &Current, number: u64, args: [u64; 6]) -> Result<u64, Errno> {
    let [a, b, c, d, e, f] = args;
    let Ok(number) = u32::try_from(number) else { return unknown::call(number) };
    match number {
        __NR_read => files::read(current, a as i32, b, c as usize),
        __NR_write => files::write(current, a as i32, b, c as usize),
        __NR_open => files::open(current, a, b as u32, c as u32),
        __NR_close => files::close(current, a as i32),
        __NR_stat => files::stat(current, a, b),
        __NR_fstat => files::fstat(current, a as i32, b),
        __NR_lstat => files::lstat(current, a, b),
        __NR_poll => files::poll(current, a, b as u32, c as i32),
        __NR_lseek => files::lseek(current, a as i32, b as i64, c as u32),
        __NR_mmap => memory::mmap(current, a, b, c as u32, d as u32, e as i32, f),
        __NR_mprotect => memory::mprotect(current, a, b, c as u32),
        __NR_munmap => memory::munmap(current, a, b),
        __NR_brk => memory::brk(current, a),
        __NR_rt_sigaction => signals::rt_sigaction(current, a as u32, b, c, d as usize),
        __NR_rt_sigprocmask => signals::rt_sigprocmask(current, a as u32, b, c, d as usize),
        __NR_rt_sigreturn => signals::rt_sigreturn(current),
        __NR_ioctl => files::ioctl(current, a as i32, b as u32, c),
        __NR_pread64 => files::pread64(current, a as i32, b, c as usize, d as i64),
        __NR_pwrite64 => files::pwrite64(current, a as i32, b, c as usize, d as i64),
        __NR_readv => files::readv(current, a as i32, b, c as usize),
        __NR_writev => files::writev(current, a as i32, b, c as usize),
        __NR_access => files::access(current, a, b as u32),
        __NR_pipe => files::pipe(current, a),
        __NR_select => files::select(current, a as i32, b, c, d, e),
        __NR_sched_yield => scheduling::sched_yield(current),
        __NR_mremap => memory::mremap(current, a, b, c, d as u32, e),
        __NR_msync => memory::msync(current, a, b, c as u32),
        __NR_mincore => memory::mincore(current, a, b, c),
        __NR_madvise => memory::madvise(current, a, b, c as u32),
        __NR_shmget => ipc::shmget(current, a as i32, b, c as u32),
        __NR_shmat => ipc::shmat(current, a as i32, b, c as u32),
        __NR_shmctl => ipc::shmctl(current, a as i32, b as u32, c),
        __NR_shmdt => ipc::shmdt(current, a),
        __NR_semget => ipc::semget(current, a as i32, b as i32, c as u32),
        __NR_semop => ipc::semop(current, a as i32, b, c as u32),
        __NR_semctl => ipc::semctl(current, a as i32, b as i32, c as u32, d),
        __NR_semtimedop => ipc::semtimedop(current, a as i32, b, c as u32, d),
        __NR_msgget => ipc::msgget(current, a as i32, b as u32),
        __NR_msgsnd => ipc::msgsnd(current, a as i32, b, c as usize, d as u32),
        __NR_msgrcv => ipc::msgrcv(current, a as i32, b, c as usize, d as i64, e as u32),
        __NR_msgctl => ipc::msgctl(current, a as i32, b as u32, c),
        __NR_dup => files::dup(current, a as i32),
        __NR_dup2 => files::dup2(current, a as i32, b as i32),
        __NR_pause => signals::pause(current),
        __NR_nanosleep => time::nanosleep(current, a, b),
        __NR_getitimer => timers::getitimer(current, a as i32, b),
        __NR_alarm => timers::alarm(current, a as u32),
        __NR_setitimer => timers::setitimer(current, a as i32, b, c),
        __NR_getpid => identity::getpid(current),
        __NR_sendto => files::sendto(current, a as i32, (b, c as usize), d as u32, (e, f as u32)),
        __NR_recvfrom => files::recvfrom(current, a as i32, (b, c as usize), d as u32, (e, f)),
        __NR_shutdown => files::shutdown(current, a as i32, b as u32),
        __NR_socketpair => files::socketpair(current, a as u32, b as u32, c as u32, d),
        __NR_clone => process::clone(current, a, b, c, d, e),
        __NR_fork => process::fork(current),
        __NR_vfork => process::vfork(current),
        __NR_execve => exec::execve(current, a, b, c),
        __NR_exit => process::exit(current, a as i32),
        __NR_wait4 => process::wait4(current, a as i32, b, c as u32, d),
        __NR_kill => signals::kill(current, a as i32, b as u32),
        __NR_uname => system::uname(current, a),
        __NR_fcntl => files::fcntl(current, a as i32, b as u32, c),
        __NR_fsync | __NR_fdatasync => files::fsync(current, a as i32),
        __NR_truncate => files::truncate(current, a, b as i64),
        __NR_ftruncate => files::ftruncate(current, a as i32, b as i64),
        __NR_getcwd => files::getcwd(current, a, b as usize),
        __NR_chdir => files::chdir(current, a),
        __NR_fchdir => files::fchdir(current, a as i32),
        __NR_rename => files::rename(current, a, b),
        __NR_mkdir => files::mkdir(current, a, b as u32),
        __NR_rmdir => files::rmdir(current, a),
        __NR_creat => files::creat(current, a, b as u32),
        __NR_link => files::link(current, a, b),
        __NR_unlink => files::unlink(current, a),
        __NR_symlink => files::symlink(current, a, b),
        __NR_readlink => files::readlink(current, a, b, c as i32),
        __NR_umask => files::umask(current, a as u32),
        __NR_gettimeofday => time::gettimeofday(current, a, b),
        __NR_getrlimit => limits::getrlimit(current, a as u32, b),
        __NR_getrusage => usage::getrusage(current, a as i32, b),
        __NR_sysinfo => system::sysinfo(current, a),
        __NR_times => usage::times(current, a),
        __NR_getuid => credentials::real(current, User),
        __NR_getgid => credentials::real(current, Group),
        __NR_geteuid => credentials::effective(current, User),
        __NR_getegid => credentials::effective(current, Group),
        __NR_setuid => credentials::set(current, User, a as u32),
        __NR_setgid => credentials::set(current, Group, a as u32),
        __NR_setpgid => sessions::setpgid(current, a as i32, b as i32),
        __NR_getppid => identity::getppid(current),
        __NR_getpgrp => sessions::getpgrp(current),
        __NR_setsid => sessions::setsid(current),
        __NR_setreuid => credentials::set_two(current, User, a as u32, b as u32),
        __NR_setregid => credentials::set_two(current, Group, a as u32, b as u32),
        __NR_getgroups => credentials::getgroups(current, a as i32, b),
        __NR_setgroups => credentials::setgroups(current, a as i32, b),
        __NR_setresuid => credentials::set_all(current, User, [a as u32, b as u32, c as u32]),
        __NR_setresgid => credentials::set_all(current, Group, [a as u32, b as u32, c as u32]),
        __NR_getresuid => credentials::get_all(current, User, [a, b, c]),
        __NR_getresgid => credentials::get_all(current, Group, [a, b, c]),
        __NR_setfsuid => credentials::set_file(current, User, a as u32),
        __NR_setfsgid => credentials::set_file(current, Group, a as u32),
        __NR_getpgid => sessions::getpgid(current, a as i32),
        __NR_getsid => sessions::getsid(current, a as i32),
        __NR_rt_sigpending => signals::rt_sigpending(current, a, b as usize),
        __NR_rt_sigtimedwait => signals::rt_sigtimedwait(current, a, b, c, d as usize),
        __NR_rt_sigqueueinfo => signals::rt_sigqueueinfo(current, a as u32, b as u32, c),
        __NR_rt_sigsuspend => signals::rt_sigsuspend(current, a, b as usize),
        __NR_sigaltstack => signals::sigaltstack(current, a, b),
        __NR_statfs => files::statfs(current, a, b),
        __NR_fstatfs => files::fstatfs(current, a as i32, b),
        __NR_getpriority => policy::getpriority(current, a as u32, b as u32),
        __NR_setpriority => policy::setpriority(current, a as u32, b as u32, c as i32),
        __NR_sched_setparam => policy::sched_setparam(current, a as i32, b),
        __NR_sched_getparam => policy::sched_getparam(current, a as i32, b),
        __NR_sched_setscheduler => policy::sched_setscheduler(current, a as i32, b as u32, c),
        __NR_sched_getscheduler => policy::sched_getscheduler(current, a as i32),
        __NR_sched_get_priority_max => policy::sched_get_priority_max(current, a as u32),
        __NR_sched_get_priority_min => policy::sched_get_priority_min(current, a as u32),
        __NR_sched_rr_get_interval => policy::sched_rr_get_interval(current, a as i32, b),
        __NR_mlock => memory::mlock(current, a, b),
        __NR_munlock => memory::munlock(current, a, b),
        __NR_mlockall => memory::mlockall(current, a as u32),
        __NR_munlockall => memory::munlockall(current),
        __NR_prctl => system::prctl(current, a as u32, b),
        __NR_arch_prctl => system::arch_prctl(current, a as u32, b),
        __NR_settimeofday => time::settimeofday(current, a, b),
        __NR_setrlimit => limits::setrlimit(current, a as u32, b),
        __NR_sync => files::sync(current),
        __NR_reboot => system::reboot(current),
        __NR_gettid => identity::gettid(current),
        __NR_tkill => signals::tkill(current, a as i32, b as u32),
        __NR_time => time::time(current, a),
        __NR_futex => futex::futex(current, a, b as u32, c as u32, d, e, f as u32),
        __NR_sched_setattr => policy::sched_setattr(current, a as i32, b, c as u32),
        __NR_sched_getattr => policy::sched_getattr(current, a as i32, b, c as u32, d as u32),
        __NR_sched_setaffinity => scheduling::sched_setaffinity(current, a as i32, b as u32 as usize, c),
        __NR_sched_getaffinity => scheduling::sched_getaffinity(current, a as i32, b as u32 as usize, c),
        __NR_getdents64 => files::getdents64(current, a as i32, b, c as u32),
        __NR_ioprio_set => scheduling::ioprio_set(current, a as u32, b as i32, c as u32),
        __NR_ioprio_get => scheduling::ioprio_get(current, a as u32, b as i32),
        __NR_adjtimex => time::adjtimex(current, a),
        __NR_clock_adjtime => time::clock_adjtime(current, a as i32, b),
        __NR_unshare => sharing::unshare(current, a as u32),
        __NR_setns => sharing::setns(current, a as i32),
        __NR_set_tid_address => system::set_tid_address(current, a),
        __NR_timer_create => timers::timer_create(current, a as i32, b, c),
        __NR_timer_settime => timers::timer_settime(current, a as i32, b as u32, c, d),
        __NR_timer_gettime => timers::timer_gettime(current, a as i32, b),
        __NR_timer_getoverrun => timers::timer_getoverrun(current, a as i32),
        __NR_timer_delete => timers::timer_delete(current, a as i32),
        __NR_clock_settime => time::clock_settime(current, a as i32, b),
        __NR_clock_gettime => time::clock_gettime(current, a as i32, b),
        __NR_clock_getres => time::clock_getres(current, a as i32, b),
        __NR_clock_nanosleep => time::clock_nanosleep(current, a as i32, b as u32, c, d),
        __NR_exit_group => process::exit_group(current, a as i32),
        __NR_tgkill => signals::tgkill(current, a as i32, b as i32, c as u32),
        __NR_waitid => process::waitid(current, a as u32, b as u32, c, d as u32, e),
        __NR_openat => files::openat(current, a as i32, b, c as u32, d as u32),
        __NR_mkdirat => files::mkdirat(current, a as i32, b, c as u32),
        __NR_newfstatat => files::newfstatat(current, a as i32, b, c, d as u32),
        __NR_unlinkat => files::unlinkat(current, a as i32, b, c as u32),
        __NR_renameat => files::renameat(current, a as i32, b, c as i32, d),
        __NR_linkat => files::linkat(current, a as i32, b, c as i32, d, e as u32),
        __NR_symlinkat => files::symlinkat(current, a, b as i32, c),
        __NR_readlinkat => files::readlinkat(current, a as i32, b, c, d as i32),
        __NR_faccessat => files::faccessat(current, a as i32, b, c as u32),
        __NR_pselect6 => files::pselect6(current, a as i32, b, c, d, e, f),
        __NR_ppoll => files::ppoll(current, a, b as u32, c, d, e as usize),
        __NR_set_robust_list => futex::set_robust_list(current, a, b as usize),
        __NR_get_robust_list => futex::get_robust_list(current, a as u32, b, c),
        __NR_eventfd => files::eventfd(current, a as u32),
        __NR_eventfd2 => files::eventfd2(current, a as u32, b as u32),
        __NR_dup3 => files::dup3(current, a as i32, b as i32, c as u32),
        __NR_pipe2 => files::pipe2(current, a, b as u32),
        __NR_preadv => files::preadv(current, a as i32, b, c as usize, d as i64),
        __NR_pwritev => files::pwritev(current, a as i32, b, c as usize, d as i64),
        __NR_rt_tgsigqueueinfo => signals::rt_tgsigqueueinfo(current, a as i32, b as i32, c as u32, d),
        __NR_prlimit64 => limits::prlimit64(current, a as u32, b as u32, c, d),
        __NR_getcpu => scheduling::getcpu(current, a, b),
        __NR_renameat2 => files::renameat2(current, a as i32, b, c as i32, d, e as u32),
        __NR_getrandom => system::getrandom(current, a, b as usize, c as u32),
        __NR_execveat => exec::execveat(current, a as i32, b, c, d, e as u32),
        __NR_rseq => rseq::rseq(current, a, b as u32, c as u32, d as u32),
        __NR_membarrier => membarrier::membarrier(current, a as u32, b as u32, c as u32),
        __NR_mlock2 => memory::mlock2(current, a, b, c as u32),
        __NR_process_vm_readv => {
            process_memory::transfer(current, a as i32, (b, c), (d, e), f, process_memory::Direction::Read)
        }
        __NR_process_vm_writev => {
            process_memory::transfer(current, a as i32, (b, c), (d, e), f, process_memory::Direction::Write)
        }
        __NR_statx => files::statx(current, a as i32, b, c as u32, d as u32, e),
        __NR_clone3 => process::clone3(current, a, b as usize),
        __NR_close_range => files::close_range(current, a as u32, b as u32, c as u32),
        __NR_faccessat2 => files::faccessat2(current, a as i32, b, c as u32, d as u32),
        __NR_epoll_create => files::epoll_create(current, a as i32),
        __NR_epoll_create1 => files::epoll_create1(current, a as u32),
        __NR_epoll_ctl => files::epoll_ctl(current, a as i32, b as u32, c as i32, d),
        __NR_epoll_wait => files::epoll_wait(current, a as i32, b, c as i32, d as i32),
        __NR_epoll_pwait => files::epoll_pwait(current, a as i32, b, c as i32, d as i32, (e, f as usize)),
        __NR_epoll_pwait2 => files::epoll_pwait2(current, a as i32, b, c as i32, d, (e, f as usize)),
        __NR_timerfd_create => files::timerfd_create(current, a as i32, b as u32),
        __NR_timerfd_settime => files::timerfd_settime(current, a as i32, b as u32, c, d),
        __NR_timerfd_gettime => files::timerfd_gettime(current, a as i32, b),
        __NR_signalfd => files::signalfd(current, a as i32, b, c as usize),
        __NR_signalfd4 => files::signalfd4(current, a as i32, b, c as usize, d as u32),
        __NR_pidfd_open => files::pidfd_open(current, a as i32, b as u32),
        __NR_pidfd_send_signal => files::pidfd_send_signal(current, a as i32, b as u32, c, d as u32),
        __NR_chmod => files::chmod(current, a, b as u32),
        __NR_fchmod => files::fchmod(current, a as i32, b as u32),
        __NR_fchmodat => files::fchmodat(current, a as i32, b, c as u32),
        __NR_fchmodat2 => files::fchmodat2(current, a as i32, b, c as u32, d as u32),
        __NR_chown => files::chown(current, a, b as u32, c as u32),
        __NR_lchown => files::lchown(current, a, b as u32, c as u32),
        __NR_fchown => files::fchown(current, a as i32, b as u32, c as u32),
        __NR_fchownat => files::fchownat(current, a as i32, b, c as u32, d as u32, e as u32),
        __NR_utime => files::utime(current, a, b),
        __NR_utimes => files::utimes(current, a, b),
        __NR_futimesat => files::futimesat(current, a as i32, b, c),
        __NR_utimensat => files::utimensat(current, a as i32, b, c, d as u32),
        __NR_mknod => files::mknod(current, a, b as u32, c as u32),
        __NR_mknodat => files::mknodat(current, a as i32, b, c as u32, d as u32),
        __NR_memfd_create => files::memfd_create(current, a, b as u32),
        __NR_fallocate => files::fallocate(current, a as i32, b as u32, c as i64, d as i64),
        __NR_socket => files::socket(current, a as u32, b as u32, c as u32),
        __NR_bind => files::bind(current, a as i32, b, c as u32),
        __NR_listen => files::listen(current, a as i32, b as i32),
        __NR_accept => files::accept(current, a as i32, b, c),
        __NR_accept4 => files::accept4(current, a as i32, b, c, d as u32),
        __NR_connect => files::connect(current, a as i32, b, c as u32),
        __NR_getsockname => files::getsockname(current, a as i32, b, c),
        __NR_getpeername => files::getpeername(current, a as i32, b, c),
        __NR_getsockopt => files::getsockopt(current, a as i32, b as u32, c as u32, d, e),
        __NR_setsockopt => files::setsockopt(current, a as i32, b as u32, c as u32, d, e as u32),
        __NR_sendmsg => files::sendmsg(current, a as i32, b, c as u32),
        __NR_recvmsg => files::recvmsg(current, a as i32, b, c as u32),
        __NR_sendmmsg => files::sendmmsg(current, a as i32, b, c as u32, d as u32),
        __NR_recvmmsg => files::recvmmsg(current, a as i32, b, c as u32, d as u32, e),
        __NR_flock => files::flock(current, a as i32, b as u32),
        __NR_sendfile => files::sendfile(current, a as i32, b as i32, c, d as usize),
        __NR_copy_file_range => {
            files::copy_file_range(current, (a as i32, b), (c as i32, d), e as usize, f as u32)
        }
        __NR_splice => files::splice(current, (a as i32, b), (c as i32, d), e as usize, f as u32),
        __NR_tee => files::tee(current, a as i32, b as i32, c as usize, d as u32),
        __NR_vmsplice => files::vmsplice(current, a as i32, b, c as usize, d as u32),
        __NR_preadv2 => files::preadv2(current, a as i32, (b, c as usize), d as i64, f as u32),
        __NR_pwritev2 => files::pwritev2(current, a as i32, (b, c as usize), d as i64, f as u32),
        __NR_fadvise64 => files::fadvise64(current, a as i32, c as i64, d as u32),
        __NR_readahead => files::readahead(current, a as i32),
        __NR_sync_file_range => files::sync_file_range(current, a as i32, b as i64, c as i64, d as u32),
        __NR_getxattr | __NR_removexattr => files::no_attribute(current, AttributeOf::Path(a), b),
        __NR_lgetxattr | __NR_lremovexattr => files::no_attribute(current, AttributeOf::Link(a), b),
        __NR_fgetxattr | __NR_fremovexattr => {
            files::no_attribute(current, AttributeOf::Descriptor(a as i32), b)
        }
        __NR_setxattr => files::set_attribute(current, AttributeOf::Path(a), b),
        __NR_lsetxattr => files::set_attribute(current, AttributeOf::Link(a), b),
        __NR_fsetxattr => files::set_attribute(current, AttributeOf::Descriptor(a as i32), b),
        __NR_listxattr => files::list_attributes(current, AttributeOf::Path(a)),
        __NR_llistxattr => files::list_attributes(current, AttributeOf::Link(a)),
        __NR_flistxattr => files::list_attributes(current, AttributeOf::Descriptor(a as i32)),
        _ => unknown::call(number.into()),
    }
}
