//! The last words of a loader that cannot go on.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use uart_16550::{Config, Uart16550};
use x86_64::instructions::port::Port;
use x86_64::instructions::{hlt, interrupts};

/// Says why on COM1, and ends the run with a failure.
pub fn fail(why: fmt::Arguments<'_>) -> ! {
    struct Com1;
    impl Write for Com1 {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // SAFETY: the address is COM1's on every PC, or nobody's, and nobody else uses it now.
            let mut uart = unsafe { Uart16550::new_port(0x3f8) }.map_err(|_| fmt::Error)?;
            uart.init(Config::DEFAULT).map_err(|_| fmt::Error)?;
            uart.send_bytes_exact(text.as_bytes());
            Ok(())
        }
    }
    // Without a port there is nobody to tell; the exit status says it as well.
    let _ = writeln!(Com1, "tine-boot: {why}");
    // SAFETY: the port is that of QEMU's isa-debug-exit, or nobody's.
    unsafe { Port::<u8>::new(0xf4).write(crate::exit::KERNEL_FAILURE) };
    loop {
        interrupts::disable();
        hlt();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail(format_args!("{info}"))
}
