/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kernel/kit.h - a virtual machine of one page of code, a guest_memfd and a userfaultfd.
 *
 * All in one process, as small as it can be: what is under test here is the kernel.  A thread that
 * may block is a `touch`; whether it blocks is asked of the userfaultfd, never of a clock.  Failures
 * end the test.
 */
#ifndef PF_TESTS_KERNEL_KIT_H
#define PF_TESTS_KERNEL_KIT_H

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/kvm_abi.h"
#include "tests/unit/memhelp.h"

#define PAGES 64u
#define SIZE (PAGES * (size_t)PAGE)
/* What a VMM asks for whose guest memory is filled by write(2). */
#define WRITABLE (PF_GUEST_MEMFD_MMAP | PF_GUEST_MEMFD_INIT_SHARED | PF_GUEST_MEMFD_WRITE)
#define MISSING UFFDIO_REGISTER_MODE_MISSING
#define MINOR UFFDIO_REGISTER_MODE_MINOR
#define BOTH (MISSING | MINOR)

struct kit {
	int kvm, vm, gmem, uffd;
	uint8_t *map;		/* registered with uffd; also what KVM goes through itself */
	unsigned long *bitmap;	/* in a memfd, all ones */
	int bitmap_fd;
};

/* Sets *state to a kit with a guest_memfd of PAGES pages, nothing registered, no memory slot. */
int kit_open(void **state);
int kit_close(void **state);
/* The same, with a guest_memfd that cannot be written. */
int kit_open_unwritable(void **state);

/* A new guest_memfd; -1 and errno. */
int kit_create(const struct kit *kit, uint64_t size, uint64_t flags);
/* UFFDIO_REGISTER of the whole mapping: 0 or errno. */
int kit_register(const struct kit *kit, uint64_t modes);
/* pwrite of what page_fill() says of these pages; the count of bytes, or -errno. */
ssize_t kit_write(const struct kit *kit, uint64_t first, uint32_t count);
/* UFFDIO_CONTINUE: 0 or errno; *mapped as the kernel says it: bytes, or -errno. */
int kit_continue(const struct kit *kit, uint64_t first, uint64_t count, int64_t *mapped);
/* The next event, which must be a fault on this page: whether it is MINOR. */
bool kit_fault(const struct kit *kit, uint64_t page);
/* Writes and continues a page that somebody waits for. */
void kit_resolve(const struct kit *kit, uint64_t page);
bool kit_is_silent(const struct kit *kit);

/* A thread that calls a function, which may block. */
struct touch {
	pthread_t thread;
	uint64_t (*function)(void *);
	void *argument;
	uint64_t value;
};
void touch_start(struct touch *touch, uint64_t (*function)(void *), void *argument);
/* Reads the first word at an address. */
void touch_read(struct touch *touch, const uint8_t *at);
/* What the function returned; fails after the deadline. */
uint64_t touch_end(struct touch *touch);

/* Memory slot 0, at guest address 0: 0 or errno.  flags: PF_KVM_MEM_USERFAULT or 0. */
struct pf_kvm_memory_region2 kit_slot(const struct kit *kit, uint32_t flags);
int kit_set_slot(const struct kit *kit, const struct pf_kvm_memory_region2 *slot);

/* A vCPU in real mode whose code lies in page 0, which is populated and whose bit is clear. */
struct vcpu {
	const struct kit *kit;
	int fd;
	size_t size;
	struct kvm_run *run;
};

enum program {
	LOAD,	 /* al = [0]; hlt */
	STORE,	 /* [0] = 0x5a; hlt */
	INPUT,	 /* a byte from a port to [0], a string instruction: KVM does the write */
	OUTPUT,	 /* a byte from [0] to a port, likewise */
	FOREVER, /* al = [0]; out; again */
};

/* Needs memory slot 0; its data segments begin at the page. */
void vcpu_open(struct vcpu *vcpu, const struct kit *kit, enum program program, uint64_t page);
void vcpu_close(struct vcpu *vcpu);
/* From the program's start again, on this page. */
void vcpu_restart(struct vcpu *vcpu, uint64_t page);
/* KVM_RUN: the exit's reason, or -errno. */
int vcpu_run(struct vcpu *vcpu);
uint8_t vcpu_al(const struct vcpu *vcpu);
/* KVM_RUN leaves because of this page's bit. */
void vcpu_faults(struct vcpu *vcpu, uint64_t page);

/* The bit of a page, for the kernel to see: clear it after the page is complete. */
void bit_clear(const struct kit *kit, uint64_t page);
void bit_set(const struct kit *kit, uint64_t page);
bool bit_is_set(const struct kit *kit, uint64_t page);

#endif
