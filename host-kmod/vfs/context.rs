// SPDX-License-Identifier: GPL-2.0

//! Mounting: the parameters of a mount, and where its errors go.
//!
//! C header: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)

use crate::helpers::{self, FsContextOperations};
use crate::super_block::{self, SuperBlock, SB_RDONLY};
use crate::FileSystem;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::{from_result, to_result};
use kernel::ffi::c_int;
use kernel::fmt;
use kernel::prelude::*;
use kernel::str::{CStr, CString};
use kernel::types::Opaque;

/// What became of a parameter.
pub enum Parameter {
    /// It is known, and right.
    Taken,
    /// It is not known.
    Unknown,
}

/// The value of a parameter.
pub enum Value<'a> {
    /// None: the parameter is a flag.
    Flag,
    /// A string.
    String(&'a [u8]),
    /// A file descriptor of the process.
    Descriptor(i32),
    /// Something else.
    Other,
}

/// A mount, or a change of one, that is being asked for: `struct fs_context`.
///
/// # Invariants
///
/// `raw` is a context of file system `T`, in the hands of one thread, for the value's life.
pub struct Context<T: FileSystem> {
    raw: *mut bindings::fs_context,
    _file_system: PhantomData<T>,
}

impl<T: FileSystem> Context<T> {
    /// # Safety
    ///
    /// The type's invariants.
    unsafe fn from_raw(raw: *mut bindings::fs_context) -> Self {
        Self { raw, _file_system: PhantomData }
    }

    /// What was gathered so far.
    fn options(&mut self) -> &mut T::Options {
        // SAFETY: the context is valid (type invariant).
        let private = unsafe { helpers::daxfs_fc_private(self.raw) };
        // SAFETY: `init` put a `T::Options` there, and one thread has the context.
        unsafe { &mut *private.cast() }
    }

    /// Whether a mount that exists is to be changed.
    pub fn is_reconfigure(&self) -> bool {
        // SAFETY: the context is valid (type invariant).
        unsafe { helpers::daxfs_fc_is_reconfigure(self.raw) }
    }

    /// Whether the mount is to be read-only.
    pub fn is_read_only(&self) -> bool {
        // SAFETY: the context is valid (type invariant).
        unsafe { helpers::daxfs_fc_flags(self.raw) & SB_RDONLY != 0 }
    }

    /// Whether somebody said `rw`. The old system call cannot: there it is the same as saying
    /// nothing.
    pub fn asks_for_writing(&self) -> bool {
        // SAFETY: the context is valid (type invariant).
        let said = unsafe { helpers::daxfs_fc_flags_mask(self.raw) & SB_RDONLY != 0 };
        said && !self.is_read_only()
    }

    /// Makes the mount read-only.
    pub fn set_read_only(&mut self) {
        // SAFETY: the context is valid (type invariant).
        unsafe { helpers::daxfs_fc_set_flags(self.raw, SB_RDONLY) };
    }

    /// The device or name that is mounted.
    pub fn source(&self) -> Option<&[u8]> {
        // SAFETY: the context is valid (type invariant).
        let source = unsafe { helpers::daxfs_fc_source(self.raw) };
        if source.is_null() {
            return None;
        }
        // SAFETY: the source is a C string that lives as long as the context.
        Some(unsafe { CStr::from_char_ptr(source) }.to_bytes())
    }

    /// Tells whoever mounts what is wrong: through the context's log where there is one, and in the
    /// kernel's.
    pub fn error(&self, what: fmt::Arguments<'_>) {
        // SAFETY: the context is valid (type invariant).
        if unsafe { helpers::daxfs_fc_has_log(self.raw) } {
            pr_err!("{}\n", what);
        }
        if let Ok(text) = CString::try_from_fmt(what) {
            // SAFETY: the context is valid (type invariant), the text a C string.
            unsafe { helpers::daxfs_fc_error(self.raw, text.as_char_ptr()) };
        }
    }
}

/// The callbacks of a context.
pub(crate) struct Callbacks<T>(PhantomData<T>);

impl<T: FileSystem> Callbacks<T> {
    const OPERATIONS: FsContextOperations = FsContextOperations {
        free: Some(Self::free),
        dup: None,
        parse_param: Some(Self::parse_param),
        parse_monolithic: None,
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
    };

    /// `file_system_type.init_fs_context`.
    ///
    /// # Safety
    ///
    /// Called by the VFS with a fresh context.
    pub(crate) unsafe extern "C" fn init(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            let options = KBox::new(T::Options::default(), GFP_KERNEL)?;
            // SAFETY: a valid context; `free` takes the box back.
            unsafe { helpers::daxfs_fc_set_private(fc, KBox::into_raw(options).cast()) };
            // SAFETY: a valid context; the operations live for ever.
            unsafe { helpers::daxfs_fc_set_ops(fc, &Self::OPERATIONS) };
            Ok(0)
        })
    }

    /// `fs_context_operations.free`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: a valid context that ends here.
        let private = unsafe { helpers::daxfs_fc_private(fc) };
        if !private.is_null() {
            // SAFETY: `init` put a box there, and nobody uses it any more.
            drop(unsafe { KBox::<T::Options>::from_raw(private.cast()) });
        }
    }

    /// `fs_context_operations.parse_param`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS gives a valid context to one thread.
            let mut context = unsafe { Context::<T>::from_raw(fc) };
            // SAFETY: a valid parameter; its key is a C string.
            let key = unsafe { CStr::from_char_ptr(helpers::daxfs_param_key(param)) };
            // SAFETY: a valid parameter.
            let string = unsafe { helpers::daxfs_param_string(param) };
            let value = if !string.is_null() {
                // SAFETY: the value of a string parameter is a C string.
                Value::String(unsafe { CStr::from_char_ptr(string) }.to_bytes())
            // SAFETY: a valid parameter.
            } else if unsafe { helpers::daxfs_param_is_flag(param) } {
                Value::Flag
            } else {
                // SAFETY: a valid parameter.
                match unsafe { helpers::daxfs_param_fd(param) } {
                    fd @ 0.. => Value::Descriptor(fd),
                    _ => Value::Other,
                }
            };
            match T::parameter(context.options(), key.to_bytes(), &value) {
                Ok(Parameter::Taken) => Ok(0),
                Ok(Parameter::Unknown) => Ok(-(bindings::ENOPARAM as c_int)),
                Err((what, error)) => {
                    context.error(fmt!("{}", what));
                    Err(error)
                }
            }
        })
    }

    /// `fs_context_operations.get_tree`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: the VFS gives a valid context.
        unsafe { helpers::get_tree_nodev(fc, Some(Self::fill_super)) }
    }

    /// What `get_tree_nodev` calls.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the VFS gives a valid context to one thread.
            let mut context = unsafe { Context::<T>::from_raw(fc) };
            let options: *const T::Options = context.options();
            // SAFETY: the options stay in the context, which nobody changes while it is mounted.
            let data = T::mount(unsafe { &*options }, &mut context)?;
            // SAFETY: a fresh super block, which is this thread's.
            unsafe { super_block::fill(sb, data, context.is_read_only()) }?;
            Ok(0)
        })
    }

    /// `fs_context_operations.reconfigure`.
    ///
    /// # Safety
    ///
    /// Called by the kernel, with what the member is documented to get.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: the VFS gives a valid context to one thread.
            let mut context = unsafe { Context::<T>::from_raw(fc) };
            // SAFETY: a valid context.
            let sb = unsafe { helpers::daxfs_fc_super(fc) };
            if sb.is_null() {
                return Err(EINVAL);
            }
            // SAFETY: the context of a reconfiguration holds a super block of this file system.
            let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
            let options: *const T::Options = context.options();
            // SAFETY: the options stay in the context, which nobody changes meanwhile.
            T::reconfigure(sb, unsafe { &*options }, &mut context)?;
            Ok(0)
        })
    }
}

/// Registers a file system for as long as it lives.
///
/// It belongs in a module's own data: the structure holds lock classes, which lockdep wants to be
/// static.
#[pin_data(PinnedDrop)]
pub struct Registration {
    #[pin]
    raw: Opaque<bindings::file_system_type>,
}

// SAFETY: the VFS may be asked to forget a file system from any thread.
unsafe impl Send for Registration {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes file system `T` of `module` known.
    pub fn new<T: FileSystem>(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(move |slot: *mut bindings::file_system_type| {
                let raw = bindings::file_system_type {
                    name: T::NAME.as_char_ptr(),
                    fs_flags: bindings::FS_ALLOW_IDMAP as c_int,
                    init_fs_context: Some(Callbacks::<T>::init),
                    kill_sb: Some(super_block::kill::<T>),
                    owner: module.as_ptr(),
                    ..pin_init::zeroed()
                };
                // SAFETY: the slot may be written to.
                unsafe { slot.write(raw) };
                // SAFETY: it stays where it is until `drop`, which takes it back.
                to_result(unsafe { bindings::register_filesystem(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Registration {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `new` registered it, and the module does not go while something is mounted.
        unsafe { bindings::unregister_filesystem(self.raw.get()) };
    }
}

/// A parameter that is wrong: what is wrong with it, and the error for the caller.
pub type Wrong = (&'static str, Error);
