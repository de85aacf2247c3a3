/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/memhelp.h - a VMM process with real memory, real userfaultfds and threads that fault.
 *
 * The child maps a memfd one or more times, with a userfaultfd for each mapping, hands these over
 * by SCM_RIGHTS as a VMM does, and then lets a new thread do whatever it is told: read a page,
 * write to it, give it back.  A thread that traps blocks; its reply comes when it goes on.  Every
 * wait here is for an event and has a deadline.
 */
#ifndef PF_TESTS_MEMHELP_H
#define PF_TESTS_MEMHELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memory/guest.h"

#define PAGE 4096u
#define DEADLINE_MS 20000

/* Prints why and returns true where userfaultfd(2) is refused: main() then returns 77. */
bool uffd_refused(void);

/* A new one, or PAGEFERRY_SEED; printed, so that a run can be repeated. */
unsigned test_seed(void);

/* A folder for state files under TMPDIR, and its end with all that is in it. */
int dir_make(void);
void dir_remove(int dirfd);

/* Fills bytes with what page n of a test has: every 64-bit word is page_word(n). */
uint64_t page_word(uint64_t page);
void page_fill(uint8_t *bytes, uint64_t first, uint32_t count);

#define VMM_MAPPINGS 2u

struct vmm {
	pid_t pid;
	int sock;
	int memfd; /* the test's own, not the child's; VMM_PRIVATE: there is none */
	uint32_t mappings;
	int uffd[VMM_MAPPINGS];
	uint64_t base[VMM_MAPPINGS];
};

enum vmm_op { VMM_READ = 1, VMM_WRITE, VMM_REMOVE, VMM_DONTNEED, VMM_DONTDUMP, VMM_UNMAP, VMM_REPLACE,
	/*
	 * Calls a function of the test, which the child has at the same address: vmm_call().  What the
	 * two share is memory that was mapped MAP_SHARED before vmm_start().
	 */
	VMM_CALL,
};

struct vmm_memory {
	uint8_t *base; /* of a mapping, in the child */
	int fd;	       /* the child's own */
};

struct vmm_reply {
	uint32_t op;
	uint32_t mapping;
	uint64_t page;
	uint64_t value; /* the page's first word */
	bool uniform;	/* all its words are value */
	int failed;	/* errno of the call, 0 */
};

#define VMM_PRIVATE (-2)
/* memfd: an empty file for the memory, or -1 for a new one; it is the struct's from here on.
 * VMM_PRIVATE: private anonymous memory, with one mapping. */
void vmm_start(struct vmm *vmm, uint64_t pages, uint32_t mappings, uint64_t features, int memfd);
/* Kills the process and waits until it is gone; descriptors stay. */
void vmm_kill(struct vmm *vmm);
void vmm_stop(struct vmm *vmm);
/* Tells the child; returns at once. */
void vmm_tell(const struct vmm *vmm, enum vmm_op op, uint32_t mapping, uint64_t page,
	      uint64_t value);
/* A new thread of the child's calls it; what it returns is the reply's value. */
void vmm_call(const struct vmm *vmm,
	      uint64_t (*function)(const struct vmm_memory *memory, uint64_t argument),
	      uint32_t mapping, uint64_t argument);
/* The next reply, whichever thread's; fails the test after the deadline. */
struct vmm_reply vmm_reply(const struct vmm *vmm);
bool vmm_is_silent(const struct vmm *vmm);
/* Reads a page that must not trap for long, and checks that it is uniform: its word. */
uint64_t vmm_word(const struct vmm *vmm, uint64_t page);

/* A word, or GOT_SIGBUS.  Any thread of any process; leaves its handler behind, and a SIGBUS elsewhere ends
 * the process. */
#define GOT_SIGBUS UINT64_C(0xb5b5b5b5b5b5b5b5) /* no page_word() */
uint64_t read_or_sigbus(const void *at);
/* The same of a page's first word, for vmm_call(). */
uint64_t vmm_touch(const struct vmm_memory *memory, uint64_t page);

/* Threads whose fault waits in the kernel to be read, and all that are blocked by a fault. */
unsigned uffd_pending(int uffd);
unsigned uffd_blocked(int uffd);
/* The file has the page, whatever is in it: mincore(2). */
bool file_has_page(int fd, uint64_t page);
/* An empty file on a tmpfs of its own with these mount options; skips the test where it may not. */
int tmpfs_file(const char *options);

/*
 * Another process makes a huge page of 2 MiB of a file, from offset on, by MADV_COLLAPSE: the page tables of whoever
 * maps it are gone then.  false: the kernel would not, errno says why.  A file that has just one cannot be collapsed:
 * break_up() has it made of small pages again, with zeros in that one.
 */
bool collapse(int fd, uint64_t offset);
void break_up(int fd, uint64_t page);
/* Skips the test where the kernel does not collapse files of tmpfs; before it opens anything. */
void need_collapse(void);

/* For what nothing tells of: a word in memory, the kernel's counters.  Fails after the deadline. */
#define WAIT_UNTIL(condition)                                                                    \
	do {                                                                                     \
		for (uint64_t until_ = wait_deadline(); !(condition);)                           \
			wait_a_moment(until_);                                                   \
	} while (0)
uint64_t wait_deadline(void);
void wait_a_moment(uint64_t deadline);
/* Waits until fd is readable; fails the test after the deadline. */
void wait_readable(int fd);

/* One region over all of the VMM's memory, as a dialect fills it; descriptors are duplicated. */
void guest_fill(struct pf_guest *guest, const struct vmm *vmm, uint64_t pages);
/* The next event of a guest's uffd: a fault at this page, checked and taken out of the ring. */
uint64_t guest_fault(struct pf_guest *guest, uint32_t uffd, bool *out_minor);

/* A parameter of KVM in the test kernel (tests/kernel/README.md); ends the test if there is none. */
void kvm_set_parameter(const char *name, const char *value);

#endif
