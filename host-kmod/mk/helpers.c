// SPDX-License-Identifier: GPL-2.0
/*
 * What Rust cannot call: inline functions and macros of the kernel, one line each, and the module's
 * parameter, which is text. Declared in helpers.rs.
 */

#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <asm/apic.h>
#include <asm/smp.h>

#define HELPER __attribute__((used)) noinline
/* Called from Rust only: no header declares them. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-declarations"

static char *ranges;
module_param(ranges, charp, 0444);
MODULE_PARM_DESC(ranges, "Physical memory for kernels, one each: SIZE@START[,SIZE@START]...");

HELPER const char *daxfs_mk_ranges(void)
{
	return ranges;
}

HELPER bool daxfs_mk_touches_memory_of_kernel(phys_addr_t start, size_t size)
{
	return region_intersects(start, size, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != REGION_DISJOINT;
}

HELPER bool daxfs_mk_is_memory_of_kernel(phys_addr_t start, size_t size)
{
	return region_intersects(start, size, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) == REGION_INTERSECTS;
}

HELPER unsigned int daxfs_mk_phys_bits(void)
{
	return min_t(unsigned int, boot_cpu_data.x86_phys_bits, MAX_PHYSMEM_BITS);
}

HELPER bool daxfs_mk_request(phys_addr_t start, size_t size)
{
	return request_mem_region(start, size, "daxfs_mk");
}

HELPER void daxfs_mk_release(phys_addr_t start, size_t size)
{
	release_mem_region(start, size);
}

HELPER void *daxfs_mk_low_memory(phys_addr_t start)
{
	return phys_to_virt(start);
}

HELPER int daxfs_mk_map(struct vm_area_struct *vma, unsigned long pfn)
{
	return remap_pfn_range(vma, vma->vm_start, pfn, vma->vm_end - vma->vm_start, vma->vm_page_prot);
}

HELPER unsigned long daxfs_mk_offset(struct vm_area_struct *vma)
{
	return vma->vm_pgoff;
}

HELPER bool daxfs_mk_is_shared(struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_SHARED;
}

HELPER bool daxfs_mk_cpu_present(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_present(cpu);
}

HELPER bool daxfs_mk_cpu_online(unsigned int cpu)
{
	return cpu_online(cpu);
}

HELPER u32 daxfs_mk_apic_id(unsigned int cpu)
{
	return cpu_physical_id(cpu);
}

HELPER bool daxfs_mk_x2apic(void)
{
	return x2apic_enabled();
}

HELPER void __iomem *daxfs_mk_map_apic(void)
{
	return ioremap(APIC_DEFAULT_PHYS_BASE, PAGE_SIZE);
}

HELPER unsigned long daxfs_mk_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

HELPER void daxfs_mk_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

HELPER int daxfs_mk_watch_cpus(int (*starting)(unsigned int cpu))
{
	return cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "daxfs_mk:starting", starting, NULL);
}

HELPER void daxfs_mk_unwatch_cpus(int state)
{
	cpuhp_remove_state_nocalls(state);
}
