// SPDX-License-Identifier: GPL-2.0
/*
 * What Rust cannot call: inline functions and macros of the kernel, one line each, and accessors of
 * structures that the kernel's own Rust bindings do not describe. Declared in helpers.rs.
 */

#include <linux/dax.h>
#include <linux/dcache.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/io.h>
#include <linux/magic.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/statfs.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#ifdef CONFIG_X86_MCE
#include <asm/mce.h>
#endif
#ifdef CONFIG_X86_64
#include <asm/extable_fixup_types.h>
#endif

#define HELPER __attribute__((used)) noinline
/* Called from Rust only: no header declares them. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-declarations"

/* Constants that Rust has by value. */
static_assert(SB_RDONLY == 1);
static_assert(SB_NOSEC == 1 << 28);
/* Words of 64 bits are kept in pointers. */
static_assert(sizeof(void *) == 8);
static_assert(LOOKUP_RCU == 1 << 8);
static_assert(FALLOC_FL_KEEP_SIZE == 0x01);
static_assert(FALLOC_FL_PUNCH_HOLE == 0x02);
static_assert(FALLOC_FL_ZERO_RANGE == 0x10);

/* struct fs_context, struct fs_parameter */

/* helpers.rs has this structure, too. */
static_assert(sizeof(struct fs_context_operations) == 6 * sizeof(void *));
static_assert(offsetof(struct fs_context_operations, free) == 0);
static_assert(offsetof(struct fs_context_operations, parse_param) == 2 * sizeof(void *));
static_assert(offsetof(struct fs_context_operations, get_tree) == 4 * sizeof(void *));
static_assert(offsetof(struct fs_context_operations, reconfigure) == 5 * sizeof(void *));

HELPER void daxfs_fc_set_ops(struct fs_context *fc, const struct fs_context_operations *ops)
{
	fc->ops = ops;
}

HELPER void daxfs_fc_set_private(struct fs_context *fc, void *private)
{
	fc->fs_private = private;
}

HELPER void *daxfs_fc_private(struct fs_context *fc)
{
	return fc->fs_private;
}

HELPER const char *daxfs_fc_source(struct fs_context *fc)
{
	return fc->source;
}

HELPER struct super_block *daxfs_fc_super(struct fs_context *fc)
{
	return fc->root ? fc->root->d_sb : NULL;
}

HELPER bool daxfs_fc_is_reconfigure(struct fs_context *fc)
{
	return fc->purpose == FS_CONTEXT_FOR_RECONFIGURE;
}

HELPER bool daxfs_fc_has_log(struct fs_context *fc)
{
	return fc->log.log;
}

HELPER unsigned int daxfs_fc_flags(struct fs_context *fc)
{
	return fc->sb_flags;
}

HELPER unsigned int daxfs_fc_flags_mask(struct fs_context *fc)
{
	return fc->sb_flags_mask;
}

HELPER void daxfs_fc_set_flags(struct fs_context *fc, unsigned int flags)
{
	fc->sb_flags |= flags;
}

HELPER void daxfs_fc_error(struct fs_context *fc, const char *message)
{
	errorfc(fc, "%s", message);
}

HELPER const char *daxfs_param_key(struct fs_parameter *param)
{
	return param->key;
}

HELPER const char *daxfs_param_string(struct fs_parameter *param)
{
	return param->type == fs_value_is_string ? param->string : NULL;
}

HELPER int daxfs_param_fd(struct fs_parameter *param)
{
	return param->type == fs_value_is_file ? param->dirfd : -1;
}

HELPER bool daxfs_param_is_flag(struct fs_parameter *param)
{
	return param->type == fs_value_is_flag;
}

/* struct kstatfs */

HELPER void daxfs_kstatfs(struct kstatfs *buf, u32 magic, u64 fsid, u64 block_size, u64 blocks, u64 free,
			  u64 files, u32 namelen)
{
	buf->f_type = magic;
	buf->f_fsid = u64_to_fsid(fsid);
	buf->f_bsize = block_size;
	buf->f_frsize = block_size;
	buf->f_blocks = blocks;
	buf->f_bfree = free;
	buf->f_bavail = free;
	buf->f_files = files;
	buf->f_namelen = namelen;
}

/* Inodes */

HELPER uid_t daxfs_i_uid(struct inode *inode)
{
	return i_user_ns(inode) == &init_user_ns ? __kuid_val(inode->i_uid) : i_uid_read(inode);
}

HELPER gid_t daxfs_i_gid(struct inode *inode)
{
	return i_user_ns(inode) == &init_user_ns ? __kgid_val(inode->i_gid) : i_gid_read(inode);
}

HELPER void daxfs_i_set_owner(struct inode *inode, uid_t uid, gid_t gid)
{
	/* Only who is mighty in the initial name space mounts; there numbers map to themselves. */
	if (i_user_ns(inode) == &init_user_ns) {
		inode->i_uid = KUIDT_INIT(uid);
		inode->i_gid = KGIDT_INIT(gid);
		return;
	}
	i_uid_write(inode, uid);
	i_gid_write(inode, gid);
}

HELPER loff_t daxfs_i_size_read(struct inode *inode)
{
	return i_size_read(inode);
}

HELPER void daxfs_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

/* Who knows that there are no set-id bits to clear (SB_NOSEC) has to learn of new ones. */
HELPER void daxfs_i_set_mode(struct inode *inode, umode_t mode)
{
	WRITE_ONCE(inode->i_mode, mode);
	if (is_sxid(mode) && IS_NOSEC(inode))
		set_mask_bits(&inode->i_flags, S_NOSEC, 0);
}

HELPER void daxfs_i_set_times(struct inode *inode, time64_t asec, u32 ansec, time64_t msec, u32 mnsec,
			      time64_t csec, u32 cnsec)
{
	inode_set_atime(inode, asec, ansec);
	inode_set_mtime(inode, msec, mnsec);
	inode_set_ctime(inode, csec, cnsec);
}

HELPER void daxfs_i_hash(struct inode *inode)
{
	insert_inode_hash(inode);
}

HELPER void daxfs_i_lock(struct inode *inode)
{
	inode_lock(inode);
}

HELPER void daxfs_i_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

HELPER void daxfs_i_spin_lock(struct inode *inode)
{
	spin_lock(&inode->i_lock);
}

HELPER void daxfs_i_spin_unlock(struct inode *inode)
{
	spin_unlock(&inode->i_lock);
}

HELPER bool daxfs_i_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

HELPER u32 daxfs_dev_encode(dev_t dev)
{
	return new_encode_dev(dev);
}

HELPER dev_t daxfs_dev_decode(u32 dev)
{
	return new_decode_dev(dev);
}

HELPER void daxfs_i_set_noatime(struct inode *inode)
{
	inode->i_flags |= S_NOATIME;
}

/* Files */

HELPER void daxfs_f_allow_direct(struct file *file)
{
	file->f_mode |= FMODE_CAN_ODIRECT;
}

HELPER ssize_t daxfs_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

HELPER bool daxfs_dir_emit(struct dir_context *ctx, const char *name, int len, u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}

HELPER bool daxfs_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

/*
 * Copies that must not fetch a page of the process: the caller holds locks that a page fault takes. The
 * first bears memory that has gone bad.
 */
HELPER size_t daxfs_copy_to_iter(const void *from, size_t len, struct iov_iter *to)
{
	size_t copied;

	pagefault_disable();
	copied = _copy_mc_to_iter(from, len, to);
	pagefault_enable();
	return copied;
}

/* Whether that is what such a copy has met: then the bytes where it ended cannot be copied anywhere. */
HELPER bool daxfs_meets_bad(const void *from, size_t len)
{
	u8 somewhere[L1_CACHE_BYTES];

	return copy_mc_to_kernel(somewhere, from, min(len, sizeof(somewhere)));
}

HELPER size_t daxfs_zero_to_iter(size_t len, struct iov_iter *to)
{
	size_t copied;

	pagefault_disable();
	copied = iov_iter_zero(len, to);
	pagefault_enable();
	return copied;
}

HELPER size_t daxfs_copy_from_iter(void *to, size_t len, struct iov_iter *from)
{
	size_t copied;

	pagefault_disable();
	copied = _copy_from_iter(to, len, from);
	pagefault_enable();
	return copied;
}

/* Mappings */

/*
 * Huge pages are for shared mappings only, and those are none that get_user_pages() looks into (VM_IO): it
 * takes what is behind a huge page for a struct page. Pages of a process's own, in private mappings, it may
 * have. It would not get pages of the range in either case: they have no struct page.
 */
HELPER void daxfs_vma_mixed(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_MIXEDMAP);
	if (vma->vm_flags & VM_MAYSHARE)
		vm_flags_set(vma, VM_IO | VM_HUGEPAGE);
}

/*
 * Whether a huge page is mapped where a fault wants a small one: another thread was faster. Inserting
 * small ones there is a bug.
 */
static bool daxfs_is_huge_here(struct vm_fault *vmf)
{
	return pmd_leaf(pmdp_get_lockless(vmf->pmd));
}

struct daxfs_frames {
	struct vm_area_struct *vma;
	unsigned long next;
	pgprot_t prot;
	bool first;
};

static int daxfs_insert_frame(pte_t *pte, unsigned long address, void *data)
{
	struct daxfs_frames *frames = data;
	pte_t now = ptep_get(pte);

	if (frames->first) {
		/* It knows how this memory is cached. */
		if (!pte_present(now) || !pte_special(now) || pte_write(now) || pte_pfn(now) != frames->next)
			return -EAGAIN;
		frames->prot = pte_pgprot(now);
		frames->first = false;
	} else if (pte_none(now)) {
		set_pte_at(frames->vma->vm_mm, address, pte,
			   pte_mkspecial(pfn_pte(frames->next, frames->prot)));
	}
	frames->next++;
	return 0;
}

/*
 * Puts frames in from the address of a fault on, read-only, as far as its page table and the mapping
 * reach. Only the first has to be there then. The page table cannot go away: whoever faults holds the
 * mapping.
 */
HELPER vm_fault_t daxfs_insert_frames(struct vm_fault *vmf, unsigned long pfn, unsigned long count)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long start = vmf->address & PAGE_MASK;
	unsigned long end = min(pmd_addr_end(start, vma->vm_end), start + (count << PAGE_SHIFT));
	struct daxfs_frames frames = { .vma = vma, .next = pfn, .first = true };
	vm_fault_t result;

	if (daxfs_is_huge_here(vmf))
		return VM_FAULT_NOPAGE;
	result = vmf_insert_mixed(vma, start, pfn);
	if (result & VM_FAULT_ERROR || end - start <= PAGE_SIZE || pfn_valid(pfn))
		return result;
	apply_to_page_range(vma->vm_mm, start, end - start, daxfs_insert_frame, &frames);
	return result;
}

HELPER void daxfs_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

HELPER void daxfs_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

HELPER void *daxfs_page_address(struct page *page)
{
	return page_address(page);
}

static int daxfs_allow_stores(pte_t *pte, unsigned long address, void *data)
{
	struct daxfs_frames *frames = data;
	pte_t now = ptep_get(pte);

	if (pte_present(now) && pte_special(now) && pte_pfn(now) == frames->next) {
		set_pte_at(frames->vma->vm_mm, address, pte,
			   pte_mkwrite_novma(pte_mkdirty(pte_mkyoung(now))));
		update_mmu_cache(frames->vma, address, pte);
	}
	return 0;
}

/* Puts a frame in that may be stored to; if it is there, it may be stored to from now on. */
HELPER vm_fault_t daxfs_insert_writable(struct vm_fault *vmf, unsigned long pfn)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long start = vmf->address & PAGE_MASK;
	struct daxfs_frames frames = { .vma = vma, .next = pfn };
	vm_fault_t result;

	if (daxfs_is_huge_here(vmf))
		return VM_FAULT_NOPAGE;
	result = vmf_insert_mixed(vma, start, pfn);
	if (!(result & VM_FAULT_ERROR))
		apply_to_page_range(vma->vm_mm, start, PAGE_SIZE, daxfs_allow_stores, &frames);
	return result;
}

HELPER struct page *daxfs_alloc_zeroed_page(void)
{
	return alloc_page(GFP_NOFS | __GFP_ZERO);
}

HELPER void daxfs_put_page(struct page *page)
{
	put_page(page);
}

/* Puts a page of the kernel's in, read-only. */
HELPER vm_fault_t daxfs_insert_page(struct vm_fault *vmf, struct page *page)
{
	if (daxfs_is_huge_here(vmf))
		return VM_FAULT_NOPAGE;
	return vmf_insert_page_mkwrite(vmf, page, false);
}

/* Locks: whoever allocates under one must not come back to the file system for memory. */

HELPER unsigned int daxfs_down_read_nofs(struct rw_semaphore *sem)
{
	down_read(sem);
	return memalloc_nofs_save();
}

HELPER unsigned int daxfs_down_write_nofs(struct rw_semaphore *sem)
{
	down_write(sem);
	return memalloc_nofs_save();
}

HELPER void daxfs_up_read_nofs(struct rw_semaphore *sem, unsigned int flags)
{
	memalloc_nofs_restore(flags);
	up_read(sem);
}

HELPER void daxfs_up_write_nofs(struct rw_semaphore *sem, unsigned int flags)
{
	memalloc_nofs_restore(flags);
	up_write(sem);
}

/* Arrays */

HELPER void daxfs_xa_init(struct xarray *xa)
{
	xa_init(xa);
}

HELPER bool daxfs_xa_empty(struct xarray *xa)
{
	return xa_empty(xa);
}

HELPER int daxfs_xa_store(struct xarray *xa, unsigned long index, void *entry)
{
	return xa_err(xa_store(xa, index, entry, GFP_NOFS));
}

HELPER void *daxfs_xa_next(struct xarray *xa, unsigned long *index)
{
	return xa_find(xa, index, ULONG_MAX, XA_PRESENT);
}

/* Work */

static_assert(offsetof(struct delayed_work, work) == 0);

HELPER void daxfs_init_work(struct delayed_work *work, work_func_t function)
{
	INIT_DELAYED_WORK(work, function);
}

HELPER void daxfs_queue_work(struct delayed_work *work, unsigned long delay)
{
	queue_delayed_work(system_dfl_wq, work, delay);
}

/* Memory that has gone bad */

static DEFINE_MTREE(daxfs_bad_frames);

#ifdef CONFIG_X86_64
/* bad_memory.rs has this number, for instructions like those of copy_mc_fragile(). */
static_assert(EX_TYPE_DEFAULT_MCE_SAFE == 14);
#else
HELPER size_t daxfs_copy_bad(void *to, const void *from, size_t len)
{
	return len - copy_mc_to_kernel(to, from, len);
}
#endif

HELPER int daxfs_bad_add(unsigned long first, unsigned long last)
{
	return mtree_store_range(&daxfs_bad_frames, first, last, xa_mk_value(1), GFP_NOFS);
}

/* The first at `*frame` or behind it, up to `last`. */
HELPER bool daxfs_bad_find(unsigned long *frame, unsigned long last)
{
	MA_STATE(mas, &daxfs_bad_frames, *frame, *frame);
	bool found;

	mas_lock(&mas);
	found = mas_find(&mas, last);
	mas_unlock(&mas);
	if (found)
		*frame = max(*frame, mas.index);
	return found;
}

HELPER void daxfs_bad_forget(void)
{
	mtree_destroy(&daxfs_bad_frames);
}

#ifdef CONFIG_X86_MCE
/* bad_memory.rs has these numbers: behind those who handle an error, before it is only logged. */
static_assert(MCE_PRIO_UC > 3 && MCE_PRIO_EDAC == 2 && MCE_PRIO_MCELOG < 2);

/* The frames that a report says have gone bad. Only Intel tells how much it is; else it is a page. */
HELPER bool daxfs_bad_frames_of(void *report, unsigned long *first, unsigned long *last)
{
	struct mce *mce = report;
	unsigned int bits = 0;

	if (!mce || mce_is_correctable(mce) || !mce_usable_address(mce))
		return false;
	if (mce->cpuvendor == X86_VENDOR_INTEL && mce->status & MCI_STATUS_MISCV)
		bits = MCI_MISC_ADDR_LSB(mce->misc);
	bits = clamp_t(unsigned int, bits, PAGE_SHIFT, PUD_SHIFT) - PAGE_SHIFT;
	*first = PHYS_PFN(mce->addr & MCI_ADDR_PHYSADDR) >> bits << bits;
	*last = *first | (BIT(bits) - 1);
	return true;
}

HELPER void daxfs_watch_memory(struct notifier_block *block)
{
	mce_register_decode_chain(block);
}

HELPER void daxfs_unwatch_memory(struct notifier_block *block)
{
	mce_unregister_decode_chain(block);
}
#else
/* Nobody tells. */
HELPER bool daxfs_bad_frames_of(void *report, unsigned long *first, unsigned long *last)
{
	return false;
}

HELPER void daxfs_watch_memory(struct notifier_block *block)
{
}

HELPER void daxfs_unwatch_memory(struct notifier_block *block)
{
}
#endif

/* Time */

HELPER u64 daxfs_monotonic_ms(void)
{
	return ktime_to_ms(ktime_get());
}

/* Text */

HELPER void daxfs_show_option(struct seq_file *seq, const char *name, const char *value)
{
	seq_show_option(seq, name, value);
}

/* The machine */

/* Bits of a physical address; mapping what lies beyond is a warning of the kernel's. */
HELPER unsigned int daxfs_phys_bits(void)
{
#ifdef CONFIG_X86
	return min_t(unsigned int, boot_cpu_data.x86_phys_bits, MAX_PHYSMEM_BITS);
#else
	return MAX_PHYSMEM_BITS;
#endif
}

HELPER bool daxfs_is_memory_of_kernel(phys_addr_t start, size_t size)
{
	return region_intersects(start, size, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != REGION_DISJOINT;
}

#ifdef CONFIG_DAX
/* Exported, but declared in a private header. */
struct dax_device *inode_dax(struct inode *inode);

/* The DAX device behind an open file: its driver puts the device's mapping there. */
HELPER struct dax_device *daxfs_dax_of(struct file *file)
{
	struct inode *host = file->f_mapping->host;

	return host->i_sb->s_magic == DAXFS_MAGIC ? inode_dax(host) : NULL;
}
#endif

HELPER unsigned long daxfs_virt_to_pfn(void *address)
{
	return PHYS_PFN(virt_to_phys(address));
}

HELPER void *daxfs_map_range(phys_addr_t start, size_t size)
{
	return memremap(start, size, MEMREMAP_WB);
}
