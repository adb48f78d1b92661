//! Errors as programs see them, and the one place where the errors of other crates become them.
//!
//! The numbers are Linux's (man 3 errno).

use core::fmt;
use linux_raw_sys::errno as linux;

/// An error number, as a system call returns it negated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u16);

macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(pub const $name: Self = Self(linux::$name as u16);)*

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    E2BIG EACCES EAGAIN EBADF EBUSY ECANCELED ECHILD EEXIST EFAULT EFBIG EINTR EINVAL EIO EISDIR ELOOP EMFILE ENAMETOOLONG ENFILE
    ENODEV ENOENT ENOEXEC ENOMEM ENOSPC ENOSYS ENOTDIR ENOTTY ENXIO EOPNOTSUPP EPERM EPIPE ERANGE EROFS ESPIPE ESRCH
    ETIMEDOUT EXDEV EOVERFLOW ENOTEMPTY EDOM ESOCKTNOSUPPORT EPROTONOSUPPORT ENOTSOCK EMSGSIZE EISCONN EAFNOSUPPORT ELIBBAD
    ENODATA ENOTCONN EADDRINUSE ECONNREFUSED EDESTADDRREQ EPROTOTYPE ENOPROTOOPT ECONNRESET ETOOMANYREFS EMLINK ETXTBSY EDEADLK
    ENOLCK ENOBUFS EINPROGRESS EALREADY EADDRNOTAVAIL ENETUNREACH ENOMSG EIDRM
}

impl Errno {
    /// Interrupted by a signal; restarted if the handler says SA_RESTART, else EINTR. Never seen by a program.
    pub const RESTART: Self = Self(512);
    /// Interrupted by a signal; restarted only if no handler runs, else EINTR. Never seen by a program.
    pub const RESTART_NO_HANDLER: Self = Self(514);

    /// The call has set all registers itself. Never seen by a program.
    pub const KEEP_REGISTERS: Self = Self(1023);

    /// As a system call returns it.
    pub const fn to_register(self) -> u64 {
        (self.0 as i64).wrapping_neg() as u64
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl From<arch::copy::UserFault> for Errno {
    fn from(_: arch::copy::UserFault) -> Self {
        Self::EFAULT
    }
}

impl From<mm::OutOfMemory> for Errno {
    fn from(_: mm::OutOfMemory) -> Self {
        Self::ENOMEM
    }
}

impl From<mm::MapError> for Errno {
    fn from(error: mm::MapError) -> Self {
        match error {
            mm::MapError::OutOfMemory | mm::MapError::NotMapped => Self::ENOMEM,
            mm::MapError::Invalid => Self::EINVAL,
            mm::MapError::Exists => Self::EEXIST,
            mm::MapError::TooLow => Self::EPERM,
            mm::MapError::Denied => Self::EACCES,
        }
    }
}

impl From<mm::FaultError> for Errno {
    fn from(error: mm::FaultError) -> Self {
        match error {
            mm::FaultError::OutOfMemory => Self::ENOMEM,
            _ => Self::EFAULT,
        }
    }
}
