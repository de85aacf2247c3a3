/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/gmem.c - see tests/guest/gmem.h; Documentation/virt/kvm/api.rst. */
#include "tests/guest/gmem.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/memfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"

#define LONG_BITS (CHAR_BIT * sizeof(unsigned long))

int pf_gmem_create(int vm, uint64_t bytes, bool writable, struct pf_err *err)
{
	struct pf_kvm_guest_memfd create = {
		.size = bytes,
		.flags = PF_GUEST_MEMFD_MMAP | PF_GUEST_MEMFD_INIT_SHARED |
			 (writable ? PF_GUEST_MEMFD_WRITE : 0),
	};
	int fd = vm < 0 ? -1 : ioctl(vm, PF_KVM_CREATE_GUEST_MEMFD, &create);

	if (vm < 0)
		return pf_err_set(err, PF_ERR_USAGE,
				  "guest_memfd is a KVM machine's: it needs --backend kvm");
	if (fd < 0)
		return pf_err_sys(err, "creating a guest_memfd with flags 0x%llx",
				  (unsigned long long)create.flags);
	return fd;
}

int pf_gmem_bitmap_create(struct pf_gmem_bitmap *bitmap, uint64_t pages, struct pf_err *err)
{
	unsigned long *bits;

	*bitmap = (struct pf_gmem_bitmap){
		.fd = memfd_create("userfault-bitmap", MFD_CLOEXEC | MFD_ALLOW_SEALING),
		.bytes = (pages + LONG_BITS - 1) / LONG_BITS * sizeof(*bits),
	};
	if (bitmap->fd < 0 || ftruncate(bitmap->fd, (off_t)bitmap->bytes) != 0 ||
	    fcntl(bitmap->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		return pf_err_sys(err, "making a userfault bitmap of %llu bytes",
				  (unsigned long long)bitmap->bytes);
	bits = mmap(NULL, bitmap->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bitmap->fd, 0);
	if (bits == MAP_FAILED)
		return pf_err_sys(err, "mapping a userfault bitmap");
	bitmap->bits = bits;
	for (uint64_t page = 0; page < pages; page++)
		bits[page / LONG_BITS] |= 1ul << page % LONG_BITS;
	return 0;
}

bool pf_gmem_traps(const struct pf_gmem_bitmap *bitmap, uint64_t page)
{
	const unsigned long *bits = bitmap->bits;

	return __atomic_load_n(&bits[page / LONG_BITS], __ATOMIC_ACQUIRE) >> page % LONG_BITS & 1;
}

bool pf_gmem_traps_any(const struct pf_gmem_bitmap *bitmap)
{
	const unsigned long *bits = bitmap->bits;

	for (uint64_t at = 0; at < bitmap->bytes / sizeof(*bits); at++)
		if (__atomic_load_n(&bits[at], __ATOMIC_ACQUIRE))
			return true;
	return false;
}

void pf_gmem_bitmap_destroy(struct pf_gmem_bitmap *bitmap)
{
	if (bitmap->bits)
		munmap(bitmap->bits, bitmap->bytes);
	bitmap->bits = NULL;
	pf_close_fd(&bitmap->fd);
}
