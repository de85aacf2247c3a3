/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/vm_process.h - a pageferry-guest process, for tests: its lines, its memory, its end.
 *
 * Failures are failed cmocka assertions.  Every wait has a limit of a minute.
 */
#ifndef PF_GUEST_VM_PROCESS_H
#define PF_GUEST_VM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pf_vm {
	pid_t pid;
	int in, out;
	char text[4096]; /* read, not handed out yet */
	size_t used;
};

struct pf_vm_options {
	const char *role, *memory, *vcpus, *seed, *backend;
	const char *socket; /* NULL: solo */
	const char *kinds;  /* NULL: two regions of a memfd */
};

void pf_vm_start(struct pf_vm *vm, const struct pf_vm_options *options);
/* A line on its stdin; that the process may have ended already is no failure. */
void pf_vm_say(struct pf_vm *vm, const char *word);
/* The next line of its stdout must be this one. */
void pf_vm_expect(struct pf_vm *vm, const char *line);
/* The next line must begin so; the rest of it goes to out. */
void pf_vm_expect_prefix(struct pf_vm *vm, const char *prefix, char *out, size_t size);
/* Reads lines until one begins so. */
void pf_vm_skip_to(struct pf_vm *vm, const char *prefix, char *out, size_t size);
/* Closes its stdin and returns its exit code. */
int pf_vm_wait(struct pf_vm *vm);

/* A descriptor of its guest memory, behind its back. */
int pf_vm_open_memory(const struct pf_vm *vm);
/* Opens what its guest_memfd is to whoever cannot open it: the mapping; false: it has none. */
bool pf_vm_find_gmem(const struct pf_vm *vm, uint64_t address, int *out_fd, uint64_t *out_at);
/* xor; returns what was there before. */
unsigned char pf_vm_damage(int memory_fd, uint64_t address, unsigned char bits);

#endif
