/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/gmem_bench.h - a bench (bench.h) whose VMM's memory is a guest_memfd with a bitmap.
 *
 * What is done to it needs a kernel with userfaultfd on guest_memfd, that of tests/kernel; main() asks
 * gmem_refused() first.  Failures end the test.
 */
#ifndef PF_TESTS_UNIT_GMEM_BENCH_H
#define PF_TESTS_UNIT_GMEM_BENCH_H

#include "bench.h"

#define BIT_WORDS (PAGES / (8 * sizeof(unsigned long)))

struct gmem_bench {
	struct bench bench;
	int bitmap_fd;
	unsigned long *bitmap; /* as KVM would see it */
};

/* Prints why and returns true where there is no such kernel: main() then returns 77. */
bool gmem_refused(void);
/* There is guest_memfd, and userfaultfd does not trap it: a released kernel. */
bool gmem_is_plain(void);
/* A guest_memfd of PAGES pages with these flags beside MMAP and INIT_SHARED. */
int gmem_create(uint64_t flags);
/* The same of another user's.  As root. */
int gmem_create_as(uint64_t flags, uid_t user);

/* A VMM, and the guest as a dialect fills it; not armed. */
void gmem_open(struct gmem_bench *gmem, uint64_t flags, uint32_t mappings);
void gmem_arm(struct gmem_bench *gmem);
/* Arming is refused, and says so. */
void gmem_assert_refused(struct gmem_bench *gmem, enum pf_err_class class, const char *text);
/* Puts the parameters of kvm_set_parameter() back, too. */
void gmem_close(struct gmem_bench *gmem);
/* A vCPU may enter the page. */
bool gmem_lets_in(const struct gmem_bench *gmem, uint64_t page);
/* As the VMM would write to memory that nothing traps yet. */
void gmem_write_page(const struct gmem_bench *gmem, uint64_t page, uint8_t byte);

#endif
